"""The numbers that the rules for a plain head CT compare with their limits; a rule's number is measured here alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.measured_head import (
    AIR_BELOW_HU,
    BEYOND_BLOOD_HU,
    BRIGHTEST_BRAIN_HU,
    LOW_MM,
    Field,
    Head,
    Mask,
    Structure,
)
from inference.pipelines.haemorrhage.skull_ring import OPEN_RING, ringed

METAL_HU = 2200.0
SINUS_MM2 = 160.0
BONE_HU = 250.0
BRAIN_HU, DARKEST_BRAIN_HU = 18.0, 10.0

_PLUS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was measured of one head.

    `air_hu` is the level of the air, None where the field of view shows too little of it. `level_hu` and `spread_hu`
    are the median of what the skull holds and its 80 % range; `brain_share` and `dark_share` are the shares of it from
    BRAIN_HU and from DARKEST_BRAIN_HU up to the brightest brain. `bone_hu`, `filling` and `structure` are those of
    Head; `rise_hu` is by how much what rings the brain is denser than it. `height` is in widths; `smaller_end` and
    `larger_end` are the areas of the two ends in widest areas. `noise_hu`, `rim_hu` (level of the rim along the inner
    table) and `darker_hu` (by how much it is darker than brain) tell the kernel. `vessels` is how many bright bodies
    most planes show, `sinuses` the share of planes with a bright sinus.
    """

    held_ml: float
    air_hu: float | None
    level_hu: float
    spread_hu: float
    brain_share: float
    dark_share: float
    filling: float
    bone_hu: float
    rise_hu: float
    structure: Structure | None
    height_mm: float
    height: float
    smaller_end: float
    larger_end: float
    is_cut_sideways: bool
    noise_hu: float
    darker_hu: float
    rim_hu: float
    vessels: float
    sinuses: float


def numbers_of(head: Head, held_ml: float, hu: Field, spacing: tuple[float, float], near_bone: bool) -> Numbers:
    """All numbers of a head; `hu` and `spacing` as scanned; `near_bone`: what lies near dense bone may be vessels."""
    values = head.smooth[head.deep]
    level = float(np.median(values))
    low, high = np.percentile(values, [10, 90])
    height_mm, height, ends = _shape(head)
    noise, rim_hu = _kernel(head, hu, spacing, level)
    vessels, sinuses = _vessels(head, near_bone and head.bone_hu >= BONE_HU)
    return Numbers(
        held_ml=held_ml,
        air_hu=_air_hu(head.low),
        level_hu=level,
        spread_hu=float(high - low),
        brain_share=_share_between(head, BRAIN_HU),
        dark_share=_share_between(head, DARKEST_BRAIN_HU),
        filling=head.filling,
        bone_hu=head.bone_hu,
        rise_hu=head.edge_hu - level,
        structure=head.structure,
        height_mm=height_mm,
        height=height,
        smaller_end=ends[0],
        larger_end=ends[1],
        is_cut_sideways=_is_cut_sideways(head),
        noise_hu=noise,
        darker_hu=level - rim_hu,
        rim_hu=rim_hu,
        vessels=vessels,
        sinuses=sinuses,
    )


def _air_hu(low: Field) -> float | None:
    air = low[low < AIR_BELOW_HU]
    return float(np.median(air)) if len(air) >= 0.05 * low.size else None


def _share_between(head: Head, darkest_hu: float) -> float:
    values = head.smooth[head.deep]
    return float(((values > darkest_hu) & (values < BRIGHTEST_BRAIN_HU)).mean())


def _shape(head: Head) -> tuple[float, float, list[float]]:
    """The brain's height in mm and in widths, and the share of the widest area at its two ends, the smaller one first.

    Metal hides what lies around it, so its planes count, and what bone rings beyond them.
    """
    rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(head.inside.any(0)))
    areas = head.inside.sum((1, 2))
    widest = int(areas.max())
    wide = np.flatnonzero(areas > 0.2 * widest)[[0, -1]]
    metal = (head.low[:, rows, columns] > METAL_HU).sum((1, 2)) > 2
    if any(metal[max(0, end - 3) : end + 4].any() and areas[end] > 0.4 * widest for end in wide):
        beyond = ringed(head.low)[:, rows, columns].sum((1, 2))
        areas = np.clip(np.maximum(areas, beyond), np.where(metal, widest // 2, 0), widest)
    shown = np.flatnonzero(areas > 0.01 * widest)
    height_mm = float(head.slab_mm[shown].sum())
    height = height_mm / (2 * LOW_MM * float(np.sqrt(widest / np.pi)))
    return height_mm, height, sorted(float(areas[end]) / widest for end in (shown[0], shown[-1]))


def _is_cut_sideways(head: Head) -> bool:
    """Whether in most planes bone meets the edge of the field of view, with no scalp between."""
    met = []
    for plane in head.low[head.vault]:
        bodies, _ = ndimage.label(np.pad(plane < -700, 1, constant_values=True))
        beyond = ndimage.binary_dilation(bodies == bodies[0, 0])[1:-1, 1:-1]
        met.append(int((beyond & (plane > 300)).sum()))
    return float(np.median(met)) >= 8


def _kernel(head: Head, hu: Field, spacing: tuple[float, float], level: float) -> tuple[float, float]:
    """Noise from pixel to pixel, and HU of the rim along the inner table; on three slices as scanned.

    A skull that is hardly dense has no such rim: then it is `level`.
    """
    noises, rims = [], []
    wide = max(1, round(1 / min(spacing)))
    for at in np.linspace(0.25, 0.75, 3):
        place = int(at * (len(head.vault) - 1))
        plane = hu[min(len(hu) - 1, int((head.vault[place] + 0.5) * len(hu) / len(head.low)))]
        rows, columns = (_nearest(plane.shape[a], spacing[a], head.low.shape[a + 1]) for a in (0, 1))
        deep, skull = (mask[place][np.ix_(rows, columns)] for mask in (head.deep, head.skull))
        steps = np.diff(plane, axis=1)[deep[:, 1:]]
        noises.append(1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2))
        near = ndimage.binary_dilation(plane > 300, iterations=wide)
        rim = skull & ~near & ndimage.binary_dilation(near, iterations=wide)
        rims += [float(np.median(plane[rim]))] if rim.any() else []
    return float(np.median(noises)), float(np.median(rims)) if rims and head.bone_hu >= BONE_HU else level


def _nearest(pixels: int, spacing: float, low_pixels: int) -> NDArray[np.intp]:
    """For each pixel of an axis the nearest one at LOW_MM; both are centred on the same point."""
    at = (np.arange(pixels) - (pixels - 1) / 2) * spacing / LOW_MM + (low_pixels - 1) / 2
    return np.asarray(np.clip(np.rint(at), 0, low_pixels - 1), np.intp)


def _vessels(head: Head, near_bone: bool) -> tuple[float, float]:
    """How many bright bodies the median plane shows, and the share of planes with a bright sinus.

    Where bone is soft or missing, pieces of it may count as inside: then only small bodies deep in the head are
    vessels, unless `near_bone`.
    """
    low = head.low[head.vault]
    deep = head.deep if near_bone else ndimage.binary_erosion(head.deep, _PLUS[None], iterations=3)
    most_mm2 = np.inf if near_bone else SINUS_MM2 / 2
    counts = [_bright_bodies(plane, at, most_mm2) for plane, at in zip(low, deep, strict=True)]
    sinuses = [near_bone and _has_sinus(plane, skull) for plane, skull in zip(low, head.skull, strict=True)]
    return float(np.median(counts)), float(np.mean(sinuses))


def _bright_bodies(low: Field, deep: Mask, most_mm2: float) -> int:
    """How many bodies of one plane that are brighter than blood lie deep.

    Those that belong to something larger do not count, pieces of one skull that lie within 8 mm taken together.
    """
    bright = low > BEYOND_BLOOD_HU
    if most_mm2 < np.inf:
        joined = ndimage.binary_closing(np.pad(low > OPEN_RING.bone_hu, 4), _PLUS, iterations=2)[4:-4, 4:-4] | bright
        bodies, _ = ndimage.label(joined, np.ones((3, 3)))
        bright &= np.bincount(bodies.ravel())[bodies] * LOW_MM**2 <= most_mm2
    return int(ndimage.label(bright & deep, np.ones((3, 3)))[1])


def _has_sinus(low: Field, skull: Mask) -> bool:
    """Whether one plane shows a compact body of up to 160 mm^2, 105 to 200 HU in its core, inside the inner table.

    Bodies are taken down to 75 HU, so that the densest parts of a large bleed are not taken for a sinus; bone that
    reaches in exceeds 200 HU somewhere.
    """
    closed = ndimage.binary_closing(np.pad(skull, 8), _PLUS, iterations=6)[8:-8, 8:-8]
    within = ndimage.binary_erosion(closed, _PLUS)
    core = ndimage.binary_opening((low > BEYOND_BLOOD_HU) & within, np.ones((2, 2)))
    bodies, count = ndimage.label((low > 75) & within, np.ones((3, 3)))
    sizes = np.bincount(bodies.ravel(), minlength=count + 1)
    highest = ndimage.maximum(low, bodies, np.arange(count + 1))
    return any(sizes[i] <= SINUS_MM2 / LOW_MM**2 and highest[i] < 200 for i in set(bodies[core].tolist()))
