"""Subarachnoid haemorrhage: blood in sulci, fissures and cisterns, mixed with cerebrospinal fluid.

Traumatic over the convexity (a few neighbouring sulci), in the Sylvian or interhemispheric fissure, perimesencephalic,
or aneurysmal in the basal cisterns. Where a young brain shows no sulci, its narrow folds are drawn: they stand upright
on the surface and run curved along it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field, Mask, coordinates, pick, waves
from inference.training.simulate.lesions import Grown, Lesion, grow

VOLUMES_ML = (0.1, 60.0)
TRIES = 6
PLACES = {"convexity": 0.5, "sylvian": 0.17, "interhemispheric": 0.08, "basal": 0.15, "perimesencephalic": 0.1}
FOLD_MM = 13.0


def subarachnoid(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """Blood in the sulci and cisterns near one place, or None where they hold less than asked for."""
    for _ in range(TRIES):
        place = str(rng.choice(list(PLACES), p=list(PLACES.values())))
        room = _room(body, place, rng)
        start = pick(_at(body, place) & (room > 0.4), body.spacing_mm, rng)
        if start is None:
            continue
        grown = _spread(body, start, room, volume_ml, rng)
        if grown is not None:
            blood = _diluted(body, volume_ml, rng)
            return Lesion(HaemorrhageType.SUBARACHNOID, grown.filled, blood, None, None, start)
    return None


def _at(body: Anatomy, place: str) -> Mask:
    """Where such a bleed has its middle."""
    marks = body.marks
    side, below, along = np.abs(marks.side_mm) / marks.size, marks.below, marks.along
    where = {
        "convexity": (body.depth_mm < 13) & (below < 76) & (side > 14) & (body.table_mm < 18),
        "sylvian": (side > 28) & (side < 60) & (below > 48) & (below < 85) & (along > 0.22) & (along < 0.52),
        "interhemispheric": (side < 5) & (below < 75) & (along < 0.33),
        "basal": (side < 30) & (below > 66) & (below < 98) & (along > 0.28) & (along < 0.58) & (body.depth_mm > 8),
        "perimesencephalic": (side < 26) & (below > 60) & (below < 95) & (along > 0.36) & (along < 0.68),
    }[place]
    return np.asarray(body.inside & where)


def _room(body: Anatomy, place: str, rng: np.random.Generator) -> Field:
    """0..1 of each voxel that blood may take: the fluid that shows, or drawn folds where hardly any does."""
    marks = body.marks
    side = np.abs(marks.side_mm) / marks.size
    fluid = np.clip(1.3 * body.csf, 0, 1)
    cisterns = (np.abs(marks.side_mm) < 32 * marks.size) & (marks.below > 58) & (marks.below < 100)
    fluid = np.where(body.ventricles & cisterns & (marks.along > 0.3), 1, fluid)
    shallow = (body.depth_mm < 24) | cisterns | (np.abs(marks.side_mm) < 6)
    within = (side < 30) & (marks.below > 28) & (marks.below < 68) & (marks.along > 0.2) & (body.depth_mm > 14)
    fluid = fluid * shallow * ~(within & ((side > 3.5) | (marks.along > 0.33)))
    fourth = (side < 12) & (marks.below > 82) & (marks.along > 0.53) & (body.depth_mm > 12)
    fluid = _without_specks(fluid * ~fourth, body)
    if place == "convexity":
        outer = body.inside & (body.depth_mm < 14) & (marks.below < 80)
        vault = (side > 34) | (marks.along < 0.22) | (marks.along > 0.8) | (marks.below < 40)
        fluid = fluid * (vault & (body.table_mm < 22) & (marks.below < 76))
        if rng.random() < 0.75 or float(fluid[outer].mean()) < 0.08:
            fluid = np.maximum(fluid, _folds(body, rng))
    return np.asarray(fluid, np.float32)


def _without_specks(fluid: Field, body: Anatomy) -> Field:
    """Noise makes dark specks within the brain; sulci and cisterns are longer."""
    pieces, count = ndimage.label(fluid > 0.3, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * body.voxel_ml
    large = sizes > 0.12
    large[0] = False
    return np.asarray(fluid * ndimage.maximum_filter(large[pieces], (1, 3, 3)), np.float32)


def _folds(body: Anatomy, rng: np.random.Generator) -> Field:
    """Narrow sulci: the zero lines of a random field over the surface, down to 6 to 16 mm under the inner table."""
    near = np.flatnonzero(body.inside & (body.depth_mm < 18))
    index = np.stack(np.unravel_index(near, body.hu.shape)).astype(np.float32)
    mm = np.array(body.spacing_mm, np.float32)[:, None]
    centre = np.array([0.0, (body.hu.shape[1] - 1) / 2, (body.hu.shape[2] - 1) / 2], np.float32)[:, None]
    middle = body.marks.origin_mm[:, None]
    away = (index - centre) * mm - middle
    depth = body.table_mm.ravel()[near]
    distance = np.sqrt((away**2).sum(0)) + 1e-3
    at_surface = middle + away * (distance + depth) / distance
    noise = rng.standard_normal((26, 26, 26)).astype(np.float32)
    scaled = (at_surface - middle) / FOLD_MM + 12.5
    wave = ndimage.map_coordinates(noise, scaled, order=1, mode="wrap")
    deep = ndimage.map_coordinates(np.roll(noise, 7, 0), scaled / 2.0, order=1, mode="wrap")
    width = 0.75 + 0.3 * deep
    line = np.clip(width - np.abs(wave) * FOLD_MM / 2.2 + 0.5, 0, 1)
    floor = np.clip((11 + 5 * deep - depth) / 3, 0, 1)
    folds = np.zeros(body.hu.shape, np.float32)
    folds.ravel()[near] = line * floor * 0.85
    return folds


def _spread(
    body: Anatomy, start: NDArray[np.float32], room: Field, volume_ml: float, rng: np.random.Generator
) -> Grown | None:
    """Blood fills the room near its source; patchy towards the edge of its reach."""
    z, y, x = coordinates(body.hu.shape, body.spacing_mm)
    away = np.sqrt((1.2 * (z - start[0])) ** 2 + (y - start[1]) ** 2 + (x - start[2]) ** 2)
    patchy = float(rng.uniform(3, 9)) * waves(body.hu.shape, body.spacing_mm, 14.0, rng)
    field = np.asarray(patchy - away, np.float32)
    farthest = 30 + 26 * volume_ml**0.4
    return grow(body, [field + farthest / 2], volume_ml, within=room, edge_mm=6.0, most_mm=farthest / 2)


def _diluted(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Field:
    """HU of blood mixed with fluid: thin bleeds are faint."""
    densest = float(rng.uniform(42, 62)) if volume_ml < 3 else float(rng.uniform(46, 66))
    return np.asarray(densest + 4 * waves(body.hu.shape, body.spacing_mm, 16.0, rng), np.float32)
