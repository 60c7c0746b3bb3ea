"""The self-test of a model: what it lets pass, and how exactly it says what is wrong."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from inference.errors import ModelError
from inference.findings import Finding, NotAnalysable, Result
from inference.models.card import load_card
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage import selftest
from inference.pipelines.haemorrhage.selftest import self_test
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead
from inference.pipelines.haemorrhage.types import HaemorrhageType


def small_head(seed: int, bleed: HaemorrhageType | None = None) -> SyntheticHead:
    """Noise with a bright block: what is tested here is the test, not a model. test_models.py draws the real heads."""
    hu = np.random.default_rng(seed).normal(30, 5, (30, 32, 32)).astype(np.float32)
    if bleed is not None:
        hu[10:20, 8:24, 8:24] = 70
    return SyntheticHead(hu, np.zeros(hu.shape, np.uint8), (5.0, 0.5, 0.5))


@pytest.fixture(autouse=True)
def small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "synthetic_head", small_head)


def brightness(given: Given) -> Result:
    """A model that is right for the wrong reasons: the share of voxels as bright as blood."""
    stack = given.stack
    share = float(((stack.hu > 50) & (stack.hu < 90)).mean())
    mask = (stack.hu > 50) & (stack.hu < 90)
    return Result(
        "haemorrhage",
        "haemorrhage",
        load_card("haemorrhage").identity,
        0.5,
        share >= 0.5,
        share,
        (Finding(HaemorrhageType.SUBDURAL, share, True, mask),),
        (share,) * len(stack.hu),
        (0,),
    )


def test_the_self_test_compares_each_head_with_itself() -> None:
    for each in self_test(brightness):
        assert each.with_it > each.without


def with_probability(change: Callable[[float], float]) -> Callable[[Result], Result]:
    return lambda result: replace(result, probability=change(result.probability))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_probability(lambda p: math.nan), "the study's probability is nan"),
        (with_probability(lambda p: p + 1), "not a number in 0..1"),
        (with_probability(lambda p: 1 - p), "it must be higher"),
        (with_probability(lambda p: 0.5), "it must be higher"),
        (lambda r: replace(r, slice_probabilities=r.slice_probabilities[1:]), "29 slice probabilities for 30 slices"),
        (lambda r: replace(r, slice_probabilities=(math.inf,) * 30), "slice 1 is inf"),
        (lambda r: replace(r, key_slices=(30,)), r"key slices that are not in the images: \[30\]"),
        (lambda r: replace(r, findings=(Finding("tumour", 0.1, False),)), "findings that no report knows: tumour"),
        (lambda r: replace(r, findings=(Finding("subdural", -0.1, False),)), "'subdural' is -0.1"),
        (
            lambda r: replace(r, findings=(Finding("subdural", 0.1, True, np.ones((30, 9, 9), bool)),)),
            "the mask of 'subdural' is bool",
        ),
    ],
)
def test_the_self_test_says_what_is_wrong(change: Callable[[Result], Result], message: str) -> None:
    with pytest.raises(ModelError, match=f"the self-test failed.*{message}"):
        self_test(lambda given: change(brightness(given)))


def test_the_self_test_asks_twice() -> None:
    """A model that depends on anything but the images is found out; so is one that declines or breaks down."""
    drift = iter(np.arange(9) / 50)
    with pytest.raises(ModelError, match="the same images are answered with"):
        self_test(lambda given: with_probability(lambda p: p + next(drift))(brightness(given)))

    def declines(given: Given) -> Result:
        raise NotAnalysable("No head.")

    def breaks(given: Given) -> Result:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(ModelError, match=r"normal head, seed \d+\): the model declines the images: No head\."):
        self_test(declines)
    with pytest.raises(ModelError, match="RuntimeError: shapes do not fit"):
        self_test(breaks)
