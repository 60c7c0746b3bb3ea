"""The question "is there intracranial haemorrhage on this non-contrast head CT?", as the registry knows it.

What reads images and runs networks is imported on first use: whoever only asks for the card or the rule of growth does
not wait for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inference.errors import ModelError
from inference.models.card import ModelCard, load_card
from inference.pipelines.base import Given, Pipeline, Question, TestedImage
from inference.pipelines.haemorrhage.growth import changes

if TYPE_CHECKING:
    import torch
    from pydicom.dataset import Dataset

NAME = "haemorrhage"


def prepare(datasets: Sequence["Dataset"]) -> Given:
    """The head's slices in their order; NotAnalysable where the images are no stack."""
    from inference.input.stack import build_stack

    return Given(build_stack(datasets))


def load(card: ModelCard, device: "torch.device") -> Pipeline[Given]:
    """Our own networks, or one of another house; ModelError where the weights are missing or not the card's."""
    from inference.pipelines.haemorrhage.decisions import FOREIGN_KINDS
    from inference.pipelines.haemorrhage.foreign.pipeline import ForeignPipeline
    from inference.pipelines.haemorrhage.own import HaemorrhagePipeline

    if card.kind in FOREIGN_KINDS:
        return ForeignPipeline(device, card)
    if card.kind == NAME:
        if "networks" not in card.tables:
            raise ModelError(f"{card.place}: the model card lacks 'networks'")
        return HaemorrhagePipeline(device, card)
    raise ModelError(f"{card.place}: there is no kind {card.kind!r}; there are: {', '.join((NAME, *FOREIGN_KINDS))}")


def self_test(pipeline: Pipeline[Given]) -> tuple[TestedImage, ...]:
    """Synthetic heads without and with a large bleed; ModelError with exactly what the model got wrong."""
    from inference.pipelines.haemorrhage.selftest import self_test as run_on_heads

    return run_on_heads(pipeline.run)


def companions(card: ModelCard) -> tuple[Path, ...]:
    """The folds of the card's weights, where there are any; ModelError where they are damaged."""
    from inference.pipelines.haemorrhage.folds import folds_path, load_folds

    place = folds_path(card)
    if not place.is_file():
        return ()
    load_folds(card)
    return (place,)


QUESTION = Question(
    name=NAME,
    prepare=prepare,
    load=load,
    card=lambda: load_card(NAME),
    compare=changes,
    self_test=self_test,
    companions=companions,
)
