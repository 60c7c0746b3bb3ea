"""Which clinical questions there are: one name a line, the package beside this file that answers it.

Installed models are pipelines, too, by their own names: their cards say which question they answer.
"""

from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from inference.errors import ModelError, UnknownPipelineError
from inference.models.card import ModelCard
from inference.pipelines.base import Pipeline, Question

if TYPE_CHECKING:
    import torch

QUESTIONS = [
    "haemorrhage",
]


def question_of(name: str) -> Question:
    """The question of this name; UnknownPipelineError where there is none."""
    if name not in QUESTIONS:
        raise UnknownPipelineError(f"there is no pipeline '{name}'; there is: {', '.join(QUESTIONS)}")
    return _load_question(name)


def question_of_card(card: ModelCard) -> Question:
    """The question that a card's model answers; ModelError where there is none of that name."""
    if card.question not in QUESTIONS:
        known = ", ".join(QUESTIONS)
        raise ModelError(f"{card.place}: there is no question {card.question!r}; there is: {known}")
    return question_of(card.question)


@cache
def _load_question(name: str) -> Question:
    question: Question = import_module(f"inference.pipelines.{name}.question").QUESTION
    return question


def shipped_card(pipeline_name: str) -> ModelCard:
    """The card of the model that came with the package for this pipeline; UnknownPipelineError where none did."""
    return question_of(pipeline_name).card()


def load_pipeline(card: ModelCard, device: "torch.device", threshold: float | None = None) -> Pipeline[Any]:
    """The pipeline that runs a card's model, with its weights; a given threshold takes the place of the card's own.

    ModelError where the weights are missing, damaged or not the card's, or there is no such question.
    """
    if threshold is not None:
        card = replace(card, threshold=threshold)
    return question_of_card(card).load(card, device)
