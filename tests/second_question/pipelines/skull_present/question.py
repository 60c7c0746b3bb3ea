"""A second, tiny question: is a skull in the images? No network, one threshold; it exists to prove the way."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from inference.findings import Finding, Measurement, ModelIdentity, Result
from inference.input.stack import build_stack
from inference.models.card import ModelCard, load_card
from inference.pipelines.base import Given, Question

BONE_HU = 300
ENOUGH_ML = 20.0


class SkullPipeline:
    """Counts the voxels of bone."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card

    @property
    def model(self) -> ModelIdentity:
        """Which rule answers."""
        return self._card.identity

    def run(self, given: Given) -> Result:
        """Present from 20 ml of bone on."""
        stack, threshold = given.stack, self._card.threshold
        bone = stack.hu > BONE_HU
        per_voxel = stack.pixel_spacing[0] * stack.pixel_spacing[1] * stack.extents_mm / 1000
        volume = float((bone.sum((1, 2)) * per_voxel).sum())
        probability = min(1.0, threshold * volume / ENOUGH_ML)
        present = probability >= threshold
        by_slice = bone.any((1, 2)).astype(float)
        finding = Finding("skull", probability, present, bone, (Measurement("volume", volume, "mL"),))
        return Result(
            question=self._card.question,
            pipeline=self._card.question,
            model=self.model,
            threshold=threshold,
            suspected=present,
            probability=probability,
            findings=(finding,),
            slice_probabilities=tuple(by_slice.tolist()),
            key_slices=(int(np.argmax(bone.sum((1, 2)))),),
        )


def prepare(datasets: Sequence[Dataset]) -> Given:
    """The slices in their order."""
    return Given(build_stack(datasets))


QUESTION = Question(
    name="skull_present",
    prepare=prepare,
    load=lambda card, device: SkullPipeline(card),
    card=lambda: load_card(Path(__file__).with_name("card.toml")),
    urgent=False,
)
