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
from inference.pipelines.haemorrhage.head_numbers import BONE_HU, BRAIN_HU, Numbers, numbers_of
from inference.pipelines.haemorrhage.measured_head import (
    AIR_BELOW_HU,
    BRIGHTEST_BRAIN_HU,
    Field,
    Mask,
    Structure,
    measure_head,
    volume_ml,
)
from inference.pipelines.haemorrhage.skull_ring import CLOSED_RING, OPEN_RING, Ring, intracranial

PADDING_HU = -1024.0
DARKEST_FAT_HU = -60.0
BRIGHTEST_AIR_HU = -750.0
LARGEST_ML = 3500.0
LEAST_BRAIN, LEAST_DARK_BRAIN = 0.2, 0.5
LEAST_SPREAD_HU = 0.5
LEAST_RISE_HU = 60.0
USUAL_FILLING, LEAST_FILLING = 0.35, 0.22
LEAST_STRUCTURE_HU, SURE_STRUCTURE_HU, LEAST_AGREEMENT = 0.78, 1.0, 0.08
LEAST_HEIGHT, LEAST_CUT_HEIGHT, LEAST_FACE_HEIGHT = 0.48, 0.55, 0.75
CUT_END, MOST_CUT_OFF, FACE_END, FACE_FILLING = 0.7, 0.8, 0.4, 0.5
MOST_NOISE_HU, SHARP_NOISE_HU, DARKER_RIM_HU, DARKEST_RIM_HU = 60.0, 30.0, 15.0, -20.0
MOST_VESSELS, MOST_SINUSES = 3.0, 0.65

_NO_HEAD = "No whole head was found in the images"
_NO_SKULL = f"{_NO_HEAD}: they show no skull."
_NOT_HOUNSFIELD = "The values of the images are not Hounsfield units"
_CONTRAST = "The vessels within the skull hold contrast medium, and this is made for scans without."
_THIN = "The skull is thin, soft or open, as in a newborn or after surgery: contrast medium may go unnoticed"
_UNUSUAL = "; such heads are little known to the model."


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Why a head is refused, or None; its intracranial space, what was measured of it (None where there is no
    brain-sized body), and warnings for one that is analysed.

    `may_be_open`: a skull that is not closed may be the cause of a refusal.
    """

    reason: str | None
    inside: Mask
    numbers: Numbers | None
    may_be_open: bool
    warnings: tuple[str, ...] = ()


def find_plain_head(
    low: Field, slab_mm: NDArray[np.float64], hu: Field, spacing: tuple[float, float]
) -> tuple[Mask, tuple[str, ...]]:
    """The intracranial space at LOW_MM, and warnings; NotAnalysable unless a whole head without contrast is shown.

    `hu` (slice, row, column) is the stack as scanned, centred on the same point as `low`, with pixels of `spacing` mm.
    """
    found = look_at(low, slab_mm, hu, spacing)
    if found.reason is not None:
        raise NotAnalysable(found.reason)
    return found.inside, found.warnings


def look_at(low: Field, slab_mm: NDArray[np.float64], hu: Field, spacing: tuple[float, float]) -> Verdict:
    """What the rules say of a stack: by the closed ring, and where an open skull may be the cause by the open one.

    What both refuse is refused for the first one's reason; only where that sees no skull the second one knows better.
    """
    low = np.maximum(low, np.float32(PADDING_HU))
    first = _judge(low, slab_mm, hu, spacing, CLOSED_RING)
    if first.reason is None or not first.may_be_open:
        return first
    second = _judge(low, slab_mm, hu, spacing, OPEN_RING, near_bone=first.reason == _CONTRAST)
    is_truer = second.reason is None or (first.reason == _NO_SKULL and second.numbers is not None)
    return second if is_truer else first


def _judge(
    low: Field,
    slab_mm: NDArray[np.float64],
    hu: Field,
    spacing: tuple[float, float],
    ring: Ring,
    near_bone: bool = True,
) -> Verdict:
    """What the rules say of the space that this ring encloses; `near_bone`: what lies near bone may be vessels."""
    inside = intracranial(low, ring)
    held_ml = volume_ml(inside, slab_mm)
    head = measure_head(low, inside, slab_mm) if ring.smallest_ml <= held_ml <= LARGEST_ML else None
    if head is None or not head.deep.any():
        return Verdict(_why_no_brain(low, slab_mm), inside, None, may_be_open=True)
    found = numbers_of(head, held_ml, hu, spacing, near_bone)
    numbers = _units(found) or _level(found)
    texture = _uniformity(found) or _kernel(found)
    reason = numbers or _surroundings(found) or _wholeness(found) or texture or _contrast(found)
    return Verdict(reason, inside, found, not (numbers or texture), _warnings(found, ring))


def _warnings(found: Numbers, ring: Ring) -> tuple[str, ...]:
    """In which ways a head that is analysed is unlike most."""
    said = []
    if ring is OPEN_RING or found.bone_hu < BONE_HU:
        said.append(f"{_THIN}{_UNUSUAL}")
    if found.held_ml < CLOSED_RING.smallest_ml:
        said.append(f"The skull holds only about {found.held_ml:.0f} ml, as in a premature newborn{_UNUSUAL}")
    if found.filling < USUAL_FILLING:
        said.append("Much lies around the skull, as a dressing or swelling does.")
    if found.brain_share < LEAST_BRAIN:
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
        return _NO_SKULL
    held = np.stack([ndimage.binary_fill_holes(plane) for plane in bone]) & ~bone
    if volume_ml(held, slab_mm) < CLOSED_RING.smallest_ml:
        return f"{_NO_HEAD}: there is no brain-sized tissue within a skull."
    level, deviation = float(np.median(low[held])), float(np.std(np.clip(low[held], -300, 300)))
    if level < AIR_BELOW_HU:
        return f"{_NO_HEAD}: the skull holds air, not a brain, as in a phantom or where all but bone was removed."
    if BRAIN_HU < level < BRIGHTEST_BRAIN_HU and deviation > 40:
        return "The images are too noisy to tell blood from brain."
    return f"{_NO_HEAD}: what bone encloses measures about {level:.0f} HU and is not shaped like a brain."


def _units(found: Numbers) -> str | None:
    """Air is -1000 HU by definition, so that the air around a head shows when values were scaled.

    Where the head fills the field of view there is too little air to judge by, and it is let pass.
    """
    if found.air_hu is not None and found.air_hu > BRIGHTEST_AIR_HU:
        return f"{_NOT_HOUNSFIELD}: air measures {found.air_hu:.0f} in them."
    return None


def _level(found: Numbers) -> str | None:
    """Half of what the skull holds measures less than 57 HU, and a fifth of it 18 to 57 as brain does.

    Large bleeds and hydrocephalus leave that much; water, resin, iodine maps, doubled and blanked values do not. A
    swollen or very young brain may be darker where it has structure.
    """
    if found.spread_hu < LEAST_SPREAD_HU:
        return f"{_NO_HEAD}: all soft tissue was blanked to one value, as where all but bone was removed."
    is_dark = found.structure is not None and has_structure(found.structure) and found.dark_share >= LEAST_DARK_BRAIN
    if found.level_hu > BRIGHTEST_BRAIN_HU or (found.brain_share < LEAST_BRAIN and not is_dark):
        return f"{_NO_HEAD}: what the skull holds measures about {found.level_hu:.0f} HU, and brain 20 to 45."
    return None


def _surroundings(found: Numbers) -> str | None:
    """A brain fills most of the head's cross-section, and what rings it is bone; a pelvis has flesh around its ring."""
    if found.filling < LEAST_FILLING:
        return f"{_NO_HEAD}: bone rings tissue, but with too much flesh around it for a skull."
    if found.rise_hu < LEAST_RISE_HU:
        return f"{_NO_HEAD}: what rings the tissue is not as dense as a skull."
    return None


def _wholeness(found: Numbers) -> str | None:
    """A brain is nearly as high as it is wide at any age, and tapers: half of it is too little to speak about.

    One cut off at both ends is a part, or a cylinder. Where the field of view cuts the skull off, what bone rings says
    little of the brain's height, and it is let pass.
    """
    if found.height < least_height(found) and not found.is_cut_sideways:
        return f"The brain is not wholly in the images: what bone encloses is only about {found.height_mm:.0f} mm high."
    if found.smaller_end > MOST_CUT_OFF:
        return "The brain is not wholly in the images: what bone encloses is cut off above and below."
    return None


def least_height(found: Numbers) -> float:
    """A brain that is cut off where it is wide must be higher; most of all where much lies around, as in the face."""
    if found.larger_end > FACE_END and found.filling < FACE_FILLING:
        return LEAST_FACE_HEIGHT
    return LEAST_CUT_HEIGHT if found.larger_end > CUT_END else LEAST_HEIGHT


def _uniformity(found: Numbers) -> str | None:
    """Brain is nowhere uniform; a swollen one keeps grey and white matter."""
    if found.structure is not None and not has_structure(found.structure):
        return f"{_NO_HEAD}: what the skull holds is uniform, as in a phantom."
    return None


def has_structure(of: Structure) -> bool:
    """Grey and white matter of a newborn differ little: little structure is enough where noise alone is ruled out."""
    is_told = of.hu >= SURE_STRUCTURE_HU or of.agreement >= LEAST_AGREEMENT
    return of.hu >= LEAST_STRUCTURE_HU and is_told


def _kernel(found: Numbers) -> str | None:
    """An edge-enhancing (bone) kernel makes noise from pixel to pixel and draws a dark rim along the inner table.

    Noise alone speaks from 60 HU on; a soft kernel leaves the rim brighter than brain by partial volume, and even a
    wide subarachnoid space is not darker than water.
    """
    is_sharp = found.noise_hu > SHARP_NOISE_HU and found.darker_hu > DARKER_RIM_HU
    if found.noise_hu > MOST_NOISE_HU or is_sharp or found.rim_hu < DARKEST_RIM_HU:
        return "The images were made to show bone (sharp kernel): brain and blood cannot be told apart on them."
    return None


def _contrast(found: Numbers) -> str | None:
    """Vessels brighter than any blood: three or more apart in most planes, or a sinus in two thirds of them.

    Calcium, metal, drains and electrodes are brighter still, but fewer or confined to some planes. Contrast medium that
    makes vessels no brighter than clotted blood cannot be told from it here.
    """
    return _CONTRAST if found.vessels >= MOST_VESSELS or found.sinuses >= MOST_SINUSES else None
