"""What a pipeline says of one stack of slices: plain data, no torch, no DICOM codes (reports/codes.py owns those)."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VOLUME_RANGE = "In brackets: where 95 % of true volumes of dense blood lay on simulated heads, at this size."
FINE_BELOW_ML = 20.0


def volume_text(volume_ml: float, low: float | None = None, high: float | None = None) -> str:
    """A volume in words, with its range in ml where it has one; no more exact than it is measured.

    The range that is said holds the volume that is said, however both are rounded.
    """
    if volume_ml < 1:
        return "under 1 ml" if high is None or round(high) <= 1 else f"under 1 ml (up to {high:.0f})"
    digits = 0 if volume_ml >= FINE_BELOW_ML else 1
    said = round(volume_ml, digits)
    if low is None or high is None:
        return f"{said:.{digits}f} ml"
    digits_of_range = 0 if low >= 2 else 1
    ends = _below(low, digits_of_range, said), _above(high, digits_of_range, said)
    if ends[0] == ends[1]:
        return f"{said:.{digits}f} ml"
    return f"{said:.{digits}f} ml ({ends[0]:.{digits_of_range}f} to {ends[1]:.{digits_of_range}f})"


def about_text(volume_ml: float, low: float | None = None, high: float | None = None) -> str:
    """The same in a sentence: "about 88 ml (75 to 110)", "under 1 ml"."""
    said = volume_text(volume_ml, low, high)
    return said if volume_ml < 1 else f"about {said}"


def _below(end: float, digits: int, said: float) -> float:
    """The lower end of a range, rounded, and down where it would else lie above the volume."""
    rounded = round(end, digits)
    return rounded if rounded <= said else math.floor(min(end, said) * 10**digits) / 10**digits


def _above(end: float, digits: int, said: float) -> float:
    """The upper end of a range, rounded, and up where it would else lie below the volume."""
    rounded = round(end, digits)
    return rounded if rounded >= said else math.ceil(max(end, said) * 10**digits) / 10**digits


def chance_text(probability: float) -> str:
    """A probability in digits; with one more where two would tell too little: "0.54", "0.054"."""
    return f"{probability:.2f}" if probability == 0 or round(probability, 2) >= 0.1 else f"{probability:.3f}"


def prevalence_text(prevalence: float | None) -> str:
    """ ", at an assumed prevalence of 10 %"; empty where none is assumed."""
    return "" if prevalence is None else f", at an assumed prevalence of {100 * prevalence:.3g} %"


class Band(StrEnum):
    """What a probability means, as the model's own evaluation supports it (`inference.models.operating.band_of`)."""

    LOW = "low"
    INDETERMINATE = "indeterminate"
    HIGH = "high"


class Side(StrEnum):
    """On which of the patient's sides something lies."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"
    MIDLINE = "midline"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding lies; `region` is one of the question's own words, empty where geometry supports none."""

    side: Side
    region: str = ""

    @property
    def text(self) -> str:
        """In words."""
        return place_text(self.side, self.region)


def place_text(side: str, region: str) -> str:
    """A side and a region in words: "left, extra-axial"; empty where neither is told."""
    said = {Side.BOTH.value: "on both sides", Side.MIDLINE.value: "in the midline"}.get(side, side)
    return ", ".join(each for each in (said, region) if each)


class NotAnalysable(Exception):
    """These images cannot be analysed; the message is one sentence that a radiologist understands."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights spoke. `sha256` is the hex digest of the weights file."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with a UCUM unit, e.g. ("volume", 12.3, "mL"); 95 % of true values lie between `low` and `high`.

    `repeat_sd`: the standard deviation of the logarithm of the ratio to a second measurement of the same.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    repeat_sd: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One thing that was looked for.

    `mask` is bool (slice, row, column) on the source stack's own grid, or None where nothing was found. A
    `differential` finding is one of the kinds that another finding may be of: it is never stated as present, has no
    mask, and its probability is that of this kind, given that there is something.
    """

    name: str
    probability: float
    present: bool
    mask: "NDArray[np.bool_] | None" = None
    measurements: tuple[Measurement, ...] = ()
    place: Place | None = None
    differential: bool = False

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in ml; 0 where nothing was measured."""
        return next((m.value for m in self.measurements if m.name == "volume"), 0.0)

    @property
    def volume_range_ml(self) -> tuple[float, float] | None:
        """Between which volumes 95 % of true ones lie; None where that was not measured."""
        for each in self.measurements:
            if each.name == "volume" and each.low is not None and each.high is not None:
                return each.low, each.high
        return None

    @property
    def volume_repeat_sd(self) -> float | None:
        """How repeatable the volume is (`Measurement.repeat_sd`); None where that was not measured."""
        return next((each.repeat_sd for each in self.measurements if each.name == "volume"), None)

    @property
    def volume_text(self) -> str:
        """The volume in words, with its range where it has one."""
        return volume_text(self.volume_ml, *(self.volume_range_ml or ()))

    @property
    def about_text(self) -> str:
        """The volume in a sentence."""
        return about_text(self.volume_ml, *(self.volume_range_ml or ()))


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A pipeline's answer to its question; `pipeline` is the name by which the routing rules call it.

    `probability` and each of `slice_probabilities` (one per slice of the stack, in its order) are in 0..1;
    `suspected` is `probability >= threshold`. `key_slices` are indices into the stack, the most telling first.
    `incomplete` says in a sentence what is missing where the images show only a part. `band` is what the probability
    means; None where nobody has asked the model's card. `prevalence` is the share of studies with the finding that the
    probabilities and the threshold assume; None where that is the one of the model's own data.
    """

    question: str
    pipeline: str
    model: ModelIdentity
    threshold: float
    suspected: bool
    probability: float
    findings: tuple[Finding, ...]
    slice_probabilities: tuple[float, ...]
    key_slices: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    incomplete: str = ""
    band: Band | None = None
    prevalence: float | None = None
