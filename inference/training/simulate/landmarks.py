"""Where things lie in an upright head, from its inner table and its fissure: midline, sutures, falx and tentorium.

Proportions are those of the adult skull (Gray's Anatomy, osteology of the cranium), scaled by the head's own length;
heights are counted in millimetres of an adult under the vertex. Good to about a centimetre, which is all that a bleed
needs: a suture bounds it, a dural sheet is not crossed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.training.simulate.fields import Field, Mask, Spacing, coordinates

ADULT_LENGTH_MM = 165.0
FALX_FLOOR_MM = 43.0


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """One head's frame.

    `side_mm` (plane, row, column) is the distance from the midline, positive to the patient's left. `along`
    (1, row, 1) runs 0..1 from the frontal to the occipital inner table. `below` (plane, 1, 1) is the height under the
    vertex in adult mm. `size` is the head's length over an adult's. `origin_mm` (z, y, x) is a point deep in the middle
    of the vault.
    """

    side_mm: Field
    along: Field
    below: Field
    size: float
    origin_mm: NDArray[np.float32]


def landmarks(smooth: Field, inside: Mask, below_mm: NDArray[np.float32], spacing_mm: Spacing) -> Landmarks:
    """The frame of a head from its intracranial space and, for the midline, its brain without noise."""
    z, y, x = coordinates(inside.shape, spacing_mm)
    areas = inside.sum((1, 2))
    wide = areas > 0.75 * areas.max()
    rows = np.flatnonzero(inside[wide].any((0, 2))) if wide.any() else np.array([0, inside.shape[1] - 1])
    front, back = float(y[0, rows[0], 0]), float(y[0, rows[-1], 0])
    size = float(np.clip((back - front) / ADULT_LENGTH_MM, 0.5, 1.25))
    midline = _along_fissure(smooth, inside, _midline(inside, wide, spacing_mm), spacing_mm)
    below = (below_mm / size).astype(np.float32)[:, None, None]
    level = float(np.interp(-65.0, -below[:, 0, 0], z[:, 0, 0]))
    middle = (front + back) / 2
    at_middle = float(np.interp(level, z[:, 0, 0], midline[:, round((rows[0] + rows[-1]) / 2), 0]))
    return Landmarks(
        side_mm=np.asarray(x - midline, np.float32),
        along=np.asarray((y - front) / max(back - front, 1.0), np.float32),
        below=below,
        size=size,
        origin_mm=np.array([level, middle, at_middle], np.float32),
    )


def _midline(inside: Mask, wide: NDArray[np.bool_], spacing_mm: Spacing) -> Field:
    """(plane, row, 1) x of the midline: a plane through the middles of the rows, the skewed ones left out."""
    z, y, x = coordinates(inside.shape, spacing_mm)
    full = inside & wide[:, None, None]
    counts = full.sum(2)
    first = full.argmax(2)
    last = full.shape[2] - 1 - full[:, :, ::-1].argmax(2)
    use = counts > 0.6 * max(1, counts.max())
    if use.sum() < 10:
        return np.zeros((*inside.shape[:2], 1), np.float32)
    planes, rows = np.nonzero(use)
    middles = (x[0, 0, first[use]] + x[0, 0, last[use]]) / 2
    terms = np.stack([np.ones(len(planes)), z[planes, 0, 0], y[0, rows, 0]], 1)
    weight = np.ones(len(planes))
    for _ in range(4):
        fit = np.linalg.lstsq(terms * weight[:, None], middles * weight, rcond=None)[0]
        weight = 1 / (1 + ((middles - terms @ fit) / 2.0) ** 2)
    return np.asarray(fit[0] + fit[1] * z + fit[2] * y, np.float32)


def _along_fissure(smooth: Field, inside: Mask, midline: Field, spacing_mm: Spacing) -> Field:
    """The midline, bent by a few mm to where falx or fissure stand out from the brain on both sides."""
    offsets = np.arange(-4.0, 4.5, 1.0, dtype=np.float32)
    apart = 5.0
    _, _, x = coordinates(inside.shape, spacing_mm)
    columns = (midline - x[..., :1]) / np.float32(spacing_mm[2])
    reach = np.arange(-4.0 - apart, 4.5 + apart, 1.0, dtype=np.float32) / np.float32(spacing_mm[2])
    at = np.clip(np.rint(columns + reach), 0, inside.shape[2] - 1).astype(np.intp)
    seen = np.take_along_axis(np.where(inside, np.clip(smooth, 0, 70), 35), at, 2)
    steps = round(apart)
    middle, left, right = seen[..., steps:-steps], seen[..., : -2 * steps], seen[..., 2 * steps :]
    contrast = np.minimum(np.abs(middle - left), np.abs(middle - right))
    sigma = (12.0 / spacing_mm[0], 12.0 / spacing_mm[1], 0.7)
    contrast = ndimage.gaussian_filter(contrast, sigma) - 0.06 * np.abs(offsets)
    weight = np.exp(4 * (contrast - contrast.max(2, keepdims=True)))
    bend = (weight * offsets).sum(2, keepdims=True) / weight.sum(2, keepdims=True)
    return np.asarray(midline + ndimage.gaussian_filter(bend, (*sigma[:2], 0)), np.float32)


def coronal_mm(marks: Landmarks) -> Field:
    """Distance behind the coronal suture, from bregma down and forward to the pterion; (plane, row, 1)."""
    suture = 0.42 - 0.15 * np.clip(marks.below / 80, 0, 1.2)
    return np.asarray((marks.along - suture) * ADULT_LENGTH_MM * marks.size * 0.9, np.float32)


def lambdoid_mm(marks: Landmarks) -> Field:
    """Distance behind the lambdoid suture, from lambda down and forward to the asterion; (plane, row, 1)."""
    suture = 1.02 - 0.2 * np.clip((marks.below - 38) / 55, 0, 1.3)
    return np.asarray((marks.along - suture) * ADULT_LENGTH_MM * marks.size * 0.85, np.float32)


def falx(marks: Landmarks) -> Field:
    """Distance in mm to the edge of the falx within the midline plane, positive on it; (plane, row, 1).

    Above the corpus callosum it is whole; below, it stands in front of the genu and behind the splenium.
    """
    length = ADULT_LENGTH_MM * marks.size
    lower = np.clip((marks.below - FALX_FLOOR_MM) / 40, 0, 1)
    ahead = (0.27 - 0.19 * lower - marks.along) * length
    behind = np.minimum((marks.along - 0.66 - 0.2 * lower) * length, (80 - marks.below) * marks.size)
    above = (FALX_FLOOR_MM - marks.below) * marks.size
    return np.asarray(np.maximum(above, np.maximum(ahead, behind)), np.float32)


def above_tentorium_mm(marks: Landmarks, lift_mm: float = 0.0) -> Field:
    """Height in mm over the tent, from its ridge along the straight sinus down to the transverse sinuses."""
    side = np.abs(marks.side_mm) / (58 * marks.size)
    ridge = 64 + 22 * np.clip((marks.along - 0.62) / 0.34, 0, 1)
    tent = ridge + (88 - ridge) * np.clip(side, 0, 1.1) ** 0.9
    return np.asarray((tent - marks.below) * marks.size + lift_mm, np.float32)


def tentorium(marks: Landmarks) -> Field:
    """Distance in mm, seen from above, to the edge of the tent, positive on it: behind the petrous ridges, but for the
    notch around the brain stem."""
    length = ADULT_LENGTH_MM * marks.size
    side = np.abs(marks.side_mm) / marks.size
    behind_ridge = (marks.along - 0.43 - 0.19 * side / 58) * length
    notch = np.sqrt((side / 17) ** 2 + ((marks.along - 0.45) * ADULT_LENGTH_MM / 30) ** 2)
    return np.asarray(np.minimum(behind_ridge, (notch - 1) * 17 * marks.size), np.float32)
