"""Whether images show a whole head with a brain inside, in Hounsfield units, without contrast: a "plain head CT".

Comes in: the stack at 2 mm (plane, row, column), and the slices as they were scanned. Goes out: the intracranial space
with warnings, or NotAnalysable with one sentence. The rules rest on what every living head has: a skull that rings a
brain-sized body, tissue of 20 to 45 HU that is nowhere uniform, and nothing brighter than clotted blood but calcium,
bone and metal. They are few and leave wide room, for to refuse a head that bleeds is worse than to look at a phantom;
what lies between the usual and the possible passes with a warning, as do the thin, soft and open skulls of newborns.
Clotted blood stays below about 100 HU because its attenuation follows its haemoglobin (New and Aronow, Radiology
1976;121:635-640).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import NotAnalysable
from inference.pipelines.haemorrhage.measured_head import (
    AIR_BELOW_HU,
    BEYOND_BLOOD_HU,
    BRIGHTEST_BRAIN_HU,
    LOW_MM,
    Field,
    Head,
    Mask,
    measure_head,
    share_between,
    volume_ml,
)
from inference.pipelines.haemorrhage.skull_ring import CLOSED_RING, OPEN_RING, Ring, intracranial, ringed

PADDING_HU = -1024.0
DARKEST_FAT_HU = -60.0
BRAIN_HU = (18.0, BRIGHTEST_BRAIN_HU)
DARKEST_BRAIN_HU = 10.0
METAL_HU = 2200.0
SINUS_MM2 = 160.0
LARGEST_ML = 3500.0
LEAST_BRAIN = 0.2
BONE_HU, SOFTEST_BONE_HU = 250.0, 100.0
USUAL_FILLING, LEAST_FILLING = 0.35, 0.22
LEAST_STRUCTURE_HU = 1.0

_PLUS = ndimage.generate_binary_structure(2, 1)
_NO_HEAD = "No whole head was found in the images"
_NOT_HOUNSFIELD = "The values of the images are not Hounsfield units"
_CONTRAST = "The vessels within the skull hold contrast medium, and this is made for scans without."
_THIN = "The skull is thin, soft or open, as in a newborn or after surgery: contrast medium may go unnoticed"
_UNUSUAL = "; such heads are little known to the model."


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Why a head is refused, or None; `may_be_open`: a skull that is not closed may be the cause; warnings else."""

    reason: str | None
    may_be_open: bool
    warnings: tuple[str, ...] = ()


def find_plain_head(
    low: Field, slab_mm: NDArray[np.float64], hu: Field, spacing: tuple[float, float]
) -> tuple[Mask, tuple[str, ...]]:
    """The intracranial space at LOW_MM, and warnings; NotAnalysable unless a whole head without contrast is shown.

    `hu` (slice, row, column) is the stack as scanned, centred on the same point as `low`, with pixels of `spacing` mm.
    """
    low = np.maximum(low, np.float32(PADDING_HU))
    inside = intracranial(low, CLOSED_RING)
    first = _judge(low, inside, slab_mm, hu, spacing, CLOSED_RING)
    if first.reason is None:
        return inside, first.warnings
    if first.may_be_open:
        inside = intracranial(low, OPEN_RING)
        second = _judge(low, inside, slab_mm, hu, spacing, OPEN_RING, near_bone=first.reason == _CONTRAST)
        if second.reason is None:
            return inside, second.warnings
    raise NotAnalysable(first.reason)


def _judge(
    low: Field,
    inside: Mask,
    slab_mm: NDArray[np.float64],
    hu: Field,
    spacing: tuple[float, float],
    ring: Ring,
    near_bone: bool = True,
) -> _Verdict:
    """What the rules say of a space that this ring encloses; `near_bone`: what lies near dense bone may be vessels."""
    held_ml = volume_ml(inside, slab_mm)
    head = measure_head(low, inside, slab_mm) if ring.smallest_ml <= held_ml <= LARGEST_ML else None
    if head is None or not head.deep.any():
        return _Verdict(_why_no_brain(low, slab_mm), may_be_open=True)
    numbers = _units(head) or _level(head)
    shape = _surroundings(head) or _wholeness(head)
    texture = _uniformity(head) or _kernel(head, hu, spacing)
    vessels = _contrast(head, near_bone and head.bone_hu >= BONE_HU)
    reason = numbers or shape or texture or vessels
    return _Verdict(reason, may_be_open=not (numbers or texture), warnings=_warnings(head, held_ml, ring))


def _warnings(head: Head, held_ml: float, ring: Ring) -> tuple[str, ...]:
    """In which ways a head that is analysed is unlike most."""
    said = []
    if ring is OPEN_RING or head.bone_hu < BONE_HU:
        said.append(f"{_THIN}{_UNUSUAL}")
    if held_ml < CLOSED_RING.smallest_ml:
        said.append(f"The skull holds only about {held_ml:.0f} ml, as in a premature newborn{_UNUSUAL}")
    if head.filling < USUAL_FILLING:
        said.append("Much lies around the skull, as a dressing or swelling does.")
    if share_between(head, BRAIN_HU[0]) < LEAST_BRAIN:
        said.append(f"The brain is darker than usual, as where it is swollen{_UNUSUAL}")
    return tuple(said)


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
    if volume_ml(bone, slab_mm) < 20:
        return f"{_NO_HEAD}: they show no skull."
    held = np.stack([ndimage.binary_fill_holes(plane) for plane in bone]) & ~bone
    if volume_ml(held, slab_mm) < CLOSED_RING.smallest_ml:
        return f"{_NO_HEAD}: there is no brain-sized tissue within a skull."
    level, deviation = float(np.median(low[held])), float(np.std(np.clip(low[held], -300, 300)))
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

    Large bleeds and hydrocephalus leave that much; water, resin, iodine maps, doubled and blanked values do not. A
    swollen or very young brain may be darker where it has structure.
    """
    values = head.smooth[head.deep]
    level = float(np.median(values))
    low, high = np.percentile(values, [10, 90])
    if high - low < 0.5:
        return f"{_NO_HEAD}: all soft tissue was blanked to one value, as where all but bone was removed."
    is_dark = (head.structure_hu or 0) >= LEAST_STRUCTURE_HU and share_between(head, DARKEST_BRAIN_HU) >= 0.5
    if level > BRAIN_HU[1] or (share_between(head, BRAIN_HU[0]) < LEAST_BRAIN and not is_dark):
        return f"{_NO_HEAD}: what the skull holds measures about {level:.0f} HU, and brain 20 to 45."
    return None


def _surroundings(head: Head) -> str | None:
    """A brain fills most of the head's cross-section, and what rings it is bone; a pelvis has flesh around its ring."""
    if head.filling < LEAST_FILLING:
        return f"{_NO_HEAD}: bone rings tissue, but with too much flesh around it for a skull."
    if head.edge_hu < SOFTEST_BONE_HU:
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
        beyond = ringed(head.low)[:, rows, columns].sum((1, 2))
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
    """Brain is nowhere uniform; a swollen one keeps grey and white matter."""
    if head.structure_hu is not None and head.structure_hu < LEAST_STRUCTURE_HU:
        return f"{_NO_HEAD}: what the skull holds is uniform, as in a phantom."
    return None


def _kernel(head: Head, hu: Field, spacing: tuple[float, float]) -> str | None:
    """An edge-enhancing (bone) kernel makes noise from pixel to pixel and draws a dark rim along the inner table.

    Noise alone speaks from 60 HU on; a soft kernel leaves the rim brighter than brain by partial volume, and even a
    wide subarachnoid space is not darker than water. A skull that is hardly dense has no such rim. Looks at three
    slices as scanned.
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
    level = float(np.median(head.smooth[head.deep]))
    noise, rim_hu = float(np.median(noises)), float(np.median(rims)) if rims and head.bone_hu >= BONE_HU else level
    darker = level - rim_hu
    if noise > 60 or (noise > 30 and darker > 15) or rim_hu < -20:
        return "The images were made to show bone (sharp kernel): brain and blood cannot be told apart on them."
    return None


def _nearest(pixels: int, spacing: float, low_pixels: int) -> NDArray[np.intp]:
    """For each pixel of an axis the nearest one at LOW_MM; both are centred on the same point."""
    at = (np.arange(pixels) - (pixels - 1) / 2) * spacing / LOW_MM + (low_pixels - 1) / 2
    return np.asarray(np.clip(np.rint(at), 0, low_pixels - 1), np.intp)


def _contrast(head: Head, near_bone: bool) -> str | None:
    """Vessels brighter than any blood: three or more apart in most planes, or a sinus in two thirds of them.

    Calcium, metal, drains and electrodes are brighter still, but fewer or confined to some planes. Contrast medium that
    makes vessels no brighter than clotted blood cannot be told from it here. Where bone is soft or missing, pieces of
    it may count as inside: then only small bodies deep in the head are vessels, unless `near_bone`.
    """
    low = head.low[head.vault]
    deep = head.deep if near_bone else ndimage.binary_erosion(head.deep, _PLUS[None], iterations=3)
    most_mm2 = np.inf if near_bone else SINUS_MM2 / 2
    counts = [_bright_bodies(plane, at, most_mm2) for plane, at in zip(low, deep, strict=True)]
    sinuses = [near_bone and _has_sinus(plane, skull) for plane, skull in zip(low, head.skull, strict=True)]
    if float(np.median(counts)) >= 3 or float(np.mean(sinuses)) >= 0.65:
        return _CONTRAST
    return None


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
