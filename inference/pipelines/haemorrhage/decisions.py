"""How a haemorrhage network's features become probabilities, and from which on something is said."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from inference.errors import ModelError
from inference.models.card import ModelCard
from inference.pipelines.haemorrhage.types import HaemorrhageType

FOREIGN_KINDS = ("onnx", "monai")


@dataclass(frozen=True, slots=True)
class Platt:
    """Logistic calibration (Platt 1999): probability = sigmoid(intercept + slopes . features)."""

    slopes: tuple[float, ...]
    intercept: float

    def __call__(self, *features: float) -> float:
        """Probability in 0..1; as many features as slopes."""
        logit = self.intercept + sum(s * f for s, f in zip(self.slopes, features, strict=True))
        return float(torch.sigmoid(torch.tensor(logit, dtype=torch.float64)))


@dataclass(frozen=True, slots=True)
class Decisions:
    """How the networks' features become probabilities, and from which on something is said; types in their order.

    Features: of the study the log-odds that any of its planes shows blood (noisy-or); of a slice the log-odds of its
    plane, smoothed over neighbours, and the study's feature; of each type the log-odds that any plane shows it. Bodies
    under `minimum_ml` are not drawn. Types are stated where `tells_types`, else given as a differential.
    `calibrated_prevalence` is the share of studies with haemorrhage in the data of the calibration, None if not said.
    """

    study: Platt
    slice: Platt
    types: tuple[Platt, ...]
    study_threshold: float
    slice_threshold: float
    type_thresholds: tuple[float, ...]
    voxel_threshold: float
    minimum_ml: float
    tells_types: bool = True
    calibrated_prevalence: float | None = None


def _platt(content: Mapping[str, Any]) -> Platt:
    return Platt(tuple(float(v) for v in content["slopes"]), float(content["intercept"]))


def decisions_of(card: ModelCard) -> Decisions:
    """How a card's networks decide, from the card's own threshold on; ModelError where its tables are not right."""
    read = _foreign_decisions if card.kind in FOREIGN_KINDS else read_decisions
    try:
        return replace(read(card.tables), study_threshold=card.threshold, tells_types=card.tells_types)
    except KeyError as error:
        raise ModelError(f"{card.place}: the model card lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"{card.place}: the model card is not valid ({error})") from error


def read_decisions(content: Mapping[str, Any]) -> Decisions:
    """The tables `decision` and `calibration` of a card; KeyError, TypeError or ValueError where they are not right."""
    calibration, decision = content["calibration"], content["decision"]
    return Decisions(
        study=_platt(calibration["study"]),
        slice=_platt(calibration["slice"]),
        types=tuple(_platt(calibration[kind.value]) for kind in HaemorrhageType),
        study_threshold=float(decision["study_threshold"]),
        slice_threshold=float(decision["slice_threshold"]),
        type_thresholds=tuple(float(decision["type_thresholds"][kind.value]) for kind in HaemorrhageType),
        voxel_threshold=float(decision["voxel_threshold"]),
        minimum_ml=float(decision["minimum_ml"]),
        calibrated_prevalence=decision.get("calibrated_prevalence"),
    )


def _foreign_decisions(content: Mapping[str, Any]) -> Decisions:
    """As `read_decisions`; what a network of another house need not say is its output as it is, and common thresholds.

    Only `study_threshold` must stand there: from which probability on a study is suspected is nobody's to guess.
    """
    calibration, decision = content.get("calibration", {}), content["decision"]
    named = decision.get("type_thresholds", {})
    threshold = float(decision["study_threshold"])
    return Decisions(
        study=_platt(calibration["study"]) if "study" in calibration else Platt((1.0,), 0.0),
        slice=_platt(calibration["slice"]) if "slice" in calibration else Platt((1.0, 0.0), 0.0),
        types=tuple(
            _platt(calibration[each.value]) if each.value in calibration else Platt((1.0,), 0.0)
            for each in HaemorrhageType
        ),
        study_threshold=threshold,
        slice_threshold=float(decision.get("slice_threshold", threshold)),
        type_thresholds=tuple(float(named.get(each.value, 0.5)) for each in HaemorrhageType),
        voxel_threshold=float(decision.get("voxel_threshold", 0.5)),
        minimum_ml=float(decision.get("minimum_ml", 0.1)),
    )
