"""Intraparenchymal haemorrhage: contusions, lobar and deep haematomas, cerebellum and brain stem, shear petechiae.

Contusions lie where the brain strikes bone (under the frontal lobe, the temporal pole and base, under the blow or
opposite to it) in groups of unequal size within oedema; hypertensive bleeds in basal ganglia, thalamus, pons and
cerebellum; petechiae at the border of grey and white matter. Oedema grows with age.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.blood import Age, blood_hu
from inference.training.simulate.boxes import Box, axes_in, box_around
from inference.training.simulate.fields import Field, Mask, coordinates, pick, waves
from inference.training.simulate.lesions import Lesion, grow, heights
from inference.training.simulate.mass import push_aside

VOLUMES_ML = (0.1, 150.0)
TRIES = 6
PUSHES_ML = 4.0
AGES = {Age.ACUTE: 0.66, Age.MIXED: 0.12, Age.HYPERACUTE: 0.07, Age.SUBACUTE: 0.15}


@dataclass(frozen=True, slots=True)
class _Site:
    """A place in the brain: how likely, the volumes it takes, and in how many pieces."""

    weight: float
    least_ml: float
    most_ml: float
    pieces: tuple[int, int] = (1, 1)
    one_sided: bool = True


SITES = {
    "frontobasal": _Site(0.16, 0.1, 60, (1, 5)),
    "temporal": _Site(0.18, 0.1, 60, (1, 5)),
    "cortical": _Site(0.16, 0.1, 40, (1, 4)),
    "lobar": _Site(0.16, 2, 150),
    "deep": _Site(0.16, 0.2, 100),
    "cerebellum": _Site(0.06, 0.2, 35, one_sided=False),
    "brain stem": _Site(0.05, 0.1, 9, one_sided=False),
    "shear": _Site(0.12, 0.1, 1.2, (1, 4)),
}


def intraparenchymal(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """A bleed within the brain of this volume, or None."""
    able = [site.weight if site.least_ml <= volume_ml <= site.most_ml else 0.0 for site in SITES.values()]
    for _ in range(TRIES):
        name = str(rng.choice(list(SITES), p=np.array(able) / sum(able)))
        radius_mm = float(np.cbrt(3000 * volume_ml / (4 * np.pi)))
        roomy = np.abs(body.marks.side_mm) > (0.75 * radius_mm if SITES[name].one_sided else 0.0)
        start = pick(_at(body, name) & roomy, body.spacing_mm, rng)
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
        "deep": (side > 9) & (side < 36) & (below > 48) & (below < 78) & (along > 0.32) & (along < 0.62),
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
    box = box_around(body, [start], 1.6 * float(radii.max()) + 2.2 * apart * (pieces > 1) + 26)
    blobs = [
        _Blob.random(start + (rng.normal(0, 0.6, 3) * apart).astype(np.float32) * (i > 0), float(r), rng)
        for i, r in enumerate(radii)
    ]
    ragged = waves(body.hu[box].shape, body.spacing_mm, max(5.0, 0.8 * float(radii.max())), rng)
    fine = waves(body.hu[box].shape, body.spacing_mm, 5.0, rng)
    bound = _side_of_falx(body, start, box, float(radii.max())) if site.one_sided else np.float32(np.inf)

    def shape(lift_mm: float) -> Field:
        together = np.max([blob.field(body, box, lift_mm, ragged, fine) for blob in blobs], axis=0)
        return np.asarray(np.minimum(together, bound), np.float32)

    fields = heights(body, shape)
    spared = 0.0 if volume_ml < PUSHES_ML else 0.7
    within = np.where(body.ventricles, spared, np.clip(1.3 - body.csf, spared, 1)) * (body.depth_mm > 1)
    edge = float(rng.uniform(0.9, 3.2))
    most = 0.5 * float(radii.max()) + 2
    grown = grow(body, fields, volume_ml, within=within.astype(np.float32), box=box, edge_mm=edge, most_mm=most)
    if grown is None:
        return None
    age = _age(volume_ml, rng)
    blood = blood_hu(body, grown.filled, age, rng)
    oedema = _oedema(body, fields[1] + grown.level_mm, box, age, float(radii.max()), rng)
    moved = _push(body, start, grown.filled, volume_ml, rng) if volume_ml > PUSHES_ML else None
    return Lesion(HaemorrhageType.INTRAPARENCHYMAL, grown.filled, blood, oedema, moved, start)


def _side_of_falx(body: Anatomy, start: NDArray[np.float32], box: Box, radius_mm: float) -> Field:
    """mm from the midline on the side of the bleed, bulging where a large one displaces it."""
    side = 1.0 if start[2] > body.marks.origin_mm[2] else -1.0
    z, y, _ = axes_in(body, box)
    square = (z - start[0]) ** 2 + (y - start[1]) ** 2
    bulge = 0.3 * radius_mm * np.exp(-square / (1.2 * radius_mm) ** 2)
    return np.asarray(body.marks.side_mm[box] * side + bulge, np.float32)


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
        z, y, x = axes_in(body, box, lift_mm)
        dz, dy, dx = z - self.at_mm[0], y - self.at_mm[1], x - self.at_mm[2]
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
    share = float(rng.uniform(0.4, 0.75))
    known = filled > 0.5
    aside = np.stack([np.broadcast_to(y - start[1], filled.shape), np.broadcast_to(x - start[2], filled.shape)])
    return push_aside(body, (aside * share * known).astype(np.float32), known)
