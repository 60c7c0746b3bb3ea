"""What scanners make of a head that is not there: hardening, cupping, movement, metal, bone of the plane beside.

Hardening, movement and metal are made as they come about, as errors along rays (`rays.py`); cupping and partial volume
follow from the inner table. None changes anything in air beyond the head by more than a streak.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.synthetic_head import stretch
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Box
from inference.training.simulate.brush import blend, lump, tube
from inference.training.simulate.fields import Field, pick, waves
from inference.training.simulate.places import has_vault, place
from inference.training.simulate.rays import Sinogram, through_rays

COARSE = 2
RAYS = 240


def beam_hardening(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Dark and bright bands between the petrous bones and beside thick bone, in the planes of the skull base.

    Rays that cross much bone read too little by its square and by bone times tissue (Brooks and Di Chiro 1976);
    corrected too strongly, the bands turn.
    """
    planes = np.flatnonzero((np.abs(body.below_mm / body.marks.size - 90) < 28) & body.inside.any((1, 2)))
    if not has_vault(body) or not len(planes):
        return None
    small = _shrink(np.clip(hu[planes], -1000, 2200))
    bone, tissue = np.clip(small - 100, 0, None) / 1000, np.clip(small + 1000, 0, 1000) / 1000
    both = np.concatenate([bone, tissue]).astype(np.float32)
    mixed = float(rng.uniform(0.0, 0.6))
    sign = -1.0 if rng.random() < 0.75 else 1.0

    def error(sums: Sinogram, _: int) -> Sinogram:
        through, soft = sums[: len(planes)], sums[len(planes) :]
        return np.asarray(sign * (through**2 + mixed * through * soft), np.float32)

    angles = np.linspace(0, np.pi, 72, endpoint=False)
    bands = _enlarge(through_rays(both, error, angles), (len(planes), *hu.shape[1:]))
    return _with_error(hu, planes, bands, body.inside[planes], float(rng.uniform(5, 18)))


def _with_error(hu: Field, planes: NDArray[np.intp], error: Field, inner: NDArray[np.bool_], peak_hu: float) -> Field:
    """Adds an error around its mean in the brain; 98 % of it there stays under the peak."""
    there = error[inner]
    error = error - np.median(there)
    error *= peak_hu / (np.percentile(np.abs(error[inner]), 98) + 1e-6)
    hu = hu.copy()
    soft = np.clip((hu[planes] + 300) / 200, 0, 1)
    hu[planes] += np.clip(error, -3 * peak_hu, 3 * peak_hu) * soft
    return hu


def _shrink(planes: Field) -> Field:
    """Means of 2 x 2 pixels."""
    rows, columns = planes.shape[1] // COARSE, planes.shape[2] // COARSE
    even = planes[:, : rows * COARSE, : columns * COARSE]
    return np.asarray(even.reshape(len(planes), rows, COARSE, columns, COARSE).mean((2, 4)), np.float32)


def _enlarge(planes: Field, shape: tuple[int, ...]) -> Field:
    """The inverse of `_shrink`, smooth; an odd last row or column stays zero."""
    out = np.zeros(shape, np.float32)
    rows, columns = planes.shape[1] * COARSE, planes.shape[2] * COARSE
    out[:, :rows, :columns] = stretch(planes, (len(planes), rows, columns))
    return out


def cupping(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Brain that brightens towards the inner table: glare and over-corrected hardening, most at vertex and occiput.

    A real GE head (STD+, 7 mm planes) has +16 HU 2 mm under the table, +7 at 5 mm and +2 at 11 mm.
    """
    if not has_vault(body):
        return None
    reach = float(rng.uniform(3, 8))
    peak = min(float(rng.uniform(6, 20)), 90 / reach)
    away = np.maximum(body.table_mm - 0.5, 0)
    marks = body.marks
    thick = np.exp(-body.below_mm / 25)[:, None, None] * float(rng.uniform(0.1, 0.6))
    behind = np.clip((marks.along - 0.75) * 4, 0, 1) * float(rng.uniform(0, 0.5))
    sides = np.ones(body.hu.shape, np.float32)
    if rng.random() < 0.5:
        angle = float(rng.uniform(0, 2 * np.pi))
        turn = np.arctan2(marks.side_mm, (marks.along - 0.5) * 165)
        sides = np.clip(0.6 + 0.7 * np.cos(turn - angle), 0.1, 1.3).astype(np.float32)
    uneven = 1 + 0.15 * waves(body.hu.shape, body.spacing_mm, 45.0, rng)
    lift = peak * np.exp(-away / reach) * (1 + thick + behind) * sides * uneven
    return np.asarray(hu + lift * body.soft, np.float32)


def motion(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """The head turned or slid while some planes were scanned: double contours and streaks from the skull.

    The rays of a part of the turn see the moved head. Its contours are drawn finely, the streaks coarsely.
    """
    found = np.flatnonzero(body.inside.any((1, 2)) & (body.below_mm < 105 * body.marks.size))
    if not len(found):
        return None
    hu = hu.copy()
    count = min(len(found), int(rng.integers(2, 7)))
    start = int(found[rng.integers(len(found) - count + 1)])
    planes = np.arange(start, start + count)
    strength = float(rng.uniform(0.5, 1.8))
    angle, slide = float(rng.normal(0, 1.0)) * strength, rng.normal(0, 1.2, 2) * strength
    moved = np.empty((count, *hu.shape[1:]), np.float32)
    for i, plane in enumerate(planes):
        jitter = float(rng.uniform(0.5, 1.0))
        moved[i] = _turned(hu[plane], np.deg2rad(angle) * jitter, slide / body.spacing_mm[1:] * jitter)
    difference = np.clip(moved, -1000, 1800) - np.clip(hu[planes], -1000, 1800)
    share = float(rng.uniform(0.2, 0.8))
    turn = np.arange(RAYS) / RAYS
    weights = np.clip((share - turn) * 12 + 0.5, 0, 1) * np.clip(turn * 12 + 0.5, 0, 1)
    seen = np.flatnonzero(weights)
    angles = seen / RAYS * np.pi + float(rng.uniform(0, np.pi))
    coarse = _shrink(difference)
    part = through_rays(coarse, lambda sums, i: sums * np.float32(weights[seen[i]]), angles) * (len(seen) / RAYS)
    mean = np.float32(weights.mean())
    hu[planes] += mean * difference + _enlarge(part - mean * coarse, difference.shape)
    return np.asarray(np.maximum(hu, -1024), np.float32)


def _turned(plane: Field, angle: float, slide: NDArray[np.float64]) -> Field:
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(plane.shape) - 1) / 2
    offset = middle - matrix @ (middle + slide)
    return np.asarray(ndimage.affine_transform(plane, matrix, offset, order=1, mode="nearest"), np.float32)


def metal(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A clip, a coil, or a pellet in the scalp, with its streaks; or a shunt tube, which has none."""
    if not has_vault(body):
        return None
    choice = rng.choice(["clip", "coil", "shunt", "pellet"])
    if choice == "shunt":
        return _shunt(hu, body, rng)
    if choice == "pellet":
        at = pick(
            body.scalp & ndimage.binary_dilation(body.bone, np.ones((1, 7, 7))) & body.vault[:, None, None],
            body.spacing_mm,
            rng,
        )
        if at is None:
            return None
        radii = rng.uniform(1.0, 2.5, 3)
    else:
        at = place(body, float(rng.normal(0, 14)), rng.uniform(0.33, 0.45), rng.uniform(72, 84))
        radii = rng.uniform(2.5, 6.0, 3) if choice == "coil" else rng.uniform((1.0, 0.7, 2.5), (2.5, 1.5, 6.0))
    made = lump(body, at, tuple(radii), rng)
    if made is None:
        return None
    where, share = made
    hu = hu.copy()
    blend(hu, where, share, float(rng.uniform(2500, 3071)))
    return _streaked(hu, where, share, float(rng.uniform(0.4, 1.3)), rng)


def _streaked(hu: Field, where: Box, share: Field, strength: float, rng: np.random.Generator) -> Field:
    """Hardening and starved rays behind the metal, in the planes it lies in."""
    planes = np.flatnonzero(share.max((1, 2)) > 0.08) + where[0].start
    if not len(planes):
        return hu
    trace = np.zeros((len(planes), *hu.shape[1:]), np.float32)
    trace[(slice(None), *where[1:])] = share[planes - where[0].start]
    angles = np.linspace(0, np.pi, 180, endpoint=False) + float(rng.uniform(0, np.pi))
    grain = rng.standard_normal((len(angles), len(planes), 1)).astype(np.float32)
    head = np.clip(hu[planes] + 1000, 0, 1200) / 1000
    length = np.sqrt((head > 0.5).sum((1, 2)))[:, None]

    def error(sums: Sinogram, number: int) -> Sinogram:
        hardened = -0.10 * sums**2
        starved = 0.8 * sums * grain[number] * length / 150
        return np.asarray((hardened + starved) * 1000 * strength, np.float32)

    streaks = through_rays(trace, error, angles)
    hu[planes] += np.clip(streaks, -500, 500) * (head > 0.1)
    return np.asarray(np.clip(hu, -1024, 3071), np.float32)


def _shunt(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A catheter of 2.5 mm from a burr hole, frontal or parieto-occipital, into the ventricle of its side."""
    side = float(rng.choice([-1.0, 1.0]))
    frontal = rng.random() < 0.5
    tip = place(body, side * float(rng.uniform(2, 9)), 0.38 if frontal else 0.42, float(rng.uniform(48, 56)))
    entry = place(body, side * 26, 0.2, 14) if frontal else place(body, side * 34, 0.93, 40)
    outward = (entry - tip) / np.linalg.norm(entry - tip)
    made = tube(body, [tip, np.asarray(entry + 25 * outward, np.float32)], float(rng.uniform(1.1, 1.5)))
    if made is None:
        return None
    where, share = made
    hu = hu.copy()
    head = hu[where] > -300
    blend(hu, where, share * head, float(rng.uniform(150, 420)))
    hole = tube(body, [np.asarray(entry + mm * outward, np.float32) for mm in (-6, 14)], 5.0)
    if hole is not None:
        gap = hole[1] * body.bone[hole[0]]
        blend(hu, hole[0], gap * (hu[hole[0]] > 150), 45.0)
        blend(hu, where, share * head, float(rng.uniform(150, 420)))
    return hu


def skull_base_partial_volume(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Bone of the plane above or below that reaches into this one: orbital roofs, petrous ridges, vertex."""
    if not has_vault(body):
        return None
    peak = float(rng.uniform(0.05, 0.16))
    uneven = np.clip(0.8 + 0.5 * waves(body.hu.shape, body.spacing_mm, 22.0, rng), 0.1, 1.6)
    share = np.zeros(body.hu.shape, np.float32)
    for step in (-1, 1):
        neighbour = np.zeros_like(share)
        dense = ndimage.gaussian_filter(np.clip(hu, 0, 900) * (hu > 200), (0, 1.2, 1.2))
        if step < 0:
            neighbour[1:] = dense[:-1]
        else:
            neighbour[:-1] = dense[1:]
        share += neighbour / 900
    chosen = rng.random(len(hu)) < 0.7
    lift = peak * 900 * np.clip(share, 0, 1) * uneven * chosen[:, None, None]
    edge = ndimage.gaussian_filter(np.minimum(lift, 110), (0, 1.0, 1.0))
    return np.asarray(hu + edge * body.soft, np.float32)
