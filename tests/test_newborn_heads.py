"""Heads made thin, soft, small, open or watery are let in, bleeding or not; bodies and phantoms like them are not."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from not_heads import Volume, ball_phantom, child_abdomen, child_chest, leg, water_phantom
from scipy import ndimage

from inference.findings import NotAnalysable
from inference.pipelines.haemorrhage.head_grid import HeadGrid, labels_to_source, to_grid
from inference.training.datasets.ct_ich import open_ct_ich, stack_of
from inference.training.simulate.infant import over_mm
from inference.training.simulate.unusual_heads import ScannedHead, Unusual, unusual
from inference.training.studies.head_check import LIMITS, as_stack, made_of, scanned_head, verdict_of

INFANT, BLEEDING, WITH_FEW_FOLDS, SWOLLEN = 50, 94, 90, 52
HEADS = (INFANT, BLEEDING, WITH_FEW_FOLDS, SWOLLEN, 55, 103)
BABIES = (Unusual.NEWBORN, Unusual.WATERY_NEWBORN, Unusual.PREMATURE)
DENSE_BLOOD_HU = 85.0  # a newborn's blood has more cells than an adult's
Head = Callable[[int], ScannedHead]


@cache
def _head(folder: Path, number: int) -> ScannedHead:
    return scanned_head(open_ct_ich(folder / "ct_ich").patient(number).hu)


@pytest.fixture
def head(shared: Path) -> Head:
    """A patient's head by number, at half its resolution."""
    return lambda number: _head(shared, number)


def brain_found(made: ScannedHead, grid: HeadGrid) -> tuple[float, float]:
    """How much of the true intracranial space the check found, and how much more than that it took."""
    found = labels_to_source(grid.inside.astype(np.uint8), grid) > 0
    found = np.stack([ndimage.binary_fill_holes(plane) for plane in found])
    return float(found[made.inside].mean()), float((found & ~made.inside).sum() / made.inside.sum())


@pytest.mark.parametrize("kind", Unusual)
@pytest.mark.parametrize("number", HEADS)
def test_an_unusual_head_is_let_in_with_its_brain(head: Head, number: int, kind: Unusual) -> None:
    made = made_of(head(number), kind, number)
    found, beyond = brain_found(made, to_grid(as_stack(made)))
    assert found > 0.85
    assert beyond < 0.6


@pytest.mark.parametrize("kind", BABIES)
@pytest.mark.parametrize("number", HEADS)
def test_no_limit_is_near_a_newborn(head: Head, number: int, kind: Unusual) -> None:
    verdict = verdict_of(as_stack(made_of(head(number), kind, number)))
    assert verdict.numbers is not None
    told = {limit.name: limit.margin(verdict.numbers) for limit in LIMITS}
    assert not [(name, margin) for name, margin in told.items() if margin is not None and margin < 0.05]


@pytest.mark.parametrize("kind", BABIES)
@pytest.mark.parametrize("number", HEADS)
def test_a_newborn_with_dense_blood_under_its_skull_is_let_in(head: Head, number: int, kind: Unusual) -> None:
    made = made_of(head(number), kind, number)
    deep = over_mm(~made.inside, made.spacing_mm)
    columns = np.arange(made.hu.shape[2]) > made.hu.shape[2] / 2
    blood = made.inside & (deep < 5) & columns
    bleeding = ScannedHead(np.where(blood, np.float32(DENSE_BLOOD_HU), made.hu), made.inside, made.spacing_mm)
    found = to_grid(as_stack(bleeding))
    drawn = labels_to_source(found.inside.astype(np.uint8), found) > 0
    assert drawn[blood].mean() > 0.6


@pytest.mark.parametrize("kind", Unusual)
def test_the_same_seed_makes_the_same_head(head: Head, kind: Unusual) -> None:
    before = head(INFANT).hu.copy()
    made = [unusual(head(INFANT), kind, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0].hu.tobytes() == made[1].hu.tobytes()
    assert made[0].hu.tobytes() != made[2].hu.tobytes()
    assert np.array_equal(head(INFANT).hu, before)


@pytest.mark.parametrize("kind", BABIES)
def test_a_newborn_is_as_small_and_soft_as_one(head: Head, kind: Unusual) -> None:
    made = made_of(head(BLEEDING), kind, BLEEDING)
    columns = np.flatnonzero(made.inside.any((0, 1)))
    assert 60 < np.ptp(columns) * made.spacing_mm[2] < 105
    over = over_mm(made.inside, made.spacing_mm)
    vault = np.flatnonzero(made.inside.any((1, 2)))[len(made.hu) // 2 :]
    skull = made.hu[vault][(over[vault] > 0) & (over[vault] < 1.5)]
    assert 100 < np.percentile(skull, 90) <= 400
    assert 0.1 < (skull < 60).mean() < 0.7
    if kind is not Unusual.NEWBORN:
        assert 18 < np.median(made.hu[made.inside]) < 30


NO_HEADS: dict[str, tuple[Callable[[], Volume], str]] = {
    "chest of a child": (child_chest, "No whole head|not wholly"),
    "abdomen of a child": (child_abdomen, "No whole head|not wholly"),
    "leg": (leg, "No whole head"),
    "bare water": (lambda: water_phantom(None), "No whole head"),
    "water in a soft wall": (lambda: water_phantom(200), "No whole head"),
    "small water": (lambda: water_phantom(120, 0, 50), "No whole head"),
    "gel in a soft wall": (lambda: water_phantom(120, 28, 50), "cut off above and below|uniform"),
    "ball of gel in a newborn's bone": (lambda: ball_phantom(300), "uniform, as in a phantom"),
    "ball of gel in the softest bone": (lambda: ball_phantom(150), "uniform, as in a phantom"),
}


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_resembles_a_newborn_stays_refused(name: str) -> None:
    make, said = NO_HEADS[name]
    volume = make()
    with pytest.raises(NotAnalysable, match=said):
        to_grid(stack_of(volume.hu, volume.pixel_mm, volume.slice_mm))


@pytest.mark.parametrize("number", HEADS)
def test_half_a_newborn_stays_refused(head: Head, number: int) -> None:
    made = made_of(head(number), Unusual.NEWBORN, number)
    planes = np.flatnonzero(made.inside.any((1, 2)))
    upper = made.hu[(planes[0] + planes[-1]) // 2 + 1 :]
    with pytest.raises(NotAnalysable, match=r"not wholly in the images|no brain-sized|no skull"):
        to_grid(stack_of(upper, made.spacing_mm[1], made.spacing_mm[0]))
