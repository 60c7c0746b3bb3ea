"""One simulated head: a normal one with bleeds and what resembles them, as another scanner might have seen it.

The idea is Perez-Garcia et al. 2021 (doi 10.1007/s11548-021-02420-2), for blood. Order of making: what belongs to the
anatomy (calcifications, old infarcts, the skull), then the bleeds with what is broken and swollen over them, then the
thin skull of a child, then artefacts, then the acquisition. Everything follows from the anatomy, the plan and the
random generator.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.simulate.acquisition import UNSURE, Acquisition, acquire, random_acquisition
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.bleeds import Lesion, lesion
from inference.training.simulate.fields import Field, Mask
from inference.training.simulate.mass import held_by_bone
from inference.training.simulate.mimics import Mimic, add_mimic
from inference.training.simulate.skull import child_brain, child_skull, fracture, scalp_swelling

__all__ = ["DRAWN_ML", "UNSURE", "Scene", "ScenePlan", "Wish", "bleed_into", "random_plan", "shown_types", "simulate"]

FILLED = 0.45
TOUCHED = 0.12
FAINT_HU = 3.0
FEWEST_VOXELS = 8
ARTEFACTS = frozenset({Mimic.BEAM_HARDENING, Mimic.CUPPING, Mimic.MOTION, Mimic.METAL, Mimic.SKULL_BASE_PARTIAL_VOLUME})
TYPES = tuple(HaemorrhageType)


@dataclass(frozen=True, slots=True)
class Wish:
    """One bleed that is asked for."""

    kind: HaemorrhageType
    volume_ml: float


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """What a simulated head shall show; no acquisition = as the carrier was scanned."""

    bleeds: tuple[Wish, ...] = ()
    mimics: tuple[Mimic, ...] = ()
    acquisition: Acquisition | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A simulated head in HU, (plane, row, column).

    `voxels` uint8: 0 none, 1..5 the type's place in HaemorrhageType plus one, UNSURE at edges and where blood hardly
    differs from what it lies in. `volumes_ml` by type, partly filled voxels counted by their share, before the
    acquisition. `below_mm` (plane,) under the vertex.
    """

    hu: Field
    voxels: NDArray[np.uint8]
    inside: Mask
    below_mm: NDArray[np.float32]
    plane_mm: float
    volumes_ml: tuple[float, ...]

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Bool (plane, 5): which types each plane shows."""
        return shown_types(self.voxels)


def shown_types(voxels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bool (plane, 5): the types of which each plane has at least FEWEST_VOXELS voxels."""
    return np.stack([(voxels == 1 + t).sum((1, 2)) for t in range(len(TYPES))], 1) >= FEWEST_VOXELS


DRAWN_ML = {
    HaemorrhageType.EPIDURAL: (0.7, 100.0),
    HaemorrhageType.SUBDURAL: (1.0, 120.0),
    HaemorrhageType.SUBARACHNOID: (0.4, 30.0),
    HaemorrhageType.INTRAPARENCHYMAL: (0.15, 80.0),
    HaemorrhageType.INTRAVENTRICULAR: (0.3, 40.0),
}
KIND_SHARES = (0.22, 0.24, 0.2, 0.22, 0.12)
# Mimics and other acquisitions come in these scenes alone: were most of them to bleed, either would speak for a bleed.
BLEEDING_SHARE = 0.5
CHILD_SCALE = (0.75, 0.92)
MIMIC_SHARES = {
    Mimic.CALCIFIED_FALX: 0.12,
    Mimic.CALCIFIED_CHOROID: 0.2,
    Mimic.CALCIFIED_PINEAL: 0.2,
    Mimic.CALCIFIED_BASAL_GANGLIA: 0.07,
    Mimic.DENSE_SINUS: 0.3,
    Mimic.DENSE_VESSEL: 0.12,
    Mimic.BEAM_HARDENING: 0.2,
    Mimic.CUPPING: 0.2,
    Mimic.MOTION: 0.07,
    Mimic.METAL: 0.04,
    Mimic.SKULL_BASE_PARTIAL_VOLUME: 0.25,
    Mimic.OLD_INFARCT: 0.06,
    Mimic.CRANIOTOMY: 0.04,
    Mimic.FRACTURE: 0.12,
    Mimic.SCALP_SWELLING: 0.2,
    Mimic.CHILD_HEAD: 0.05,
    Mimic.HYGROMA: 0.05,
    Mimic.ATROPHY: 0.06,
}
FRACTURE_OVER = {HaemorrhageType.EPIDURAL: 0.5, HaemorrhageType.INTRAPARENCHYMAL: 0.15}
SWELLING_OVER = {HaemorrhageType.EPIDURAL: 0.6, HaemorrhageType.SUBDURAL: 0.25, HaemorrhageType.INTRAPARENCHYMAL: 0.3}


def random_plan(rng: np.random.Generator) -> ScenePlan:
    """Half the heads without a bleed, most others with one, some with more; mimics and acquisition at random."""
    bleeds: tuple[Wish, ...] = ()
    if rng.random() < BLEEDING_SHARE:
        count = int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))
        picked = rng.choice(len(TYPES), count, replace=False, p=KIND_SHARES)
        bleeds = tuple(Wish(TYPES[int(t)], _volume_ml(TYPES[int(t)], rng)) for t in picked)
    mimics = tuple(mimic for mimic, share in MIMIC_SHARES.items() if rng.random() < share)
    how = random_acquisition(rng) if rng.random() < 0.7 else None
    if Mimic.CHILD_HEAD in mimics:
        how = replace(how or Acquisition(seed=int(rng.integers(2**31))), scale=float(rng.uniform(*CHILD_SCALE)))
    return ScenePlan(bleeds, mimics, how)


def _volume_ml(kind: HaemorrhageType, rng: np.random.Generator) -> float:
    low, high = np.log(DRAWN_ML[kind])
    return float(np.exp(rng.uniform(low, high)))


def simulate(body: Anatomy, plan: ScenePlan, rng: np.random.Generator) -> Scene:
    """The planned head; a bleed or mimic that finds no place in this anatomy is left out."""
    child = Mimic.CHILD_HEAD in plan.mimics
    hu = _or(child_brain(body.hu, body, rng), body.hu) if child else body.hu.copy()
    for mimic in plan.mimics:
        if mimic not in ARTEFACTS and mimic is not Mimic.CHILD_HEAD:
            hu = _or(add_mimic(hu, body, mimic, rng), hu)
    made = [each for wish in plan.bleeds if (each := lesion(body, wish.kind, wish.volume_ml, rng)) is not None]
    hu, voxels = bleed_into(hu, body, made)
    for each in made:
        if rng.random() < FRACTURE_OVER.get(each.kind, 0.05):
            hu = fracture(hu, body, each.at_mm, rng)
        if rng.random() < SWELLING_OVER.get(each.kind, 0.1):
            hu = scalp_swelling(hu, body, each.at_mm, rng)
    hu = _or(child_skull(hu, body, rng), hu) if child else hu
    for mimic in plan.mimics:
        hu = _or(add_mimic(hu, body, mimic, rng), hu) if mimic in ARTEFACTS else hu
    volumes = tuple(sum(float(e.filled.sum()) * body.voxel_ml for e in made if e.kind is kind) for kind in TYPES)
    if plan.acquisition is None:
        return Scene(hu, voxels, body.inside, body.below_mm, body.spacing_mm[0], volumes)
    seen = acquire(hu, voxels, body.inside, body.spacing_mm, plan.acquisition)
    return Scene(seen.hu, seen.voxels, seen.inside, seen.below_mm, seen.plane_mm, volumes)


def _or(made: Field | None, before: Field) -> Field:
    return before if made is None else made


def bleed_into(hu: Field, body: Anatomy, made: list[Lesion]) -> tuple[Field, NDArray[np.uint8]]:
    """The head with these bleeds, and its voxels; tissue is pushed aside first, the scan's own noise stays where it is,
    and so does the share of bone in the voxels along the inner table.

    Later bleeds lie over earlier ones. A subdural bleed no denser than brain is still known by what it pushes.
    """
    noise = body.hu - body.smooth
    tissue = _pushed(hu - noise, body, made)
    hu = tissue + noise
    for each in made:
        if each.oedema_hu is not None:
            hu = hu - each.oedema_hu
    voxels = np.zeros(hu.shape, np.uint8)
    for each in made:
        contrast = each.blood_hu - np.where(body.inside, tissue, body.smooth)
        hu = hu + each.filled * (each.blood_hu + body.grain - hu)
        core = each.filled > FILLED
        if each.kind is not HaemorrhageType.SUBDURAL or each.push_mm is None:
            core &= np.abs(each.filled * contrast) > FAINT_HU
        voxels[(each.filled > TOUCHED) & ~core] = UNSURE
        voxels[core] = 1 + TYPES.index(each.kind)
    return hu, voxels


def _pushed(tissue: Field, body: Anatomy, made: list[Lesion]) -> Field:
    """Tissue moved along the sum of all pushes, within the intracranial space only."""
    pushes = [each.push_mm for each in made if each.push_mm is not None]
    if not pushes:
        return tissue
    push = held_by_bone(body, np.sum(pushes, axis=0)) / np.array(body.spacing_mm[1:], np.float32)[:, None, None, None]
    out = tissue.copy()
    rows, columns = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in tissue.shape[1:]), indexing="ij")
    for plane in np.flatnonzero((np.abs(push) > 0.05).any((0, 2, 3))):
        at = [rows - push[0, plane], columns - push[1, plane]]
        moved = ndimage.map_coordinates(tissue[plane], at, order=1, mode="nearest")
        out[plane] = np.where(body.inside[plane], moved, tissue[plane])
    return out
