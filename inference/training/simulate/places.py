"""Points of a head by proportion: pineal, atria, basal ganglia, cisterns.

The proportions that callers give were read off 33 normal heads in about the orbitomeatal plane (calcium found there
lies within 3 % of the length and 6 mm of the height); in a head of another tilt they are some millimetres away.
"""

import numpy as np

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Point
from inference.training.simulate.fields import coordinates


def place(body: Anatomy, side_mm: float, along: float, below_mm: float) -> Point:
    """(z, y, x) mm of a place to the left of the midline, along the head and below the vertex, as in an adult.

    `along` is 0 at the frontal and 1 at the occipital inner table.
    """
    z, y, x = (axis.ravel() for axis in coordinates(body.hu.shape, body.spacing_mm))
    at_z = float(z[0] + body.below_mm[0] - below_mm * body.marks.size)
    at_y = float(_line(body.marks.along.ravel(), y, along))
    plane, row = int(np.abs(z - at_z).argmin()), int(np.abs(y - at_y).argmin())
    side = body.marks.side_mm[min(plane, len(body.marks.side_mm) - 1), row]
    return np.array([at_z, at_y, float(x[0] - side[0]) + side_mm * body.marks.size], np.float32)


def has_vault(body: Anatomy) -> bool:
    """Whether enough of the head was scanned to know its proportions."""
    return bool(body.vault.sum() >= 5)


def _line(known: np.ndarray, value: np.ndarray, at: float) -> float:
    """`value` where `known`, linear in it, is `at`; beyond the ends as well."""
    slope = (value[-1] - value[0]) / (known[-1] - known[0])
    return float(value[0] + (at - known[0]) * slope)
