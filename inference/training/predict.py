"""What a fold's networks say of a head on the grid, as the pipeline pools and smooths it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.network import HeadNetwork, plane_logits
from inference.pipelines.reading import smoothed
from inference.preprocess import features, triplets
from inference.training.data import TrainingHead

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One head's out-of-fold answer and the truth: `planes` (plane, 6) log-odds, `labels` bool (plane, 5)."""

    patient: int
    planes: Floats
    labels: NDArray[np.bool_]
    judged: NDArray[np.bool_]


@torch.inference_mode()
def predict(networks: Sequence[HeadNetwork], head: TrainingHead) -> Floats:
    """(plane, 6) pooled and smoothed log-odds of the averaged networks."""
    three = triplets(torch.from_numpy(head.image.astype(np.float32)))
    depth = torch.from_numpy(head.depth_mm)
    planes = []
    for start in range(0, len(three), 16):
        part = slice(start, start + 16)
        inputs = features(three[part], depth[part]).contiguous(memory_format=torch.channels_last)
        planes.append(torch.stack([plane_logits(net(inputs).voxels.float()) for net in networks]).mean(0))
    return smoothed(torch.cat(planes).numpy().astype(np.float64))
