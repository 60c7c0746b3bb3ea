"""Dense blood within its vessels: venous sinuses, the tentorium beside them, basilar and middle cerebral arteries.

Whole blood is 50 to 75 HU by its haematocrit; around it the brain of children and of the anaemic is darker, so that
sinuses and dura stand out. Sinuses lie against the inner table in the midline (superior sagittal), along the edge of
the tentorium (transverse, sigmoid) and on its ridge (straight); arteries are tubes of 2 to 4 mm in the cisterns.
"""

import numpy as np

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import EVERYWHERE, Point
from inference.training.simulate.brush import tint, tube
from inference.training.simulate.fields import Field, coordinates, filled, waves
from inference.training.simulate.landmarks import above_tentorium_mm, falx, tentorium
from inference.training.simulate.places import has_vault, place

TORCULA_MM = 88.0


def dense_sinus(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """All sinuses of one brightness, the transverse ones of unequal width, and some of the dura with them."""
    if not has_vault(body):
        return None
    value = float(rng.uniform(50, 75))
    hu = hu.copy()
    for share in (_sagittal(body, rng), _transverse(body, rng), _straight(body, rng)):
        tint(body, hu, EVERYWHERE, share, value)
    if rng.random() < 0.5:
        tint(body, hu, EVERYWHERE, _dura(body, rng), float(rng.uniform(50, 65)))
    if rng.random() < 0.4:
        dark = float(rng.uniform(1, 4))
        hu -= dark * body.soft * np.clip((45 - hu) / 10, 0, 1)
    return hu


def _sagittal(body: Anatomy, rng: np.random.Generator) -> Field:
    """A triangle on the inner table in the midline, growing from the forehead to the torcula."""
    marks = body.marks
    grow = np.clip(0.35 + 0.75 * marks.along, 0.3, 1.1) * marks.size * float(rng.uniform(0.8, 1.25))
    wide, deep = 5.5 * grow, 8.0 * grow
    side = marks.side_mm - float(rng.normal(0, 1.0))
    level = np.clip((TORCULA_MM - marks.below) / 4, 0, 1) * ((marks.along > 0.5) | (marks.below < 62))

    def shape_at(lift_mm: float) -> Field:
        down = np.maximum(body.under_table_mm(lift_mm), 0)
        return np.asarray(wide * (1 - down / deep) - np.abs(side), np.float32)

    return np.asarray(filled(shape_at, body.spacing_mm[0], 1.5) * level, np.float32)


def _transverse(body: Anatomy, rng: np.random.Generator) -> Field:
    """Along the edge of the tentorium from the torcula to the petrous bone, then down behind it."""
    marks = body.marks
    radius = float(rng.uniform(3.0, 4.8)) * marks.size
    left, right = (1.0, float(rng.uniform(0.35, 1.0)))[:: int(rng.choice([-1, 1]))]
    wide = radius * np.where(marks.side_mm > 0, left, right)
    side = np.abs(marks.side_mm) / marks.size
    behind = np.clip((marks.along - 0.66) * 12, 0, 1)
    height = above_tentorium_mm(marks) + float(rng.normal(0, 2))
    sigmoid = (side > 42) & (marks.along < 0.82) & (marks.below > TORCULA_MM) & (marks.below < TORCULA_MM + 26)
    drop = np.where(sigmoid, 0.0, height)

    def shape_at(lift_mm: float) -> Field:
        down = body.under_table_mm(lift_mm)
        lift = np.where(sigmoid, 0.0, lift_mm)
        return np.asarray(wide - np.hypot(drop + lift, np.maximum(down - 0.4 * wide, 0)), np.float32)

    return np.asarray(filled(shape_at, body.spacing_mm[0], 1.5) * behind, np.float32)


def _straight(body: Anatomy, rng: np.random.Generator) -> Field:
    """From the great vein behind the pineal down the ridge of the tentorium to the torcula."""
    share = np.zeros(body.hu.shape, np.float32)
    points = [place(body, 0, along, below) for along, below in ((0.66, 62), (0.72, 62), (0.85, 74), (0.97, 87))]
    drift = float(rng.normal(0, 2.0))
    made = tube(body, [p + np.array([drift, 0, 0], np.float32) for p in points], float(rng.uniform(1.4, 2.4)))
    if made is not None:
        share[made[0]] = made[1]
    return share


def _dura(body: Anatomy, rng: np.random.Generator) -> Field:
    """Falx and tentorium, about a millimetre thick and hazy where the tentorium lies flat in the plane."""
    marks = body.marks
    half = float(rng.uniform(0.4, 0.9))
    bend = 0.5 * waves(body.hu.shape, body.spacing_mm, 40.0, rng)
    sheet = np.clip(falx(marks) / 3 + 0.5, 0, 1) * np.clip(half + 0.5 - np.abs(marks.side_mm + bend), 0, 1)
    rim = np.clip(tentorium(marks) / 3 + 0.5, 0, 1)
    tent = filled(
        lambda lift: np.asarray(half - np.abs(above_tentorium_mm(marks, lift)) * 0.8), body.spacing_mm[0], 1.0
    )
    return np.asarray(np.maximum(sheet, tent * rim) * rng.uniform(0.5, 1.0), np.float32)


def dense_vessel(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A dense basilar artery, or the first part of one or both middle cerebral arteries."""
    if not has_vault(body):
        return None
    hu, drawn = hu.copy(), False
    value = float(rng.uniform(55, 78))
    wall = rng.random() < 0.3
    paths: list[tuple[list[Point], float]] = []
    if rng.random() < 0.55:
        paths.append((_basilar(body, rng), float(rng.uniform(1.5, 2.3))))
    if not paths or rng.random() < 0.5:
        sides = (-1.0, 1.0) if rng.random() < 0.4 else (float(rng.choice([-1.0, 1.0])),)
        paths += [(_middle_cerebral(body, side, rng), float(rng.uniform(1.2, 1.9))) for side in sides]
    for path, radius in paths:
        made = tube(body, path, radius) if len(path) > 1 else None
        if made is None:
            continue
        tint(body, hu, made[0], made[1], value)
        drawn |= bool((made[1] * body.soft[made[0]] > 0.3).any())
        if wall:
            speck = tube(body, [path[0], path[0] + np.array([1.5, 0.5, 0.5], np.float32)], radius * 0.7)
            if speck is not None:
                hu[speck[0]] += speck[1] * body.inside[speck[0]] * (float(rng.uniform(150, 400)) - hu[speck[0]])
    return hu if drawn else None


def _basilar(body: Anatomy, rng: np.random.Generator) -> list[Point]:
    """In front of the pons, a little behind the clivus, up to the suprasellar cistern."""
    z, y, _ = (axis.ravel() for axis in coordinates(body.hu.shape, body.spacing_mm))
    top = place(body, float(rng.normal(0, 1)), 0.45, 82)
    path = [top]
    for below in (88, 94, 100, 106):
        at = place(body, float(rng.normal(0, 1.5)), 0.45, below)
        plane = int(np.abs(z - at[0]).argmin())
        column = round(float(at[2]) / body.spacing_mm[2] + (body.hu.shape[2] - 1) / 2)
        rows = np.flatnonzero(body.inside[plane, :, max(0, column - 2) : column + 3].all(1))
        rows = rows[np.abs(y[rows] - top[1]) < 25]
        if not len(rows) or abs(z[plane] - at[0]) > body.spacing_mm[0]:
            break
        at[1] = y[rows[0]] + 3.5
        path.append(at)
    return path


def _middle_cerebral(body: Anatomy, side: float, rng: np.random.Generator) -> list[Point]:
    """From beside the sella along the stem of the Sylvian fissure, 15 to 30 mm long, where the fluid is."""
    reach = float(rng.uniform(24, 38))
    rise, level, ahead = float(rng.uniform(-1, 4)), float(rng.normal(79, 2.5)), float(rng.normal(0.385, 0.012))
    points = [place(body, side * s, ahead, level - rise * s / reach) for s in np.linspace(9, reach, 6)]
    offsets = np.array([_to_fluid(body, point) for point in points])
    offsets = np.convolve(np.pad(offsets, 1, "edge"), [0.25, 0.5, 0.25], "valid")
    return [np.asarray(p + np.array([0, o, 0]), np.float32) for p, o in zip(points, offsets, strict=True)]


def _to_fluid(body: Anatomy, at: Point) -> float:
    """How far forward or back, up to 6 mm, the darkest brain beside a place lies."""
    z, y, x = (axis.ravel() for axis in coordinates(body.hu.shape, body.spacing_mm))
    plane, column = int(np.abs(z - at[0]).argmin()), int(np.abs(x - at[2]).argmin())
    near = np.flatnonzero(np.abs(y - at[1]) <= 6)
    values = np.where(body.soft[plane, near, column] > 0.9, body.smooth[plane, near, column], 100)
    return float(y[near[values.argmin()]] - at[1]) if values.min() < 100 else 0.0
