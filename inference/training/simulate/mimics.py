"""What must not be flagged: the list of all mimics, and one way to add any of them to a head.

Each is true to its shape, place and density, and differs from every type of bleed in at least one of them. `hu` may
already carry bleeds; `body` is the anatomy of the head before anything was added.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from inference.training.simulate import artefacts, calcification, skull, tissue, vessels
from inference.training.simulate.anatomy import Anatomy
from inference.training.simulate.fields import Field

Maker = Callable[[Field, Anatomy, np.random.Generator], Field | None]


class Mimic(StrEnum):
    """Findings that resemble a haemorrhage or go with one, and are none."""

    CALCIFIED_FALX = "calcified falx"
    CALCIFIED_CHOROID = "calcified choroid plexus"
    CALCIFIED_PINEAL = "calcified pineal"
    CALCIFIED_BASAL_GANGLIA = "calcified basal ganglia"
    DENSE_SINUS = "dense sinus"
    DENSE_VESSEL = "dense vessel"
    BEAM_HARDENING = "beam hardening"
    CUPPING = "cupping"
    MOTION = "motion"
    METAL = "metal"
    SKULL_BASE_PARTIAL_VOLUME = "skull base partial volume"
    OLD_INFARCT = "old infarct"
    CRANIOTOMY = "craniotomy"
    FRACTURE = "fracture"
    SCALP_SWELLING = "scalp swelling"
    CHILD_HEAD = "child's head"
    HYGROMA = "hygroma"
    ATROPHY = "atrophy"


_MAKERS: dict[Mimic, Maker] = {
    Mimic.CALCIFIED_FALX: calcification.calcified_falx,
    Mimic.CALCIFIED_CHOROID: calcification.calcified_choroid,
    Mimic.CALCIFIED_PINEAL: calcification.calcified_pineal,
    Mimic.CALCIFIED_BASAL_GANGLIA: calcification.calcified_basal_ganglia,
    Mimic.DENSE_SINUS: vessels.dense_sinus,
    Mimic.DENSE_VESSEL: vessels.dense_vessel,
    Mimic.BEAM_HARDENING: artefacts.beam_hardening,
    Mimic.CUPPING: artefacts.cupping,
    Mimic.MOTION: artefacts.motion,
    Mimic.METAL: artefacts.metal,
    Mimic.SKULL_BASE_PARTIAL_VOLUME: artefacts.skull_base_partial_volume,
    Mimic.OLD_INFARCT: tissue.old_infarct,
    Mimic.CRANIOTOMY: skull.craniotomy,
    Mimic.FRACTURE: skull.lone_fracture,
    Mimic.SCALP_SWELLING: skull.lone_swelling,
    Mimic.CHILD_HEAD: skull.child_head,
    Mimic.HYGROMA: tissue.hygroma,
    Mimic.ATROPHY: tissue.atrophy,
}


def add_mimic(hu: Field, body: Anatomy, mimic: Mimic, rng: np.random.Generator) -> Field | None:
    """`hu` with this mimic, as a new array, or None where this anatomy has no place for it."""
    made = _MAKERS[mimic](hu, body, rng)
    return None if made is None else np.asarray(made, np.float32)
