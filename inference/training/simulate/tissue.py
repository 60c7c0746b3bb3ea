"""Old damage to the brain that is dark, not bright: infarcts, lacunes, hygroma and atrophy."""

import numpy as np
from scipy import ndimage

from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.boxes import EVERYWHERE, axes_in, box_around
from inference.training.simulate.brush import lump, tint
from inference.training.simulate.fields import Field, filled, waves
from inference.training.simulate.places import has_vault, place
from inference.training.simulate.skull import inner_table, outward


def old_infarct(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """A wedge with its base on the cortex, of 8 to 22 HU and with widened sulci; or one to four lacunes."""
    if not has_vault(body):
        return None
    return _lacunes(hu, body, rng) if rng.random() < 0.35 else _wedge(hu, body, rng)


def _wedge(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    at = inner_table(body, rng)
    if at is None:
        return None
    normal = outward(body, at)
    length = float(rng.uniform(25, 55))
    wide = float(rng.uniform(0.35, 1.0))
    apex = at - length * normal
    where = box_around(body, [at, apex], length * wide + 18)
    size = hu[where].shape
    bumps = 4 * waves(size, body.spacing_mm, 20.0, rng) + 2 * waves(size, body.spacing_mm, 8.0, rng)

    def shape_at(lift_mm: float) -> Field:
        parts = [c - a for c, a in zip(axes_in(body, where, lift_mm), apex, strict=True)]
        deep = sum(p * n for p, n in zip(parts, normal, strict=True))
        far = np.sqrt(np.maximum(sum(p**2 for p in parts) - deep**2, 0))
        return np.asarray(np.minimum(deep * wide + 4 - far, deep + 3) + bumps, np.float32)

    side = np.sign(at[2] - body.marks.origin_mm[2])
    share = filled(shape_at, body.spacing_mm[0], float(rng.uniform(2, 6))) * ~body.ventricles[where]
    share *= np.clip(body.marks.side_mm[where] * side - 1, 0, 1)
    cortex = np.clip((6 - body.depth_mm[where]) / 4, 0, 1)
    value = float(rng.uniform(8, 22)) - 6 * cortex + 1.5 * waves(size, body.spacing_mm, 10.0, rng)
    hu = hu.copy()
    tint(body, hu, where, share, np.maximum(value, 4).astype(np.float32))
    return hu if float((share * body.soft[where]).sum()) * body.voxel_ml > 0.5 else None


def _lacunes(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    hu, drawn = hu.copy(), False
    for _ in range(int(rng.integers(1, 5))):
        side = float(rng.choice([-1.0, 1.0]))
        at = place(body, side * rng.uniform(9, 28), rng.uniform(0.34, 0.58), rng.uniform(40, 70))
        made = lump(body, at, tuple(rng.uniform(2, 6, 3)), rng)
        if made is None:
            continue
        share = made[1] * ~body.ventricles[made[0]]
        tint(body, hu, made[0], share, float(rng.uniform(5, 18)))
        drawn |= bool((share * body.soft[made[0]] > 0.3).any())
    return hu if drawn else None


def hygroma(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Fluid of 4 to 16 HU under the inner table of one or both convexities, mostly frontal."""
    if not has_vault(body):
        return None
    share = np.zeros(hu.shape, np.float32)
    for side in (-1.0, 1.0) if rng.random() < 0.6 else (float(rng.choice([-1.0, 1.0])),):
        share = np.maximum(share, _crescent(body, side, rng))
    hu = hu.copy()
    tint(body, hu, EVERYWHERE, share, float(rng.uniform(5, 16)))
    return hu


def _crescent(body: Anatomy, side: float, rng: np.random.Generator) -> Field:
    """The filled share of voxels in a sheet of 3 to 11 mm over one convexity."""
    marks = body.marks
    centre, reach = rng.uniform((0.15, 25), (0.55, 50)), rng.uniform((0.3, 25), (0.55, 45))
    spread = ((marks.along - centre[0]) / reach[0]) ** 2 + ((marks.below - centre[1]) / reach[1]) ** 2
    thick = float(rng.uniform(3, 11)) * np.sqrt(np.clip(1 - spread, 0, 1))
    thick = thick * np.clip((72 - marks.below) / 12, 0, 1) * np.clip((marks.below - 3) / 6, 0, 1)
    thick = thick * (1 + 0.12 * waves(body.hu.shape, body.spacing_mm, 30.0, rng))

    def shape_at(lift_mm: float) -> Field:
        return np.asarray(thick - body.under_table_mm(lift_mm), np.float32)

    half = np.clip(marks.side_mm * side, 0, 1) * (thick > 0.5)
    return np.asarray(filled(shape_at, body.spacing_mm[0]) * half, np.float32)


def atrophy(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Wider sulci, and fluid between brain and skull, most over the frontal lobes."""
    if not has_vault(body):
        return None
    marks = body.marks
    wide = (
        float(rng.uniform(1.0, 4.0)) * (1.3 - marks.along) * (0.8 + 0.5 * waves(hu.shape, body.spacing_mm, 22.0, rng))
    )
    rim = np.clip((wide - body.under_table_mm()) / 2.5 + 0.3, 0, 1) * np.clip((80 - marks.below) / 12, 0, 1)
    wider = ndimage.gaussian_filter(body.csf, (0.3, 1.0, 1.0)) * float(rng.uniform(1.0, 1.7))
    share = np.clip(np.maximum(rim * (wide > 0), wider), 0, 0.95) * np.clip((50 - hu) / 10, 0, 1)
    hu = hu.copy()
    tint(body, hu, EVERYWHERE, np.asarray(share, np.float32), float(rng.uniform(8, 13)))
    return hu
