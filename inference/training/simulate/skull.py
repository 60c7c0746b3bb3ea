"""What happens to the skull and what lies over it: fractures, scalp swelling, craniotomy, and the head of a child."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import Box, Point, axes_in, box_around
from inference.training.simulate.brush import blend
from inference.training.simulate.fields import Field, filled, pick, waves
from inference.training.simulate.landmarks import coronal_mm, lambdoid_mm
from inference.training.simulate.places import has_vault

LIFTED_MM = 32.0


def inner_table(body: Anatomy, rng: np.random.Generator) -> Point | None:
    """A random place on the inner table of the vault, (z, y, x) mm."""
    allowed = body.vault & (body.below_mm > 12)
    edge = body.inside & (body.table_mm <= 1.5) & allowed[:, None, None]
    return pick(edge, body.spacing_mm, rng)


def outward(body: Anatomy, at_mm: Point) -> Point:
    """Unit vector out of the head at a place on the inner table."""
    away = at_mm - body.marks.origin_mm
    return np.asarray(away / (np.linalg.norm(away) + 1e-6), np.float32)


def fracture(hu: Field, body: Anatomy, at_mm: Point, rng: np.random.Generator) -> Field:
    """A linear gap of 1 to 3 mm through the bone at a place on the inner table; only bone changes."""
    where = box_around(body, [at_mm], 45)
    normal = outward(body, at_mm)
    across = _tangent(normal, rng)
    along = np.cross(normal, across).astype(np.float32)
    half = float(rng.uniform(0.6, 1.5))
    reach = float(rng.uniform(14, 40))
    kinks = 1.6 * waves(hu[where].shape, body.spacing_mm, 12.0, rng)

    def shape_at(lift_mm: float) -> Field:
        parts = [c - a for c, a in zip(axes_in(body, where, lift_mm), at_mm, strict=True)]
        side = sum(p * n for p, n in zip(parts, across, strict=True)) + kinks
        length = np.abs(sum(p * n for p, n in zip(parts, along, strict=True)))
        deep = sum(p * n for p, n in zip(parts, normal, strict=True))
        gap = half * np.clip((reach - length) / 8 + 0.3, 0, 1) - np.abs(side)
        return np.asarray(np.where(deep > -25, gap, -9.0), np.float32)

    share = filled(shape_at, body.spacing_mm[0], 0.8)
    share = share * _of_skull(body, where)
    hu = hu.copy()
    blend(hu, where, share, float(rng.uniform(30, 60)))
    return hu


def _tangent(normal: Point, rng: np.random.Generator) -> Point:
    """A direction across the skull that the planes cut well: the gap never lies within a plane."""
    upright = np.array([1.0, 0, 0], np.float32)
    level = np.cross(upright, normal)
    level /= np.linalg.norm(level) + 1e-6
    steep = np.cross(normal, level)
    angle = float(rng.uniform(-0.9, 0.9))
    return np.asarray(np.cos(angle) * level + np.sin(angle) * steep, np.float32)


def _of_skull(body: Anatomy, where: Box) -> Field:
    """0..1 of bone near the intracranial space, where a gap may be."""
    near = np.stack([ndimage.binary_dilation(plane, iterations=14) for plane in body.inside[where]])
    return np.asarray(near * np.clip((body.hu[where] - 100) / 100, 0, 1) * ~body.inside[where], np.float32)


def scalp_swelling(hu: Field, body: Anatomy, at_mm: Point, rng: np.random.Generator) -> Field:
    """Subgaleal blood of 4 to 14 mm that lifts the scalp over a place on the inner table of the vault.

    The skull stays as it is; nothing is drawn over face and neck.
    """
    reach = float(rng.uniform(25, 55))
    where = box_around(body, [at_mm], reach + 28)
    away, towards = _over_skull(body, where)
    squares = sum((c - a) ** 2 for c, a in zip(axes_in(body, where), at_mm, strict=True))
    bumps = 1 + 0.15 * waves(away.shape, body.spacing_mm, 25.0, rng)
    height = float(rng.uniform(4, 14)) * np.sqrt(np.clip(1 - squares / (reach + 12) ** 2, 0, 1)) * bumps
    height *= _off_face(body)[where[0], where[1]] * (away < LIFTED_MM)
    near = np.flatnonzero((height > 0.5).any((1, 2)))
    scalp = np.minimum(hu[where], 60)
    lifted = scalp.copy()
    lifted[near] = _shifted(scalp[near], (towards[0][near], towards[1][near]), height[near])
    values = float(rng.uniform(38, 68)) + 6 * waves(away.shape, body.spacing_mm, 9.0, rng) + body.grain[where]
    blood = np.clip(height - away + 0.5, 0, 1)
    changed = lifted + blood * (values - lifted)
    hu = hu.copy()
    hu[where] = np.where((height > 0.5) & (away > 0) & (hu[where] < 150), changed, hu[where])
    return hu


def _off_face(body: Anatomy) -> Field:
    """(plane, row, 1) 1 over the vault, 0 over face and neck."""
    marks = body.marks
    face = np.clip((0.25 - marks.along) * 12, 0, 1) * np.clip((marks.below - 45) / 12, 0, 1)
    return np.asarray(np.clip((88 - marks.below) / 15, 0, 1) * (1 - face), np.float32)


def _over_skull(body: Anatomy, where: Box) -> tuple[Field, tuple[Field, Field]]:
    """Distance over the outer table within the plane in mm, 0 in the skull, and its direction (row, column)."""
    skull = body.bone[where] | body.inside[where]
    solid = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(p, iterations=2) | p) for p in skull])
    away = np.stack([ndimage.distance_transform_edt(~plane, sampling=body.spacing_mm[1:]) for plane in solid])
    return away.astype(np.float32), _uphill(away)


def _uphill(away: NDArray[np.floating]) -> tuple[Field, Field]:
    """Unit direction (row, column) in which a distance grows, within each plane."""
    smooth = ndimage.gaussian_filter(away.astype(np.float32), (0, 2, 2))
    rows, columns = np.gradient(smooth, axis=(1, 2))
    length = np.hypot(rows, columns) + np.float32(1e-3)
    return rows / length, columns / length


def _shifted(values: Field, towards: tuple[Field, Field], by_mm: Field) -> Field:
    """What lay nearer by so many mm (= pixels), within each plane; only where it moves at all."""
    out = values.copy()
    for i, plane in enumerate(values):
        rows, columns = np.nonzero(np.abs(by_mm[i]) > 0.2)
        by = by_mm[i][rows, columns]
        at = (rows - by * towards[0][i][rows, columns], columns - by * towards[1][i][rows, columns])
        out[i][rows, columns] = ndimage.map_coordinates(plane, at, order=1, cval=-1000.0)
    return out


def lone_fracture(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A fracture with no blood beneath; mostly some swelling over it."""
    at = inner_table(body, rng)
    if at is None:
        return None
    hu = fracture(hu, body, at, rng)
    return scalp_swelling(hu, body, at, rng) if rng.random() < 0.6 else hu


def lone_swelling(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A swelling of the scalp over an intact skull."""
    at = inner_table(body, rng)
    return None if at is None else scalp_swelling(hu, body, at, rng)


def craniotomy(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A bone flap with its cut, burr holes, plates, and dura that is thickened and partly calcified beneath."""
    at = inner_table(body, rng)
    if at is None:
        return None
    radius = float(rng.uniform(20, 42))
    where = box_around(body, [at], radius + 25)
    hu = hu.copy()
    skull = _of_skull(body, where)
    half = float(rng.uniform(0.7, 1.8))
    uneven = 3 * waves(hu[where].shape, body.spacing_mm, 30.0, rng)

    def far(lift_mm: float) -> Field:
        squares = sum((c - a) ** 2 for c, a in zip(axes_in(body, where, lift_mm), at, strict=True))
        return np.asarray(np.sqrt(squares) + uneven, np.float32)

    cut = filled(lambda lift: half - np.abs(far(lift) - radius), body.spacing_mm[0], 1.0)
    blend(hu, where, cut * skull, float(rng.uniform(20, 60)))
    flap = np.clip((radius - far(0.0)) / 2, 0, 1)
    hu[where] *= 1 - flap * skull * float(rng.uniform(0, 0.3))
    _burr_holes(hu, body, at, radius, where, skull, rng)
    under = np.clip(1 - np.maximum(body.table_mm[where] - 1, 0) / float(rng.uniform(0.8, 2)), 0, 1) * flap
    patches = np.clip(waves(under.shape, body.spacing_mm, 12.0, rng) - 0.3, 0, 1)
    dura = float(rng.uniform(45, 55)) + float(rng.choice([0.0, 1.0])) * patches * float(rng.uniform(60, 250))
    lift = under * body.soft[where] * np.clip(dura - hu[where], 0, None)
    hu[where] += lift
    return hu


def _burr_holes(
    hu: Field, body: Anatomy, at: Point, radius: float, where: Box, skull: Field, rng: np.random.Generator
) -> None:
    """Three to five holes on the cut; over some a small titanium plate on the outer table."""
    normal = outward(body, at)
    first = _tangent(normal, rng)
    second = np.cross(normal, first)
    outer = body.bone[where] & ~np.stack([ndimage.binary_erosion(p, iterations=2) for p in body.bone[where]])
    turn = float(rng.uniform(0, 2 * np.pi))
    holes = int(rng.integers(3, 6))
    for i in range(holes):
        angle = turn + 2 * np.pi * i / holes
        rim = at + radius * (np.cos(angle) * first + np.sin(angle) * second) + 6 * normal
        near = np.sqrt(sum((c - r) ** 2 for c, r in zip(axes_in(body, where), rim, strict=True)))
        blend(hu, where, np.clip((6.0 - near) / 1.5, 0, 1) * skull, float(rng.uniform(-20, 50)))
        if rng.random() < 0.6:
            plate = np.clip((9.0 - near) / 1.5, 0, 1) * outer
            blend(hu, where, np.asarray(plate * _outermost(body, where), np.float32), 2400.0)


def _outermost(body: Anatomy, where: Box) -> NDArray[np.bool_]:
    """Bone next to the scalp."""
    scalp = body.scalp[where]
    return np.stack([ndimage.binary_dilation(plane, iterations=2) for plane in scalp]) & body.bone[where]


def child_head(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """The brain and the skull of a child; its size is for the acquisition."""
    flat = child_brain(hu, body, rng)
    return None if flat is None else child_skull(flat, body, rng)


def child_brain(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Little contrast of grey and white matter."""
    if not _is_whole(body):
        return None
    around = ndimage.gaussian_filter(hu * body.soft, (0, 9, 9)) / (ndimage.gaussian_filter(body.soft, (0, 9, 9)) + 1e-3)
    flat = float(rng.uniform(0.3, 0.8))
    tissue = body.soft * np.clip((body.smooth - 20) / 6, 0, 1) * np.clip((55 - hu) / 10, 0, 1)
    return np.asarray(hu + tissue * flat * (around - body.smooth) - float(rng.uniform(0, 4)) * tissue, np.float32)


def child_skull(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Open sutures and a thin skull; scalp and all that lies in it or in bone moves inward with it."""
    if not _is_whole(body):
        return None
    out = hu.copy()
    found = np.flatnonzero(body.vault & (body.marks.below.ravel() < 80))
    planes = slice(int(found[0]), int(found[-1]) + 1)
    out[planes] = _thinned(hu, body, planes, float(rng.uniform(2.0, 4.5)))
    half = float(rng.uniform(0.6, 2.0))
    wavy = 1.2 * waves(hu.shape, body.spacing_mm, 9.0, rng)
    near = np.stack([ndimage.binary_dilation(plane, iterations=7) for plane in body.inside[planes]])
    skull = near * np.clip((out[planes] - 100) / 100, 0, 1) * ~body.inside[planes]
    for line in (coronal_mm(body.marks), lambdoid_mm(body.marks), body.marks.side_mm):
        gap = np.clip(half - np.abs(line + wavy)[planes] + 0.5, 0, 1) * skull
        out[planes] += gap * (40 - out[planes])
    return np.asarray(out, np.float32)


def _is_whole(body: Anatomy) -> bool:
    """Whether the vault was scanned up to where a child's differs from an adult's."""
    return bool(has_vault(body) and body.marks.below.min() <= 60)


def _thinned(hu: Field, body: Anatomy, planes: slice, keep_mm: float) -> Field:
    """These planes with a skull of about this thickness, the scalp drawn in after it; the brain stays."""
    inside = body.inside[planes]
    away, _ = _over_skull(body, (planes, slice(None), slice(None)))
    solid = away == 0
    deep = np.stack([ndimage.distance_transform_edt(plane, sampling=body.spacing_mm[1:]) for plane in solid])
    over = np.stack([ndimage.distance_transform_edt(~plane, sampling=body.spacing_mm[1:]) for plane in inside])
    thick = ndimage.gaussian_filter(np.clip(over - away + deep, 0.1, 30).astype(np.float32), (0, 3, 3))
    keep = np.minimum(thick, keep_mm * np.maximum(1, thick / 8))
    source = np.where(over < keep, over * thick / keep, over + thick - keep)
    moved = (over - source) * ~inside * _off_face(body)[planes] * (over < 45)
    return _shifted(hu[planes], _uphill(over), moved.astype(np.float32))
