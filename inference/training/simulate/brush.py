"""Small shapes drawn into a head where they lie: lumps, tubes and sheets with partial volume, in boxes of their own."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Box, Point, axes_in, box_around
from inference.training.simulate.fields import Field, filled, waves


def lump(body: Anatomy, at_mm: Point, radii_mm: Sequence[float], rng: np.random.Generator) -> tuple[Box, Field] | None:
    """An uneven ellipsoid of radii (z, y, x): its box and the filled share of each voxel; None beyond the image."""
    where = box_around(body, [at_mm], 1.5 * max(radii_mm) + 1)
    size = min(radii_mm)
    bumps = 0.22 * waves(_shape(where), body.spacing_mm, max(2.5, 1.3 * size), rng)

    def shape_at(lift_mm: float) -> Field:
        parts = [(c - a) / r for c, a, r in zip(axes_in(body, where, lift_mm), at_mm, radii_mm, strict=True)]
        return np.asarray((1 + bumps - np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2)) * size, np.float32)

    share = filled(shape_at, body.spacing_mm[0], 1.0)
    return (where, share) if share.any() else None


def tube(body: Anatomy, path: Sequence[Point], radius_mm: float) -> tuple[Box, Field] | None:
    """A tube along a polygon of points: its box and the filled share of each voxel; None beyond the image."""
    where = box_around(body, path, radius_mm + 2)

    def shape_at(lift_mm: float) -> Field:
        near = np.full(_shape(where), np.inf, np.float32)
        at = axes_in(body, where, lift_mm)
        for start, stop in pairwise(path):
            near = np.minimum(near, _distance_to_segment(at, start, stop))
        return np.asarray(radius_mm - near, np.float32)

    share = filled(shape_at, body.spacing_mm[0], 1.0)
    return (where, share) if share.any() else None


def blend(hu: Field, where: Box, share: Field, value_hu: Field | float) -> None:
    """Mixes a substance into `hu` in place, by its share of each voxel."""
    hu[where] += share * (value_hu - hu[where])


def tint(body: Anatomy, hu: Field, where: Box, share: Field, value_hu: Field | float) -> None:
    """Like `blend`, with the scan's own noise kept on it; bone and air are left as they are."""
    tissue = body.soft[where] * np.clip((hu[where] + 100) / 50, 0, 1)
    blend(hu, where, share * tissue, value_hu + body.grain[where])


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
