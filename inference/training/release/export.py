"""Writes what is shipped: the networks in one safetensors file, beside it the model card and the folds.

The folds file says which patients each network never saw, with the decisions fitted without them: what an honest
evaluation on the training data needs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from inference.findings import ModelIdentity
from inference.models.card import Figure, OperatingPoint, VolumeError
from inference.models.weights import first_names
from inference.pipelines.haemorrhage.decisions import Decisions, Platt
from inference.pipelines.haemorrhage.folds import Fold
from inference.pipelines.haemorrhage.types import HaemorrhageType


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


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _platt(name: str, platt: Platt) -> list[str]:
    slopes = ", ".join(f"{s:.5f}" for s in platt.slopes)
    return [f"[{name}]", f"slopes = [{slopes}]", f"intercept = {platt.intercept:.5f}", ""]


def _decisions(decisions: Decisions, within: str = "") -> list[str]:
    """The tables `decision` and `calibration`, below the table `within`."""
    kinds = list(HaemorrhageType)
    calibration = f"{within}calibration"
    return [
        f"[{within}decision]",
        f"study_threshold = {decisions.study_threshold:.4f}",
        f"slice_threshold = {decisions.slice_threshold:.4f}",
        f"voxel_threshold = {decisions.voxel_threshold:.2f}",
        f"minimum_ml = {decisions.minimum_ml:.2f}",
        "",
        f"[{within}decision.type_thresholds]",
        *(f"{k.value} = {t:.4f}" for k, t in zip(kinds, decisions.type_thresholds, strict=True)),
        "",
        *_platt(f"{calibration}.study", decisions.study),
        *_platt(f"{calibration}.slice", decisions.slice),
        *(line for k, p in zip(kinds, decisions.types, strict=True) for line in _platt(f"{calibration}.{k.value}", p)),
    ]


@dataclass(frozen=True, slots=True)
class Before:
    """The model that is replaced, and its figures."""

    model: ModelIdentity
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What a training has made: the networks, how they decide, and the folds that keep their judgement honest."""

    networks: Sequence[torch.nn.Module]
    decisions: Decisions
    points: tuple[OperatingPoint, ...]
    folds: tuple[Fold, ...]
    volume_error: VolumeError | None = None


def card_text(sha256: str, made: Made, figures: Sequence[Figure], words: Words, before: Before | None = None) -> str:
    """The model card as TOML."""
    lines = [
        "# Model card. Research use only; not a medical device.",
        'name = "haemorrhage"',
        f"version = {_text(words.version)}",
        'weights = "haemorrhage.safetensors"',
        f"sha256 = {_text(sha256)}",
        f"networks = {len(made.networks)}",
        "",
        "# Probabilities; a study is suspected from study_threshold on. Bodies under minimum_ml are not drawn.",
        "# Logistic calibration. Features: study = log-odds that any plane shows blood (noisy-or); slice = smoothed",
        "# log-odds of its plane, and the study's feature; each type = log-odds that any plane shows it (noisy-or).",
        *_decisions(made.decisions),
        *_volume_error(made.volume_error),
        "[words]",
        'summary = "Suspected intracranial haemorrhage on non-contrast head CT: five types; voxel, slice and study."',
        'intended_use = "Research only. Not a medical device; not for diagnosis, triage or any other use on patients."',
        f"data = {_text(words.data)}",
        f"licence = {_text(words.licence)}",
        f"training = {_text(words.training)}",
        f"operating_point = {_text(words.operating_point)}",
        f"children_below_years = {words.children_below_years}",
        f"children = {_text(words.children)}",
        "limits = [",
        *(f"  {_text(limit)}," for limit in words.limits),
        "]",
        "",
    ]
    lines += ["# Other thresholds of the study: the sensitivity aimed at, and what was measured out of fold."]
    lines += [line for point in made.points for line in _operating_point(point)]
    lines += [line for figure in figures for line in _figure("figures", figure)]
    if before is not None:
        lines += ["# The model that this one replaces, measured by the same command on the same patients."]
        lines += ["[before]", f"version = {_text(before.model.version)}", f"sha256 = {_text(before.model.sha256)}", ""]
        lines += [line for figure in before.figures for line in _figure("before.figures", figure)]
    return "\n".join(lines)


def _figure(table: str, figure: Figure) -> list[str]:
    numbers = (
        f"{name} = {value:.3f}" for name, value in (("value", figure.value), ("low", figure.low), ("high", figure.high))
    )
    return [f"[[{table}]]", f"name = {_text(figure.name)}", *numbers, ""]


def _volume_error(error: VolumeError | None) -> list[str]:
    if error is None:
        return []
    return [
        "# Of simulated heads that no network saw: 95 % of true volumes lie between low and high times the drawn one.",
        "[volume_error]",
        f"heads = {error.heads}",
        f"low = {error.low:.4g}",
        f"high = {error.high:.4g}",
        "",
    ]


def _operating_point(point: OperatingPoint) -> list[str]:
    numbers = (
        f"{figure.name} = {{ value = {figure.value:.3f}, low = {figure.low:.3f}, high = {figure.high:.3f} }}"
        for figure in (point.sensitivity, point.specificity)
    )
    return ["[[operating_points]]", f"aim = {point.aim:g}", f"threshold = {point.threshold:.4f}", *numbers, ""]


def folds_text(sha256: str, folds: Sequence[Fold]) -> str:
    """The folds file as TOML."""
    names = sorted({patient.split("/")[0] for fold in folds for patient in fold.patients})
    lines = [
        "# Which patients no network but this one may judge, and the decisions fitted without them.",
        f"datasets = [{', '.join(_text(name) for name in names)}]",
        f"sha256 = {_text(sha256)}",
        "",
    ]
    for fold in folds:
        people = [f"  {_text(patient)}," for patient in fold.patients]
        lines += ["[[folds]]", f"network = {fold.network}", "patients = [", *people, "]", ""]
        lines += _decisions(fold.decisions, "folds.")
    return "\n".join(lines)


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
