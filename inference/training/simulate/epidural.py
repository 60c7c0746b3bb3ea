"""Epidural haematoma: a biconvex lens between bone and dura, held at the sutures, where the dura is fixed.

Mostly temporal and temporoparietal (middle meningeal artery), then frontal, parietal, of the posterior fossa and of
the vertex, which alone crosses the midline. Thickness and chord follow the shapes read off series of operated and
observed cases: thin ones are nearly flat, large ones bulge.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.blood import Age, blood_hu
from inference.training.simulate.boxes import Box, axes_in, box_around
from inference.training.simulate.fields import HEIGHTS, Field, Mask, pick, waves
from inference.training.simulate.landmarks import coronal_mm, lambdoid_mm
from inference.training.simulate.lesions import Grown, Lesion, grow, heights
from inference.training.simulate.mass import push_inward

VOLUMES_ML = (0.3, 150.0)
SKULL_RADIUS_MM = 70.0
TRIES = 6
MIDDLE = len(HEIGHTS) // 2
SMALL_ML = 5.0
FITTING_ROUNDS = 4
THICKEST_MM = 45.0
PLACES = {"temporal": 0.4, "frontal": 0.2, "parietal": 0.2, "occipital": 0.08, "posterior fossa": 0.07, "vertex": 0.05}
LARGEST_ML = {
    "temporal": 150.0,
    "frontal": 100.0,
    "parietal": 150.0,
    "occipital": 30.0,
    "posterior fossa": 25.0,
    "vertex": 60.0,
}
AGES = {Age.ACUTE: 0.6, Age.MIXED: 0.25, Age.HYPERACUTE: 0.1, Age.SUBACUTE: 0.05}


@dataclass(frozen=True, slots=True)
class _Lens:
    """Greatest thickness and half chord in mm, and its stretch (up-down, front-back)."""

    thick_mm: float
    half_mm: float
    stretch: tuple[float, float]


def epidural(body: Anatomy, volume_ml: float, rng: np.random.Generator) -> Lesion | None:
    """A lens of this volume, or None where it finds no room between the sutures."""
    able = np.array([share if volume_ml <= LARGEST_ML[place] else 0.0 for place, share in PLACES.items()])
    for _ in range(TRIES):
        place = str(rng.choice(list(PLACES), p=able / able.sum()))
        start = pick(_at(body, place), body.spacing_mm, rng)
        if start is None:
            continue
        lens = _lens(volume_ml, rng)
        made = _grown(body, start, lens, volume_ml, rng, crosses=place == "vertex")
        if made is not None:
            return _lesion(body, start, *made, rng)
    return None


def _at(body: Anatomy, place: str) -> Mask:
    """The inner table where such a bleed has its middle."""
    marks = body.marks
    side, below, along = np.abs(marks.side_mm) / marks.size, marks.below, marks.along
    coronal, lambdoid = coronal_mm(marks), lambdoid_mm(marks)
    table = body.inside & (body.under_table_mm() < 1.6)
    where = {
        "temporal": (side > 30) & (below > 40) & (below < 92) & (along > 0.22) & (along < 0.68),
        "frontal": (side > 8) & (below > 12) & (below < 75) & (coronal < -4) & (along < 0.35),
        "parietal": (side > 18) & (below > 8) & (below < 60) & (coronal > 5) & (lambdoid < -5),
        "occipital": (side > 8) & (below > 45) & (below < 85) & (lambdoid > 3),
        "posterior fossa": (side > 10) & (below > 92) & (below < 118) & (along > 0.72),
        "vertex": (side < 8) & (below < 15) & (coronal > 5),
    }[place]
    return np.asarray(table & where)


def _lens(volume_ml: float, rng: np.random.Generator) -> _Lens:
    """Thickness and chord: a lens of half chord `bulge` times the chord at which its face would be flat."""
    bulge = float(rng.uniform(0.35, 0.85) if volume_ml < SMALL_ML else rng.uniform(0.55, 1.0))
    thick = float(np.sqrt(1000 * volume_ml / (np.pi * SKULL_RADIUS_MM * bulge**2)))
    half = bulge * float(np.sqrt(2 * SKULL_RADIUS_MM * thick))
    longer = float(rng.uniform(0.75, 1.3))
    return _Lens(thick, half, (longer, 1 / longer))


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """The inner table that a lens may lift the dura from, on `box`: mm under it at each height, mm within its sutures
    and on its own side of the skull base (`bounds`), and the distance along it from the middle, squared, by height."""

    box: Box
    depths: list[Field]
    squares: list[Field]
    bounds: Field
    bumps: Field

    def peak(self, lens: _Lens) -> Field:
        """mm of thickness there would be without end; it thins out towards the sutures."""
        end = 1 - np.clip(self.bounds / (1.2 * lens.thick_mm + 3), 0, 1)
        return np.asarray(lens.thick_mm * (1 - end**2) * self.bumps, np.float32)

    def field(self, lens: _Lens, peak: Field, height: int) -> Field:
        """The lens at one height of the planes: mm, positive inside."""
        return np.asarray(peak * (1 - self.squares[height] / lens.half_mm**2) - self.depths[height], np.float32)


def _grown(
    body: Anatomy,
    start: NDArray[np.float32],
    lens: _Lens,
    volume_ml: float,
    rng: np.random.Generator,
    *,
    crosses: bool,
) -> tuple[Grown, Field, Box] | None:
    """The lens, its thickness (mm, on its box) and the box; it is made thicker where sutures take room from it."""
    ground = _ground(body, start, lens, rng, crosses=crosses)
    room = (body.soft[ground.box] * (ground.bounds > 0)).astype(np.float32)
    for _ in range(FITTING_ROUNDS):
        middle = ground.field(lens, ground.peak(lens), MIDDLE)
        held = float((np.clip(middle + 0.5, 0, 1) * room).sum()) * body.voxel_ml
        ratio = float(np.clip(volume_ml / max(held, 1e-3), 0.4, 2.5))
        if abs(ratio - 1) < 0.12:
            break
        lens = _Lens(lens.thick_mm * ratio**0.6, lens.half_mm * ratio**0.2, lens.stretch)
    if lens.thick_mm > THICKEST_MM:
        return None
    peak = ground.peak(lens)
    fields = [ground.field(lens, peak, height) for height in range(len(HEIGHTS))]
    within = np.zeros(body.hu.shape, np.float32)
    within[ground.box] = room
    most = 0.2 * lens.thick_mm + 1.5
    grown = grow(body, fields, volume_ml, within=within, box=ground.box, edge_mm=1.0, most_mm=most)
    if grown is None:
        return None
    return grown, (fields[MIDDLE] + ground.depths[MIDDLE] + grown.level_mm) * (ground.bounds > 0), ground.box


def _ground(
    body: Anatomy, start: NDArray[np.float32], lens: _Lens, rng: np.random.Generator, *, crosses: bool
) -> _Ground:
    box = box_around(body, [start], 1.6 * lens.half_mm + lens.thick_mm + 12)
    outward = start - body.marks.origin_mm
    outward /= np.linalg.norm(outward) + 1e-6
    squares = []
    for lift_mm in (height * body.spacing_mm[0] for height in HEIGHTS):
        z, y, x = axes_in(body, box, lift_mm)
        dz, dy, dx = (z - start[0]) / lens.stretch[0], (y - start[1]) / lens.stretch[1], x - start[2]
        along = np.minimum(dz * outward[0] + dy * outward[1] + dx * outward[2], 0)
        squares.append(np.asarray(dz**2 + dy**2 + dx**2 - 0.8 * along**2, np.float32))
    sagitta = lens.half_mm**2 / (1.4 * SKULL_RADIUS_MM) + lens.thick_mm + 8
    limits = [_bounds(body, start, box, crosses=crosses), _above_base(body, start, outward, box, sagitta)]
    limits.append(_facing_mm(body, outward, box))
    bumps = 1 + 0.08 * waves(body.hu[box].shape, body.spacing_mm, 25.0, rng)
    bounds = np.asarray(np.minimum.reduce(np.broadcast_arrays(*limits)), np.float32)
    depths = heights(body, lambda lift_mm: body.under_table_mm(lift_mm)[box])
    return _Ground(box, depths, squares, bounds, np.asarray(bumps, np.float32))


def _facing_mm(body: Anatomy, outward: NDArray[np.float32], box: Box) -> Field:
    """Large on bone that faces the way the lens does, negative on ridges of the skull base that face another."""
    across = float(np.hypot(outward[1], outward[2]))
    sigma = (0.0, 2.5 / body.spacing_mm[1], 2.5 / body.spacing_mm[2])
    table = ndimage.gaussian_filter(body.table_mm[box], sigma)
    rows, columns = np.gradient(table, *body.spacing_mm[1:], axis=(1, 2))
    facing = -(rows * outward[1] + columns * outward[2]) / max(across, 1e-3)
    return np.asarray(20 * facing + 6 if across > 0.5 else np.full(table.shape, 99.0), np.float32)


def _above_base(
    body: Anatomy, start: NDArray[np.float32], outward: NDArray[np.float32], box: Box, sagitta_mm: float
) -> Field:
    """mm outward of where the curve of the vault can have taken the lens: not at other bone deep in the head."""
    z, y, x = axes_in(body, box)
    along = (z - start[0]) * outward[0] + (y - start[1]) * outward[1] + (x - start[2]) * outward[2]
    return np.asarray(along + sagitta_mm, np.float32)


def _bounds(body: Anatomy, start: NDArray[np.float32], box: Box, *, crosses: bool) -> Field:
    """mm within the bone that the bleed lies under, by its sutures; the dura gives a little before it holds."""
    marks = body.marks
    index = tuple(
        int(np.clip(round(at / mm + origin), 0, n - 1))
        for at, mm, n, origin in zip(
            start,
            body.spacing_mm,
            body.hu.shape,
            (0.0, (body.hu.shape[1] - 1) / 2, (body.hu.shape[2] - 1) / 2),
            strict=True,
        )
    )
    limits = []
    for suture in (coronal_mm(marks), lambdoid_mm(marks)):
        here = 1.0 if suture[index[0], index[1], 0] > 0 else -1.0
        limits.append(np.broadcast_to(suture * here, (*body.hu.shape[:2], 1))[box[0], box[1]])
    if not crosses:
        side = 1.0 if marks.side_mm[index] > 0 else -1.0
        limits.append(marks.side_mm[box] * side - 1.5)
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*limits)) * 1.2, np.float32)


def _lesion(
    body: Anatomy, start: NDArray[np.float32], grown: Grown, thick: Field, box: Box, rng: np.random.Generator
) -> Lesion:
    age = Age(rng.choice(list(AGES), p=list(AGES.values())))
    blood = blood_hu(body, grown.filled, age, rng)
    if rng.random() < 0.08:
        blood = _with_air(body, grown.filled, blood, rng)
    thickness = np.zeros(body.hu.shape, np.float32)
    thickness[box] = np.clip(thick, 0, None)
    return Lesion(HaemorrhageType.EPIDURAL, grown.filled, blood, None, push_inward(body, thickness), start)


def _with_air(body: Anatomy, filled: Field, blood: Field, rng: np.random.Generator) -> Field:
    """A few bubbles, from an open fracture or a broken mastoid."""
    out = blood.copy()
    for _ in range(int(rng.integers(1, 5))):
        at = pick(filled > 0.9, body.spacing_mm, rng)
        if at is None:
            return out
        box = box_around(body, [at], 4)
        z, y, x = axes_in(body, box)
        away = np.sqrt((0.6 * (z - at[0])) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2)
        gas = np.clip(float(rng.uniform(1.0, 2.2)) - away + 0.5, 0, 1)
        out[box] -= gas * float(rng.uniform(300, 900))
    return out
