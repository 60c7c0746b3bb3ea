"""Where blood lies in a head: on which side, and whether along the skull or deep. Geometry of the head grid alone.

A side is what lies more than MIDLINE_MM from the plane of symmetry. Blood is called extra-axial where it hugs the inner
table: half of it lies less deep than half the radius of a ball of its volume, while a ball that touches the table has
half of itself deeper than its radius. Blood is called deep where hardly any of it lies near the inner table. Geometry
cannot tell more: a contusion of the cortex can hug the skull as well, blood of the basal cisterns or along falx and
tentorium is deep without being in the brain, and where neither rule fits no region is told.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import Place, Side
from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_MM, HeadGrid
from inference.pipelines.haemorrhage.regions import DEEP, EXTRA_AXIAL

MIDLINE_MM = 5.0
OTHER_SIDE = 0.2  # of the blood beside the midline: with less than this one side is told alone
HUGS = 0.5  # of the radius of a ball of the same volume
NEAR_MM, HARDLY_ANY = 10.0, 0.3
CLOSED_MM = 3

Mask = NDArray[np.bool_]


def place_of(blood: Mask, grid: HeadGrid) -> Place | None:
    """The place of blood on the grid (plane, row, column); None where there is none."""
    if not blood.any():
        return None
    planes, _, columns = np.nonzero(blood)
    volumes = grid.slab_mm[planes] * GRID_MM**2
    to_left_mm = (columns.astype(np.float64) - (GRID_COLUMNS - 1) / 2) * GRID_MM
    return Place(_side(to_left_mm, volumes), _region(depths_mm(grid)[blood], volumes))


def depths_mm(grid: HeadGrid) -> NDArray[np.float64]:
    """(plane, row, column) mm to the inner table of the skull; 0 outside the intracranial space."""
    disk = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), CLOSED_MM)
    space = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(plane, disk) | plane) for plane in grid.inside])
    spacing = (float(np.median(grid.slab_mm)), GRID_MM, GRID_MM)
    return np.asarray(ndimage.distance_transform_edt(space, spacing))


def _side(to_left_mm: NDArray[np.float64], volumes: NDArray[np.float64]) -> Side:
    left, right = (float(volumes[sign * to_left_mm > MIDLINE_MM].sum()) for sign in (1, -1))
    if left + right < volumes.sum() / 2:
        return Side.MIDLINE
    if min(left, right) >= OTHER_SIDE * (left + right):
        return Side.BOTH
    return Side.LEFT if left > right else Side.RIGHT


def _region(depths: NDArray[np.float64], volumes: NDArray[np.float64]) -> str:
    radius_mm = (3 * float(volumes.sum()) / (4 * np.pi)) ** (1 / 3)
    order = np.argsort(depths)
    reached = np.cumsum(volumes[order])
    middle_mm = float(depths[order][np.searchsorted(reached, reached[-1] / 2)])
    if middle_mm <= HUGS * radius_mm:
        return EXTRA_AXIAL
    near = float(volumes[depths <= NEAR_MM].sum()) / float(volumes.sum())
    return DEEP if near <= HARDLY_ANY else ""
