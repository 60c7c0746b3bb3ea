"""Whole synthetic head CTs, with or without one bleed of a chosen kind: for demonstration, tests and training.

Skull, scalp, face, brain with grey and white matter, ventricles, sulci and cisterns in plausible HU, drawn from smooth
shapes at twice the slice density and averaged, so that edges have partial volume. Not a model of any real person.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType

SLICES = 30
SIZE = 512
SPACING_MM = (5.0, 0.488, 0.488)

_COARSE_MM = 0.976
_SUB = 2
_AIR, _FAT, _SCALP, _MUSCLE, _BONE, _CSF = -1000.0, -90.0, 35.0, 55.0, 1100.0, 6.0

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticHead:
    """`hu` float32 (slice, row, column), slice 0 at the skull base, row 0 anterior; `labels` uint8, 0 none, 1..5 the
    place of the type in HaemorrhageType plus one; `spacing_mm` (slice, row, column)."""

    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Shapes:
    """Coordinates in mm (x to the left, y to posterior, z up) and what was drawn so far."""

    x: Field
    y: Field
    z: Field
    hu: Field
    brain: Mask
    depth: Field
    ventricles: Mask
    csf: Mask


def _grid(rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Head coordinates of every coarse voxel, the head slightly turned, shifted and scaled."""
    z = (np.arange(SLICES * _SUB, dtype=np.float32) + 0.5) * (SPACING_MM[0] / _SUB)
    half = (SIZE // 2 - 1) / 2
    along = (np.arange(SIZE // 2, dtype=np.float32) - half) * _COARSE_MM
    angle, scale = np.deg2rad(rng.normal(0, 4)), rng.uniform(0.93, 1.04)
    y, x = along[:, None] - rng.normal(0, 4), along[None, :] - rng.normal(0, 4)
    turned_x, turned_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    shape = (len(z), len(along), len(along))
    spread = [np.broadcast_to(a, shape) for a in (turned_x[None] / scale, turned_y[None] / scale, z[:, None, None])]
    return spread[0].astype(np.float32), spread[1].astype(np.float32), spread[2].astype(np.float32)


def _linear(fine: int, coarse: int) -> NDArray[np.float32]:
    """(fine, coarse) weights of linear interpolation between cell centres, the ends repeated."""
    at = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    near = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(coarse)[None, :]))
    return np.asarray(near, np.float32)


def stretch(coarse: Field, shape: tuple[int, ...]) -> Field:
    """A (slice, row, column) field on a finer grid of this shape, linearly interpolated."""
    planes, rows, columns = (_linear(fine, n) for fine, n in zip(shape, coarse.shape, strict=True))
    along_planes = np.tensordot(planes, coarse, 1)
    along_columns = along_planes.reshape(-1, coarse.shape[2]) @ columns.T
    return np.asarray(rows @ along_columns.reshape(shape[0], coarse.shape[1], shape[2]), np.float32)


def _waves(shape: tuple[int, ...], scale_mm: float, rng: np.random.Generator) -> Field:
    """Smooth random field, standard deviation 1."""
    voxel = (SPACING_MM[0] / _SUB, _COARSE_MM, _COARSE_MM)
    coarse = [int(np.ceil(n * mm / scale_mm)) + 2 for n, mm in zip(shape, voxel, strict=True)]
    noise = rng.standard_normal(coarse).astype(np.float32)
    field = stretch(noise, shape)
    return np.asarray(field / field.std(), np.float32)


def _ellipsoid(x: Field, y: Field, z: Field, centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """About the distance in mm to the surface of an ellipsoid, positive inside; centre and radii are (x, y, z)."""
    squares = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True))
    return np.asarray((1 - np.sqrt(squares)) * min(radii), np.float32)


def _within(x: Field, y: Field, z: Field, centre: tuple[float, ...], radii: tuple[float, ...]) -> Mask:
    """The inside of an ellipsoid, looked for in no other planes than it reaches: most are small."""
    inside = np.zeros(z.shape, bool)
    planes = np.abs(z[:, 0, 0] - centre[2]) < radii[2]
    inside[planes] = _ellipsoid(x[planes], y[planes], z[planes], centre, radii) > 0
    return inside


def _vault(x: Field, y: Field, z: Field, grow_mm: float) -> Field:
    """Skull-shaped shell: wider behind, rounder on top."""
    wide = (1 + 0.06 * np.clip(y / 80, -1, 1)).astype(np.float32)
    radii = (66 + grow_mm, 84 + grow_mm, 92 + grow_mm)
    return _ellipsoid(x / wide, y, np.maximum(z, 42), (0, 0, 42), radii)


def _brain(x: Field, y: Field, z: Field, hu: Field, rng: np.random.Generator) -> _Shapes:
    """Draws scalp, skull, face and brain into `hu`."""
    floor = np.where(y < -25, 36.0, np.where(y < 12, 20.0, -20.0)) + 2 * np.cos(x / 9)
    thick = rng.uniform(5.0, 8.5)
    bumpy = 0.7 * _waves(hu.shape, 40, rng)
    hu[_vault(x, y, z, thick + 6) + bumpy > 0] = _SCALP
    hu[_vault(x, y, z, thick + 4.5) + bumpy > 0] = _FAT
    skull = _vault(x, y, z, thick) > 0
    hu[skull] = _BONE
    diploe = (_vault(x, y, z, thick * 0.65) > 0) & (_vault(x, y, z, thick * 0.35) < 0)
    hu[diploe] = 650
    below = (_vault(x, y, z, thick * 0.6) > 0) & (z < floor - 6)
    hu[below] = _MUSCLE + 8 * _waves(hu.shape, 12, rng)[below]
    for centre, radii in (((-22, -55, 6), (13, 18, 16)), ((22, -55, 6), (13, 18, 16)), ((0, -60, 22), (9, 16, 14))):
        hu[_within(x, y, z, centre, radii) & below] = _AIR
    under_bone = _vault(x, y, z, 0)
    inside = (under_bone > 0) & (z > floor)
    hu[inside] = _CSF
    depth = np.minimum(under_bone, (z - floor) * 0.9).astype(np.float32)
    folds = _waves(hu.shape, 11, rng)
    atrophy = rng.uniform(0.6, 2.2)
    brain = inside & (depth > atrophy * 0.7)
    grey = depth + 2.5 * folds < 5.5
    side = np.abs(x)
    nuclei = _within(side, y, z, (17, 2, 68), (11, 19, 15))
    matter = np.where(grey | nuclei, 37.0, 28.5) + rng.normal(0, 1)
    hu[brain] = matter[brain]
    sulci = brain & (depth < 13) & (np.abs(_waves(hu.shape, 14, rng)) < 0.045 * atrophy) & (depth > 1.2)
    fissure = brain & (side < 0.9 + 0.3 * atrophy) & ((z > 85) | (np.abs(y) > 35)) & (z > 40)
    cisterns = _within(x, y, z, (0, -8, 33), (15, 11, 8)) | _within(side, y, z, (14, 16, 48), (10, 5, 9))
    sylvian = _within(side, y, z, (52, -8, 62), (12, 16, 2.5 + atrophy)) & (depth > 2)
    csf = inside & (sulci | fissure | (cisterns & brain) | sylvian)
    hu[csf] = _CSF + 4
    return _Shapes(x, y, z, hu, inside, depth, _ventricles(x, y, z, inside, rng), csf)


def _ventricles(x: Field, y: Field, z: Field, inside: Mask, rng: np.random.Generator) -> Mask:
    size = rng.uniform(0.75, 1.3)
    side = np.abs(x).astype(np.float32)
    leaning, spread = side - 0.12 * np.abs(y), side - 0.2 * np.clip(y, 0, 60)
    drawn = _within(leaning.astype(np.float32), y, z, (7.5, -14, 78), (5 * size, 22, 8 * size))
    drawn |= _within(spread.astype(np.float32), y, z, (9, 18, 82), (5 * size, 24, 8 * size))
    drawn |= _within(side, y, z, (24, 40, 70), (6 * size, 16, 7 * size))
    drawn |= _within(x, y, z, (0, 2, 62), (2.2 * size, 12, 10))
    drawn |= _within(x, y, z, (0, 38, 24), (7 * size, 5 * size, 9))
    return drawn & inside


def _finish_normal(s: _Shapes, rng: np.random.Generator) -> None:
    """Ventricles, falx, tentorium, sinus and the usual calcifications, in place."""
    s.hu[s.ventricles] = _CSF
    falx = (np.abs(s.x) < 0.8) & s.brain & ((s.z > 88) | (s.y > 45) & (s.z > 45) | (s.y < -48) & (s.z > 50))
    s.hu[falx] = rng.uniform(42, 52)
    sinus = s.brain & (np.hypot(s.x, np.minimum(s.depth, 20) * 1.2) < 5) & (s.z > 40) & ((s.y > 20) | (s.z > 115))
    s.hu[sinus] = rng.uniform(44, 56)
    if rng.random() < 0.5:
        s.hu[_within(s.x, s.y, s.z, (0, 24, 60), (2.5, 2.5, 3))] = rng.uniform(90, 250)
    if rng.random() < 0.4:
        s.hu[_within(np.abs(s.x), s.y, s.z, (25, 40, 70), (3, 4, 3))] = rng.uniform(80, 250)


def _place(s: _Shapes, rng: np.random.Generator, depth_mm: float) -> tuple[float, float, float]:
    """A point of the upper brain this deep, away from the midline."""
    good = s.brain & (np.abs(s.depth - depth_mm) < 2) & (s.z > 60) & (s.z < 115) & (np.abs(s.x) > 18)
    at = np.flatnonzero(good)[rng.integers(int(good.sum()))]
    return float(s.x.ravel()[at]), float(s.y.ravel()[at]), float(s.z.ravel()[at])


def _bleed(s: _Shapes, bleed: HaemorrhageType, large: bool, rng: np.random.Generator) -> Mask:
    """Where the blood is."""
    if bleed is HaemorrhageType.INTRAPARENCHYMAL:
        radius = rng.uniform(17, 24) if large else rng.uniform(7.5, 9)
        near = _ellipsoid(s.x, s.y, s.z, _place(s, rng, 26 if large else 20), (radius, radius * 1.2, radius))
        return np.asarray((near + 0.12 * radius * _waves(s.hu.shape, 12, rng) > 0) & s.brain & ~s.ventricles)
    if bleed is HaemorrhageType.INTRAVENTRICULAR:
        level = rng.uniform(-30, 0) if large else rng.uniform(36, 41)
        upper = s.ventricles & (s.z > 50)
        return np.asarray(upper & (s.y > level))
    place = _place(s, rng, 2.0)
    if bleed is HaemorrhageType.EPIDURAL:
        height = rng.uniform(20, 30) if large else rng.uniform(8, 10)
        chord = height * rng.uniform(2.6, 3.4)
        radius = (height**2 + (chord / 2) ** 2) / (2 * height)
        middle = np.array([0.0, 0.0, 60.0])
        outward = (np.array(place) - middle) / np.linalg.norm(np.array(place) - middle)
        centre = np.array(place) + outward * (radius - height)
        return np.asarray(s.brain & _within(s.x, s.y, s.z, tuple(centre), (radius,) * 3))
    spread = 1.0 if large else 0.65
    offsets = ((s.x - place[0]) / 55, (s.y - place[1]) / 75, (s.z - place[2]) / 45)
    away = np.asarray(sum((o / spread) ** 2 for o in offsets))
    if bleed is HaemorrhageType.SUBDURAL:
        thick = rng.uniform(11, 16) if large else rng.uniform(5, 6.5)
        sheet = s.depth < thick * np.sqrt(np.clip(1 - away, 0, 1))
        return np.asarray(s.brain & sheet & (s.x * place[0] > 0) & (np.abs(s.x) > 2))
    reach = 1.3 if large else 0.7
    wide = ndimage.binary_dilation(s.csf, iterations=1)
    basal = (np.hypot(s.x, s.y) < 45) & (s.z < 55) if large else np.zeros_like(s.csf)
    return np.asarray(wide & s.brain & ~s.ventricles & ((away < reach) | basal))


def synthetic_head(
    seed: int, bleed: HaemorrhageType | None = None, size: Literal["large", "subtle"] = "large"
) -> SyntheticHead:
    """One head, always the same for the same arguments."""
    rng = np.random.default_rng([seed, 20])
    x, y, z = _grid(rng)
    shapes = _brain(x, y, z, np.full(x.shape, _AIR, np.float32), rng)
    _finish_normal(shapes, rng)
    blood = np.zeros(shapes.hu.shape, bool)
    if bleed is not None:
        blood = _bleed(shapes, bleed, size == "large", rng)
        if bleed is HaemorrhageType.INTRAPARENCHYMAL:
            rim = ndimage.binary_dilation(blood, iterations=4) & shapes.brain & (shapes.hu > 15) & (shapes.hu < 45)
            shapes.hu[rim] -= 7
        shapes.hu[blood] = (rng.uniform(58, 68) + 3 * _waves(shapes.hu.shape, 8, rng))[blood]
    hu = shapes.hu.reshape(SLICES, _SUB, *shapes.hu.shape[1:]).mean(1)
    filled = blood.reshape(SLICES, _SUB, *blood.shape[1:]).mean(1) >= 0.5
    hu = ndimage.gaussian_filter(hu, (0, 0.55, 0.55))
    fine = stretch(hu, (SLICES, SIZE, SIZE))
    grain = ndimage.gaussian_filter(rng.standard_normal(fine.shape).astype(np.float32), (0, 0.8, 0.8))
    fine += grain * rng.uniform(8, 13)
    labels = np.zeros(fine.shape, np.uint8)
    if bleed is not None:
        labels[filled.repeat(2, 1).repeat(2, 2)] = 1 + list(HaemorrhageType).index(bleed)
    return SyntheticHead(np.clip(fine, -1024, 3071), labels, SPACING_MM)
