"""Old damage to the brain that is dark, not bright: infarcts, lacunes, hygroma and atrophy."""

import numpy as np

from inference.training.simulate.anatomy import Anatomy
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
    length = float(rng.uniform(22, 48))
    wide = float(rng.uniform(0.35, 0.9))
    apex = at - length * normal
    bumps = 3 * waves(hu.shape, body.spacing_mm, 18.0, rng)
    from inference.training.simulate.fields import coordinates

    def shape_at(lift_mm: float) -> Field:
        parts = [c - a for c, a in zip(coordinates(hu.shape, body.spacing_mm, lift_mm), apex, strict=True)]
        deep = sum(p * n for p, n in zip(parts, normal, strict=True))
        far = np.sqrt(np.maximum(sum(p**2 for p in parts) - deep**2, 0))
        return np.asarray(np.minimum(deep * wide + 4 - far, deep + 3) + bumps, np.float32)

    same_side = np.clip(body.marks.side_mm * np.sign(at[2] - body.marks.origin_mm[2]) - 1, 0, 1)
    share = filled(shape_at, body.spacing_mm[0], float(rng.uniform(2, 6))) * same_side * ~body.ventricles
    cortex = np.clip((6 - body.depth_mm) / 4, 0, 1)
    value = float(rng.uniform(8, 22)) - 6 * cortex + 1.5 * waves(hu.shape, body.spacing_mm, 10.0, rng)
    hu = hu.copy()
    tint(body, hu, (slice(None), slice(None), slice(None)), share, np.maximum(value, 4).astype(np.float32))
    return hu if float((share * body.soft).sum()) * body.voxel_ml > 0.5 else None


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
    marks = body.marks
    share = np.zeros(hu.shape, np.float32)
    for side in (-1.0, 1.0) if rng.random() < 0.6 else (float(rng.choice([-1.0, 1.0])),):
        thick = float(rng.uniform(3, 11))
        centre = (float(rng.uniform(0.15, 0.55)), float(rng.uniform(25, 50)))
        reach = (float(rng.uniform(0.3, 0.55)), float(rng.uniform(25, 45)))
        spread = ((marks.along - centre[0]) / reach[0]) ** 2 + ((marks.below - centre[1]) / reach[1]) ** 2
        taper = thick * np.sqrt(np.clip(1 - spread, 0, 1)) * (1 + 0.12 * waves(hu.shape, body.spacing_mm, 30.0, rng))
        this = np.clip(marks.side_mm * side, 0, 1)
        share = np.maximum(
            share,
            filled(lambda lift, t=taper: t - body.under_table_mm(lift), body.spacing_mm[0]) * this * (taper > 0.5),
        )
    hu = hu.copy()
    tint(body, hu, (slice(None), slice(None), slice(None)), share, float(rng.uniform(4, 16)))
    return hu


def atrophy(hu: Field, body: Anatomy, rng: np.random.Generator) -> Field | None:
    """Wide sulci and a rim of fluid over the whole convexity."""
    if not has_vault(body):
        return None
    wide = float(rng.uniform(1.0, 3.0))
    rim = np.clip(wide - body.under_table_mm() + 0.5, 0, 1) * np.clip((85 - body.marks.below) / 10, 0, 1)
    sulci = np.clip(body.csf * float(rng.uniform(1.2, 2.2)), 0, 1)
    hu = hu.copy()
    share = np.asarray(np.maximum(rim, sulci), np.float32)
    tint(body, hu, (slice(None), slice(None), slice(None)), share, float(rng.uniform(6, 12)))
    return hu
