"""Weights and their model card: safetensors beside a TOML file, the SHA-256 in the card checked on every load.

The card says what the weights are, how their logits become probabilities, where the operating point lies, how good they
were and what they must not be used for. No pickle is ever loaded.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from inference.errors import ModelError
from inference.findings import ModelIdentity
from inference.pipelines.haemorrhage.decisions import Decisions, _foreign_decisions, read_decisions

HAEMORRHAGE = "haemorrhage"
KINDS = (HAEMORRHAGE, "onnx", "monai")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


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
