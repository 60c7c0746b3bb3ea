"""Has a haematoma grown between two scans of a patient? The rule, on volumes alone, and its words.

Growth is marked for intraparenchymal haemorrhage: more than 6 ml (Dowlatshahi et al., Neurology 2011;76:1238), or more
than 33 % (Brott et al., Stroke 1997;28:1) from at least 5 ml, since a share of a small volume is mostly noise. A change
is real only where the two ranges that 95 % of true volumes lie in do not overlap. That is stricter than a test of the
difference, as one model errs alike on two scans of one head; without a known range nothing is claimed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from inference.findings import volume_text
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

GROWTH_ML = 6.0
GROWTH_PERCENT = 33.0
PERCENT_FROM_ML = 5.0
DEFINITION = "more than 6 ml, or more than 33 % from at least 5 ml"


class Kind(StrEnum):
    """What can be said of two volumes."""

    NOTHING = "nothing in either scan"
    NEW = "new"  # nothing was drawn in the earlier scan, which has no range: not beyond any error
    GONE = "no longer outlined"
    LARGER = "larger beyond the volume error"
    SMALLER = "smaller beyond the volume error"
    UNCERTAIN = "change not certain"


@dataclass(frozen=True, slots=True)
class Volume:
    """A drawn volume; 95 % of true ones lie between `low_ml` and `high_ml`, None where that was not measured."""

    ml: float
    low_ml: float | None = None
    high_ml: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The volumes of one type, or of all blood (`name` is then INTRACRANIAL), in two scans."""

    name: str
    earlier: Volume
    later: Volume

    @property
    def ml(self) -> float:
        """Later minus earlier."""
        return self.later.ml - self.earlier.ml

    @property
    def percent(self) -> float | None:
        """Of the earlier volume; None where that is nothing."""
        return 100 * self.ml / self.earlier.ml if self.earlier.ml > 0 else None

    @property
    def kind(self) -> Kind:
        """What can be said."""
        if self.earlier.ml <= 0:
            return Kind.NEW if self.later.ml > 0 else Kind.NOTHING
        if self.later.ml <= 0:
            return Kind.GONE
        if _apart(self.earlier, self.later):
            return Kind.LARGER
        return Kind.SMALLER if _apart(self.later, self.earlier) else Kind.UNCERTAIN

    @property
    def expanded(self) -> bool:
        """Whether the drawn volumes meet the definition of growth, whatever their error."""
        share = self.earlier.ml >= PERCENT_FROM_ML and self.ml > self.earlier.ml * GROWTH_PERCENT / 100
        return self.ml > GROWTH_ML or share

    @property
    def grown(self) -> bool:
        """Intraparenchymal, by the definition, and beyond the error."""
        return self.name == HaemorrhageType.INTRAPARENCHYMAL and self.expanded and self.kind is Kind.LARGER


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
        """What a headline speaks of; None where neither scan shows blood.

        Growth, else intraparenchymal blood, else all of it: also where the other scan has blood of other types only.
        """
        found = [change for change in self.changes if change.kind is not Kind.NOTHING]
        whole = {change.kind for change in found if change.name == INTRACRANIAL}
        partial = {Kind.NEW, Kind.GONE} - whole if whole else set()
        by_rank = sorted(found, key=lambda each: (not each.grown, each.kind in partial, each.name == INTRACRANIAL))
        return by_rank[0] if by_rank else None


def total(volumes: Iterable[Volume]) -> Volume:
    """All of them together; the range is known only where each drawn one's is."""
    drawn = [volume for volume in volumes if volume.ml > 0]
    ml = sum(volume.ml for volume in drawn)
    low = [volume.low_ml for volume in drawn if volume.low_ml is not None]
    high = [volume.high_ml for volume in drawn if volume.high_ml is not None]
    known = drawn and len(low) == len(high) == len(drawn)
    return Volume(ml, sum(low), sum(high)) if known else Volume(ml)


def phrase(growth: Growth) -> str:
    """The change in a headline's few words; empty where neither scan shows blood."""
    if not growth.same_model:
        return f"the scan {elapsed_text(growth.elapsed)} earlier was measured by another model"
    change = growth.most_telling
    if change is None:
        return ""
    name, ago = _name(change), elapsed_text(growth.elapsed)
    if change.kind is Kind.NEW:
        return f"{name} new since the scan {ago} earlier"
    if change.kind is Kind.GONE:
        return f"{name} {volume_text(change.earlier.ml)} in the scan {ago} earlier, no longer outlined"
    size = f"{name} {volume_text(change.earlier.ml)} to {volume_text(change.later.ml)} ({_difference(change)}) in {ago}"
    return f"GROWTH: {size}" if change.grown else f"{size}, {_certainty(change)}"


def sentences(growth: Growth | None) -> Iterator[str]:
    """The whole comparison in plain words (ASCII); nothing where there is none."""
    if growth is None:
        return
    when = f"{growth.earlier_at:%Y-%m-%d %H:%M} UTC, {elapsed_text(growth.elapsed)} earlier"
    if not growth.same_model:
        yield f"Earlier scan of {when}: measured by different models, so the volumes are not compared."
        return
    yield f"Compared with the earlier scan of {when}, as measured by the same model."
    for change in growth.changes:
        yield f"{_name(change).capitalize()}: {_account(change)}."
    if growth.grown:
        yield f"GROWTH of the intraparenchymal haemorrhage ({DEFINITION}) beyond the volume error."


def elapsed_text(elapsed: timedelta) -> str:
    """A time between two scans, no more exact than it is useful: "0.5 h", "26 h", "5 days"."""
    hours = elapsed / timedelta(hours=1)
    if hours < 9.95:
        return f"{hours:.1f} h"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _apart(lower: Volume, upper: Volume) -> bool:
    """Whether both ranges are known and the first ends below the second."""
    return lower.high_ml is not None and upper.low_ml is not None and lower.high_ml < upper.low_ml


def _account(change: Change) -> str:
    """One type's change, with what can be said of it."""
    if change.kind is Kind.NOTHING:
        return "nothing outlined in either scan"
    if change.kind is Kind.NEW:
        return f"{volume_text(change.later.ml)}, new: nothing was outlined in the earlier scan"
    if change.kind is Kind.GONE:
        return f"was {volume_text(change.earlier.ml)}, no longer outlined; the scan must be read as usual"
    volumes = f"{volume_text(change.earlier.ml)} to {volume_text(change.later.ml)}"
    return f"{volumes} ({_difference(change)}), {_certainty(change)}"


def _certainty(change: Change) -> str:
    """What the volume error leaves of a change."""
    if change.kind is not Kind.UNCERTAIN:
        return change.kind.value
    known = None not in (change.earlier.high_ml, change.earlier.low_ml, change.later.low_ml, change.later.high_ml)
    return f"{change.kind} ({'within' if known else 'unknown'} volume error)"


def _difference(change: Change) -> str:
    """E.g. "+8.1 ml, +67 %"."""
    share = "" if change.percent is None else f", {change.percent:+.0f} %"
    return f"{change.ml:+.1f} ml{share}"


def _name(change: Change) -> str:
    return "all haemorrhage" if change.name == INTRACRANIAL else change.name
