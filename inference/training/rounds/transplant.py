"""A real, outlined bleed in another head: its own grain and edges before an anatomy that the network knows as normal.

After copy-paste augmentation (Ghiasi et al., CVPR 2021, doi 10.1109/CVPR46437.2021.00294). Each plane of the donor is
bent to the carrier's: at every angle about the middle of the intracranial space, what lies at a share of the way to the
inner table lies at the same share there. So blood that hugs the skull goes on hugging it. There is no mass effect.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.training.datasets.base import UNKNOWN, UNTYPED
from inference.training.rounds.data import TrainingHead, with_any
from inference.training.simulate.scene import shown_types

ANGLES = 180
FEWEST_PIXELS = 400  # of the intracranial space in a plane; below, at the skull's top, there is no shape to bend
LIKE = 1.6  # how many times larger one plane's intracranial space may be than the other's
APART_MM = 3.0
BRAIN_HU = (0, 60)

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Luck:
    """`turn` radians, `below_mm` how much deeper the bleed lies in the carrier, `brighter` HU."""

    mirrored: bool
    turn: float
    below_mm: float
    brighter: float


def transplanted(donor: TrainingHead, carrier: TrainingHead, rng: np.random.Generator) -> TrainingHead:
    """The carrier, a head without haemorrhage, with the donor's outlined blood, mirrored or not, a little moved."""
    luck = _Luck(rng.random() < 0.5, rng.normal(0, 0.1), rng.normal(0, 5), rng.normal(0, 3))
    image, voxels = carrier.image.astype(np.float32), np.zeros_like(carrier.voxels)
    for plane, depth in enumerate(carrier.depth_mm):
        away = np.abs(donor.depth_mm + luck.below_mm - depth)
        source = int(away.argmin())
        if away[source] <= APART_MM and _is_blood(donor.voxels[source]).any():
            _paste(donor, source, image[plane], voxels[plane], carrier.inside[plane], luck)
    return TrainingHead(image.astype(np.float16), carrier.inside, carrier.depth_mm, _labels(voxels), voxels)


def has_blood_to_give(head: TrainingHead) -> bool:
    """Whether somebody outlined blood in the head."""
    return bool(_is_blood(head.voxels).any())


def _is_blood(voxels: NDArray[np.uint8]) -> Mask:
    return np.asarray((voxels > 0) & (voxels != UNKNOWN))


def _paste(
    donor: TrainingHead, source: int, image: Plane, voxels: NDArray[np.uint8], inside: Mask, luck: _Luck
) -> None:
    """Changes `image` and `voxels` (row, column) of one plane of the carrier."""
    step = -1 if luck.mirrored else 1
    theirs, given, drawn = (each[source][:, ::step] for each in (donor.inside, donor.image, donor.voxels))
    smaller, larger = sorted((int(theirs.sum()), int(inside.sum())))
    if smaller < FEWEST_PIXELS or larger > LIKE * smaller:
        return
    given, blood = given.astype(np.float32), _is_blood(drawn)
    at = _source_of(inside, theirs, luck.turn)
    share = ndimage.map_coordinates(ndimage.gaussian_filter(blood.astype(np.float32), 0.7), at, order=1) * inside
    tone = _tone(image, inside) - _tone(given, theirs & ~blood) + luck.brighter
    image += share * (ndimage.map_coordinates(given, at, order=1) + tone - image)
    landed = (share > 0.5) & inside
    voxels[landed] = ndimage.map_coordinates(np.where(blood, drawn, 0), at, order=0)[landed]


def _source_of(inside: Mask, theirs: Mask, turn: float) -> NDArray[np.float64]:
    """(2, row, column): where in the donor's plane each pixel of the carrier's comes from."""
    middle, their_middle = ndimage.center_of_mass(inside), ndimage.center_of_mass(theirs)
    y, x = np.indices(inside.shape, np.float64) - np.reshape(middle, (2, 1, 1))
    angle = np.arctan2(y, x)
    stretch = _along(_radii(theirs, their_middle), angle + turn) / _along(_radii(inside, middle), angle)
    reach = np.hypot(y, x) * stretch
    return np.stack([reach * np.sin(angle + turn) + their_middle[0], reach * np.cos(angle + turn) + their_middle[1]])


def _radii(inside: Mask, middle: tuple[float, ...]) -> NDArray[np.float64]:
    """(ANGLES,) pixels from the middle to the edge of the intracranial space, smoothed over neighbouring angles."""
    angles = np.arange(ANGLES) / ANGLES * 2 * np.pi
    reach = np.arange(1.0, max(inside.shape))
    places = np.stack([middle[0] + reach * np.sin(angles)[:, None], middle[1] + reach * np.cos(angles)[:, None]])
    met = ndimage.map_coordinates(inside.astype(np.float32), places, order=0)
    farthest = np.where(met > 0, reach, 1.0).max(1)
    return np.asarray(ndimage.gaussian_filter1d(farthest, 1.0, mode="wrap"))


def _along(radii: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    turns = (angle / (2 * np.pi) % 1) * ANGLES
    return np.asarray(np.interp(turns, np.arange(ANGLES + 1), np.append(radii, radii[0])))


def _tone(image: Plane, where: Mask) -> float:
    """Median HU of what may be brain."""
    values = image[where & (image > BRAIN_HU[0]) & (image < BRAIN_HU[1])]
    return float(np.median(values)) if len(values) else 0.0


def _labels(voxels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels = with_any(shown_types(voxels))
    untyped = (voxels == UNTYPED).any((1, 2))
    labels[untyped, 0] = 1
    labels[untyped, 1:] = np.where(labels[untyped, 1:] == 1, 1, UNKNOWN)
    return labels
