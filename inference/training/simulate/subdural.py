"""Subdural haematoma: under the dura, across sutures, never across falx or tentorium.

A crescent along the convexity, a flat sheet along one side of the falx, a haze on the tent, or one in the posterior
fossa; sometimes on both sides. Of every age: acute, mixed, isodense, chronic with a level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.blood import Age, blood_hu
from inference.training.simulate.boxes import EVERYWHERE, Box, axes_in, box_around
from inference.training.simulate.fields import Field, Mask, coordinates, pick, waves
from inference.training.simulate.landmarks import above_tentorium_mm, falx, tentorium
from inference.training.simulate.lesions import Grown, Lesion, grow, heights
from inference.training.simulate.mass import push_aside, push_inward

VOLUMES_ML = (0.3, 150.0)
TRIES = 6
LARGEST_ML = {"convexity": 150.0, "both sides": 150.0, "falx": 22.0, "tent": 14.0, "posterior fossa": 18.0}
PLACES = {"convexity": 0.58, "both sides": 0.1, "falx": 0.16, "tent": 0.11, "posterior fossa": 0.05}
AGES = {
    Age.ACUTE: 0.5,
    Age.MIXED: 0.15,
    Age.HYPERACUTE: 0.05,
    Age.SUBACUTE: 0.08,
    Age.ISODENSE: 0.07,
    Age.CHRONIC: 0.08,
    Age.LAYERED: 0.07,
}
OF_THE_CONVEXITY = {Age.CHRONIC, Age.LAYERED, Age.ISODENSE}
ISODENSE_FROM_ML = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """The blood, by how much it pushes (mm rows and columns) on the voxels `known`, and where its middle lies."""

    grown: Grown
    push_mm: NDArray[np.float32] | None
    at_mm: NDArray[np.float32]


def subdural(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """A subdural haematoma of this volume, or None."""
    for _ in range(TRIES):
        able = [p if volume_ml <= LARGEST_ML[place] else 0.0 for place, p in PLACES.items()]
        place = str(rng.choice(list(PLACES), p=np.array(able) / sum(able)))
        made = {
            "convexity": _convexity,
            "both sides": _both_sides,
            "falx": _along_falx,
            "tent": _on_tent,
            "posterior fossa": _posterior_fossa,
        }[place](body, volume_ml, rng)
        if made is None:
            continue
        age = _age(place, volume_ml, rng)
        blood = blood_hu(body, made.grown.filled, age, rng)
        return Lesion(HaemorrhageType.SUBDURAL, made.grown.filled, blood, None, made.push_mm, made.at_mm)
    return None


def _age(place: str, volume_ml: float, rng: np.random.Generator) -> Age:
    """Blood as dense as brain shows by its mass effect alone: only where there is enough of it."""
    age = Age(rng.choice(list(AGES), p=list(AGES.values())))
    if place in ("falx", "tent", "posterior fossa") and age in OF_THE_CONVEXITY:
        return Age.ACUTE
    return Age.SUBACUTE if age is Age.ISODENSE and volume_ml < ISODENSE_FROM_ML else age


def _convexity_table(body: Anatomy) -> Mask:
    """Where the middle of a convexity bleed lies."""
    marks = body.marks
    side = np.abs(marks.side_mm) / marks.size
    wide = (side > 25) & (marks.below > 10) & (marks.below < 80) & (marks.along > 0.12) & (marks.along < 0.9)
    return np.asarray(body.inside & (body.under_table_mm() < 1.6) & wide)


def _thickness_mm(volume_ml: float, rng: np.random.Generator) -> float:
    """Thin where small; 1 ml about 2.5 mm, 100 ml about 12 mm."""
    return float(np.clip(2.2 * volume_ml**0.37 * np.exp(rng.normal(0, 0.25)), 1.6, 25))


@dataclass(frozen=True, slots=True, eq=False)
class _Crescent:
    """Thickness over the table of one hemisphere: `thick_mm` at most, gone at `reach_mm` (z, y, x) from `at_mm`."""

    at_mm: NDArray[np.float32]
    thick_mm: float
    reach_mm: NDArray[np.float64]
    uneven: Field
    one_side: Field
    box: Box

    def thickness(self, body: Anatomy, lift_mm: float = 0.0) -> Field:
        """mm, on the box; negative beyond the reach."""
        offsets = zip(axes_in(body, self.box, lift_mm), self.at_mm, self.reach_mm, strict=True)
        z, y, x = (np.square((axis - at) / np.float32(reach)) for axis, at, reach in offsets)
        spread = z + y + x
        taper = self.thick_mm * np.minimum((1 - spread) / (0.45 + 0.55 * np.sqrt(spread)), 1)
        return np.asarray(np.minimum(taper * self.uneven, self.one_side), np.float32)


def _crescent(
    body: Anatomy, start: NDArray[np.float32], volume_ml: float, rng: np.random.Generator, *, alone: bool = True
) -> _Crescent:
    """A crescent of about this volume, greatest near `start`; on the whole head where it is not alone."""
    thick = _thickness_mm(volume_ml, rng)
    around = np.sqrt(1000 * volume_ml / (thick * np.pi * 0.6))
    longer = float(rng.uniform(1.1, 1.7))
    reach = np.clip(np.array([around / longer, around * longer, around * longer]), 9, [75, 110, 110])
    box = box_around(body, [start], 1.45 * float(reach.max()) + 6) if alone else EVERYWHERE
    uneven = 1 + float(rng.uniform(0.08, 0.25)) * waves(body.hu[box].shape, body.spacing_mm, 28.0, rng)
    side = 1.0 if start[2] > body.marks.origin_mm[2] else -1.0
    return _Crescent(start, thick, reach, uneven.astype(np.float32), body.marks.side_mm[box] * side - 1, box)


def _over_tent(body: Anatomy, box: Box) -> Field:
    """mm over the tent, wherever there is a tent."""
    over = above_tentorium_mm(body.marks)[box] - 1
    return np.where(tentorium(body.marks)[box] > -3, over, 99).astype(np.float32)


def _convexity(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> _Made | None:
    start = pick(_convexity_table(body), body.spacing_mm, rng)
    if start is None:
        return None
    return _under_table(body, [_crescent(body, start, volume_ml, rng)], volume_ml, start)


def _both_sides(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> _Made | None:
    table = _convexity_table(body)
    start = pick(table & (body.marks.side_mm > 0), body.spacing_mm, rng)
    other = pick(table & (body.marks.side_mm < 0), body.spacing_mm, rng)
    if start is None or other is None:
        return None
    share = float(rng.uniform(0.25, 0.75))
    crescents = [
        _crescent(body, start, volume_ml * share, rng, alone=False),
        _crescent(body, other, volume_ml * (1 - share), rng, alone=False),
    ]
    return _under_table(body, crescents, volume_ml, start if share >= 0.5 else other)


def _under_table(
    body: Anatomy, crescents: list[_Crescent], volume_ml: float, start: NDArray[np.float32]
) -> _Made | None:
    box = crescents[0].box
    over = _over_tent(body, box)

    def thickness(lift_mm: float = 0.0) -> Field:
        return np.asarray(np.maximum.reduce([each.thickness(body, lift_mm) for each in crescents]), np.float32)

    def shape(lift_mm: float) -> Field:
        under = thickness(lift_mm) - body.under_table_mm(lift_mm)[box]
        return np.asarray(np.minimum(under, over + np.float32(lift_mm)), np.float32)

    return _pressing(body, crescents, heights(body, shape), thickness(), volume_ml, start)


def _pressing(
    body: Anatomy,
    crescents: list[_Crescent],
    fields: list[Field],
    thickness: Field,
    volume_ml: float,
    start: NDArray[np.float32],
) -> _Made | None:
    """Grown to its volume, and what it pushes."""
    box, most = crescents[0].box, min(6.0, 1.5 + max(each.thick_mm for each in crescents))
    grown = grow(body, fields, volume_ml, within=_apart(body), box=box, edge_mm=1.2, most_mm=most)
    if grown is None:
        return None
    thick = np.zeros(body.hu.shape, np.float32)
    thick[box] = np.clip(thickness + grown.level_mm, 0, None)
    thick[~grown.filled.any((1, 2))] = 0
    return _Made(grown, push_inward(body, thick), start)


def _apart(body: Anatomy) -> Field:
    """0 on the falx, where no blood crosses; 1 elsewhere."""
    near = np.clip(np.abs(body.marks.side_mm) - 0.3, 0, 1)
    return near.astype(np.float32)


def _along_falx(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> _Made | None:
    """A flat sheet on one side of the falx."""
    marks = body.marks
    sheet = falx(marks)
    side = float(rng.choice([-1.0, 1.0]))
    on = body.inside & (np.abs(marks.side_mm - 2 * side) < 1.2) & (sheet > 4) & (marks.below > 6)
    start = pick(on, body.spacing_mm, rng)
    if start is None:
        return None
    thick = float(np.clip(1.6 * volume_ml**0.35 * np.exp(rng.normal(0, 0.2)), 1.2, 9))
    around = float(np.sqrt(1000 * volume_ml / (thick * np.pi * 0.6)))
    reach = np.clip([around / 1.4, around * 1.4], 7, [55, 90])
    uneven = 1 + 0.15 * waves(body.hu.shape, body.spacing_mm, 20.0, rng)
    bent = 0.5 * waves(body.hu.shape, body.spacing_mm, 45.0, rng)
    away = (marks.side_mm + bent) * side - 0.9
    over = _over_tent(body, EVERYWHERE)

    def thickness(lift_mm: float) -> Field:
        z, y, _ = coordinates(body.hu.shape, body.spacing_mm, lift_mm)
        spread = ((z - start[0]) / reach[0]) ** 2 + ((y - start[1]) / reach[1]) ** 2
        taper = thick * (1 - spread) / (0.45 + 0.55 * np.sqrt(spread))
        return np.asarray(np.minimum(np.minimum(taper, thick) * uneven, sheet / 2 + 2), np.float32)

    def shape(lift_mm: float) -> Field:
        return np.asarray(np.minimum(thickness(lift_mm) - away, over + np.float32(lift_mm)), np.float32)

    brain = ~ndimage.binary_dilation(body.ventricles, np.ones((1, 5, 5)))
    one_side = (np.clip(away + 0.5, 0, 1) * np.clip(marks.side_mm * side, 0, 1) * brain).astype(np.float32)
    grown = grow(body, heights(body, shape), volume_ml, within=one_side, edge_mm=1.0, most_mm=3)
    if grown is None:
        return None
    thick_now = np.clip(thickness(0.0) + grown.level_mm, 0, None)
    known = (away > 0) & (away < np.maximum(thick_now, 3)) & (thick_now > 0.5) & body.inside
    aside = np.stack([np.zeros_like(thick_now), thick_now * side * 0.8]) * known
    return _Made(grown, push_aside(body, aside, known), start)


def _on_tent(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> _Made | None:
    """A haze over the tent, slanting through the planes; usually thickest towards the falx or the petrous ridge."""
    marks = body.marks
    sheet, side = tentorium(marks), float(rng.choice([-1.0, 1.0]))
    near = np.abs(above_tentorium_mm(marks)) < body.spacing_mm[0]
    on = body.inside & near & (sheet > 3) & (marks.side_mm * side > 2)
    start = pick(on, body.spacing_mm, rng)
    if start is None:
        return None
    thick = float(np.clip(1.7 * volume_ml**0.3 * np.exp(rng.normal(0, 0.2)), 1.4, 7))
    around = float(np.sqrt(1000 * volume_ml / (thick * np.pi * 0.6)))
    uneven = 1 + 0.2 * waves(body.hu.shape, body.spacing_mm, 20.0, rng)
    rounded = uneven * np.sqrt(np.clip(sheet / 9, 0.02, 1))
    one_side = marks.side_mm * side - 0.5

    def shape(lift_mm: float) -> Field:
        _, y, x = coordinates(body.hu.shape, body.spacing_mm)
        spread = ((y - start[1]) / (1.2 * around)) ** 2 + ((x - start[2]) / around) ** 2
        full = thick * np.minimum(1, 1.8 * (1 - spread)) * rounded
        over = above_tentorium_mm(marks, lift_mm)
        return np.asarray(np.minimum.reduce(np.broadcast_arrays(full - over, over, sheet, one_side)), np.float32)

    within = np.clip(one_side + 0.5, 0, 1).astype(np.float32)
    grown = grow(body, heights(body, shape), volume_ml, within=within, edge_mm=1.4, most_mm=4)
    return None if grown is None else _Made(grown, None, start)


def _posterior_fossa(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> _Made | None:
    marks = body.marks
    low = (marks.below > 86) & (marks.below < 108) & (marks.along > 0.66) & (np.abs(marks.side_mm) > 10)
    start = pick(body.inside & (body.under_table_mm() < 1.6) & low, body.spacing_mm, rng)
    if start is None:
        return None
    crescent = _crescent(body, start, volume_ml, rng)
    under_tent = 1 - above_tentorium_mm(marks)[crescent.box]

    def shape(lift_mm: float) -> Field:
        under = crescent.thickness(body, lift_mm) - body.under_table_mm(lift_mm)[crescent.box]
        return np.asarray(np.minimum(under, under_tent - np.float32(lift_mm)), np.float32)

    return _pressing(body, [crescent], heights(body, shape), crescent.thickness(body), volume_ml, start)
