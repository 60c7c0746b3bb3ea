"""What the skull of a grown head becomes in a newborn, an infant or after surgery, and a brain that holds more water.

Takes and gives arrays alone, (plane, row, column) with planes from the skull base to the vertex and rows to posterior;
`inside` is the intracranial space of the head that it starts from. Everything over the face stays as it is. At birth
the vault is 1 to 2 mm thick and of 150 to 400 HU as it shows, sutures are 3 to 10 mm wide and the anterior fontanelle
10 to 35 mm; the head is 85 to 110 mm wide, its brain holds 88 % water and measures about 25 HU.
"""

import numpy as np
from scipy import ndimage

from inference.training.simulate.fields import Field, Mask, Spacing

SCALP_HU, AIR_HU = 35.0, -1000.0
SOFT_HU = 80.0
GROWN_HU = 1580.0
SKULL_MM = 14.0
VAULT_FROM = 0.3
CSF_HU = 8.0


def over_mm(inside: Mask, spacing_mm: Spacing) -> Field:
    """Distance within the plane over the inner table; 0 inside, far away in planes without brain."""
    far = np.full(inside.shape, 999.0, np.float32)
    for plane in np.flatnonzero(inside.any((1, 2))):
        far[plane] = ndimage.distance_transform_edt(~inside[plane], sampling=spacing_mm[1:])
    return far


def height(inside: Mask) -> Field:
    """(plane, 1, 1) from 0 at the lowest plane with brain to 1 at the highest."""
    found = np.flatnonzero(inside.any((1, 2)))
    along = (np.arange(len(inside)) - found[0]) / max(1, found[-1] - found[0])
    return np.asarray(along[:, None, None], np.float32)


def softened(hu: Field, densest_hu: float) -> Field:
    """All bone poor in calcium: what exceeds SOFT_HU lies between that and `densest_hu`."""
    bone = SOFT_HU + (hu - SOFT_HU) * ((densest_hu - SOFT_HU) / (GROWN_HU - SOFT_HU))
    return np.asarray(np.where(hu > SOFT_HU, np.minimum(bone, densest_hu), hu), np.float32)


def thinned(hu: Field, inside: Mask, spacing_mm: Spacing, thick_mm: float, bone_hu: float, scalp_mm: float) -> Field:
    """A vault of this thickness and density under a scalp of `scalp_mm`, with partial volume; air beyond."""
    over = over_mm(inside, spacing_mm)
    vault = height(inside) >= VAULT_FROM
    bone = np.clip((thick_mm - over) / spacing_mm[1] + 1, 0, 1)
    scalp = np.clip((thick_mm + scalp_mm - over) / spacing_mm[1] + 1, 0, 1)
    made = AIR_HU + scalp * (SCALP_HU - AIR_HU) + bone * (bone_hu - SCALP_HU)
    return np.asarray(np.where((over > 0) & (over < 900) & vault, made, hu), np.float32)


def opened(hu: Field, inside: Mask, spacing_mm: Spacing, gap_mm: float, fontanelle_mm: float) -> Field:
    """Sutures of this width (sagittal and metopic, coronal, lambdoid) and a fontanelle where the first ones meet."""
    over, up = over_mm(inside, spacing_mm), height(inside)
    z, y, x = _from_middle(inside, spacing_mm)
    top, long = float(z.max()), float(np.ptp(np.flatnonzero(inside.any((0, 2))))) * spacing_mm[1] / 2
    coronal = (y + 0.25 * long) + 0.35 * (top - z)
    lambdoid = (y - 0.55 * long) - 0.45 * (top - z)
    bregma = np.sqrt(x**2 + (y + 0.25 * long) ** 2 + np.maximum(0, 0.85 * top - z) ** 2)
    lines = np.minimum(np.abs(x), np.minimum(np.abs(coronal), np.abs(lambdoid))) < gap_mm / 2
    gap = (lines | (bregma < fontanelle_mm / 2)) & (up > 0.15)
    bone = (over > 0) & (over < SKULL_MM) & (hu > SCALP_HU)
    return np.where(gap & bone, np.float32(SCALP_HU), hu)


def without_flap(hu: Field, inside: Mask, spacing_mm: Spacing, wide_mm: float, azimuth_deg: float) -> Field:
    """No bone within a circle of this diameter over the vault; the azimuth runs from anterior to the left."""
    z, y, x = _from_middle(inside, spacing_mm)
    angle = np.deg2rad(azimuth_deg)
    rows, columns = (np.flatnonzero(inside.any((0, a))) for a in (2, 1))
    half = (np.ptp(rows) * spacing_mm[1] / 2, np.ptp(columns) * spacing_mm[2] / 2)
    centre = (0.35 * float(z.max()), -half[0] * np.cos(angle), half[1] * np.sin(angle))
    far = sum((c - a) ** 2 for c, a in zip((z, y, x), centre, strict=True))
    over = over_mm(inside, spacing_mm)
    gone = (far < (wide_mm / 2) ** 2) & (over > 0) & (over < SKULL_MM) & (hu > SCALP_HU)
    return np.where(gone, np.float32(SCALP_HU), hu)


def watery(hu: Field, inside: Mask, brain_hu: float, contrast: float) -> Field:
    """Brain of this level, grey and white matter told apart by `contrast` times as much; blood and fluid stay."""
    share = inside * np.clip((hu - 12) / 8, 0, 1) * np.clip((52 - hu) / 6, 0, 1)
    level = float(np.median(hu[share > 0.9])) if (share > 0.9).any() else brain_hu
    smooth = ndimage.gaussian_filter(hu, (0, 1.5, 1.5))
    return np.asarray(hu + share * (brain_hu - level - (1 - contrast) * (smooth - level)), np.float32)


def wide_fluid(hu: Field, inside: Mask, spacing_mm: Spacing, wide_mm: float) -> Field:
    """A subarachnoid space of this width under the inner table; blood in it stays."""
    deep = np.zeros(hu.shape, np.float32)
    for plane in np.flatnonzero(inside.any((1, 2))):
        deep[plane] = ndimage.distance_transform_edt(inside[plane], sampling=spacing_mm[1:])
    fluid = inside * np.clip(wide_mm - deep, 0, 1) * np.clip((50 - hu) / 8, 0, 1) * np.clip((hu + 20) / 20, 0, 1)
    return np.asarray(hu + fluid * 0.9 * (CSF_HU - hu), np.float32)


def _from_middle(inside: Mask, spacing_mm: Spacing) -> tuple[Field, Field, Field]:
    """z up, y to posterior, x to the left in mm from the middle of the space's extent; broadcastable."""
    axes = []
    for axis, mm in enumerate(spacing_mm):
        found = np.flatnonzero(inside.any(tuple(a for a in range(3) if a != axis)))
        shape = [1, 1, 1]
        shape[axis] = -1
        middle = (found[0] + found[-1]) / 2
        axes.append(((np.arange(inside.shape[axis]) - middle) * mm).astype(np.float32).reshape(shape))
    return axes[0], axes[1], axes[2]
