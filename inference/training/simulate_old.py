"""Simulated bleeds in normal heads on the network's grid: all five types, under 1 ml to 150 ml, and a few mimics.

Each bleed is a field in mm, positive inside, made from the head's own anatomy (inner table, sulci, ventricles); what
fraction of a voxel it fills follows from the field at three depths of the plane, so that edges have partial volume.
Everything follows from the random generator passed in. Blood is 50-80 HU (Bergstrom et al. 1977), diluted in CSF.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import HaemorrhageType
from inference.heads import stretch
from inference.training.data import TYPES, TrainingHead

Field = NDArray[np.float32]
PLANE_MM = 5.0
SUB_PLANES_MM = (-1.7, 0.0, 1.7)
UNSURE = 255


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What the simulator needs to know of one normal head; all (plane, row, column) on 1 x 1 x 5 mm voxels."""

    hu: Field
    smooth: Field
    inside: NDArray[np.bool_]
    depth: Field
    ventricles: NDArray[np.bool_]
    planes: NDArray[np.intp]


def anatomy(head: TrainingHead) -> Anatomy:
    """Inner table, ventricles and the planes above the skull base."""
    hu = head.image.astype(np.float32)
    disk = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 4)[None]
    inside = np.asarray(ndimage.binary_closing(head.inside, disk)) & (hu < 110)
    depth = ndimage.distance_transform_edt(inside, sampling=(PLANE_MM, 1, 1)).astype(np.float32)
    smooth = ndimage.gaussian_filter(hu, (0, 1.5, 1.5))
    fluid = ndimage.binary_opening((smooth < 21) & (smooth > -5) & (depth > 22), np.ones((1, 2, 2)))
    bodies, count = ndimage.label(fluid)
    sizes = np.bincount(bodies.ravel())[1:] if count else np.zeros(0)
    ventricles = np.isin(bodies, 1 + np.flatnonzero(sizes > 60))
    areas = inside.sum((1, 2))
    planes = np.flatnonzero(areas > 0.3 * areas.max())
    return Anatomy(hu, smooth, inside, depth, ventricles, planes)


def _coordinates(a: Anatomy, shift_mm: float) -> tuple[Field, Field, Field]:
    z = (np.arange(a.hu.shape[0], dtype=np.float32) * PLANE_MM + shift_mm)[:, None, None]
    y = np.arange(a.hu.shape[1], dtype=np.float32)[None, :, None]
    x = np.arange(a.hu.shape[2], dtype=np.float32)[None, None, :]
    return z, y, x


def _pick(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32] | None:
    """A random voxel of a mask in mm, or None."""
    found = np.flatnonzero(where)
    if not len(found):
        return None
    at = np.array(np.unravel_index(found[rng.integers(len(found))], where.shape), np.float32)
    return at * np.array([PLANE_MM, 1, 1], np.float32)


def _vault(a: Anatomy) -> NDArray[np.bool_]:
    allowed = np.zeros(a.hu.shape[0], bool)
    allowed[a.planes] = True
    return allowed[:, None, None] & a.inside


def _waves(shape: tuple[int, ...], scale_mm: float, rng: np.random.Generator) -> Field:
    """Smooth random field with standard deviation 1 and about this scale."""
    coarse = [max(2, int(np.ceil(n * mm / scale_mm)) + 2) for n, mm in zip(shape, (PLANE_MM, 1, 1), strict=True)]
    noise = rng.standard_normal(coarse).astype(np.float32)
    field = stretch(noise, shape)
    return np.asarray(field / (field.std() + 1e-6), np.float32)


def _filled(field_at: list[Field], width_mm: float = 1.5) -> Field:
    """Fraction of each voxel that lies inside, from the fields at the sub-planes."""
    parts = [np.clip(field / width_mm + 0.5, 0, 1) for field in field_at]
    return np.asarray(np.mean(parts, axis=0), np.float32)


def _epidural(a: Anatomy, rng: np.random.Generator) -> Field | None:
    """A lens between the inner table and a sphere that bulges inward."""
    start = _pick(_vault(a) & (a.depth <= 2), rng)
    if start is None:
        return None
    height = float(np.exp(rng.uniform(np.log(4), np.log(32))))
    chord = height * rng.uniform(2.2, 5.0)
    radius = (height**2 + (chord / 2) ** 2) / (2 * height)
    heart = _heart(a)
    outward = (start - heart) / np.linalg.norm(start - heart)
    centre = start + outward * (radius - height)
    fields = []
    for shift in SUB_PLANES_MM:
        z, y, x = _coordinates(a, shift)
        fields.append(radius - np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2))
    return _filled(fields)


def _heart(a: Anatomy) -> NDArray[np.float32]:
    middle = np.argwhere(a.inside[a.planes]).mean(0) + np.array([a.planes[0], 0, 0])
    return np.asarray(middle * np.array([PLANE_MM, 1, 1]), np.float32)


def _subdural(a: Anatomy, rng: np.random.Generator) -> Field | None:
    """A crescent along the inner table of one side, or a sheet along the falx."""
    start = _pick(_vault(a) & (a.depth <= 2), rng)
    if start is None:
        return None
    thick = float(np.exp(rng.uniform(np.log(2.5), np.log(16))))
    reach = np.array([rng.uniform(20, 70), rng.uniform(35, 95), rng.uniform(35, 95)], np.float32)
    middle = (a.hu.shape[2] - 1) / 2
    side = 1.0 if start[2] > middle else -1.0
    falx = rng.random() < 0.08
    z, y, x = _coordinates(a, 0.0)
    spread = ((z - start[0]) / reach[0]) ** 2 + ((y - start[1]) / reach[1]) ** 2
    if falx:
        thick = min(thick, 6.0)
        taper = thick * np.sqrt(np.clip(1 - spread, 0, 1)) * (1 + 0.2 * _waves(a.hu.shape, 25, rng))
        away = (x - middle) * side
        return _filled([np.where(a.smooth > 5, np.minimum(away + 0.5, taper - away), -9.0).astype(np.float32)])
    spread = spread + ((x - start[2]) / reach[2]) ** 2
    taper = thick * np.sqrt(np.clip(1 - spread, 0, 1)) * (1 + 0.15 * _waves(a.hu.shape, 30, rng))
    field = np.minimum(taper - a.depth + 0.5, (x - middle) * side + 1)
    return _filled([field.astype(np.float32)])


def _subarachnoid(a: Anatomy, rng: np.random.Generator) -> Field | None:
    """Blood in the sulci and cisterns near one place."""
    weight = a.inside.astype(np.float32)
    around = ndimage.gaussian_filter(a.hu * weight, (0, 6, 6)) / (ndimage.gaussian_filter(weight, (0, 6, 6)) + 1e-3)
    csf = np.maximum((22 - a.smooth) / 7, (around - a.smooth - 3.5) / 5)
    csf[a.ventricles] = -1
    fluid = _vault(a) & (csf > 0.4) & (a.depth > 1)
    start = _pick(fluid, rng)
    if start is None:
        return None
    reach = float(rng.uniform(14, 55))
    z, y, x = _coordinates(a, 0.0)
    near = 1 - np.sqrt((1.3 * (z - start[0])) ** 2 + (y - start[1]) ** 2 + (x - start[2]) ** 2) / reach
    near = np.clip(3 * near + 0.5 * _waves(a.hu.shape, 15, rng) * (near > 0), 0, 1)
    return np.asarray(np.clip(csf * 1.4, 0, 1) * near * (a.depth > 0.5), np.float32)


def _blob(a: Anatomy, start: NDArray[np.float32], radius: float, rng: np.random.Generator) -> list[Field]:
    stretch = rng.uniform(0.7, 1.4, 3)
    bumps = _waves(a.hu.shape, max(6.0, radius), rng) * radius * rng.uniform(0.05, 0.25)
    fields = []
    for shift in SUB_PLANES_MM:
        z, y, x = _coordinates(a, shift)
        offsets = [(c - s) / k for c, s, k in zip((z, y, x), start, stretch, strict=True)]
        fields.append(
            (radius + bumps - np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)).astype(np.float32)
        )
    return fields


def _intraparenchymal(a: Anatomy, rng: np.random.Generator) -> tuple[Field, Field] | None:
    """One deep blob or a group of small contusions, and the oedema around."""
    radius = float(np.exp(rng.uniform(np.log(2.5), np.log(28))))
    several = radius < 9 and rng.random() < 0.4
    deep = _vault(a) & (a.depth > min(radius * 0.7, 15.0)) & ~a.ventricles
    start = _pick(deep & (a.depth < 25) if several else deep, rng)
    if start is None:
        return None
    filled, oedema = np.zeros_like(a.hu), np.zeros_like(a.hu)
    for _ in range(int(rng.integers(2, 6)) if several else 1):
        at = start + (rng.normal(0, 1, 3) * np.array([7, 9, 9])).astype(np.float32) * several
        fields = _blob(a, at, radius * float(rng.uniform(0.6, 1.1) if several else 1), rng)
        filled = np.maximum(filled, _filled(fields, float(rng.uniform(1.2, 4.0))))
        width = float(rng.uniform(1, 9))
        oedema = np.maximum(oedema, np.clip((fields[1] + width) / width, 0, 1))
    return filled, oedema


def _intraventricular(a: Anatomy, rng: np.random.Generator) -> Field | None:
    """Blood that lies in the dependent (posterior) part of the ventricles, or fills one."""
    if a.ventricles.sum() < 150:
        return None
    _, y, x = _coordinates(a, 0.0)
    fluid = ndimage.gaussian_filter(
        ndimage.binary_dilation(a.ventricles, np.ones((1, 3, 3))).astype(np.float32), (0.3, 0.8, 0.8)
    )
    rows = np.flatnonzero(a.ventricles.any((0, 2)))
    level = rows[0] + (rows[-1] - rows[0]) * rng.uniform(-0.1, 0.95)
    field = y - level + 2 * _waves(a.hu.shape, 20, rng)
    if rng.random() < 0.5:
        field = np.minimum(field, (x - (a.hu.shape[2] - 1) / 2) * rng.choice([-1.0, 1.0]) + 3)
    return np.asarray(np.clip(fluid * 1.5, 0, 1) * np.clip(field / 3 + 0.5, 0, 1), np.float32)


def _paste(a: Anatomy, hu: Field, filled: Field, blood_hu: float, uneven: float, rng: np.random.Generator) -> Field:
    """Blood in place of tissue, with the scan's own noise kept; returns the fraction really filled."""
    filled = filled * _soft_inside(a)
    texture = blood_hu + uneven * _waves(a.hu.shape, 8, rng)
    noise = np.clip(a.hu - a.smooth, -12, 12)
    hu += filled * (texture + noise - hu)
    return filled


def _soft_inside(a: Anatomy) -> Field:
    return np.asarray(a.inside * np.clip((120 - a.hu) / 20, 0, 1), np.float32)


def _bleed(a: Anatomy, hu: Field, kind: HaemorrhageType, rng: np.random.Generator) -> Field | None:
    """Adds one bleed of a kind to `hu` in place; the filled fraction, or None where the anatomy has no place for it."""
    uneven = float(rng.uniform(0, 5))
    if kind is HaemorrhageType.INTRAPARENCHYMAL:
        made = _intraparenchymal(a, rng)
        if made is None:
            return None
        hu -= float(rng.uniform(2, 11)) * made[1] * _soft_inside(a)
        return _paste(a, hu, made[0], float(rng.uniform(50, 78)), uneven, rng)
    makers = {
        HaemorrhageType.EPIDURAL: (_epidural, 50, 75),
        HaemorrhageType.SUBDURAL: (_subdural, 46, 78),
        HaemorrhageType.SUBARACHNOID: (_subarachnoid, 44, 72),
        HaemorrhageType.INTRAVENTRICULAR: (_intraventricular, 44, 75),
    }
    maker, low, high = makers[kind]
    filled = maker(a, rng)
    if filled is None:
        return None
    return _paste(a, hu, filled, float(rng.uniform(low, high)), uneven, rng)


def _mimics(a: Anatomy, hu: Field, rng: np.random.Generator) -> None:
    """Calcifications, a bright sinus or falx, and a streak near the skull base, in place."""
    soft = _soft_inside(a)
    if rng.random() < 0.35:
        start = _pick(_vault(a) & (a.depth > 30), rng)
        if start is not None:
            blob = _filled(_blob(a, start, float(rng.uniform(1.5, 4)), rng))
            hu += blob * soft * (float(rng.uniform(80, 300)) - hu).clip(0)
    middle = (a.hu.shape[2] - 1) / 2
    if rng.random() < 0.4:
        _, y, x = _coordinates(a, 0.0)
        line = np.clip(1.8 - np.abs(x - middle - rng.normal(0, 1)), 0, 1) * (a.smooth > 15)
        sinus = np.clip(5.5 - np.hypot(x - middle, a.depth), 0, 1) * (y > a.hu.shape[1] / 2)
        hu += soft * np.maximum(line, sinus) * float(rng.uniform(3, 18))
    if rng.random() < 0.3:
        low = a.planes[: max(2, len(a.planes) // 3)]
        bands = _waves(a.hu.shape, float(rng.uniform(12, 35)), rng)[low] * float(rng.uniform(1, 5))
        hu[low] += bands * soft[low]


def simulate(
    head: TrainingHead, a: Anatomy, rng: np.random.Generator, kinds: tuple[HaemorrhageType, ...]
) -> TrainingHead:
    """The head with these bleeds (one of a kind that finds no place is left out); later ones lie over earlier ones."""
    hu = a.hu.copy()
    _mimics(a, hu, rng)
    voxels = np.zeros(hu.shape, np.uint8)
    for kind in kinds:
        filled = _bleed(a, hu, kind, rng)
        if filled is None:
            continue
        voxels[(filled > 0.12) & (filled <= 0.45)] = UNSURE
        voxels[filled > 0.45] = 1 + TYPES.index(kind)
    labels = np.stack([(voxels == 1 + i).sum((1, 2)) >= 8 for i in range(len(TYPES))], 1)
    return TrainingHead(hu.astype(np.float16), head.inside, head.depth_mm, labels, voxels)
