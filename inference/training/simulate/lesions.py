"""What a bleed is, and how a shape is grown until it holds the volume that was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import EVERYWHERE, Box
from inference.training.simulate.fields import HEIGHTS, Field

STEPS = 14


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """One bleed in one head; fields are (plane, row, column) on the head's voxels.

    `filled` 0..1 is the share of each voxel that is blood, never outside `inside`. `blood_hu` is the HU of the blood
    itself, without noise. `oedema_hu`, to be taken from the tissue around, is >= 0. `push_mm` (2, plane, row, column)
    is how far the tissue now at a voxel was pushed along rows and columns. `at_mm` (z, y, x) is the middle, of an
    extra-axial bleed the middle of its place on the inner table.
    """

    kind: HaemorrhageType
    filled: Field
    blood_hu: Field
    oedema_hu: Field | None
    push_mm: NDArray[np.float32] | None
    at_mm: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A shape at the size asked for: what it fills, on the whole head, and by how many mm it was moved outward."""

    filled: Field
    level_mm: float


def heights(body: Anatomy, shape_at: Callable[[float], Field]) -> list[Field]:
    """A shape at the heights of each plane that partial volume is made of."""
    return [shape_at(height * body.spacing_mm[0]) for height in HEIGHTS]


def grow(
    body: Anatomy,
    fields: Sequence[Field],
    volume_ml: float,
    *,
    within: Field | None = None,
    box: Box = EVERYWHERE,
    edge_mm: float = 1.2,
    most_mm: float = 8.0,
) -> Grown | None:
    """The shape (mm, positive inside; given at several heights, on `box`) moved outward or inward by at most
    `most_mm` until it holds the volume; `within` 0..1 is the share of a voxel that blood may take (`soft` when None).

    None when it cannot hold as much, or not as little.
    """
    room = (body.soft if within is None else np.minimum(within, body.soft))[box]
    use = np.flatnonzero((np.max(fields, axis=0) > -most_mm - edge_mm) & (room > 0))
    values = np.stack([field.ravel()[use] for field in fields]) / np.float32(edge_mm)
    share = room.ravel()[use] / len(fields)

    def blood(level_mm: float) -> Field:
        parts = np.clip(values + np.float32(level_mm / edge_mm + 0.5), 0, 1)
        return np.asarray(parts.sum(0) * share, np.float32)

    low, high = -most_mm, most_mm
    tolerance = max(0.03 * volume_ml, min(0.02, 0.2 * volume_ml))
    for _ in range(STEPS):
        level = (low + high) / 2
        drawn = blood(level)
        excess = float(drawn.sum()) * body.voxel_ml - volume_ml
        if abs(excess) <= tolerance:
            break
        low, high = (low, level) if excess > 0 else (level, high)
    else:
        if abs(excess) > 0.1 * volume_ml:
            return None
    part = np.zeros(room.shape, np.float32)
    part.ravel()[use] = drawn
    filled = np.zeros(body.hu.shape, np.float32)
    filled[box] = part
    return Grown(filled, level)
