"""Fields over a head: coordinates in mm, smooth random waves, and what fraction of a voxel a shape fills.

A shape is a field in mm, positive inside, about as large as the distance to its surface. A voxel of a thick plane is
partly filled where the surface passes through it: the field is therefore evaluated at several heights of the plane.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.synthetic_head import stretch

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Shape = Callable[[float], Field]

HEIGHTS = (-1 / 3, 0.0, 1 / 3)
VERTEX_MM2 = 200.0
CLOSED_PLANES = 2.5


def coordinates(shape: tuple[int, ...], spacing_mm: Spacing, lift_mm: float = 0.0) -> tuple[Field, Field, Field]:
    """z up from the lowest plane, y to posterior and x to the patient's left from the image centre, mm; broadcastable.

    `lift_mm` looks that much above each plane's middle.
    """
    z = np.arange(shape[0], dtype=np.float32) * spacing_mm[0] + np.float32(lift_mm)
    y = (np.arange(shape[1], dtype=np.float32) - (shape[1] - 1) / 2) * np.float32(spacing_mm[1])
    x = (np.arange(shape[2], dtype=np.float32) - (shape[2] - 1) / 2) * np.float32(spacing_mm[2])
    return z[:, None, None], y[None, :, None].astype(np.float32), x[None, None, :].astype(np.float32)


def below_vertex_mm(inside: Mask, spacing_mm: Spacing) -> NDArray[np.float32]:
    """(plane,) how far each plane lies under the highest that shows more than 2 cm2 of intracranial space."""
    found = np.flatnonzero(inside.sum((1, 2)) * spacing_mm[1] * spacing_mm[2] > VERTEX_MM2)
    highest = found[-1] if len(found) else len(inside) - 1
    return ((highest - np.arange(len(inside))) * spacing_mm[0]).astype(np.float32)


def signed_mm(inside: Mask, spacing_mm: Spacing) -> Field:
    """Distance within each plane to the edge of a mask, which lies half way between pixels, positive in it; where a
    plane has none it has just closed."""
    half = np.float32(spacing_mm[1] / 2)
    signed = np.zeros(inside.shape, np.float32)
    signed[~inside.any((1, 2))] = -CLOSED_PLANES * spacing_mm[0]
    for plane in np.flatnonzero(inside.any((1, 2))):
        within, beyond = inside[plane], ~inside[plane]
        signed[plane] += (ndimage.distance_transform_edt(within, sampling=spacing_mm[1:]) - half) * within
        signed[plane] -= (ndimage.distance_transform_edt(beyond, sampling=spacing_mm[1:]) - half) * beyond
    return signed


def waves(shape: tuple[int, ...], spacing_mm: Spacing, scale_mm: float, rng: np.random.Generator) -> Field:
    """A smooth random field of standard deviation 1 whose bumps are about `scale_mm` apart."""
    coarse = [max(2, int(np.ceil(n * mm / scale_mm)) + 2) for n, mm in zip(shape, spacing_mm, strict=True)]
    field = stretch(rng.standard_normal(coarse).astype(np.float32), tuple(shape))
    return np.asarray(field / (field.std() + 1e-6), np.float32)


def filled(shape_at: Shape, plane_mm: float, edge_mm: float = 1.5) -> Field:
    """0..1 of each voxel inside a shape: `shape_at(lift_mm)` is its field that much above the planes' middles."""
    parts = [np.clip(shape_at(height * plane_mm) / edge_mm + 0.5, 0, 1) for height in HEIGHTS]
    return np.asarray(np.mean(parts, axis=0), np.float32)


def pick(where: Mask, spacing_mm: Spacing, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """A random voxel of a mask as (z, y, x) in mm of `coordinates`, or None where the mask is empty."""
    found = np.flatnonzero(where)
    if not len(found):
        return None
    index = np.array(np.unravel_index(found[rng.integers(len(found))], where.shape), np.float32)
    origin = np.array([0.0, (where.shape[1] - 1) / 2, (where.shape[2] - 1) / 2], np.float32)
    return np.asarray((index - origin) * np.array(spacing_mm, np.float32))
