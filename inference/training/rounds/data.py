"""Heads on the network's grid with what is known of them, as training keeps them in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_ROWS, HeadGrid, to_grid
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, LabelledStudy, Truth

TYPES = tuple(HaemorrhageType)
MAJORITY = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class TrainingHead:
    """A head on the grid with what is known of it, small enough to keep hundreds in memory.

    `image` float16 (plane, row, column) HU; `inside` bool; `depth_mm` (plane,). `labels` uint8 (plane, 6): whether the
    plane shows any haemorrhage, then each type; 0, 1 or UNKNOWN. `voxels` uint8: 0 = none, 1..5 = type, UNTYPED, or
    UNKNOWN = not to be judged: a plane of which only labels are known is wholly UNKNOWN.
    """

    image: NDArray[np.float16]
    inside: NDArray[np.bool_]
    depth_mm: NDArray[np.float32]
    labels: NDArray[np.uint8]
    voxels: NDArray[np.uint8]

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Bool (plane,): which planes are known to show haemorrhage."""
        return np.asarray(self.labels[:, 0] == 1)


def with_any(types: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(plane, 6) labels of planes whose types (plane, 5) are all known."""
    return np.column_stack([types.any(1), types]).astype(np.uint8)


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


def training_head(study: LabelledStudy) -> TrainingHead:
    """The study's head on the grid; NotAnalysable where its images are no plain head.

    Voxels are known where somebody drew and on planes without haemorrhage; a plane's labels are those of its slices.
    """
    grid = to_grid(study.stack)
    labels = _plane_labels(study.truth, grid)
    voxels = np.full(grid.image.shape, UNKNOWN, np.uint8)
    voxels[labels[:, 0] == 0] = 0
    if study.truth.mask is not None:
        mask = np.asarray(grid.orientation.apply(study.truth.mask))
        for plane in np.flatnonzero(labels[:, 0] != 0):
            voxels[plane] = _drawn(mask[grid.plane_of_slice == plane], grid)
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)


def _plane_labels(truth: Truth, grid: HeadGrid) -> NDArray[np.uint8]:
    planes = len(grid.image)
    known_type = np.array([True, *(told is not None for told in truth.types)])
    if truth.slices is None:
        labels = np.full((planes, 6), UNKNOWN if truth.haemorrhage else 0, np.uint8)
        labels[:, [False, *(told is False for told in truth.types)]] = 0
        return labels
    step = -1 if grid.orientation.flip_slices else 1
    slices, judged = truth.slices[::step], truth.judged[::step]
    labels = np.zeros((planes, 6), np.uint8)
    np.maximum.at(labels, grid.plane_of_slice[judged], slices[judged].astype(np.uint8))
    unjudged = np.bincount(grid.plane_of_slice[judged], minlength=planes) == 0
    labels[unjudged] = UNKNOWN
    labels[:, ~known_type] = np.where(labels[:, :1] == 0, 0, UNKNOWN)
    return labels


def _drawn(slices: NDArray[np.uint8], grid: HeadGrid) -> NDArray[np.uint8]:
    """(row, column) of a plane from the drawings on its slices: what most of them say, UNKNOWN where they disagree."""
    if (slices == UNKNOWN).all((1, 2)).any():
        return np.full((GRID_ROWS, GRID_COLUMNS), UNKNOWN, np.uint8)
    out = np.zeros((GRID_ROWS, GRID_COLUMNS), np.uint8)
    for value in (int(v) for v in np.unique(slices) if v):
        share = np.mean([on_grid(drawing == value, grid) for drawing in slices], axis=0)
        out[(share > 0) & (out == 0)] = UNKNOWN
        out[share >= MAJORITY] = value
    return out
