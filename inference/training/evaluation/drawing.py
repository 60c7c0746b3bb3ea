"""One drawing against readers' outlines of one head: slice by slice, body by body, and how far its surest voxel is off.

Labels are uint8 (slice, row, column) on the stack's own voxels: of the outlines as in `Truth.mask`, of a drawing 0 for
nothing and n for the n-th of its names.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, outlined_blood
from inference.training.evaluation.records import Body, Drawing, Overlap

TYPES = tuple(kind.value for kind in HaemorrhageType)
SMALLEST_BODY_ML = 0.1

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def overlap(true: Mask, drawn: Mask, known: Mask, voxel_ml: NDArray[np.float64]) -> Overlap:
    """Both on the voxels whose truth is known."""
    per_slice = [part.sum((1, 2)) for part in (true & known, drawn & known)]
    return Overlap(
        int(per_slice[0].sum()),
        int(per_slice[1].sum()),
        int((true & drawn & known).sum()),
        float(per_slice[0] @ voxel_ml),
        float(per_slice[1] @ voxel_ml),
    )


def drawing_of(drawn: Labels, names: Sequence[str], outlined: Labels, voxel_ml: NDArray[np.float64]) -> Drawing:
    """A drawing on the slices with outlined blood, and on no others."""
    known, blood = outlined != UNKNOWN, outlined_blood(outlined)
    slices = np.flatnonzero(blood.any((1, 2)))
    dices = tuple(
        overlap(blood[i : i + 1], drawn[i : i + 1] > 0, known[i : i + 1], voxel_ml[i : i + 1]).dice for i in slices
    )
    whole = overlap(blood[slices], drawn[slices] > 0, known[slices], voxel_ml[slices])
    return Drawing(dices, whole, _bodies(drawn, names, outlined, voxel_ml))


def _bodies(drawn: Labels, names: Sequence[str], outlined: Labels, voxel_ml: NDArray[np.float64]) -> tuple[Body, ...]:
    """Bodies of at least SMALLEST_BODY_ML, connected through planes too; blood of no type belongs to none."""
    found = []
    for place, kind in enumerate(TYPES, start=1):
        bodies, _ = ndimage.label(outlined == place, np.ones((3, 3, 3)))
        for number, where in enumerate(ndimage.find_objects(bodies), start=1):
            within = bodies[where] == number
            volume_ml = float(within.sum((1, 2)) @ voxel_ml[where[0]])
            if volume_ml < SMALLEST_BODY_ML:
                continue
            counts = np.bincount(drawn[where][within], minlength=1 + len(names))[1:]
            found.append(Body(kind, volume_ml, names[int(counts.argmax())] if counts.any() else ""))
    return tuple(found)


def distance_mm(places: NDArray[np.intp], outlined: Labels, stack: SliceStack) -> float | None:
    """From the nearest of these voxels (n, 3) to the nearest outlined voxel, middle to middle; None without either."""
    blood = outlined_blood(outlined)
    if not blood.any() or not len(places):
        return None
    if blood[tuple(places.T)].any():
        return 0.0

    def in_mm(voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.column_stack([stack.depths_mm[voxels[:, 0]], voxels[:, 1:] * np.array(stack.pixel_spacing)])

    there = in_mm(np.argwhere(blood))
    return min(float(np.linalg.norm(there - place, axis=1).min()) for place in in_mm(places))
