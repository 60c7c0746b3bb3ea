"""Heads whose skull is not an adult's: newborns, infants, brittle bone, craniectomy, bandages; made from a real head.

Everything takes and gives a `Volume` in the standard order (slice 0 lowest, row 0 anterior); `inside` is the
intracranial space of the head it starts from.
"""

from dataclasses import replace

import numpy as np
from not_heads import Mask, Volume
from numpy.typing import NDArray
from scipy import ndimage

SCALP_HU = 35.0


def smaller(head: Volume, share: float) -> Volume:
    """The same head at this share of its size: 0.65 makes a newborn's of an adult's."""
    return replace(head, pixel_mm=head.pixel_mm * share, slice_mm=head.slice_mm * share)


def _over(inside: Mask, pixel_mm: float) -> NDArray[np.float32]:
    """Mm over the inner table within each plane; 0 inside."""
    planes = [ndimage.distance_transform_edt(~plane, sampling=pixel_mm) if plane.any() else None for plane in inside]
    return np.stack([np.full(inside.shape[1:], 999.0) if each is None else each for each in planes]).astype(np.float32)


def softened(head: Volume, densest_hu: float) -> Volume:
    """All bone poor in calcium: what exceeds 80 HU lies between that and `densest_hu`."""
    bone = 80 + (head.hu - 80) * ((densest_hu - 80) / 1500)
    return replace(head, hu=np.where(head.hu > 80, np.minimum(bone, densest_hu), head.hu).astype(np.float32))


def thinned(head: Volume, inside: Mask, thick_mm: float, bone_hu: float) -> Volume:
    """A vault of this thickness and density, with partial volume; what lay over it becomes scalp."""
    over = _over(inside, head.pixel_mm)
    skull = (over > 0) & (over < 14) & (head.hu > 90)
    share = np.clip((thick_mm - over) / head.pixel_mm + 1, 0, 1)
    return replace(head, hu=np.where(skull, SCALP_HU + share * (bone_hu - SCALP_HU), head.hu).astype(np.float32))


def with_sutures(head: Volume, inside: Mask, gap_mm: float, fontanelle_mm: float) -> Volume:
    """Open sutures of this width in the vault, and a fontanelle where they meet in front of the vertex."""
    over = _over(inside, head.pixel_mm)
    planes = np.flatnonzero(inside.any((1, 2)))
    rows, columns = np.nonzero(inside.any(0))
    y = (np.arange(head.hu.shape[1]) - rows.mean())[:, None] * head.pixel_mm
    x = (np.arange(head.hu.shape[2]) - columns.mean())[None] * head.pixel_mm
    azimuth, radius = np.degrees(np.arctan2(np.abs(x), -y)), np.hypot(x, y)
    hu = head.hu.copy()
    for plane in planes:
        height = (plane - planes[0]) / len(planes)
        open_ = np.zeros(hu.shape[1:], bool)
        for angle in (0, 70 - 25 * height, 125 + 25 * height, 180):
            open_ |= np.radians(np.abs(azimuth - angle)) * radius < gap_mm / 2
        if height > 0.8:
            open_ |= np.hypot(x, y + 0.25 * np.ptp(rows) * head.pixel_mm) < fontanelle_mm / 2
        if height > 0.25:
            hu[plane][open_ & (over[plane] > 0) & (over[plane] < 14) & (hu[plane] > SCALP_HU)] = SCALP_HU
    return replace(head, hu=hu)


def without_flap(head: Volume, inside: Mask, degrees: float, towards: float = 90.0) -> Volume:
    """A bone flap missing over this angle of the vault, centred on an azimuth from anterior to the left."""
    over = _over(inside, head.pixel_mm)
    planes = np.flatnonzero(inside.any((1, 2)))
    rows, columns = np.nonzero(inside.any(0))
    y = (np.arange(head.hu.shape[1]) - rows.mean())[:, None]
    x = (np.arange(head.hu.shape[2]) - columns.mean())[None]
    azimuth = np.degrees(np.arctan2(x, -y))
    gone = np.abs((azimuth - towards + 180) % 360 - 180) < degrees / 2
    hu = head.hu.copy()
    for plane in planes[len(planes) // 4 :]:
        hu[plane][gone & (over[plane] > 0) & (over[plane] < 14) & (hu[plane] > SCALP_HU)] = SCALP_HU
    return replace(head, hu=hu)


def bandaged(head: Volume, thick_mm: float = 20.0, dressing_hu: float = -150.0) -> Volume:
    """A dressing wound around the head above the skull base."""
    hu = head.hu.copy()
    for plane in range(len(hu) // 3, len(hu)):
        outside = ndimage.distance_transform_edt(~ndimage.binary_fill_holes(hu[plane] > -300), sampling=head.pixel_mm)
        hu[plane][(outside > 0) & (outside < thick_mm)] = dressing_hu
    return replace(head, hu=hu)


def newborn(
    head: Volume, inside: Mask, share: float = 0.65, bone_hu: float = 300.0, gap_mm: float = 6.0, water_hu: float = 7.0
) -> Volume:
    """A head of this share of its size, with a thin soft skull, open sutures and a brain that holds more water."""
    made = thinned(softened(head, 450), inside, 1.5 / share, bone_hu)
    made = with_sutures(made, inside, gap_mm / share, 25 / share)
    brain = inside & (made.hu > 15) & (made.hu < 45)
    return smaller(replace(made, hu=made.hu - water_hu * brain), share)
