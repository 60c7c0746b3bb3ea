"""What has changed between two scans of a patient: volumes and their errors, without any disease.

Both volumes share what the model errs alike in one head, so that a change is judged by how far two scans of an
unchanged head are apart (test and retest, Bland and Altman 1986, of logarithms): it is real beyond 1.96 standard
deviations. Where that was not measured, a change is real only where the two ranges that 95 % of true volumes lie in do
not overlap, which is stricter; without either nothing is claimed. Which change is growth, and is read first, is the
question's to say (`Change.grown`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SURE = 1.96  # standard deviations that 95 % of repeated measurements lie within
LEAST_ML = 1.0  # smaller volumes count as this: how repeatable they are is not measured
SAME_LOG = 0.1  # two volumes no more than a tenth apart are called the same


class ChangeKind(StrEnum):
    """What can be said of two volumes."""

    NOTHING = "nothing"  # in either scan
    NEW = "new"  # nothing was drawn in the earlier scan, which has no range: not beyond any error
    GONE = "gone"  # no longer outlined
    LARGER = "larger"  # beyond the volume error
    SMALLER = "smaller"  # beyond the volume error
    UNCHANGED = "unchanged"  # as near as two scans of one unchanged head are
    UNCERTAIN = "uncertain"  # within the volume error, or that is not known


@dataclass(frozen=True, slots=True)
class Volume:
    """A drawn volume; 95 % of true ones lie between `low_ml` and `high_ml`, None where that was not measured.

    `repeat_sd`: the standard deviation of the logarithm of the ratio to a second measurement of the same.
    """

    ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    repeat_sd: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The volumes of one finding in two scans; `whole`: of all findings together.

    By the question's own rule, `notable` is a change that would matter were it certain, and `grown` one that is read
    first, never where the change is within the volume error.
    """

    name: str
    earlier: Volume
    later: Volume
    whole: bool = False
    notable: bool = False
    grown: bool = False

    @property
    def ml(self) -> float:
        """Later minus earlier."""
        return self.later.ml - self.earlier.ml

    @property
    def percent(self) -> float | None:
        """Of the earlier volume; None where that is nothing."""
        return 100 * self.ml / self.earlier.ml if self.earlier.ml > 0 else None

    @property
    def repeat_sd(self) -> float | None:
        """Of the logarithm of the volumes' ratio in an unchanged head; None where it was not measured.

        Each scan has half of the variance of a pair of its size.
        """
        known = [each.repeat_sd**2 for each in (self.earlier, self.later) if each.repeat_sd is not None]
        return math.sqrt(sum(known) / len(known)) if known else None

    @property
    def kind(self) -> ChangeKind:
        """What can be said."""
        if self.earlier.ml <= 0:
            return ChangeKind.NEW if self.later.ml > 0 else ChangeKind.NOTHING
        if self.later.ml <= 0:
            return ChangeKind.GONE
        if self._is_real():
            return ChangeKind.LARGER if self.ml > 0 else ChangeKind.SMALLER
        same = abs(self._log_ratio()) <= max(self.repeat_sd or 0.0, SAME_LOG)
        return ChangeKind.UNCHANGED if same and not self.notable else ChangeKind.UNCERTAIN

    def _log_ratio(self) -> float:
        return math.log(max(self.later.ml, LEAST_ML) / max(self.earlier.ml, LEAST_ML))

    def _is_real(self) -> bool:
        """Whether an unchanged head is hardly ever measured so differently."""
        if self.repeat_sd is not None:
            return abs(self._log_ratio()) > SURE * self.repeat_sd
        lower, upper = sorted((self.earlier, self.later), key=lambda each: each.ml)
        if lower.ml == upper.ml or lower.high_ml is None or upper.low_ml is None:
            return False
        return lower.high_ml < upper.low_ml


@dataclass(frozen=True, slots=True)
class Growth:
    """Two scans of one patient. `changes` is empty where different models measured them."""

    earlier_study_uid: str
    earlier_version: int
    elapsed: timedelta
    earlier_at: datetime
    same_model: bool
    changes: tuple[Change, ...]

    @property
    def grown(self) -> bool:
        """Whether this is to be read first."""
        return any(change.grown for change in self.changes)

    @property
    def most_telling(self) -> Change | None:
        """What a headline speaks of; None where neither scan shows anything.

        Growth, else all findings together: a part of them that stays says nothing of the rest.
        """
        found = [change for change in self.changes if change.kind is not ChangeKind.NOTHING]
        return min(found, key=lambda each: (not each.grown, not each.whole), default=None)


def total(volumes: Iterable[Volume]) -> Volume:
    """All of them together; range and repeatability are known only where each drawn one's is.

    They err together, as far as is known: the relative errors are averaged by volume.
    """
    drawn = [volume for volume in volumes if volume.ml > 0]
    low = [volume.low_ml for volume in drawn if volume.low_ml is not None]
    high = [volume.high_ml for volume in drawn if volume.high_ml is not None]
    repeats = [volume.repeat_sd * volume.ml for volume in drawn if volume.repeat_sd is not None]
    known = bool(drawn) and len(low) == len(high) == len(drawn)
    ml = sum(volume.ml for volume in drawn)
    return Volume(
        ml,
        sum(low) if known else None,
        sum(high) if known else None,
        sum(repeats) / ml if drawn and len(repeats) == len(drawn) else None,
    )
