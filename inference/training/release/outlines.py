"""From which probability on a voxel is drawn: what agrees best with readers' outlines of patients nobody had seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.network import HeadNetwork
from inference.training.datasets.base import UNKNOWN, outlined_blood
from inference.training.rounds.cases import TrainingCase
from inference.training.rounds.data import TrainingHead
from inference.training.rounds.propagate import voxel_probabilities

THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
USUAL = 0.5
FEWEST_PATIENTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """`dice` (threshold,) of one person's outlined blood, by a network that never saw the person."""

    person: str
    dice: NDArray[np.float64]


def agreements(
    cases: Sequence[TrainingCase], where: Mapping[str, int], networks: Sequence[HeadNetwork]
) -> list[Agreement]:
    """Of every case with outlined blood, each by the network of the fold that leaves the person out."""
    outlined = [case for case in cases if has_outlined_blood(case.head)]
    return [Agreement(c.told.person, _dice(networks[where[c.told.person]], c.head)) for c in outlined]


def has_outlined_blood(head: TrainingHead) -> bool:
    """Whether somebody drew blood in the head."""
    return bool(outlined_blood(head.voxels).any())


def voxel_threshold(found: Sequence[Agreement]) -> float:
    """The threshold of the highest mean Dice; USUAL where fewer than FEWEST_PATIENTS are outlined."""
    if len({each.person for each in found}) < FEWEST_PATIENTS:
        return USUAL
    return THRESHOLDS[int(np.mean([each.dice for each in found], axis=0).argmax())]


def _dice(network: HeadNetwork, head: TrainingHead) -> NDArray[np.float64]:
    blood, known = outlined_blood(head.voxels), head.voxels != UNKNOWN
    planes = blood.any((1, 2))
    bleeding = 1 - voxel_probabilities(network, head, mirrored=False)[planes, 0]
    blood, known = blood[planes], known[planes]
    drawn = [(bleeding > threshold) & known for threshold in THRESHOLDS]
    return np.array([2 * (each & blood).sum() / (each.sum() + blood.sum()) for each in drawn])
