"""The part of a head around some points, and coordinates within it: most shapes are small, heads are large."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field, coordinates

Box = tuple[slice, slice, slice]
Point = NDArray[np.float32]

EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def box_around(body: Anatomy, points: Sequence[Point], reach_mm: float) -> Box:
    """The voxels within this reach of some points (z, y, x) in mm; of points outside the image, its nearest edge."""
    slices = []
    for axis, (n, mm) in enumerate(zip(body.hu.shape, body.spacing_mm, strict=True)):
        places = [float(point[axis]) / mm + (0 if axis == 0 else (n - 1) / 2) for point in points]
        low = int(np.clip(np.floor(min(places) - reach_mm / mm), 0, n - 1))
        high = int(np.clip(np.ceil(max(places) + reach_mm / mm) + 1, low + 1, n))
        slices.append(slice(low, high))
    return slices[0], slices[1], slices[2]


def axes_in(body: Anatomy, box: Box, lift_mm: float = 0.0) -> tuple[Field, Field, Field]:
    """`coordinates` of a box of the head."""
    z, y, x = coordinates(body.hu.shape, body.spacing_mm, lift_mm)
    return z[box[0]], y[:, box[1]], x[:, :, box[2]]
