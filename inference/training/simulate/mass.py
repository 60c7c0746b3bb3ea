"""Mass effect: how far a bleed pushes the tissue around it, within the plane.

The brain is taken as an elastic body held by the inner table. Where the bleed displaces it the displacement is known,
at all other bone it is nothing, in between it is harmonic, with fluid more easily squeezed than brain: sulci under the
clot narrow, the near ventricle is compressed and the midline gives way, the less the farther away. Solved on a grid
of about 6 mm.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.heads import stretch
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field, Mask

CELL_MM = 6.0
ROUNDS = 48
FLUID_STIFFNESS = 0.3
LEAST_MM = 0.8


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
    slopes = np.stack(np.gradient(table, axis=(1, 2)))
    inward = slopes / (np.hypot(*slopes) + 1e-3)
    return _relaxed(body, (inward * amount).astype(np.float32), given, factors)


def push_aside(body: Anatomy, known_mm: NDArray[np.float32], known: Mask) -> NDArray[np.float32] | None:
    """(2, plane, row, column) mm along rows and columns, given it on the voxels `known`; None where it is tiny."""
    if not known.any() or float(np.abs(known_mm[:, known]).max()) < LEAST_MM:
        return None
    factors = _factors(body)
    given = _mean(known.astype(np.float32), factors)
    target = np.stack([_mean(part * known, factors) / np.maximum(given, 1e-3) for part in known_mm])
    return _relaxed(body, target, given, factors)


def _relaxed(
    body: Anatomy, target: NDArray[np.float32], given: Field, factors: tuple[int, int, int]
) -> NDArray[np.float32]:
    """The displacement of every voxel, from that of the cells where it is given."""
    inside = _mean(body.inside.astype(np.float32), factors)
    fixed = given > 0.25
    free = (inside > 0.3) & ~fixed
    fluid = _mean(np.maximum(body.csf, body.ventricles), factors)
    solved = _harmonic(np.where(fixed, target, 0).astype(np.float32), free, 1 - (1 - FLUID_STIFFNESS) * fluid)
    planes, rows, columns = body.hu.shape
    padded = tuple(n * f for n, f in zip(inside.shape, factors, strict=True))
    held = (np.clip(body.table_mm / 3.0, 0, 1) * body.inside).astype(np.float32)
    return np.stack([_kept(stretch(part, padded)[:planes, :rows, :columns] * held) for part in solved])


def _kept(part: Field) -> Field:
    """Without the hundredths of a millimetre that would only blur."""
    return np.where(np.abs(part) < 0.05, 0, part).astype(np.float32)


def _factors(body: Anatomy) -> tuple[int, int, int]:
    z, y, x = (max(1, round(CELL_MM / mm)) for mm in body.spacing_mm)
    return z, y, x


def _mean(field: Field, factors: tuple[int, int, int]) -> Field:
    """Block means; the last blocks are filled up with nothing."""
    missing = [(0, -n % f) for n, f in zip(field.shape, factors, strict=True)]
    padded = np.pad(field, missing)
    sizes = [side for n, f in zip(padded.shape, factors, strict=True) for side in (n // f, f)]
    return np.asarray(padded.reshape(sizes).mean((1, 3, 5)), np.float32)


def _harmonic(start: NDArray[np.float32], free: Mask, stiffness: Field) -> NDArray[np.float32]:
    """Relaxes (2, ...) fields where they are free; over-relaxed Jacobi rounds."""
    field = np.pad(start, ((0, 0), (1, 1), (1, 1), (1, 1)))
    stiff = np.pad(stiffness.astype(np.float32), 1, mode="edge")
    core = (slice(1, -1),) * 3
    links = [0.5 * (stiff[core] + stiff[place]) for place in _places()]
    total = np.sum(links, axis=0)
    weights = [np.where(free, link / total, 0).astype(np.float32) for link in links]
    keep = np.where(free, 0, 1).astype(np.float32)
    inner = (slice(None), *core)
    for _ in range(ROUNDS):
        new = start * keep
        for weight, place in zip(weights, _places(), strict=True):
            new = new + weight * field[(slice(None), *place)]
        field[inner] = new
    return np.asarray(field[inner])


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
