"""Which pipelines come with the package, and which class runs the model of a card.

Installed models of a foreign kind are pipelines, too, by their own names: whoever keeps them says so (see Engine).
"""

from dataclasses import replace

import torch

from inference.errors import UnknownPipelineError
from inference.models.card import HAEMORRHAGE, ModelCard, load_card
from inference.pipelines.base import Pipeline

PIPELINES = (HAEMORRHAGE,)


def shipped_card(pipeline_name: str) -> ModelCard:
    """The card of the model that came with the package for this pipeline; UnknownPipelineError where none did."""
    if pipeline_name not in PIPELINES:
        raise UnknownPipelineError(f"there is no pipeline '{pipeline_name}'; there is: {', '.join(PIPELINES)}")
    return load_card(pipeline_name)


def load_pipeline(card: ModelCard, device: torch.device, study_threshold: float | None = None) -> Pipeline:
    """The pipeline that runs a card's model, with its weights; a given threshold takes the place of the card's own.

    ModelError where the weights are missing, damaged or not the card's.
    """
    if study_threshold is not None:
        card = replace(card, decisions=replace(card.decisions, study_threshold=study_threshold))
    if card.kind == HAEMORRHAGE:
        from inference.pipelines.haemorrhage.own import HaemorrhagePipeline

        return HaemorrhagePipeline(device, card)
    from inference.pipelines.haemorrhage.foreign.pipeline import ForeignPipeline

    return ForeignPipeline(device, card)
