"""What has changed between two scans of a patient: volumes and their errors, without any disease.

A change is real only where the two ranges that 95 % of true volumes lie in do not overlap. That is stricter than a
test of the difference, as one model errs alike on two scans of one head; without a known range nothing is claimed.
Which change is growth, and is read first, is the question's to say (`Change.grown`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ChangeKind(StrEnum):
    """What can be said of two volumes."""

    NOTHING = "nothing"  # in either scan
    NEW = "new"  # nothing was drawn in the earlier scan, which has no range: not beyond any error
    GONE = "gone"  # no longer outlined
    LARGER = "larger"  # beyond the volume error
    SMALLER = "smaller"  # beyond the volume error
    UNCERTAIN = "uncertain"  # within the volume error, or that is not known


@dataclass(frozen=True, slots=True)
class Volume:
    """A drawn volume; 95 % of true ones lie between `low_ml` and `high_ml`, None where that was not measured."""

    ml: float
    low_ml: float | None = None
    high_ml: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The volumes of one finding in two scans; `whole`: of all findings together.

    `grown` is the question's own rule, and never true where the change is within the volume error.
    """

    name: str
    earlier: Volume
    later: Volume
    whole: bool = False
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
    def kind(self) -> ChangeKind:
        """What can be said."""
        if self.earlier.ml <= 0:
            return ChangeKind.NEW if self.later.ml > 0 else ChangeKind.NOTHING
        if self.later.ml <= 0:
            return ChangeKind.GONE
        if _apart(self.earlier, self.later):
            return ChangeKind.LARGER
        return ChangeKind.SMALLER if _apart(self.later, self.earlier) else ChangeKind.UNCERTAIN


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

        Growth, else the finding that is told apart, else all together: also where the other scan has findings of other
        types only.
        """
        found = [change for change in self.changes if change.kind is not ChangeKind.NOTHING]
        whole = {change.kind for change in found if change.whole}
        partial = {ChangeKind.NEW, ChangeKind.GONE} - whole if whole else set()
        by_rank = sorted(found, key=lambda each: (not each.grown, each.kind in partial, each.whole))
        return by_rank[0] if by_rank else None


def total(volumes: Iterable[Volume]) -> Volume:
    """All of them together; the range is known only where each drawn one's is."""
    drawn = [volume for volume in volumes if volume.ml > 0]
    ml = sum(volume.ml for volume in drawn)
    low = [volume.low_ml for volume in drawn if volume.low_ml is not None]
    high = [volume.high_ml for volume in drawn if volume.high_ml is not None]
    known = drawn and len(low) == len(high) == len(drawn)
    return Volume(ml, sum(low), sum(high)) if known else Volume(ml)


def _apart(lower: Volume, upper: Volume) -> bool:
    """Whether both ranges are known and the first ends below the second."""
    return lower.high_ml is not None and upper.low_ml is not None and lower.high_ml < upper.low_ml
