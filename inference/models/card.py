"""Model cards: what a model is, how good it was and what it must not be used for, as TOML beside its weights.

What every card has stands here, checked; the tables that only one question's networks understand stay as they were
written (`ModelCard.tables`), and the question's own code reads them.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.errors import ModelError
from inference.findings import ModelIdentity

OWN = "haemorrhage"  # the question of a card that names none: cards before 0.5 did not
TYPES_EXACT_NEEDED = 0.8
SMALLEST_ML = 1.0  # the smallest drawn volume whose error is measured
Share = Annotated[float, Field(ge=0, le=1)]


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
    """95 % of true volumes lie between `low` and `high` times the drawn one; measured on so many simulated heads.

    `sizes`, the smallest first, say it of drawn volumes of their own size. Nothing is said of less than SMALLEST_ML.
    """

    heads: int
    low: float
    high: float
    sizes: tuple["SizeError", ...] = ()

    def factors(self, drawn_ml: float) -> tuple[float, float] | None:
        """`low` and `high` of this size, or of all sizes where none is told apart; None where nothing was measured."""
        if drawn_ml < SMALLEST_ML:
            return None
        return next(((each.low, each.high) for each in self.sizes if drawn_ml < each.below_ml), (self.low, self.high))


@dataclass(frozen=True, slots=True)
class SizeError:
    """The volume error of drawn volumes below `below_ml` and not below the size before; inf: no bound."""

    below_ml: float
    heads: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VolumeRepeat:
    """How repeatable drawn volumes from `from_ml` on are: two scans of one unchanged head differ by `log_sd`.

    The standard deviation of the natural logarithm of the ratio of both volumes, over so many pairs.
    """

    from_ml: float
    pairs: int
    log_sd: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a card says.

    `question` is what the model answers, `kind` whose networks these are: the question's own, by its name, or a foreign
    format. From `threshold` on a study is suspected. `types_exact` is the share of flagged patients with the finding
    whose set of types the model names exactly, None where nobody has measured it. `calibrated_prevalence` is the share
    of studies with the finding in the data of its calibration, None where the card does not say. `tables` is the whole
    card as it was read; `place` is the card's own file.
    """

    identity: ModelIdentity
    question: str
    kind: str
    threshold: float
    summary: str
    networks: int
    children_below_years: float
    children: str
    intended_use: str
    data: str
    licence: str
    limits: tuple[str, ...]
    figures: tuple[Figure, ...]
    weights: Traversable
    place: Traversable
    operating_points: tuple[OperatingPoint, ...] = ()
    volume_error: VolumeError | None = None
    volume_repeat: tuple[VolumeRepeat, ...] = ()
    types_exact: float | None = None
    calibrated_prevalence: float | None = None
    tables: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def tells_types(self) -> bool:
        """Whether the model names types well enough to state them."""
        return self.types_exact is not None and self.types_exact >= TYPES_EXACT_NEEDED


class _Table(BaseModel):
    """A table of a card; keys that only the question's own code knows are let pass."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Interval(_Table):
    value: Share
    low: Share
    high: Share

    def named(self, name: str) -> Figure:
        return Figure(name, self.value, self.low, self.high)


class _Point(_Table):
    aim: Share
    threshold: Share
    sensitivity: _Interval
    specificity: _Interval


class _Factors(_Table):
    heads: Annotated[int, Field(ge=1)]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(allow_inf_nan=False)]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"volume_error is no range of factors: {self.low:g} to {self.high:g}")
        return self


class _SizeError(_Factors):
    below_ml: Annotated[float, Field(gt=0)] = math.inf


class _VolumeError(_Factors):
    sizes: tuple[_SizeError, ...] = ()

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        bounds = [each.below_ml for each in self.sizes]
        if bounds != sorted(set(bounds)):
            raise ValueError("the sizes of volume_error do not ascend by below_ml")
        return self

    def told(self) -> VolumeError:
        sizes = tuple(SizeError(each.below_ml, each.heads, each.low, each.high) for each in self.sizes)
        return VolumeError(self.heads, self.low, self.high, sizes)


class _VolumeRepeat(_Table):
    from_ml: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    pairs: Annotated[int, Field(ge=1)]
    log_sd: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Decision(_Table):
    study_threshold: Share
    calibrated_prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None


class _Words(_Table):
    summary: str
    children_below_years: float
    children: str
    intended_use: str
    data: str
    licence: str
    limits: tuple[str, ...]


class _Card(_Table):
    name: str
    version: str
    sha256: str
    weights: str
    question: str = OWN
    kind: str = ""
    networks: Annotated[int, Field(ge=1)] = 1
    decision: _Decision
    words: _Words
    figures: tuple[Figure, ...] = ()
    operating_points: tuple[_Point, ...] = ()
    volume_error: _VolumeError | None = None
    volume_repeat: tuple[_VolumeRepeat, ...] = ()
    types_exact: Share | None = None


def load_card(source: str | Path) -> ModelCard:
    """The card of a model that came with the package (by name), or of any TOML file; ModelError if unusable."""
    place = source if isinstance(source, Path) else resources.files("config.models").joinpath(f"{source}.toml")
    folder = source.parent if isinstance(source, Path) else resources.files("config.models")
    try:
        tables = tomllib.loads(place.read_text(encoding="utf-8"))
        return _model_card(_Card.model_validate(tables), tables, folder, place)
    except OSError as error:
        raise ModelError(f"{place}: the model card cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        raise ModelError(f"{place}: {_said(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{place}: the model card is not valid ({error})") from error


def _model_card(card: _Card, tables: Mapping[str, Any], folder: Traversable, place: Traversable) -> ModelCard:
    error, repeats = card.volume_error, sorted(card.volume_repeat, key=lambda each: each.from_ml)
    return ModelCard(
        identity=ModelIdentity(card.name, card.version, card.sha256),
        question=card.question,
        kind=card.kind or card.question,
        threshold=card.decision.study_threshold,
        networks=card.networks,
        figures=card.figures,
        weights=folder.joinpath(card.weights),
        place=place,
        operating_points=tuple(
            OperatingPoint(
                each.aim, each.threshold, each.sensitivity.named("sensitivity"), each.specificity.named("specificity")
            )
            for each in card.operating_points
        ),
        volume_error=error.told() if error else None,
        volume_repeat=tuple(VolumeRepeat(each.from_ml, each.pairs, each.log_sd) for each in repeats),
        types_exact=card.types_exact,
        calibrated_prevalence=card.decision.calibrated_prevalence,
        tables=tables,
        **card.words.model_dump(),
    )


def _said(error: ValidationError) -> str:
    """Every key that is missing or not right, in one sentence."""
    told = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            told.append(f"the model card lacks '{key}'")
        else:
            told.append(f"the model card is not valid ({key}: {problem['msg'].removeprefix('Value error, ')})")
    return "; ".join(told)


def study_threshold(card: ModelCard, sensitivity: float) -> float:
    """The card's study threshold: its own where `sensitivity` is 0, else that of its operating point of this aim.

    ModelError, naming the points that there are, where it has none of this aim.
    """
    if not sensitivity:
        return card.threshold
    for point in card.operating_points:
        if math.isclose(point.aim, sensitivity, abs_tol=1e-6):
            return point.threshold
    aims = ", ".join(f"{point.aim:g}" for point in card.operating_points) or "none"
    raise ModelError(
        f"the model {card.identity.name} {card.identity.version} has no operating point for a sensitivity of "
        f"{sensitivity:g}; it has: {aims} ([model] sensitivity = 0 takes the card's own threshold)"
    )
