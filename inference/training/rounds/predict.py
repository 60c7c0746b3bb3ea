"""What a fold's networks say of a head on the grid, as the pipeline pools it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.head_grid import features, triplets
from inference.pipelines.haemorrhage.network import HeadNetwork, plane_scores
from inference.training.datasets.base import UNKNOWN
from inference.training.rounds.cases import Told, TrainingCase
from inference.training.rounds.data import TrainingHead

Floats = NDArray[np.float64]
BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class FoldPrediction:
    """A study's out-of-fold answer and the truth: `planes` (plane, 6) log-odds; `labels` (plane, 6) of TrainingHead."""

    told: Told
    planes: Floats
    labels: NDArray[np.uint8]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Bool (plane,): which planes somebody has read."""
        return np.asarray(self.labels[:, 0] != UNKNOWN)


@torch.inference_mode()
def predict(networks: Sequence[HeadNetwork], head: TrainingHead) -> Floats:
    """(plane, 6) log-odds of the averaged networks."""
    three = triplets(torch.from_numpy(head.image.astype(np.float32)))
    depth = torch.from_numpy(head.depth_mm)
    planes = []
    for start in range(0, len(three), BATCH):
        part = slice(start, start + BATCH)
        inputs = features(three[part], depth[part]).contiguous(memory_format=torch.channels_last)
        planes.append(torch.stack([plane_scores(net(inputs)) for net in networks]).mean(0))
    return torch.cat(planes).numpy().astype(np.float64)


def predict_cases(
    networks: Sequence[HeadNetwork], folds: Sequence[int], cases: Sequence[TrainingCase]
) -> list[FoldPrediction]:
    """Each case by the network of its own fold."""
    return [
        FoldPrediction(case.told, predict([networks[fold]], case.head), case.head.labels)
        for case, fold in zip(cases, folds, strict=True)
    ]
