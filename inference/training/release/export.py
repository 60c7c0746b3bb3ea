"""Writes what is shipped: the networks in one safetensors file, beside it the model card and the folds.

The folds file says which patients each network never saw, with the decisions fitted without them: what an honest
evaluation on the training data needs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors.torch import save

from inference.findings import ModelIdentity
from inference.models.card import Figure, OperatingPoint, VolumeError
from inference.models.weights import first_names
from inference.pipelines.haemorrhage.decisions import Decisions, Platt
from inference.pipelines.haemorrhage.folds import Fold
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.release.volumes import table_of

Table = dict[str, Any]
SUMMARY = "Suspected intracranial haemorrhage on non-contrast head CT: five types; voxel, slice and study."
INTENDED_USE = "Research only. Not a medical device; not for diagnosis, triage or any other use on patients."
CARD_COMMENTS = """\
# Model card. Research use only; not a medical device.
# decision: probabilities; a study is suspected from study_threshold on. Bodies under minimum_ml are not drawn.
#   calibrated_prevalence: the share of studies with haemorrhage in the data of the calibration.
# calibration: logistic. Features: study = log-odds that any plane shows blood (noisy-or); slice = smoothed log-odds of
#   its plane, and the study's feature; each type = log-odds that any plane shows it (noisy-or).
# volume_error: 95 % of true volumes lie between low and high times the drawn one (simulated heads with dense blood,
#   unseen); sizes: of drawn volumes below below_ml. types_exact: share of flagged patients with exactly their types.
# operating_points: other thresholds of the study, the sensitivity aimed at, and what was measured out of fold.
# before: the model that this one replaces, measured by the same command on the same patients.
"""
FOLDS_COMMENT = "# Which patients no network but this one may judge, and the decisions fitted without them.\n"


@dataclass(frozen=True, slots=True)
class Words:
    """The card's own words; `data` names what it was made from with its licence, `training` says how, with which seeds
    and for how long."""

    version: str
    data: str
    licence: str
    training: str
    operating_point: str
    children_below_years: float
    children: str
    limits: tuple[str, ...]


def pack(networks: Sequence[torch.nn.Module]) -> bytes:
    """All networks in one safetensors file: convolutions in float16, normalisation statistics as they are."""
    tensors = {}
    for number, network in enumerate(networks):
        state = network.state_dict()
        for name in dict.fromkeys(first_names(network).values()):
            value = state[name]
            small = value.dtype == torch.float32 and value.dim() == 4
            tensors[f"{number}.{name}"] = (value.half() if small else value).contiguous().clone()
    return save(tensors)


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits)


def _platt(platt: Platt) -> Table:
    return {"slopes": [_rounded(slope, 5) for slope in platt.slopes], "intercept": _rounded(platt.intercept, 5)}


def _decisions(decisions: Decisions) -> Table:
    """The tables `decision` and `calibration`."""
    kinds = [kind.value for kind in HaemorrhageType]
    thresholds = [_rounded(threshold, 4) for threshold in decisions.type_thresholds]
    share = decisions.calibrated_prevalence
    return {
        "decision": {
            "study_threshold": _rounded(decisions.study_threshold, 4),
            "slice_threshold": _rounded(decisions.slice_threshold, 4),
            "voxel_threshold": _rounded(decisions.voxel_threshold, 2),
            "minimum_ml": _rounded(decisions.minimum_ml, 2),
            **({} if share is None else {"calibrated_prevalence": _rounded(share, 6)}),
            "type_thresholds": dict(zip(kinds, thresholds, strict=True)),
        },
        "calibration": {
            "study": _platt(decisions.study),
            "slice": _platt(decisions.slice),
            **dict(zip(kinds, map(_platt, decisions.types), strict=True)),
        },
    }


@dataclass(frozen=True, slots=True)
class Before:
    """The model that is replaced, and its figures."""

    model: ModelIdentity
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What a training has made: the network that answers and behind it those of the folds, how they decide, and the
    folds that keep their judgement honest."""

    networks: Sequence[torch.nn.Module]
    decisions: Decisions
    points: tuple[OperatingPoint, ...]
    folds: tuple[Fold, ...]
    volume_error: VolumeError | None = None
    types_exact: float | None = None


def card_text(sha256: str, made: Made, figures: Sequence[Figure], words: Words, before: Before | None = None) -> str:
    """The model card as TOML."""
    card: Table = {
        "name": "haemorrhage",
        "version": words.version,
        "weights": "haemorrhage.safetensors",
        "sha256": sha256,
        "networks": 1,
        **_decisions(made.decisions),
        "words": {
            "summary": SUMMARY,
            "intended_use": INTENDED_USE,
            "data": words.data,
            "licence": words.licence,
            "training": words.training,
            "operating_point": words.operating_point,
            "children_below_years": words.children_below_years,
            "children": words.children,
            "limits": words.limits,
        },
        "operating_points": [_operating_point(point) for point in made.points],
        "figures": [_figure(figure) for figure in figures],
    }
    if made.volume_error is not None:
        card["volume_error"] = table_of(made.volume_error)
    if made.types_exact is not None:
        card["types_exact"] = _rounded(made.types_exact, 3)
    if before is not None:
        card["before"] = {
            "version": before.model.version,
            "sha256": before.model.sha256,
            "figures": [_figure(figure) for figure in before.figures],
        }
    return CARD_COMMENTS + tomli_w.dumps(card)


def _interval(figure: Figure) -> Table:
    return {"value": _rounded(figure.value, 3), "low": _rounded(figure.low, 3), "high": _rounded(figure.high, 3)}


def _figure(figure: Figure) -> Table:
    return {"name": figure.name, **_interval(figure)}


def _operating_point(point: OperatingPoint) -> Table:
    return {
        "aim": point.aim,
        "threshold": _rounded(point.threshold, 4),
        "sensitivity": _interval(point.sensitivity),
        "specificity": _interval(point.specificity),
    }


def folds_text(sha256: str, folds: Sequence[Fold]) -> str:
    """The folds file as TOML."""
    names = sorted({patient.split("/")[0] for fold in folds for patient in fold.patients})
    tables = [{"network": fold.network, "patients": fold.patients, **_decisions(fold.decisions)} for fold in folds]
    return FOLDS_COMMENT + tomli_w.dumps({"datasets": names, "sha256": sha256, "folds": tables})


def export(made: Made, figures: Sequence[Figure], words: Words, out: Path, before: Before | None = None) -> Path:
    """Writes haemorrhage.safetensors, haemorrhage.toml and haemorrhage.folds.toml into `out`; the card's path."""
    out.mkdir(parents=True, exist_ok=True)
    content = pack(made.networks)
    (out / "haemorrhage.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    card = out / "haemorrhage.toml"
    card.write_text(card_text(digest, made, figures, words, before), encoding="utf-8")
    (out / "haemorrhage.folds.toml").write_text(folds_text(digest, made.folds), encoding="utf-8")
    return card
