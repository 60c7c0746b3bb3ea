"""Mass effect: how far a bleed pushes the tissue around it, within the plane.

The brain is taken as an elastic body held by the inner table. Where the bleed displaces it the displacement is known,
at all other bone it is nothing, in between it is harmonic, with fluid more easily squeezed than brain: sulci under the
clot narrow, the near ventricle is compressed and the midline gives way, the less the farther away. Solved on a grid
of about 6 mm.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.synthetic_head import stretch
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field, Mask

CELL_MM = 6.0
COARSE_ROUNDS, FINE_ROUNDS = 90, 16
FLUID_STIFFNESS = 0.3
LEAST_MM = 0.8
LEAST_KEPT_MM = 0.05
FRICTION = 0.15
YIELDS = 0.45


def push_inward(body: Anatomy, thick_mm: Field) -> NDArray[np.float32] | None:
    """(2, plane, row, column) mm along rows and columns, under blood of this thickness on the inner table.

    Tissue gives way from the table it lay on; None where that is next to nothing.
    """
    known = (thick_mm > 0.5) & (body.depth_mm < np.maximum(thick_mm, 4)) & body.inside
    if not known.any() or float(thick_mm[known].max()) < LEAST_MM:
        return None
    factors = _factors(body)
    given = _mean(known.astype(np.float32), factors)
    amount = _mean(np.maximum(thick_mm - 0.5, 0) * 0.9 * known, factors) / np.maximum(given, 1e-3)
    table = ndimage.gaussian_filter(_mean(body.table_mm, factors), (0, 0.7, 0.7))
    slopes = np.stack(np.gradient(table, axis=(1, 2))).astype(np.float32)
    inward = slopes / (np.hypot(*slopes) + 1e-3)
    return _relaxed(body, (inward * amount).astype(np.float32), given, factors, YIELDS)


def push_aside(body: Anatomy, known_mm: NDArray[np.float32], known: Mask) -> NDArray[np.float32] | None:
    """(2, plane, row, column) mm along rows and columns, given it on the voxels `known`; None where it is tiny."""
    if not known.any() or float(np.abs(known_mm[:, known]).max()) < LEAST_MM:
        return None
    factors = _factors(body)
    given = _mean(known.astype(np.float32), factors)
    total = np.stack([_mean(part * known, factors) for part in known_mm])
    target = (total / np.maximum(given, 1e-3)).astype(np.float32)
    return _relaxed(body, target, given, factors, YIELDS)


def _relaxed(
    body: Anatomy, target: NDArray[np.float32], given: Field, factors: tuple[int, int, int], yields: float
) -> NDArray[np.float32]:
    """The displacement of every voxel, from that of the cells where it is given."""
    inside = _mean(body.inside.astype(np.float32), factors)
    fixed = given > 0.25
    free = (inside > 0.3) & ~fixed
    bone = ~free & ~fixed
    fluid = _mean(np.maximum(body.csf, body.ventricles), factors)
    known = np.where(fixed, target, 0).astype(np.float32)
    solved = _harmonic(known, free, bone, (1 - (1 - FLUID_STIFFNESS) * fluid).astype(np.float32))
    solved = _yielding(solved, _mean(body.depth_mm, factors), yields)
    planes, rows, columns = body.hu.shape
    padded = tuple(n * f for n, f in zip(inside.shape, factors, strict=True))
    fine = np.stack([stretch(part, padded)[:planes, :rows, :columns] for part in solved])
    fine = held_by_bone(body, fine)
    return np.where(np.abs(fine) < LEAST_KEPT_MM, 0, fine).astype(np.float32)


def held_by_bone(body: Anatomy, push_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pushes shortened where tissue would come from bone, or from between pixels one of which is bone."""
    diagonal = float(np.hypot(*body.spacing_mm[1:]))
    most_mm = np.where(body.inside, np.maximum(body.table_mm - diagonal, 0), 0)
    return np.asarray(push_mm * np.minimum(1, most_mm / np.maximum(np.hypot(*push_mm), 1e-3)), np.float32)


def _yielding(solved: NDArray[np.float32], depth_mm: Field, power: float) -> NDArray[np.float32]:
    """Deep in the head brain, which is hardly compressible, passes on more of a push than an elastic sheet would."""
    length = np.hypot(*solved)
    share = length / max(float(length.max()), 1e-3)
    powers = 1 - (1 - power) * np.clip((depth_mm - 5) / 25, 0, 1)
    return np.asarray(solved * np.maximum(share, 1e-3) ** (powers - 1), np.float32)


def _factors(body: Anatomy) -> tuple[int, int, int]:
    z, y, x = (max(1, round(CELL_MM / mm)) for mm in body.spacing_mm)
    return z, y, x


def _mean(field: Field, factors: tuple[int, int, int]) -> Field:
    """Block means; the last blocks are filled up with nothing."""
    missing = [(0, -n % f) for n, f in zip(field.shape, factors, strict=True)]
    padded = np.pad(field, missing)
    sizes = [side for n, f in zip(padded.shape, factors, strict=True) for side in (n // f, f)]
    return np.asarray(padded.reshape(sizes).mean((1, 3, 5)), np.float32)


def _harmonic(known: NDArray[np.float32], free: Mask, bone: Mask, stiffness: Field) -> NDArray[np.float32]:
    """(2, ...) fields that are harmonic where free and `known` elsewhere, first on cells twice as wide."""
    half = (2, 2, 2)
    given = _mean((~free).astype(np.float32), half)
    mean = np.stack([_mean(part, half) for part in known]) / np.maximum(given, np.float32(0.25))
    hard = _mean(bone.astype(np.float32), half) > 0.5
    moved = np.where(hard, 0, mean).astype(np.float32)
    stiff = (_mean(stiffness, half) + 1e-3).astype(np.float32)
    wide = _rounds(moved, moved, (given < 0.5) & ~hard, hard, stiff, COARSE_ROUNDS)
    shape = tuple(n * f for n, f in zip(given.shape, half, strict=True))
    planes, rows, columns = free.shape
    start = np.stack([stretch(part, shape)[:planes, :rows, :columns] for part in wide])
    return _rounds(np.where(free, start, known).astype(np.float32), known, free, bone, stiffness, FINE_ROUNDS)


def _rounds(
    start: NDArray[np.float32], known: NDArray[np.float32], free: Mask, bone: Mask, stiffness: Field, rounds: int
) -> NDArray[np.float32]:
    """Jacobi rounds: every free cell takes the mean of its neighbours, weighed by the stiffness between them.

    Bone holds what moves against it; tissue slides along it but for a little friction.
    """
    core = (slice(1, -1),) * 3
    stiff, hard = np.pad(stiffness, 1, mode="edge"), np.pad(bone, 1, constant_values=True)
    links = []
    for number, place in enumerate(_places()):
        link = 0.5 * (stiff[core] + stiff[place])
        along = [number // 2 == axis for axis in (1, 2)]
        links.append(np.stack([np.where(hard[place] & (not facing), FRICTION * link, link) for facing in along]))
    total = np.sum(links, axis=0)
    weights = [np.where(free, link / total, 0).astype(np.float32) for link in links]
    held = np.where(free, 0, known).astype(np.float32)
    field = np.pad(start.astype(np.float32), ((0, 0), (1, 1), (1, 1), (1, 1)))
    for _ in range(rounds):
        new = held.copy()
        for weight, place in zip(weights, _places(), strict=True):
            new += weight * field[(slice(None), *place)]
        field[(slice(None), *core)] = new
    return np.asarray(field[(slice(None), *core)], np.float32)


def _places() -> list[tuple[slice, slice, slice]]:
    """The six neighbours of every cell of a field padded by one."""
    middle, before, after = slice(1, -1), slice(0, -2), slice(2, None)
    return [
        (before, middle, middle),
        (after, middle, middle),
        (middle, before, middle),
        (middle, after, middle),
        (middle, middle, before),
        (middle, middle, after),
    ]
