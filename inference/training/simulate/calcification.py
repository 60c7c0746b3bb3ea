"""Calcium where it is normal to find it: falx, choroid plexus of the atria, pineal and habenula, basal ganglia.

Frequencies and densities as in CT series of incidental calcification (Daghighi et al. 2007): small, dense, lumpy, at
fixed places, most of them paired or in the midline. 70 to 600 HU before
partial volume; blood hardly passes 90.
"""

import numpy as np
from numpy.typing import NDArray

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Point, axes_in, box_around
from inference.training.simulate.brush import blend, lump
from inference.training.simulate.fields import Field, filled, waves
from inference.training.simulate.places import has_vault, place


def calcified_falx(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """One to three plates or a long thin line in the falx, 2 to 30 mm under the inner table."""
    if not has_vault(body):
        return None
    hu = hu.copy()
    for _ in range(int(rng.integers(1, 4))):
        ends = ((0.03, 0.3) if rng.random() < 0.7 else (0.62, 0.92), (8, 48))
        at = place(body, float(rng.normal(0, 0.6)), rng.uniform(*ends[0]), rng.uniform(*ends[1]))
        half = (rng.uniform(3, 14), rng.uniform(4, 22), rng.uniform(0.5, 2.0))
        _plate(hu, body, at, half, _density(90, 600, rng), rng)
    return hu


def _density(low_hu: float, high_hu: float, rng: np.random.Generator) -> float:
    """HU of calcium, low ones more often."""
    return float(np.exp(rng.uniform(np.log(low_hu), np.log(high_hu))))


def _plate(
    hu: Field,
    body: Anatomy,
    at: Point,
    half_mm: tuple[float, float, float],
    value_hu: float,
    rng: np.random.Generator,
) -> None:
    """A plate in the midline of these half sizes (z, y, x)."""
    where = box_around(body, [at], max(half_mm) * 1.6)
    size = hu[where].shape
    bumps = 0.3 * waves(size, body.spacing_mm, 7.0, rng)
    bend = float(rng.normal(0, 0.4)) * waves(size, body.spacing_mm, 25.0, rng)
    x = body.marks.side_mm[where] + bend
    deep = (body.depth_mm[where] > 1.5) & (body.depth_mm[where] < 32)

    def shape_at(lift_mm: float) -> Field:
        z, y, _ = axes_in(body, where, lift_mm)
        round_ = ((z - at[0]) / half_mm[0]) ** 2 + ((y - at[1]) / half_mm[1]) ** 2
        thick = half_mm[2] * (np.sqrt(np.clip(1 - round_ + bumps, 0, 1)) * 1.2 - 0.2)
        return np.asarray(thick - np.abs(x), np.float32)

    blend(hu, where, filled(shape_at, body.spacing_mm[0], 0.8) * deep, value_hu)


def calcified_choroid(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """The glomus in the atria, mostly of both sides and of unequal size."""
    if not has_vault(body):
        return None
    size = float(np.exp(rng.uniform(np.log(1.5), np.log(3.6))))
    value = _density(90, 500, rng)
    below = float(rng.normal(60, 3))
    one_side = rng.random() < 0.15
    hu, drawn = hu.copy(), False
    for side in (-1.0, 1.0) if not one_side else (float(rng.choice([-1.0, 1.0])),):
        at = _atrium(body, side, below, rng)
        if at is None:
            continue
        radii = size * rng.uniform((0.9, 0.9, 0.6), (1.8, 1.7, 1.1)) * rng.uniform(0.7, 1.2)
        drawn |= _grains(hu, body, at, radii, value, rng)
    return hu if drawn else None


def _atrium(body: Anatomy, side: float, below_mm: float, rng: np.random.Generator) -> Point | None:
    """A place in or near the atrium of one side: in the ventricle where it shows, else by proportion."""
    guess = place(body, side * float(rng.normal(25, 1.5)), float(rng.normal(0.69, 0.012)), below_mm)
    found = np.argwhere(body.ventricles)
    if not len(found):
        return guess
    middle = np.array([0, (body.hu.shape[1] - 1) / 2, (body.hu.shape[2] - 1) / 2])
    points = ((found - middle) * np.array(body.spacing_mm)).astype(np.float32)
    near = np.linalg.norm((points - guess) * np.array([0.7, 1, 1], np.float32), axis=1)
    if near.min() > 14:
        return guess
    return np.asarray(points[near < near.min() + 3].mean(0), np.float32)


def _grains(
    hu: Field, body: Anatomy, at: Point, radii: NDArray[np.float64], value_hu: float, rng: np.random.Generator
) -> bool:
    """A lumpy body with one to three smaller ones beside it."""
    drawn = False
    for i in range(int(rng.integers(1, 5))):
        grow = 1.0 if i == 0 else float(rng.uniform(0.3, 0.6))
        centre = at if i == 0 else at + rng.normal(0, 0.9, 3).astype(np.float32) * radii.astype(np.float32)
        made = lump(body, centre, tuple(radii * grow), rng)
        if made is not None:
            share = made[1] * body.inside[made[0]]
            blend(hu, made[0], share, value_hu * float(rng.uniform(0.7, 1.1)))
            drawn |= bool((share > 0.2).any())
    return drawn


def calcified_pineal(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """The pineal, and in some the habenula 5 mm before it."""
    if not has_vault(body):
        return None
    hu = hu.copy()
    at = place(body, float(rng.normal(0, 0.7)), float(rng.normal(0.60, 0.01)), float(rng.normal(66, 3)))
    radii = rng.uniform((1.5, 1.2, 1.2), (4.5, 4.0, 3.2))
    value = _density(90, 450, rng)
    drawn = _grains(hu, body, at, radii, value, rng)
    if rng.random() < 0.35:
        ahead = at + np.array([1.0, -rng.uniform(4.5, 7), rng.normal(0, 0.5)], np.float32)
        drawn |= _grains(hu, body, ahead, rng.uniform((1.0, 0.8, 1.2), (2.0, 1.5, 2.8)), value, rng)
    return hu if drawn else None


def calcified_basal_ganglia(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Both globi pallidi, mirrored but unequal; in a few also the heads of the caudate nuclei (Fahr)."""
    if not has_vault(body):
        return None
    hu, drawn = hu.copy(), False
    pairs = [(19.0, 0.43, 64.0)] + ([(12.0, 0.34, 58.0)] if rng.random() < 0.15 else [])
    for lateral, along, below in pairs:
        lateral, along, below = lateral + rng.normal(0, 1.2), along + rng.normal(0, 0.012), below + rng.normal(0, 2.5)
        value = _density(70, 260, rng)
        radii = rng.uniform((1.8, 2.0, 1.2), (4.5, 7.0, 3.2))
        for side in (-1.0, 1.0):
            at = place(body, side * lateral, along, below) + rng.normal(0, 0.8, 3).astype(np.float32)
            drawn |= _speckled(hu, body, at, radii * rng.uniform(0.75, 1.15), value, rng)
    return hu if drawn else None


def _speckled(
    hu: Field, body: Anatomy, at: Point, radii: NDArray[np.float64], value_hu: float, rng: np.random.Generator
) -> bool:
    """A body that is calcified in specks, hazy between them."""
    made = lump(body, at, tuple(radii), rng)
    if made is None:
        return False
    where, share = made
    specks = np.clip(0.45 + 0.5 * waves(share.shape, body.spacing_mm, 3.5, rng), 0.05, 1.2)
    share = share * body.inside[where] * ~body.ventricles[where]
    blend(hu, where, share, 35 + (value_hu - 35) * specks + body.grain[where])
    return bool((share > 0.3).any())
