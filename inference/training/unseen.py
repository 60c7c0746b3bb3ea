"""A model's answers for the very patients it was made from: each by the network that never saw the patient.

The folds file beside a card names, for each network, the patients left out of its training and the decisions
(calibration, thresholds) fitted without them. Nothing that judges a patient then knows anything of the patient.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from inference.errors import ModelError
from inference.findings import Result
from inference.network import build_network
from inference.pipelines.haemorrhage import HaemorrhagePipeline
from inference.stack import SliceStack
from inference.training.export import Fold
from inference.weights import ModelCard, load_networks, read_decisions


def read_folds(card: ModelCard) -> tuple[str, tuple[Fold, ...]]:
    """The data set's name and the folds that lie beside the card's weights; ModelError where they do not fit."""
    name = card.weights.name.removesuffix(".safetensors") + ".folds.toml"
    place = Path(str(card.weights)).with_name(name)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
        folds = tuple(_fold(each) for each in content["folds"])
        dataset, sha256 = str(content["dataset"]), str(content["sha256"])
    except OSError as error:
        raise ModelError(f"{place}: the folds cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: the folds are not valid ({error})") from error
    if sha256 != card.identity.sha256:
        raise ModelError(f"{place}: these are the folds of other weights ({sha256[:12]}…)")
    return dataset, folds


def _fold(content: dict[str, Any]) -> Fold:
    return Fold(int(content["network"]), tuple(str(p) for p in content["patients"]), read_decisions(content))


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """The pipelines of all folds, by patient."""

    pipelines: dict[str, HaemorrhagePipeline]

    def run(self, patient_id: str, stack: SliceStack) -> Result:
        """The answer of the network that never saw this patient; ModelError for a patient of no fold."""
        if patient_id not in self.pipelines:
            raise ModelError(f"patient {patient_id} belongs to none of the model's folds: was it trained on them?")
        return self.pipelines[patient_id].run(stack)


def unseen(card: ModelCard, folds: Sequence[Fold], device: torch.device) -> Unseen:
    """One pipeline for each fold, of its one network and its own decisions."""
    networks = load_networks(card, build_network, device)
    pipelines = {}
    for fold in folds:
        own = replace(card, decisions=fold.decisions, networks=1)
        pipeline = HaemorrhagePipeline(device, own, [networks[fold.network]])
        pipelines |= dict.fromkeys(fold.patients, pipeline)
    return Unseen(pipelines)
