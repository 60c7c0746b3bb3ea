"""The intracranial space: of the soft tissue that bone rings within planes, the largest body.

A grown skull is dense and closed. A newborn's is thin, soft and open at its sutures, and one after craniectomy lacks a
flap: OPEN_RING asks for less, and takes some scalp where bone is missing. It is for heads that CLOSED_RING leaves out.
At 2 mm a vault of 1 mm and 150 HU is hardly denser than blood: OPEN_RING knows it as a thin shell under the head's
surface that is denser than what lies on both sides. A layer of blood under it looks alike, so that only what is denser
than blood is left out of the space.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -300.0
SCALP_PIXELS = 6  # of 2 mm
SOFTEST_SHELL_HU, DENSEST_BLOOD_HU, DENSEST_SOFT_HU = 60.0, 95.0, 300.0

_PLUS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class Ring:
    """What rings a brain: bone from `bone_hu` on, near at least `share` of its edge; around `smallest_ml` and more.

    `shell_hu` is by how much a thin shell is denser than both its sides; where it is None only bone counts.
    """

    bone_hu: float
    share: float
    smallest_ml: float
    shell_hu: float | None = None


CLOSED_RING = Ring(bone_hu=120, share=0.6, smallest_ml=250)
OPEN_RING = Ring(bone_hu=80, share=0.45, smallest_ml=120, shell_hu=25)


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
    bone = low > ring.bone_hu
    if ring.shell_hu is not None:
        shell = _shell(low, ring.shell_hu)
        bone, soft = bone | shell, soft & ~(shell & (low > DENSEST_BLOOD_HU))
    near_bone = ndimage.binary_dilation(bone, disk[None])
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


def _shell(low: NDArray[np.float32], rise_hu: float) -> NDArray[np.bool_]:
    """Layers of less than 8 mm, denser by `rise_hu` than what lies on both sides, within 12 mm of air."""
    capped = np.minimum(low, DENSEST_SOFT_HU)
    rise = capped - ndimage.grey_opening(capped, (1, 4, 4))
    air = np.stack([ndimage.binary_opening(plane < AIR_HU, np.ones((3, 3)), border_value=1) for plane in low])
    surface = ndimage.binary_dilation(air, ndimage.iterate_structure(_PLUS, SCALP_PIXELS)[None])
    return np.asarray((rise > rise_hu) & (low > SOFTEST_SHELL_HU) & surface)
