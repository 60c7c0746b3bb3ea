"""Small shapes drawn into a head where they lie: lumps, tubes and sheets with partial volume, in boxes of their own."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field, coordinates, filled, waves

Box = tuple[slice, slice, slice]
Point = NDArray[np.float32]

EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def box(body: Anatomy, points: Sequence[Point], reach_mm: float) -> Box | None:
    """The voxels within this reach of some points (z, y, x) in mm; None where they lie outside the image."""
    slices = []
    for axis, (n, mm) in enumerate(zip(body.hu.shape, body.spacing_mm, strict=True)):
        places = [float(p[axis]) / mm + (0 if axis == 0 else (n - 1) / 2) for p in points]
        low = int(np.floor(min(places) - reach_mm / mm))
        high = int(np.ceil(max(places) + reach_mm / mm)) + 1
        if high <= 0 or low >= n:
            return None
        slices.append(slice(max(0, low), min(n, high)))
    return slices[0], slices[1], slices[2]


def axes(body: Anatomy, where: Box, lift_mm: float = 0.0) -> tuple[Field, Field, Field]:
    """`fields.coordinates` of a box."""
    z, y, x = coordinates(body.hu.shape, body.spacing_mm, lift_mm)
    return z[where[0]], y[:, where[1]], x[:, :, where[2]]


def lump(body: Anatomy, at_mm: Point, radii_mm: Sequence[float], rng: np.random.Generator) -> tuple[Box, Field] | None:
    """An uneven ellipsoid of radii (z, y, x): its box and the filled share of each voxel."""
    where = box(body, [at_mm], 1.5 * max(radii_mm) + 1)
    if where is None:
        return None
    size = min(radii_mm)
    bumps = 0.22 * waves(_shape(where), body.spacing_mm, max(2.5, 1.3 * size), rng)

    def shape_at(lift_mm: float) -> Field:
        parts = [(c - a) / r for c, a, r in zip(axes(body, where, lift_mm), at_mm, radii_mm, strict=True)]
        return np.asarray((1 + bumps - np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)) * size, np.float32)

    return where, filled(shape_at, body.spacing_mm[0], 1.0)


def tube(body: Anatomy, path: Sequence[Point], radius_mm: float) -> tuple[Box, Field] | None:
    """A tube along a polygon of points: its box and the filled share of each voxel."""
    where = box(body, path, radius_mm + 2)
    if where is None:
        return None

    def shape_at(lift_mm: float) -> Field:
        near = np.full(_shape(where), np.inf, np.float32)
        at = axes(body, where, lift_mm)
        for start, stop in pairwise(path):
            near = np.minimum(near, _distance_to_segment(at, start, stop))
        return np.asarray(radius_mm - near, np.float32)

    return where, filled(shape_at, body.spacing_mm[0], 1.0)


def blend(hu: Field, where: Box, share: Field, value_hu: Field | float) -> None:
    """Mixes a substance into `hu` in place, by its share of each voxel."""
    hu[where] += share * (value_hu - hu[where])


def tint(body: Anatomy, hu: Field, where: Box, share: Field, value_hu: Field | float) -> None:
    """Like `blend`, with the scan's own noise kept on it (none at the very edge, where it is bone's).

    Bone and air are left as they are.
    """
    grain = body.grain[where] * np.clip((body.table_mm[where] - 0.5) / 3, 0, 1)
    tissue = body.soft[where] * np.clip((hu[where] + 100) / 50, 0, 1)
    blend(hu, where, share * tissue, value_hu + grain)


def _shape(where: Box) -> tuple[int, int, int]:
    planes, rows, columns = (s.stop - s.start for s in where)
    return planes, rows, columns


def _distance_to_segment(at: tuple[Field, Field, Field], start: Point, stop: Point) -> Field:
    along = stop - start
    length = float(along @ along) + 1e-6
    share = sum((c - s) * d for c, s, d in zip(at, start, along, strict=True)) / length
    share = np.clip(share, 0, 1)
    squares = sum((c - s - share * d) ** 2 for c, s, d in zip(at, start, along, strict=True))
    return np.asarray(np.sqrt(squares), np.float32)
