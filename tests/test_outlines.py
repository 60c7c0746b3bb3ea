"""The threshold of what is drawn: it agrees best with readers' outlines, and is chosen by patients of other folds."""

import numpy as np
import pytest
import torch

from inference.pipelines.haemorrhage.head_grid import CHANNELS, GRID_COLUMNS, GRID_ROWS
from inference.pipelines.haemorrhage.network import HeadNetwork, NetworkOutput
from inference.training.datasets.base import UNKNOWN
from inference.training.release.decide import folds_of
from inference.training.release.outlines import (
    FEWEST_PATIENTS,
    THRESHOLDS,
    USUAL,
    Agreement,
    agreements,
    has_outlined_blood,
    voxel_threshold,
)
from inference.training.rounds.cases import Told, TrainingCase
from inference.training.rounds.data import TrainingHead, with_any
from inference.training.rounds.predict import FoldPrediction

TYPES = (True, False, False, False, False)
BODY = (slice(80, 120), slice(60, 100))


class _Sees(HeadNetwork):
    """Says that a pixel bleeds with probability `bright` from 60 HU on, `dull` from 30 HU on."""

    def __init__(self, bright: float, dull: float) -> None:
        super().__init__()
        self._chances = bright, dull

    def forward(self, inputs: torch.Tensor) -> NetworkOutput:
        """By channel 1, the middle plane in the brain window."""
        assert inputs.shape[1] == CHANNELS
        hu = (inputs[:, 1, ::2, ::2] + 0.7) * 50
        bright, dull = self._chances
        chance = torch.where(hu > 60, bright, torch.where(hu > 30, dull, 1e-4))
        logits = torch.full((len(inputs), 6, *hu.shape[1:]), -30.0)
        logits[:, 0], logits[:, 1] = torch.log(1 - chance), torch.log(chance)
        return NetworkOutput(logits, torch.zeros(len(inputs), 6), logits)


def _case(person: str) -> TrainingCase:
    """Five planes of 10 HU with a square of 50 HU in two of them, half of it 70 HU and outlined; one is not judged."""
    image = np.full((5, GRID_ROWS, GRID_COLUMNS), 10, np.float16)
    voxels = np.zeros(image.shape, np.uint8)
    for plane in (2, 3):
        image[(plane, *BODY)] = 50
        image[plane, BODY[0], 80:100] = 70
        voxels[plane, BODY[0], 80:100] = 1
    voxels[4] = UNKNOWN
    types = np.zeros((5, 5), bool)
    types[2:4, 0] = True
    inside = np.ones(image.shape, bool)
    head = TrainingHead(image, inside, np.linspace(0, 20, 5, dtype=np.float32), with_any(types), voxels)
    return TrainingCase(Told("Set", person, person, True, TYPES, None), head)


def test_the_threshold_is_the_one_that_keeps_the_blood_and_leaves_the_rest() -> None:
    cases = [_case(str(n)) for n in range(FEWEST_PATIENTS)]
    where = {case.told.person: 0 for case in cases}
    found = agreements(cases, where, [_Sees(bright=0.48, dull=0.32).eval()])
    assert voxel_threshold(found) in (0.35, 0.4, 0.45)
    dice = dict(zip(THRESHOLDS, found[0].dice, strict=True))
    assert dice[0.4] > 0.9 and dice[0.2] == pytest.approx(2 / 3, abs=0.05) and dice[0.5] == 0


def test_a_case_is_judged_by_the_network_of_its_fold() -> None:
    cases = [_case("0"), _case("1")]
    blind, seeing = _Sees(bright=0.01, dull=0.01).eval(), _Sees(bright=0.9, dull=0.01).eval()
    one, other = agreements(cases, {"Set/0": 1, "Set/1": 0}, [blind, seeing])
    assert one.dice.max() > 0.9 and other.dice.max() == 0


def test_few_outlines_choose_nothing() -> None:
    dice = np.linspace(1, 0, len(THRESHOLDS))
    many = [Agreement(str(n), dice) for n in range(FEWEST_PATIENTS)]
    assert voxel_threshold(many) == THRESHOLDS[0]
    assert voxel_threshold(many[1:]) == USUAL and voxel_threshold([*many[1:], many[1]]) == USUAL


def test_a_fold_chooses_without_its_own_people() -> None:
    rng = np.random.default_rng(3)
    predictions = [
        FoldPrediction(case.told, rng.normal(size=(5, 6)), case.head.labels)
        for case in [_case(str(n)) for n in range(2 * FEWEST_PATIENTS)] + [_normal(str(n)) for n in range(50, 54)]
    ]
    where = {p.told.person: int(p.told.patient_id) % 2 for p in predictions}
    low, high = np.linspace(1, 0, len(THRESHOLDS)), np.linspace(0, 1, len(THRESHOLDS))
    agreed = [Agreement(p.told.person, (low, high)[where[p.told.person]]) for p in predictions if p.told.haemorrhage]
    first, second = folds_of(predictions, where, agreed)
    assert (first.decisions.voxel_threshold, second.decisions.voxel_threshold) == (THRESHOLDS[-1], THRESHOLDS[0])


def _normal(person: str) -> TrainingCase:
    head = _case(person).head
    clean = TrainingHead(
        head.image, head.inside, head.depth_mm, with_any(np.zeros((5, 5), bool)), np.zeros_like(head.voxels)
    )
    assert has_outlined_blood(head) and not has_outlined_blood(clean)
    return TrainingCase(Told("Set", person, person, False, (False,) * 5, None), clean)
