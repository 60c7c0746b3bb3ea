"""Slices whose images were reconstructed around different centres -> one common frame, and labels back.

Comes in: a stack, whose positions say where each image lies within its plane. A tilted gantry moves images steadily
from slice to slice; that shear stays, and only what departs from the series' own straight line is shifted, by whole
pixels, so that no value changes.
"""

import numpy as np
from numpy.typing import NDArray

from inference.input.stack import SliceStack

STEEPEST = 1.0  # mm within the plane for each mm along the normal: more than any gantry tilts
ROUNDING_PIXELS = 1e-2


def in_plane_shifts(stack: SliceStack) -> NDArray[np.intp]:
    """(slice, 2) rows and columns by which each image must move to lie where the others do; 0 below one pixel.

    A shift by more than half of the image is not believed: no head could have been seen in both.
    """
    axes = (stack.column_direction, stack.row_direction)
    offsets = [stack.positions @ axis / spacing for axis, spacing in zip(axes, stack.pixel_spacing, strict=True)]
    depths = stack.depths_mm
    shifts = [_whole_pixels(each, depths / stack.pixel_spacing[i]) for i, each in enumerate(offsets)]
    believed = [np.where(np.abs(each) > stack.hu.shape[i + 1] / 2, 0, each) for i, each in enumerate(shifts)]
    return np.stack(believed, 1)


def _whole_pixels(offsets: NDArray[np.float64], depths: NDArray[np.float64]) -> NDArray[np.intp]:
    """Departures from the straight line of most slices; both in pixels."""
    if len(offsets) < 2:
        return np.zeros(len(offsets), np.intp)
    usual = float(np.median(np.diff(offsets) / np.diff(depths)))
    slopes = [slope for slope in (usual, 0.0) if abs(slope) <= STEEPEST]
    departures = min((offsets - slope * depths for slope in slopes), key=_jumps)
    departures = departures - np.sort(departures)[len(departures) // 2]
    return np.where(np.abs(departures) < 1 - ROUNDING_PIXELS, 0, np.rint(departures)).astype(np.intp)


def _jumps(departures: NDArray[np.float64]) -> int:
    return int((np.abs(np.diff(departures)) > 0.5).sum())


def margins_of(shifts: NDArray[np.intp]) -> tuple[int, int]:
    """How many rows and columns must be added on each side, so that nothing is shifted out of the images."""
    rows, columns = np.abs(shifts).max(0)
    return int(rows), int(columns)


def align(hu: NDArray[np.float32], shifts: NDArray[np.intp], outside: float) -> NDArray[np.float32]:
    """(slice, row, column) with its margins on each side and every slice shifted; `outside` where nothing was."""
    rows, columns = margins_of(shifts)
    if not rows and not columns:
        return hu
    slices, height, width = hu.shape
    wide = np.full((slices, height + 2 * rows, width + 2 * columns), outside, np.float32)
    for plane, image, (down, across) in zip(wide, hu, shifts, strict=True):
        plane[rows + down : rows + down + height, columns + across : columns + across + width] = image
    return wide


def unalign(labels: NDArray[np.uint8], shifts: NDArray[np.intp]) -> NDArray[np.uint8]:
    """What `align` did, undone: each slice's own rows and columns."""
    rows, columns = margins_of(shifts)
    if not rows and not columns:
        return labels
    height, width = labels.shape[1] - 2 * rows, labels.shape[2] - 2 * columns
    return np.stack(
        [
            plane[rows + down : rows + down + height, columns + across : columns + across + width]
            for plane, (down, across) in zip(labels, shifts, strict=True)
        ]
    )
