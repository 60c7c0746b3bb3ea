"""What a pipeline says of one stack of slices: plain data, no torch, no DICOM codes (reports/codes.py owns those)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VOLUME_RANGE = "In brackets: where 95 % of true volumes lay on simulated heads, all types together."


def volume_text(volume_ml: float, low: float | None = None, high: float | None = None) -> str:
    """A volume in words, with its range in ml where it has one; no more exact than it is measured."""
    digits = 0 if volume_ml >= 20 else 1
    said = f"{volume_ml:.{digits}f} ml" if volume_ml >= 0.1 else "< 0.1 ml"
    if low is None or high is None:
        return said
    digits = 0 if low >= 2 else 1
    return f"{said} ({low:.{digits}f} to {high:.{digits}f})"


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

    `mask` is bool (slice, row, column) on the source stack's own grid, or None where nothing was found.
    """

    name: str
    probability: float
    present: bool
    mask: NDArray[np.bool_] | None = None
    measurements: tuple[Measurement, ...] = ()

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


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A pipeline's answer to its question; `pipeline` is the name by which the routing rules call it.

    `probability` and each of `slice_probabilities` (one per slice of the stack, in its order) are in 0..1;
    `suspected` is `probability >= threshold`. `key_slices` are indices into the stack, the most telling first.
    `incomplete` says in a sentence what is missing where the images show only a part.
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
