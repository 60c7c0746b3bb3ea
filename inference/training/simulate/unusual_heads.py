"""Whole heads whose skull or brain is unlike a grown one's, one kind each, made from the head of a grown person.

For the check of the images that comes before the model. Everything follows from the kind, the head and the generator.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from inference.training.simulate.fields import Field, Mask, Spacing
from inference.training.simulate.infant import opened, softened, thinned, watery, wide_fluid, without_flap

INFANT_SLICE_MM = 2.5


class Unusual(StrEnum):
    """In which way a head is unlike most."""

    THIN = "thin skull"
    SOFT = "soft skull"
    SMALL = "infant's size"
    OPEN = "open sutures"
    NO_FLAP = "flap missing"
    NEWBORN = "newborn"
    WATERY_NEWBORN = "newborn, watery brain"
    PREMATURE = "premature"


@dataclass(frozen=True, slots=True, eq=False)
class ScannedHead:
    """`hu` float32 (slice, row, column), the intracranial space `inside` of it, and the size of a voxel."""

    hu: Field
    inside: Mask
    spacing_mm: Spacing


def unusual(head: ScannedHead, kind: Unusual, rng: np.random.Generator) -> ScannedHead:
    """The head made of this kind."""
    if kind is Unusual.THIN:
        return replace(head, hu=_thin(head, rng, 1.0, float(rng.uniform(500, 900))))
    if kind is Unusual.SOFT:
        return replace(head, hu=softened(head.hu, float(rng.uniform(150, 400))))
    if kind is Unusual.SMALL:
        return _small(head, _width_mm(rng))
    if kind is Unusual.OPEN:
        return replace(head, hu=_open(head, rng, 1.0))
    if kind is Unusual.NO_FLAP:
        flap = float(rng.uniform(80, 120)), float(rng.choice([-1, 1]) * rng.uniform(30, 110))
        return replace(head, hu=without_flap(head.hu, head.inside, head.spacing_mm, *flap))
    if kind is Unusual.PREMATURE:
        return _newborn(head, float(rng.uniform(75, 85)), rng, watered=True)
    return _newborn(head, _width_mm(rng), rng, watered=kind is Unusual.WATERY_NEWBORN)


def _width_mm(rng: np.random.Generator) -> float:
    return float(rng.uniform(85, 110))


def _thin(head: ScannedHead, rng: np.random.Generator, share: float, bone_hu: float) -> Field:
    thick, scalp = float(rng.uniform(1, 2)) / share, float(rng.uniform(3, 6)) / share
    return thinned(head.hu, head.inside, head.spacing_mm, thick, bone_hu, scalp)


def _open(head: ScannedHead, rng: np.random.Generator, share: float) -> Field:
    gap, fontanelle = float(rng.uniform(5, 12)) / share, float(rng.uniform(15, 25)) / share
    return opened(head.hu, head.inside, head.spacing_mm, gap, fontanelle)


def _newborn(head: ScannedHead, wide_mm: float, rng: np.random.Generator, watered: bool) -> ScannedHead:
    """Thin, soft, open and small; with `watered` a brain of about 25 HU and wide fluid around it."""
    share = _share(head, wide_mm)
    bone_hu = float(rng.uniform(150, 400))
    made = replace(head, hu=softened(head.hu, bone_hu * float(rng.uniform(1.0, 1.5))))
    made = replace(made, hu=_thin(made, rng, share, bone_hu))
    made = replace(made, hu=_open(made, rng, share))
    if watered:
        hu = watery(made.hu, made.inside, float(rng.normal(25, 1.5)), float(rng.uniform(0.3, 0.6)))
        made = replace(made, hu=wide_fluid(hu, made.inside, made.spacing_mm, float(rng.uniform(2, 4)) / share))
    return _small(made, wide_mm)


def _share(head: ScannedHead, wide_mm: float) -> float:
    """The share of its size at which the head is so wide; skull and scalp lie 8 mm over each side."""
    columns = np.flatnonzero(head.inside.any((0, 1)))
    return wide_mm / (float(np.ptp(columns)) * head.spacing_mm[2] + 16)


def _small(head: ScannedHead, wide_mm: float) -> ScannedHead:
    """The head at a share of its size, on slices of about INFANT_SLICE_MM."""
    share = _share(head, wide_mm)
    slice_mm, *pixel_mm = (mm * share for mm in head.spacing_mm)
    count = max(2, round(len(head.hu) * slice_mm / INFANT_SLICE_MM))
    at = (np.arange(count) + 0.5) * len(head.hu) / count - 0.5
    low = np.clip(at.astype(np.intp), 0, len(head.hu) - 2)
    part = np.clip(at - low, 0, 1).astype(np.float32)[:, None, None]
    hu = head.hu[low] * (1 - part) + head.hu[low + 1] * part
    inside = np.where(part < 0.5, head.inside[low], head.inside[low + 1])
    return ScannedHead(hu, inside, (len(head.hu) * slice_mm / count, pixel_mm[0], pixel_mm[1]))
