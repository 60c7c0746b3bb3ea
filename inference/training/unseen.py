"""A model's answers for the very patients it was made from: each by the network that never saw the patient.

The folds file beside a card names, for each network, the patients left out of its training and the decisions
(calibration, thresholds) fitted without them. Nothing that judges a patient then knows anything of the patient.
"""

import hashlib
from dataclasses import replace

import torch

from inference.errors import ModelError
from inference.network import build_network
from inference.pipelines.haemorrhage import HaemorrhagePipeline
from inference.training.evaluation.measure import Analyst
from inference.weights import ModelCard, load_folds, load_networks


class Unseen:
    """One pipeline for each fold, of its one network and its own decisions; asked by patient.

    ModelError where there are no folds beside the card, or they belong to other weights.
    """

    def __init__(self, card: ModelCard, device: torch.device) -> None:
        self.card = card
        folds = load_folds(card)
        networks = load_networks(card, build_network, device)
        self._pipelines: dict[str, HaemorrhagePipeline] = {}
        for fold in folds.folds:
            own = replace(card, decisions=fold.decisions, networks=1)
            pipeline = HaemorrhagePipeline(device, own, [networks[fold.network]])
            self._pipelines |= dict.fromkeys(fold.patients, pipeline)
        self._folds = folds

    def pipeline(self, patient_id: str) -> HaemorrhagePipeline:
        """The pipeline that never saw this patient; ModelError for a patient of no fold."""
        if patient_id not in self._pipelines:
            raise ModelError(f"patient {patient_id} is in none of the model's folds; it cannot be judged unseen")
        return self._pipelines[patient_id]

    def analyst(self) -> Analyst:
        """Answers for every study of the data set that the model was made from."""
        return Analyst(
            answer=lambda study: self.pipeline(study.entry.patient_id).run(study.stack),
            slice_threshold=lambda entry: self.pipeline(entry.patient_id).card.decisions.slice_threshold,
            model=self.card.identity,
            method=(
                f"{len(self._folds.folds)}-fold cross-validation by patient: each patient is judged by the one network "
                "that never saw the patient, with calibration and thresholds fitted on the patients of the other folds."
            ),
            signature=hashlib.sha256(repr(self._folds).encode()).hexdigest()[:16],
        )
