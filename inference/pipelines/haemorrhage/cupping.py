"""A head's own brightening under the skull is taken off: scanners correct the hardening of their beam differently.

Comes in: the head on its grid. The median HU of tissue by its distance from the inner table is compared with that of
heads whose scanner the networks know, and only what is brighter is taken off, so that a head without cupping stays as
it is. The median over the whole head is hardly moved by a bleed, which lies under a part of the skull.
`python -m inference.training.studies.cupping` measures USUAL_HU anew.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

STEP = 2  # pixels of 1 mm: the profile is smooth
EDGES_MM = (0.0, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 16.0)
DEEP_MM = (20.0, 25.0)
USUAL_HU = (20.8, 8.3, 7.1, 6.3, 5.5, 4.8, 3.7)
MOST_HU = 15.0
TISSUE_HU = (0.0, 100.0)
FEWEST = 200
_CLOSED = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)

Field = NDArray[np.float32]


def to_skull_mm(inside: NDArray[np.bool_]) -> Field:
    """(plane, row, column) mm within the plane from the inner table; 0 outside. `inside` lies on pixels of STEP mm."""
    distance = np.zeros(inside.shape, np.float32)
    for plane in np.flatnonzero(inside.any((1, 2))):
        space = ndimage.binary_fill_holes(ndimage.binary_closing(inside[plane], _CLOSED) | inside[plane])
        distance[plane] = ndimage.distance_transform_edt(space) * STEP
    return distance


def profile_hu(image: Field, distance_mm: Field) -> NDArray[np.float64] | None:
    """For each ring between EDGES_MM the median of its tissue above that of DEEP_MM; None where there is too little."""
    tissue = (image > TISSUE_HU[0]) & (image < TISSUE_HU[1]) & (distance_mm > 0)
    ends = [*pairwise(EDGES_MM), DEEP_MM]
    rings = [image[tissue & (distance_mm > low) & (distance_mm <= high)] for low, high in ends]
    if min(map(len, rings)) < FEWEST:
        return None
    levels = np.array([float(np.median(ring)) for ring in rings])
    return np.asarray(levels[:-1] - levels[-1])


def without_cupping(image: torch.Tensor, inside: NDArray[np.bool_]) -> torch.Tensor:
    """The head (plane, row, column) in HU on pixels of 1 mm, without what its rings have more than is usual."""
    distance = to_skull_mm(inside[:, ::STEP, ::STEP])
    profile = profile_hu(image[:, ::STEP, ::STEP].numpy(), distance)
    if profile is None:
        return image
    excess = np.clip(profile - np.array(USUAL_HU), 0, MOST_HU)
    middles = (np.array(EDGES_MM[:-1]) + np.array(EDGES_MM[1:])) / 2
    surplus = np.interp(distance, [*middles, DEEP_MM[0]], [*excess, 0.0]) * (distance > 0)
    full = np.repeat(np.repeat(surplus.astype(np.float32), STEP, 1), STEP, 2)
    return image - torch.from_numpy(full[:, : image.shape[1], : image.shape[2]])
