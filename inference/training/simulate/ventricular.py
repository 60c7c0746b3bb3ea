"""Intraventricular haemorrhage: settled in the back of the ventricles, or clotted as their cast.

Blood sinks to the occipital horns of a lying patient, with a level along the rows; more fills one ventricle or all.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.blood import Age, blood_hu
from inference.training.simulate.fields import Field, coordinates, pick, waves
from inference.training.simulate.lesions import Grown, Lesion, grow, heights

VOLUMES_ML = (0.1, 60.0)
TRIES = 5
LEAST_ROOM_ML = 0.5


def intraventricular(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """Blood in the ventricles, or None where they hold less than asked for."""
    room = ventricular_room(body)
    capacity = float(room.sum()) * body.voxel_ml
    if capacity < max(LEAST_ROOM_ML, 1.05 * volume_ml):
        return None
    for _ in range(TRIES):
        settled = rng.random() < 0.6
        grown = _settled(body, room, volume_ml, rng) if settled else _cast(body, room, volume_ml, rng)
        if grown is not None:
            blood = blood_hu(body, grown.filled, Age.ACUTE, rng)
            return Lesion(
                HaemorrhageType.INTRAVENTRICULAR, grown.filled, blood, None, None, _middle(body, grown.filled)
            )
    return None


def ventricular_room(body: Anatomy) -> Field:
    """0..1 of each voxel that is ventricle: the fluid bodies with their soft edges, without the cisterns behind the
    brain stem, which look alike."""
    marks = body.marks
    side = np.abs(marks.side_mm) / marks.size
    below, along = marks.below, marks.along
    atria = (side > 16) | (along < 0.54) | (below < 56)
    lateral = (
        ((side > 1.5) | (below > 38))
        & (side < 46)
        & (below > 28)
        & (below < 76)
        & (along > 0.2)
        & (along < 0.86)
        & atria
    )
    lateral = lateral & ((below < 62) | (side > 18)) & ((side < 23) | (along > 0.56))
    third = (side < 5) & (below > 48) & (below < 76) & (along > 0.34) & (along < 0.55)
    fourth = (side < 12) & (below > 80) & (below < 112) & (along > 0.54) & (along < 0.76)
    place = lateral | third | fourth
    own = body.ventricles & place
    near = ndimage.binary_dilation(own, np.ones((1, 3, 3)), iterations=2)
    share = np.clip((30 - body.smooth) / 14, 0, 1) * near * place
    return np.asarray(np.where(own, 1, share) * body.soft, np.float32)


def _settled(body: Anatomy, room: Field, volume_ml: float, rng: np.random.Generator) -> Grown | None:
    """Behind a level; of one side mostly or of both."""
    _, y, _ = coordinates(body.hu.shape, body.spacing_mm)
    sharp = float(rng.uniform(0.8, 3))
    tilt = float(rng.uniform(-9, 9)) if rng.random() < 0.5 else 0.0
    field = y + tilt * np.sign(body.marks.side_mm)
    rows = np.flatnonzero(room.any((0, 2)))
    lowest = float(y[0, rows[-1], 0]) + 10
    return grow(body, [np.asarray(field - lowest + 70, np.float32)], volume_ml, within=room, edge_mm=sharp, most_mm=90)


def _cast(body: Anatomy, room: Field, volume_ml: float, rng: np.random.Generator) -> Grown | None:
    """Clot that spreads from one place."""
    start = pick(room > 0.7, body.spacing_mm, rng)
    if start is None:
        return None
    uneven = 2.0 * waves(body.hu.shape, body.spacing_mm, 12.0, rng)

    def shape(lift_mm: float) -> Field:
        z, y, x = coordinates(body.hu.shape, body.spacing_mm, lift_mm)
        away = np.sqrt((z - start[0]) ** 2 + (0.7 * (y - start[1])) ** 2 + (1.6 * (x - start[2])) ** 2)
        return np.asarray(60 - away + uneven, np.float32)

    return grow(body, heights(body, shape), volume_ml, within=room, edge_mm=2.0, most_mm=70)


def _middle(body: Anatomy, filled: Field) -> NDArray[np.float32]:
    z, y, x = coordinates(body.hu.shape, body.spacing_mm)
    total = float(filled.sum())
    return np.array([float((filled * axis).sum()) / total for axis in (z, y, x)], np.float32)
