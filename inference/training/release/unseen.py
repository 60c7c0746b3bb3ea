"""A model's answers for the very data sets it was made from: each patient by the network that never saw the patient.

The folds file beside a card names, for each network, the patients left out of its training, and the decisions
(calibration, thresholds) fitted without their predictions. Patients of the same data sets who are in no fold are new to
every network: the model as it is shipped answers for them.
"""

import hashlib
from dataclasses import replace

import torch

from inference.models.card import ModelCard
from inference.models.weights import load_networks
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.decisions import decisions_of
from inference.pipelines.haemorrhage.folds import load_folds
from inference.pipelines.haemorrhage.network import build_network
from inference.training.datasets.base import Dataset
from inference.training.evaluation.measure import Analyst, told_by
from inference.training.evaluation.peak import WatchedPipeline


class Unseen:
    """One pipeline for each fold, of its one network and its own decisions, and the shipped one; all name types.

    ModelError where there are no folds beside the card, or they belong to other weights.
    """

    def __init__(self, card: ModelCard, device: torch.device) -> None:
        self.card = card
        self.folds = load_folds(card)
        self._shipped = WatchedPipeline(device, card, None, replace(decisions_of(card), tells_types=True))
        self._pipelines: dict[str, WatchedPipeline] = {}
        own = replace(card, networks=1)
        networks = load_networks(card, build_network, device, [fold.network for fold in self.folds.folds])
        for fold, network in zip(self.folds.folds, networks, strict=True):
            pipeline = WatchedPipeline(device, own, [network], fold.decisions)
            self._pipelines |= dict.fromkeys(fold.patients, pipeline)

    def pipeline(self, dataset: str, patient_id: str) -> WatchedPipeline:
        """The pipeline that never saw this patient."""
        return self._pipelines.get(f"{dataset}/{patient_id}", self._shipped)

    def analyst(self, dataset: Dataset) -> Analyst:
        """Answers for the patients of a data set that the model was made from."""
        return Analyst(
            answer=lambda study: self.pipeline(dataset.name, study.entry.patient_id).run(Given(study.stack)),
            slice_threshold=lambda entry: self.pipeline(dataset.name, entry.patient_id).decisions.slice_threshold,
            model=self.card.identity,
            method=self._method({f"{dataset.name}/{entry.patient_id}" for entry in dataset.entries()}),
            signature=hashlib.sha256(repr((self.folds, told_by(self.card))).encode()).hexdigest()[:16],
            card=self.card,
            peak=lambda study: self.pipeline(dataset.name, study.entry.patient_id).peak,
        )

    def _method(self, people: set[str]) -> str:
        """How these people are judged, in a sentence or two."""
        known = len(people & self._pipelines.keys())
        new = len(people) - known
        said = []
        if known:
            said.append(
                f"{len(self.folds.folds)}-fold cross-validation by patient ({known} patients): each patient is judged "
                "by the one network that never saw the patient, with calibration and thresholds fitted on the "
                "predictions for the patients of the other folds."
            )
        if new:
            said.append(
                f"{new} patients whom no network ever saw are judged by the model as it is shipped "
                f"({_networks(self.card.networks)}, the card's own calibration and thresholds)."
            )
        return " ".join(said)


def _networks(count: int) -> str:
    return "one network" if count == 1 else f"{count} networks averaged"
