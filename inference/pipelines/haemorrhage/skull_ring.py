"""The intracranial space: of the soft tissue that bone rings within planes, the largest body.

A grown skull is dense and closed. A newborn's is thin, soft and open at its sutures, and one after craniectomy lacks a
flap: OPEN_RING asks for less, and takes some scalp where bone is missing. It is for heads that CLOSED_RING leaves out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_PLUS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class Ring:
    """What rings a brain: bone from `bone_hu` on, near at least `share` of its edge; around `smallest_ml` and more."""

    bone_hu: float
    share: float
    smallest_ml: float


CLOSED_RING = Ring(bone_hu=120, share=0.6, smallest_ml=250)
OPEN_RING = Ring(bone_hu=80, share=0.45, smallest_ml=120)


def intracranial(low: NDArray[np.float32], ring: Ring = CLOSED_RING) -> NDArray[np.bool_]:
    """The intracranial space of a stack at 2 mm (plane, row, column); nothing where no ring is found."""
    bodies, count = ndimage.label(ringed(low, ring))
    sizes = np.bincount(bodies.ravel(), minlength=2)
    sizes[0] = 0
    return np.asarray((bodies == sizes.argmax()) & (count > 0))


def ringed(low: NDArray[np.float32], ring: Ring = CLOSED_RING) -> NDArray[np.bool_]:
    """Soft tissue that bone rings in its plane: bodies left by an erosion of 4 mm, grown back."""
    soft = (low > -5) & (low < 110)
    disk = ndimage.iterate_structure(_PLUS, 2)
    near_bone = ndimage.binary_dilation(low > ring.bone_hu, disk[None])
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = _PLUS
    labels, _ = ndimage.label(ndimage.binary_erosion(soft, disk[None]), in_plane)
    found = np.zeros_like(soft)
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = (slice(max(0, s.start - 8), s.stop + 8) for s in where[1:])
        at = (where[0].start, rows, columns)
        core = labels[at] == number
        if core.sum() < 12:
            continue
        grown = ndimage.binary_dilation(core, iterations=5, mask=soft[at])
        filled = ndimage.binary_fill_holes(grown)
        edge = filled & ~ndimage.binary_erosion(filled)
        if (near_bone[at] & edge).sum() >= ring.share * edge.sum():
            found[at] |= grown
    return found
