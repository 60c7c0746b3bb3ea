"""Whether images show a whole head with a brain inside, in Hounsfield units, without contrast: a "plain head CT".

Comes in: the stack at 2 mm (plane, row, column), and a few slices as they were scanned. Goes out: nothing, or
NotAnalysable with one sentence. The rules rest on what every living head has: a skull that rings a brain-sized body,
tissue of 20 to 45 HU that is nowhere uniform, and nothing brighter than clotted blood but calcium, bone and metal. They
are few and leave wide room, for to refuse a head that bleeds is worse than to look at a phantom. Clotted blood stays
below about 100 HU because its attenuation follows its haemoglobin (New and Aronow, Radiology 1976;121:635-640).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import NotAnalysable

LOW_MM = 2.0
PADDING_HU = -1024.0
AIR_BELOW_HU = -300.0
DARKEST_FAT_HU = -60.0
BRAIN_HU = (18.0, 57.0)
BEYOND_BLOOD_HU = 105.0
METAL_HU = 2200.0
SINUS_MM2 = 160.0
SMALLEST_ML, LARGEST_ML = 250.0, 3500.0
VAULT_SHARE = 0.6
LEAST_STRUCTURE_HU = 1.0

_PLUS = ndimage.generate_binary_structure(2, 1)
_NO_HEAD = "No whole head was found in the images"
_NOT_HOUNSFIELD = "The values of the images are not Hounsfield units"

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What the rules look at: `low` HU and `inside` (plane, row, column) at LOW_MM, `slab_mm` each plane's thickness.

    `vault` are the planes with at least VAULT_SHARE of the widest one's area, which lie above the skull base. Of these
    alone: `skull`, `inside` with its holes filled; `deep`, what of it is 6 mm from its edge; `smooth`, HU over 6 mm.
    """

    low: Field
    inside: Mask
    slab_mm: NDArray[np.float64]
    vault: NDArray[np.intp]
    skull: Mask
    deep: Mask
    smooth: Field


def intracranial(low: Field) -> Mask:
    """The intracranial space: of the soft tissue that bone rings, the largest 3D body."""
    bodies, count = ndimage.label(_ringed(low))
    sizes = np.bincount(bodies.ravel(), minlength=2)
    sizes[0] = 0
    return np.asarray((bodies == sizes.argmax()) & (count > 0))


def _ringed(low: Field) -> Mask:
    """Soft tissue that bone rings in its plane: bodies left by an erosion of 4 mm, grown back."""
    soft = (low > -5) & (low < 110)
    disk = ndimage.iterate_structure(_PLUS, 2)
    near_bone = ndimage.binary_dilation(low > 120, disk[None])
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = _PLUS
    labels, _ = ndimage.label(ndimage.binary_erosion(soft, disk[None]), in_plane)
    ringed = np.zeros_like(soft)
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = (slice(max(0, s.start - 8), s.stop + 8) for s in where[1:])
        at = (where[0].start, rows, columns)
        core = labels[at] == number
        if core.sum() < 12:
            continue
        grown = ndimage.binary_dilation(core, iterations=5, mask=soft[at])
        filled = ndimage.binary_fill_holes(grown)
        edge = filled & ~ndimage.binary_erosion(filled)
        if (near_bone[at] & edge).sum() >= 0.6 * edge.sum():
            ringed[at] |= grown
    return ringed


def check_plain_head(
    low: Field, inside: Mask, slab_mm: NDArray[np.float64], hu: Field, spacing: tuple[float, float]
) -> None:
    """NotAnalysable unless a whole head without contrast is in the images.

    `hu` (slice, row, column) is the stack as scanned, centred on the same point, with pixels of `spacing` mm.
    """
    low = np.maximum(low, np.float32(PADDING_HU))
    if not SMALLEST_ML <= _volume_ml(inside, slab_mm) <= LARGEST_ML:
        raise NotAnalysable(_why_no_brain(low, slab_mm))
    head = _head(low, inside, slab_mm)
    reason = (
        _units(head)
        or _level(head)
        or _surroundings(head)
        or _wholeness(head)
        or _uniformity(head)
        or _kernel(head, hu, spacing)
        or _contrast(head)
    )
    if reason:
        raise NotAnalysable(reason)


def _volume_ml(mask: Mask, slab_mm: NDArray[np.float64]) -> float:
    return float((mask.sum((1, 2)) * slab_mm).sum()) * LOW_MM**2 / 1000


def _within(values: Field, mask: Mask, pixels: int) -> Field:
    """Mean over a square of so many pixels, of what lies in the mask alone."""
    weight = mask.astype(np.float32)
    share = ndimage.uniform_filter(weight, (0, pixels, pixels))
    return np.asarray(ndimage.uniform_filter(values * weight, (0, pixels, pixels)) / np.maximum(share, 0.02))


def _head(low: Field, inside: Mask, slab_mm: NDArray[np.float64]) -> Head:
    areas = inside.sum((1, 2))
    skull = np.zeros_like(inside)
    for plane in np.flatnonzero(areas):
        skull[plane] = ndimage.binary_fill_holes(inside[plane])
    vault = np.flatnonzero(areas >= VAULT_SHARE * areas.max())
    deep = ndimage.binary_erosion(skull[vault], _PLUS[None], iterations=3)
    smooth = _within(np.clip(low[vault], -100, 150), skull[vault], 3)
    return Head(low, inside, slab_mm, vault, skull[vault], deep, smooth)


def _why_no_brain(low: Field, slab_mm: NDArray[np.float64]) -> str:
    """Why there is no brain-sized body within bone: the sentence only, the stack is refused in any case."""
    darkest, brightest = (float(level) for level in np.percentile(low, [1, 99]))
    if brightest - darkest < 1:
        return f"{_NO_HEAD}: they are blank, all their values are the same."
    edge = np.concatenate([low[:, 0].ravel(), low[:, -1].ravel(), low[:, :, 0].ravel(), low[:, :, -1].ravel()])
    if float(np.median(edge)) > 200:
        return f"{_NOT_HOUNSFIELD}: what surrounds the patient is bright."
    if darkest > DARKEST_FAT_HU:
        return f"{_NOT_HOUNSFIELD}: nothing in them is as dark as air or fat."
    bone = low > 200
    if _volume_ml(bone, slab_mm) < 20:
        return f"{_NO_HEAD}: they show no skull."
    ringed = np.stack([ndimage.binary_fill_holes(plane) for plane in bone]) & ~bone
    if _volume_ml(ringed, slab_mm) < SMALLEST_ML:
        return f"{_NO_HEAD}: there is no brain-sized tissue within a skull."
    level, deviation = float(np.median(low[ringed])), float(np.std(np.clip(low[ringed], -300, 300)))
    if level < AIR_BELOW_HU:
        return f"{_NO_HEAD}: the skull holds air, not a brain, as in a phantom or where all but bone was removed."
    if BRAIN_HU[0] < level < BRAIN_HU[1] and deviation > 40:
        return "The images are too noisy to tell blood from brain."
    return f"{_NO_HEAD}: what bone encloses measures about {level:.0f} HU and is not shaped like a brain."


def _units(head: Head) -> str | None:
    """Air is -1000 HU by definition, so that the air around a head shows when values were scaled.

    Where the head fills the field of view there is too little air to judge by, and it is let pass.
    """
    air = head.low[head.low < AIR_BELOW_HU]
    if len(air) < 0.05 * head.low.size:
        return None
    level = float(np.median(air))
    return f"{_NOT_HOUNSFIELD}: air measures {level:.0f} in them." if level > -750 else None


def _level(head: Head) -> str | None:
    """Half of what the skull holds measures less than 57 HU, and a fifth of it 18 to 57 as brain does.

    Large bleeds and hydrocephalus leave that much; water, resin, iodine maps, doubled and blanked values do not.
    """
    values = head.smooth[head.deep]
    level = float(np.median(values))
    low, high = np.percentile(values, [10, 90])
    if high - low < 0.5:
        return f"{_NO_HEAD}: all soft tissue was blanked to one value, as where all but bone was removed."
    if level > BRAIN_HU[1] or ((values > BRAIN_HU[0]) & (values < BRAIN_HU[1])).mean() < 0.2:
        return f"{_NO_HEAD}: what the skull holds measures about {level:.0f} HU, and brain 20 to 45."
    return None


def _surroundings(head: Head) -> str | None:
    """A brain fills most of the head's cross-section, and what rings it is bone; a pelvis has flesh around its ring."""
    shares, shells = [], []
    for skull, low in zip(head.skull, head.low[head.vault], strict=True):
        bodies, _ = ndimage.label((low > AIR_BELOW_HU) | skull)
        number = np.bincount(bodies[skull]).argmax()
        shares.append(skull.sum() / (bodies == number).sum())
        shells.append(np.percentile(low[ndimage.binary_dilation(skull, iterations=4) & ~skull], 75))
    if float(np.median(shares)) < 0.35:
        return f"{_NO_HEAD}: bone rings tissue, but with too much flesh around it for a skull."
    if float(np.median(shells)) < 250:
        return f"{_NO_HEAD}: what rings the tissue is not as dense as a skull."
    return None


def _wholeness(head: Head) -> str | None:
    """A brain is nearly as high as it is wide at any age, and tapers: half of it is too little to speak about.

    One that is cut off where it is wide is a part unless it is high; one cut so at both ends is a part, or a cylinder.
    Metal hides what lies around it, so its planes count, and what bone rings beyond them. Where the field of view cuts
    the skull off, what bone rings says little of the brain's height, and it is let pass.
    """
    rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(head.inside.any(0)))
    areas = head.inside.sum((1, 2))
    widest = int(areas.max())
    wide = np.flatnonzero(areas > 0.2 * widest)[[0, -1]]
    metal = (head.low[:, rows, columns] > METAL_HU).sum((1, 2)) > 2
    if any(metal[max(0, end - 3) : end + 4].any() and areas[end] > 0.4 * widest for end in wide):
        beyond = _ringed(head.low)[:, rows, columns].sum((1, 2))
        areas = np.clip(np.maximum(areas, beyond), np.where(metal, widest // 2, 0), widest)
    shown = np.flatnonzero(areas > 0.01 * widest)
    height_mm = float(head.slab_mm[shown].sum())
    height = height_mm / (2 * LOW_MM * float(np.sqrt(widest / np.pi)))
    ends = sorted(float(areas[end]) / widest for end in (shown[0], shown[-1]))
    if (height < 0.5 or (height < 0.57 and ends[1] > 0.7)) and not _is_cut_sideways(head):
        return f"The brain is not wholly in the images: what bone encloses is only about {height_mm:.0f} mm high."
    if ends[0] > 0.8:
        return "The brain is not wholly in the images: what bone encloses is cut off above and below."
    return None


def _is_cut_sideways(head: Head) -> bool:
    """Whether in most planes bone meets the edge of the field of view, with no scalp between."""
    met = []
    for plane in head.low[head.vault]:
        bodies, _ = ndimage.label(np.pad(plane < -700, 1, constant_values=True))
        beyond = ndimage.binary_dilation(bodies == bodies[0, 0])[1:-1, 1:-1]
        met.append(int((beyond & (plane > 300)).sum()))
    return float(np.median(met)) >= 8


def _uniformity(head: Head) -> str | None:
    """Brain is nowhere uniform: grey and white matter, sulci and ventricles go on from plane to plane, noise does not.

    The covariance of neighbouring planes over structures of 6 to 30 mm is free of noise. A swollen brain keeps grey and
    white matter.
    """
    tissue = head.skull & (head.smooth > -20) & (head.smooth < BEYOND_BLOOD_HU)
    tissue = ndimage.binary_erosion(tissue, _PLUS[None], iterations=2)
    detail = np.clip(head.smooth - _within(head.smooth, tissue, 15), -20, 20)
    counted = tissue & head.deep
    both = counted[1:] & counted[:-1]
    if both.sum() < 1000:
        return None
    if float((detail[1:] * detail[:-1])[both].mean()) < LEAST_STRUCTURE_HU**2:
        return f"{_NO_HEAD}: what the skull holds is uniform, as in a phantom."
    return None


def _kernel(head: Head, hu: Field, spacing: tuple[float, float]) -> str | None:
    """An edge-enhancing (bone) kernel makes noise from pixel to pixel and draws a dark rim along the inner table.

    Noise alone speaks from 60 HU on; a soft kernel leaves the rim brighter than brain by partial volume, and even a
    wide subarachnoid space is not darker than water. Looks at three slices as scanned.
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
        rims.append(float(np.median(plane[rim])) if rim.any() else 0.0)
    noise, rim_hu = float(np.median(noises)), float(np.median(rims))
    darker = float(np.median(head.smooth[head.deep])) - rim_hu
    if noise > 60 or (noise > 30 and darker > 15) or rim_hu < -20:
        return "The images were made to show bone (sharp kernel): brain and blood cannot be told apart on them."
    return None


def _nearest(pixels: int, spacing: float, low_pixels: int) -> NDArray[np.intp]:
    """For each pixel of an axis the nearest one at LOW_MM; both are centred on the same point."""
    at = (np.arange(pixels) - (pixels - 1) / 2) * spacing / LOW_MM + (low_pixels - 1) / 2
    return np.asarray(np.clip(np.rint(at), 0, low_pixels - 1), np.intp)


def _contrast(head: Head) -> str | None:
    """Vessels brighter than any blood: three or more apart in most planes, or a sinus in two thirds of them.

    Calcium, metal, drains and electrodes are brighter still, but fewer or confined to some planes. Contrast medium that
    makes vessels no brighter than clotted blood cannot be told from it here.
    """
    low = head.low[head.vault]
    bright = (low > BEYOND_BLOOD_HU) & head.deep
    counts = [ndimage.label(plane, np.ones((3, 3)))[1] for plane in bright]
    sinuses = [_has_sinus(plane, skull) for plane, skull in zip(low, head.skull, strict=True)]
    if float(np.median(counts)) >= 3 or float(np.mean(sinuses)) >= 0.65:
        return "The vessels within the skull hold contrast medium, and this is made for scans without."
    return None


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
