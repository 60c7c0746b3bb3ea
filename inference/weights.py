"""Weights and their model card: safetensors beside a TOML file, the SHA-256 in the card checked on every load.

The card says what the weights are, how their logits become probabilities, where the operating point lies, how good they
were and what they must not be used for. No pickle is ever loaded.
"""

import hashlib
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from inference.errors import ModelError
from inference.findings import HaemorrhageType, ModelIdentity

HAEMORRHAGE = "haemorrhage"
KINDS = (HAEMORRHAGE, "onnx", "monai")
Network = TypeVar("Network", bound=torch.nn.Module)


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
class Figure:
    """One measured figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decisions:
    """How the networks' features become probabilities, and from which on something is said; types in their order.

    Features: of the study the log-odds that any of its planes shows blood (noisy-or); of a slice the log-odds of its
    plane, smoothed over neighbours, and the study's feature; of each type the log-odds that any plane shows it. Bodies
    under `minimum_ml` are not drawn.
    """

    study: Platt
    slice: Platt
    types: tuple[Platt, ...]
    study_threshold: float
    slice_threshold: float
    type_thresholds: tuple[float, ...]
    voxel_threshold: float
    minimum_ml: float


@dataclass(frozen=True, slots=True)
class Fold:
    """The patients, as "data set/patient", whom network `network` never saw; the decisions fitted on all others."""

    network: int
    patients: tuple[str, ...]
    decisions: Decisions


@dataclass(frozen=True, slots=True)
class Folds:
    """The data sets that a card's networks were made from, and their patients fold by fold."""

    datasets: tuple[str, ...]
    folds: tuple[Fold, ...]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A study threshold, the sensitivity it was chosen for, and what was measured with it."""

    aim: float
    threshold: float
    sensitivity: Figure
    specificity: Figure


@dataclass(frozen=True, slots=True)
class VolumeError:
    """95 % of true volumes lie between `low` and `high` times the drawn one; measured on so many simulated heads."""

    heads: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card says.

    `kind` is whose networks these are: our own, or one of the foreign formats, whose tables network, input and output
    stand in `contract` as they were read. `place` is the card's own file.
    """

    identity: ModelIdentity
    summary: str
    networks: int
    decisions: Decisions
    children_below_years: float
    children: str
    intended_use: str
    data: str
    licence: str
    limits: tuple[str, ...]
    figures: tuple[Figure, ...]
    weights: Traversable
    place: Traversable
    kind: str = HAEMORRHAGE
    operating_points: tuple[OperatingPoint, ...] = ()
    contract: Mapping[str, Any] = field(default_factory=dict)
    volume_error: VolumeError | None = None


def load_card(source: str | Path) -> ModelCard:
    """The card of a model that came with the package (by name), or of any TOML file; ModelError if unusable."""
    place = source if isinstance(source, Path) else resources.files("config.models").joinpath(f"{source}.toml")
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
        folder = source.parent if isinstance(source, Path) else resources.files("config.models")
        return _card(content, folder.joinpath(str(content["weights"])), place)
    except OSError as error:
        raise ModelError(f"{place}: the model card cannot be read ({error.strerror or error})") from error
    except KeyError as error:
        raise ModelError(f"{place}: the model card lacks {error}") from error
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: the model card is not valid ({error})") from error


def _platt(content: Mapping[str, Any]) -> Platt:
    return Platt(tuple(float(v) for v in content["slopes"]), float(content["intercept"]))


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


def _card(content: Mapping[str, Any], weights: Traversable, place: Traversable) -> ModelCard:
    words, kind = content["words"], content.get("kind", HAEMORRHAGE)
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; there are: {', '.join(KINDS)}")
    own = kind == HAEMORRHAGE
    return ModelCard(
        identity=ModelIdentity(str(content["name"]), str(content["version"]), str(content["sha256"])),
        summary=words["summary"],
        networks=int(content["networks"] if own else content.get("networks", 1)),
        decisions=read_decisions(content) if own else _foreign_decisions(content),
        children_below_years=float(words["children_below_years"]),
        children=words["children"],
        intended_use=words["intended_use"],
        data=words["data"],
        licence=words["licence"],
        limits=tuple(words["limits"]),
        figures=tuple(_figure(str(each["name"]), each) for each in content.get("figures", [])),
        weights=weights,
        place=place,
        kind=kind,
        operating_points=tuple(_operating_point(each) for each in content.get("operating_points", [])),
        volume_error=_volume_error(content["volume_error"]) if "volume_error" in content else None,
        contract={} if own else {name: content[name] for name in ("network", "input", "output") if name in content},
    )


def _figure(name: str, content: Mapping[str, Any]) -> Figure:
    return Figure(name, float(content["value"]), float(content["low"]), float(content["high"]))


def _operating_point(content: Mapping[str, Any]) -> OperatingPoint:
    point = OperatingPoint(
        aim=float(content["aim"]),
        threshold=float(content["threshold"]),
        sensitivity=_figure("sensitivity", content["sensitivity"]),
        specificity=_figure("specificity", content["specificity"]),
    )
    numbers = [point.aim, point.threshold]
    numbers += [n for each in (point.sensitivity, point.specificity) for n in (each.low, each.value, each.high)]
    if not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"an operating point has a number outside 0..1: {numbers}")
    return point


def _volume_error(content: Mapping[str, Any]) -> VolumeError:
    error = VolumeError(int(content["heads"]), float(content["low"]), float(content["high"]))
    if error.heads < 1 or not 0 < error.low <= error.high < math.inf:
        raise ValueError(f"volume_error is no range of factors: {error.low:g} to {error.high:g} on {error.heads} heads")
    return error


def study_threshold(card: ModelCard, sensitivity: float) -> float:
    """The card's study threshold: its own where `sensitivity` is 0, else that of its operating point of this aim.

    ModelError, naming the points that there are, where it has none of this aim.
    """
    if not sensitivity:
        return card.decisions.study_threshold
    for point in card.operating_points:
        if math.isclose(point.aim, sensitivity, abs_tol=1e-6):
            return point.threshold
    aims = ", ".join(f"{point.aim:g}" for point in card.operating_points) or "none"
    raise ModelError(
        f"the model {card.identity.name} {card.identity.version} has no operating point for a sensitivity of "
        f"{sensitivity:g}; it has: {aims} ([model] sensitivity = 0 takes the card's own threshold)"
    )


def folds_path(card: ModelCard) -> Path:
    """Where the folds of the card's weights lie, if they are there at all."""
    return Path(str(card.weights)).with_suffix(".folds.toml")


def load_folds(card: ModelCard) -> Folds:
    """The folds beside the card's weights; ModelError where they cannot be read, or are those of other weights."""
    place = folds_path(card)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
        folds = tuple(
            Fold(int(each["network"]), tuple(str(p) for p in each["patients"]), read_decisions(each))
            for each in content["folds"]
        )
        datasets, sha256 = tuple(str(name) for name in content["datasets"]), str(content["sha256"])
    except OSError as error:
        raise ModelError(f"{place}: the folds cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: the folds are not valid ({error})") from error
    if sha256 != card.identity.sha256:
        raise ModelError(f"{place}: these are the folds of other weights (SHA-256 {sha256[:12]}…)")
    return Folds(datasets, folds)


def first_names(network: torch.nn.Module) -> dict[str, str]:
    """For every name in the network's state, the first name of the same tensor: some modules stand in it twice."""
    seen: dict[int, str] = {}
    return {name: seen.setdefault(value.data_ptr(), name) for name, value in network.state_dict().items()}


def read_weights(card: ModelCard) -> bytes:
    """The card's weights file; ModelError where it cannot be read or its SHA-256 is not the card's."""
    try:
        content = card.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"{card.weights}: the weights cannot be read ({error.strerror or error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.identity.sha256:
        raise ModelError(
            f"{card.weights}: these are not the weights of the card (SHA-256 {digest[:12]}…, the card says "
            f"{card.identity.sha256[:12]}…)"
        )
    return content


def load_networks(card: ModelCard, build: Callable[[], Network], device: torch.device) -> tuple[Network, ...]:
    """The card's networks, ready for inference in float32; ModelError when the weights are not the card's."""
    content = read_weights(card)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ModelError(f"{card.weights}: not a safetensors file ({error})") from error
    networks = []
    for number in range(card.networks):
        network = build()
        names = first_names(network)
        try:
            network.load_state_dict({name: tensors[f"{number}.{first}"] for name, first in names.items()})
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"{card.weights}: the weights do not fit the network ({error})") from error
        networks.append(network.eval().to(device))
    return tuple(networks)
