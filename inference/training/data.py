"""Heads on the network's grid with what is known of them, as training keeps them in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.preprocess import GRID_COLUMNS, GRID_ROWS, HeadGrid, to_grid
from inference.training.datasets.base import UNKNOWN
from inference.training.datasets.ct_ich import TYPES, Patient, patients, stack_of

__all__ = ["TYPES", "Patient", "TrainingHead", "on_grid", "patients", "stack_of", "training_head"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingHead:
    """A head on the grid with what is known of it, small enough to keep hundreds in memory.

    `image` float16 (plane, row, column) HU; `inside` bool; `depth_mm` (plane,); `labels` bool (plane, 5); `voxels`
    uint8, 0 = none, 1..5 = type, UNKNOWN = not to be judged: a plane of which only labels are known is wholly UNKNOWN.
    """

    image: NDArray[np.float16]
    inside: NDArray[np.bool_]
    depth_mm: NDArray[np.float32]
    labels: NDArray[np.bool_]
    voxels: NDArray[np.uint8]


def on_grid(mask: NDArray[np.bool_], grid: HeadGrid) -> NDArray[np.bool_]:
    """A drawing (row, column) on one source slice of a standard-order stack, nearest, on the grid's plane."""
    y = np.arange(GRID_ROWS) - (GRID_ROWS - 1) / 2
    x = np.arange(GRID_COLUMNS) - (GRID_COLUMNS - 1) / 2
    cos, sin = np.cos(grid.pose.angle), np.sin(grid.pose.angle)
    row = (cos * y[:, None] + sin * x[None] + grid.pose.row_mm) / grid.spacing[0] + (mask.shape[0] - 1) / 2
    column = (cos * x[None] - sin * y[:, None] + grid.pose.column_mm) / grid.spacing[1] + (mask.shape[1] - 1) / 2
    r, c = np.rint(row).astype(int), np.rint(column).astype(int)
    within = (r >= 0) & (r < mask.shape[0]) & (c >= 0) & (c < mask.shape[1])
    return np.asarray(within & mask[r.clip(0, mask.shape[0] - 1), c.clip(0, mask.shape[1] - 1)])


def training_head(patient: Patient) -> TrainingHead:
    """The patient's head on the grid; voxels are known where no slice is labelled, or where it was outlined."""
    grid = to_grid(stack_of(patient.hu))
    labels = patient.labels & patient.imaged[:, None]
    voxels = np.zeros(grid.image.shape, np.uint8)
    for plane in np.flatnonzero(labels.any(1)):
        outline = patient.outlines.get(int(plane))
        if outline is None or labels[plane].sum() != 1:
            voxels[plane] = UNKNOWN
            continue
        voxels[plane][on_grid(outline, grid)] = 1 + int(np.flatnonzero(labels[plane])[0])
    for plane in np.flatnonzero(~patient.imaged):
        voxels[plane] = UNKNOWN
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)
