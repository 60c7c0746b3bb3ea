"""Intraparenchymal haemorrhage: contusions, lobar and deep haematomas, cerebellum and brain stem, shear petechiae.

Contusions lie where the brain strikes bone (under the frontal lobe, the temporal pole and base, under the blow or
opposite to it) in groups of unequal size within oedema; hypertensive bleeds in basal ganglia, thalamus, pons and
cerebellum; petechiae at the border of grey and white matter. Oedema grows with age.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.findings import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.blood import Age, blood_hu
from inference.training.simulate.fields import Field, Mask, coordinates, pick, waves
from inference.training.simulate.lesions import Box, Lesion, box_around, grow, heights
from inference.training.simulate.mass import push

VOLUMES_ML = (0.1, 150.0)
TRIES = 6
AGES = {Age.ACUTE: 0.66, Age.MIXED: 0.12, Age.HYPERACUTE: 0.07, Age.SUBACUTE: 0.15}


@dataclass(frozen=True, slots=True)
class _Site:
    """A place in the brain: how likely, the volumes it takes, and in how many pieces."""

    weight: float
    least_ml: float
    most_ml: float
    pieces: tuple[int, int] = (1, 1)


SITES = {
    "frontobasal": _Site(0.16, 0.1, 60, (1, 5)),
    "temporal": _Site(0.18, 0.1, 60, (1, 5)),
    "cortical": _Site(0.16, 0.1, 40, (1, 4)),
    "lobar": _Site(0.16, 2, 150),
    "deep": _Site(0.16, 0.2, 100),
    "cerebellum": _Site(0.06, 0.2, 35),
    "brain stem": _Site(0.05, 0.1, 9),
    "shear": _Site(0.12, 0.1, 1.2, (1, 4)),
}


def intraparenchymal(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """A bleed within the brain of this volume, or None."""
    able = [site.weight if site.least_ml <= volume_ml <= site.most_ml else 0.0 for site in SITES.values()]
    for _ in range(TRIES):
        name = str(rng.choice(list(SITES), p=np.array(able) / sum(able)))
        start = pick(_at(body, name), body.spacing_mm, rng)
        if start is None:
            continue
        made = _bleed(body, start, SITES[name], volume_ml, rng)
        if made is not None:
            return made
    return None


def _at(body: Anatomy, name: str) -> Mask:
    """Where such a bleed has its middle."""
    marks, depth = body.marks, body.depth_mm
    side, below, along = np.abs(marks.side_mm) / marks.size, marks.below, marks.along
    brain = body.inside & ~body.ventricles & (body.csf < 0.6)
    where = {
        "frontobasal": (below > 58) & (below < 88) & (along < 0.25) & (depth > 3) & (depth < 14) & (side > 3),
        "temporal": (below > 66) & (below < 98) & (side > 24) & (along < 0.62) & (depth > 3) & (depth < 14),
        "cortical": (below < 90) & (depth > 3) & (depth < 11) & (side > 8),
        "lobar": (below > 10) & (below < 80) & (depth > 12) & (depth < 34) & (side > 14),
        "deep": (side > 9) & (side < 34) & (below > 48) & (below < 78) & (along > 0.32) & (along < 0.62),
        "cerebellum": (below > 78) & (along > 0.66) & (depth > 9) & (side < 40),
        "brain stem": (side < 10) & (below > 68) & (below < 108) & (along > 0.44) & (along < 0.6),
        "shear": (below < 75) & (depth > 9) & (depth < 45) & (side > 2),
    }[name]
    return np.asarray(brain & where)


def _bleed(
    body: Anatomy, start: NDArray[np.float32], site: _Site, volume_ml: float, rng: np.random.Generator
) -> Lesion | None:
    pieces = int(rng.integers(site.pieces[0], site.pieces[1] + 1))
    shares = rng.dirichlet(np.full(pieces, 1.2))
    radii = np.cbrt(3000 * volume_ml * np.maximum(shares, 0.05) / (4 * np.pi))
    apart = 1.1 * float(radii.max()) + 5
    box = box_around(body, start, 1.6 * float(radii.max()) + 2.2 * apart * (pieces > 1) + 26)
    blobs = [
        _Blob.random(start + (rng.normal(0, 0.6, 3) * apart).astype(np.float32) * (i > 0), float(r), rng)
        for i, r in enumerate(radii)
    ]
    ragged = waves(body.hu[box].shape, body.spacing_mm, max(5.0, 0.8 * float(radii.max())), rng)
    fine = waves(body.hu[box].shape, body.spacing_mm, 5.0, rng)

    def shape(lift_mm: float) -> Field:
        return np.max([blob.field(body, box, lift_mm, ragged, fine) for blob in blobs], axis=0).astype(np.float32)

    fields = heights(body, shape)
    within = np.where(body.ventricles, 0, np.clip(1.3 - body.csf, 0, 1)) * (body.depth_mm > 1)
    edge = float(rng.uniform(0.9, 3.2))
    most = 0.5 * float(radii.max()) + 2
    grown = grow(body, fields, volume_ml, within=within.astype(np.float32), box=box, edge_mm=edge, most_mm=most)
    if grown is None:
        return None
    age = _age(volume_ml, rng)
    blood = blood_hu(body, grown.filled, age, rng)
    oedema = _oedema(body, fields[1] + grown.level_mm, box, age, float(radii.max()), rng)
    moved = _push(body, start, grown.filled, volume_ml, rng) if volume_ml > 4 else None
    return Lesion(HaemorrhageType.INTRAPARENCHYMAL, grown.filled, blood, oedema, moved, start)


@dataclass(frozen=True, slots=True, eq=False)
class _Blob:
    """One piece: an ellipsoid with a ragged surface."""

    at_mm: NDArray[np.float32]
    radius_mm: float
    axes: NDArray[np.float64]
    turn: float
    ragged: float

    @classmethod
    def random(cls, at_mm: NDArray[np.float32], radius_mm: float, rng: np.random.Generator) -> "_Blob":
        """Any proportions from round to twice as long as wide."""
        axes = np.exp(rng.normal(0, 0.22, 3))
        return cls(
            at_mm, radius_mm, axes / np.cbrt(axes.prod()), float(rng.uniform(0, np.pi)), float(rng.uniform(0.06, 0.22))
        )

    def field(self, body: Anatomy, box: Box, lift_mm: float, ragged: Field, fine: Field) -> Field:
        """mm inside."""
        z, y, x = coordinates(body.hu.shape, body.spacing_mm, lift_mm)
        dz, dy, dx = z[box[0]] - self.at_mm[0], y[:, box[1]] - self.at_mm[1], x[:, :, box[2]] - self.at_mm[2]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        first, second = cos * dy + sin * dx, cos * dx - sin * dy
        away = np.sqrt((dz / self.axes[0]) ** 2 + (first / self.axes[1]) ** 2 + (second / self.axes[2]) ** 2)
        bumps = self.radius_mm * self.ragged * ragged + min(0.8, 0.1 * self.radius_mm) * fine
        return np.asarray(self.radius_mm - away + bumps, np.float32)


def _age(volume_ml: float, rng: np.random.Generator) -> Age:
    if volume_ml > 25 and rng.random() < 0.08:
        return Age.LAYERED
    return Age(rng.choice(list(AGES), p=list(AGES.values())))


def _oedema(
    body: Anatomy, field: Field, box: Box, age: Age, radius_mm: float, rng: np.random.Generator
) -> Field | None:
    """HU lower around the blood: a thin dark rim at first, wider with the days; white matter takes more of it."""
    old = 1.6 if age is Age.SUBACUTE else 1.0
    width = old * float(rng.uniform(0.5, 4.5)) + 0.12 * radius_mm
    deep = float(rng.uniform(2, 11))
    uneven = 1 + 0.35 * waves(field.shape, body.spacing_mm, 12.0, rng)
    rim = np.clip(1 + field / (width * np.clip(uneven, 0.3, 2)), 0, 1) ** 0.7
    out = np.zeros(body.hu.shape, np.float32)
    out[box] = deep * rim * body.soft[box] * np.clip(1 - body.csf[box], 0, 1)
    out[body.ventricles] = 0
    return out


def _push(
    body: Anatomy, start: NDArray[np.float32], filled: Field, volume_ml: float, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Away from the middle, by part of the distance: the rest of the blood took the place of brain."""
    _, y, x = coordinates(body.hu.shape, body.spacing_mm)
    share = float(rng.uniform(0.25, 0.6))
    known = filled > 0.5
    aside = np.stack([np.broadcast_to(y - start[1], filled.shape), np.broadcast_to(x - start[2], filled.shape)])
    return push(body, (aside * share * known).astype(np.float32), known)
