"""What the rules for a plain head CT look at: the head's skull, what lies within and around it, measured at 2 mm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOW_MM = 2.0
AIR_BELOW_HU = -300.0
BRIGHTEST_BRAIN_HU = 57.0
BEYOND_BLOOD_HU = 105.0
VAULT_SHARE = 0.6
FEWEST_PAIRS = 1000

_PLUS = ndimage.generate_binary_structure(2, 1)

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Structure:
    """HU by which the brain differs from its surroundings in a plane and the next alike, and which share of all that
    differs, noise too, is alike (0..1; by chance slightly negative)."""

    hu: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What the rules look at: `low` HU and `inside` (plane, row, column) at LOW_MM, `slab_mm` each plane's thickness.

    `vault` are the planes with at least VAULT_SHARE of the widest one's area, which lie above the skull base. Of these
    alone: `skull`, `inside` with its holes filled; `deep`, what of it is 6 mm from its edge; `smooth`, HU over 6 mm.
    `bone_hu` and `edge_hu` are what `_bone` measures of the skull, `structure` is what `_structure` measures of the
    brain; `filling` is the share of the head's cross-section within the skull.
    """

    low: Field
    inside: Mask
    slab_mm: NDArray[np.float64]
    vault: NDArray[np.intp]
    skull: Mask
    deep: Mask
    smooth: Field
    bone_hu: float
    edge_hu: float
    filling: float
    structure: Structure | None


def volume_ml(mask: Mask, slab_mm: NDArray[np.float64]) -> float:
    """The volume of a mask at LOW_MM."""
    return float((mask.sum((1, 2)) * slab_mm).sum()) * LOW_MM**2 / 1000


def _within(values: Field, mask: Mask, pixels: int) -> Field:
    """Mean over a square of so many pixels, of what lies in the mask alone."""
    weight = mask.astype(np.float32)
    share = ndimage.uniform_filter(weight, (0, pixels, pixels))
    return np.asarray(ndimage.uniform_filter(values * weight, (0, pixels, pixels)) / np.maximum(share, 0.02))


def measure_head(low: Field, inside: Mask, slab_mm: NDArray[np.float64]) -> Head:
    """The head around an intracranial space that is not empty."""
    areas = inside.sum((1, 2))
    skull = np.zeros_like(inside)
    for plane in np.flatnonzero(areas):
        skull[plane] = ndimage.binary_fill_holes(inside[plane])
    vault = np.flatnonzero(areas >= VAULT_SHARE * areas.max())
    skull = skull[vault]
    deep = ndimage.binary_erosion(skull, _PLUS[None], iterations=3)
    smooth = _within(np.clip(low[vault], -100, 150), skull, 3)
    bone_hu, edge_hu = _bone(low[vault], skull)
    filling, structure = _filling(low[vault], skull), _structure(skull, deep, smooth)
    return Head(low, inside, slab_mm, vault, skull, deep, smooth, bone_hu, edge_hu, filling, structure)


def _bone(low: Field, skull: Mask) -> tuple[float, float]:
    """The 75th percentile of the 8 mm around the skull's inside, and the densest within 6 mm of half of its edge."""
    around, densest = [], []
    for values, plane in zip(low, skull, strict=True):
        around.append(np.percentile(values[ndimage.binary_dilation(plane, iterations=4) & ~plane], 75))
        edge = plane & ~ndimage.binary_erosion(plane)
        densest.append(np.median(ndimage.maximum_filter(values, 7)[edge]))
    return float(np.median(around)), float(np.median(densest))


def _filling(low: Field, skull: Mask) -> float:
    """The share of the head's cross-section that lies within the skull; the median over the planes."""
    shares = []
    for values, plane in zip(low, skull, strict=True):
        bodies, _ = ndimage.label((values > AIR_BELOW_HU) | plane)
        number = np.bincount(bodies[plane]).argmax()
        shares.append(plane.sum() / (bodies == number).sum())
    return float(np.median(shares))


def _structure(skull: Mask, deep: Mask, smooth: Field) -> Structure | None:
    """What goes on from plane to plane; None where little is shown.

    Grey and white matter, sulci and ventricles do, noise does not: the covariance of neighbouring planes over
    structures of 6 to 30 mm is free of noise. Where the head is wide enough only what lies 12 mm from the skull counts,
    since pieces of a soft skull reach in.
    """
    tissue = skull & (smooth > -20) & (smooth < BEYOND_BLOOD_HU)
    tissue = ndimage.binary_erosion(tissue, _PLUS[None], iterations=2)
    detail = np.clip(smooth - _within(smooth, tissue, 15), -20, 20)
    for further in (3, 0):
        counted = tissue & (ndimage.binary_erosion(deep, _PLUS[None], iterations=further) if further else deep)
        both = counted[1:] & counted[:-1]
        if both.sum() >= FEWEST_PAIRS:
            alike = float((detail[1:] * detail[:-1])[both].mean())
            all_of_it = float((detail[1:] ** 2 + detail[:-1] ** 2)[both].mean()) / 2
            return Structure(float(np.sqrt(max(0.0, alike))), alike / max(all_of_it, 1e-6))
    return None
