"""Ablation: what is lost is measured against the whole method, paired by patient; nothing learned sees its own fold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.pipelines.haemorrhage.head_grid import CHANNELS, features
from inference.pipelines.haemorrhage.network import build_network
from inference.training.rounds.cases import Told, TrainingCase
from inference.training.rounds.data import TrainingHead, with_any
from inference.training.rounds.recipe import Recipe
from inference.training.studies.ablation import (
    WHOLE,
    AblationOutcome,
    aggregated,
    markdown,
    mean_of,
    table,
    variants,
)


def _cases(count: int) -> list[TrainingCase]:
    """Every other one bleeds on planes 3 to 6 of ten."""
    cases = []
    for n in range(count):
        types = np.zeros((10, 5), bool)
        types[3:7, n % 5] = n % 2 == 0
        none = (0, 1, 1)
        head = TrainingHead(
            np.zeros(none, np.float16), np.zeros(none, bool), np.zeros(0, np.float32), with_any(types),
            np.zeros(none, np.uint8),
        )  # fmt: skip
        told = Told("Set", f"{n:03d}", f"{n:03d}", n % 2 == 0, tuple(bool(each.any()) for each in types.T), None)
        cases.append(TrainingCase(told, head))
    return cases


def _outcome(name: str, cases: list[TrainingCase], strength: float, seed: int) -> AblationOutcome:
    rng = np.random.default_rng(seed)
    planes = tuple(strength * case.head.labels.astype(float) + rng.normal(0, 1, (10, 6)) for case in cases)
    return AblationOutcome(name, planes)


def test_a_weaker_variant_loses_and_the_whole_loses_nothing() -> None:
    cases = _cases(40)
    whole, weak = _outcome(WHOLE, cases, 3.0, 1), _outcome("weak", cases, 0.3, 2)
    first, second = table([whole, weak], cases)
    assert first.slice_lost == (0, 0, 0) and first.slice_auc > 0.9
    assert second.slice_lost[0] == pytest.approx(first.slice_auc - second.slice_auc)
    assert 0 < second.slice_lost[1] < second.slice_lost[0] < second.slice_lost[2]
    text = markdown([first, second])
    assert text.count("\n") == 4 and f"{second.slice_auc:.3f}" in text and "the whole method" in text


def test_the_mean_of_two_is_better_than_either() -> None:
    cases = _cases(60)
    one, two = _outcome("one", cases, 0.7, 3), _outcome("two", cases, 0.7, 4)
    rows = table([mean_of("both", [one, two], smooth=False), one, two], cases)
    assert rows[0].slice_auc > max(row.slice_auc for row in rows[1:]) - 0.01


def test_a_learned_study_score_does_not_see_its_own_fold() -> None:
    cases = _cases(30)
    folds = [n % 3 for n in range(30)]
    whole = _outcome(WHOLE, cases, 2.0, 5)
    wrong = [
        TrainingCase(replace(case.told, haemorrhage=not case.told.haemorrhage), case.head) if fold == 0 else case
        for case, fold in zip(cases, folds, strict=True)
    ]
    learned, misled = (aggregated(whole, folds, each)[-1].studies for each in (cases, wrong))
    assert learned is not None and misled is not None
    own = np.array(folds) == 0
    assert np.array_equal(learned[own], misled[own]) and not np.allclose(learned[~own], misled[~own])


def test_variants_leave_out_what_they_say() -> None:
    whole = Recipe(propagate=True)
    made = variants(whole)
    assert made[WHOLE].recipe == whole
    assert not made["no label propagation"].recipe.propagate
    assert made["no simulated heads"].recipe.batch == whole.batch
    three, depth = torch.rand(1, 3, 32, 32) * 60, torch.zeros(1)
    seen = features(three, depth)
    for name, channels in (("no neighbouring planes", (0, 2)), ("no other hemisphere", (5,))):
        blind = features(three, depth, made[name].recipe.blind)
        assert not blind[:, list(channels)].any()
        kept = [c for c in range(CHANNELS) if c not in channels]
        assert torch.equal(blind[:, kept], seen[:, kept])
    answer = build_network().eval()(torch.rand(1, CHANNELS, 32, 32))
    segmented, classified = made["segmentation only"].score(answer), made["plane classifier only"].score(answer)
    assert torch.allclose(made[WHOLE].score(answer), (segmented + classified) / 2)
    assert torch.equal(classified, answer.planes)
