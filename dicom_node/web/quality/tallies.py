"""The quality page's figures: counts of studies grouped by week and by scanner, and the rates that follow from them.

PPV: of the flagged studies with feedback in force, the share where haemorrhage was there (agree, wrong type). Flag
rate: flagged of analysed. Type agreement: of those where haemorrhage was there, the share whose types were right, too
(agree). Not-analysed rate: declined or failed of all studies with an outcome; what lies outside of the question is no
such study. Turnaround: from the last image to the first flag.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from typing import TypeVar

from dicom_node.tables.feedback import Verdict
from dicom_node.tables.quality import Count, Outcome, Turnarounds
from dicom_node.web.quality.intervals import Rate, RateChange, RateEstimate, change, percentile, rate

LATE, BEFORE = 4, 12  # weeks of the two periods that the drift is judged by
PERCENTILES = (0.50, 0.90, 0.95)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Tally:
    """Studies by what became of them, and the turnarounds of the flagged ones in ms, ascending."""

    flagged: int
    negative: int
    not_analysed: int
    outside: int
    agreed: int
    wrong_type: int
    false_alarms: int
    missed: int
    milliseconds: tuple[int, ...]

    @property
    def confirmed(self) -> int:
        """Flagged studies in which a reader saw what was suspected."""
        return self.agreed + self.wrong_type

    @property
    def analysed(self) -> int:
        """Studies with a result."""
        return self.flagged + self.negative

    @property
    def studies(self) -> int:
        """All studies of the question with an outcome."""
        return self.analysed + self.not_analysed

    @property
    def ppv(self) -> Rate | None:
        """Positive predictive value among flagged studies with feedback."""
        return rate(self.confirmed, self.confirmed + self.false_alarms)

    @property
    def type_agreement(self) -> Rate | None:
        """Of the confirmed studies those whose types were right."""
        return rate(self.agreed, self.confirmed)

    @property
    def flag_rate(self) -> Rate | None:
        """Flagged of analysed."""
        return rate(self.flagged, self.analysed)

    @property
    def not_analysed_rate(self) -> Rate | None:
        """Declined or failed of all."""
        return rate(self.not_analysed, self.studies)

    @property
    def feedback_rate(self) -> Rate | None:
        """Flagged studies with feedback of all flagged ones."""
        return rate(self.confirmed + self.false_alarms, self.flagged)

    def turnaround(self, share: float) -> RateEstimate | None:
        """A percentile of the turnarounds, in ms."""
        return percentile(self.milliseconds, share)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was counted from one week on, and how to look at it."""

    counts: Sequence[Count]
    turnarounds: Sequence[Turnarounds]

    def since(self, week: date) -> "Figures":
        """Only that week and later."""
        return self._only(lambda each: each.week >= week)

    def of_scanner(self, scanner_id: int) -> "Figures":
        """Only what came from one scanner."""
        return self._only(lambda each: each.scanner_id == scanner_id)

    def _only(self, wanted: Callable[[Count | Turnarounds], bool]) -> "Figures":
        return Figures([c for c in self.counts if wanted(c)], [t for t in self.turnarounds if wanted(t)])

    def total(self) -> Tally:
        """All together."""
        return tally(self.counts, self.turnarounds)

    def by_week(self) -> dict[date, Tally]:
        """Week by week, those without a study left out."""
        return _grouped(self, lambda each: each.week)

    def by_scanner(self) -> dict[int, Tally]:
        """Scanner by scanner."""
        return _grouped(self, lambda each: each.scanner_id)

    def flag_rate_change(self, this_week: date) -> RateChange | None:
        """The flag rate of the last four weeks, the running one included, beside that of the twelve before."""
        late_since = this_week - timedelta(weeks=LATE - 1)
        before_since = late_since - timedelta(weeks=BEFORE)
        late: Counter[Outcome] = Counter()
        before: Counter[Outcome] = Counter()
        for each in self.counts:
            if each.week >= before_since:
                (late if each.week >= late_since else before)[each.outcome] += each.studies
        flagged, negative = Outcome.FLAGGED, Outcome.NEGATIVE
        return change(
            late[flagged], late[flagged] + late[negative], before[flagged], before[flagged] + before[negative]
        )


def tally(counts: Iterable[Count], turnarounds: Iterable[Turnarounds]) -> Tally:
    """Add up."""
    studies: Counter[Outcome] = Counter()
    judged: Counter[tuple[Outcome, str]] = Counter()
    for each in counts:
        studies[each.outcome] += each.studies
        judged[each.outcome, each.judged] += each.studies
    return Tally(
        flagged=studies[Outcome.FLAGGED],
        negative=studies[Outcome.NEGATIVE],
        not_analysed=studies[Outcome.NOT_ANALYSED],
        outside=studies[Outcome.OUTSIDE],
        agreed=judged[Outcome.FLAGGED, Verdict.AGREE],
        wrong_type=judged[Outcome.FLAGGED, Verdict.WRONG_TYPE],
        false_alarms=judged[Outcome.FLAGGED, Verdict.FALSE_ALARM],
        missed=judged[Outcome.NEGATIVE, Verdict.MISSED],
        milliseconds=tuple(sorted(chain.from_iterable(each.milliseconds for each in turnarounds))),
    )


def _grouped(figures: Figures, key: Callable[[Count | Turnarounds], Key]) -> dict[Key, Tally]:
    counts, turnarounds = defaultdict(list), defaultdict(list)
    for count in figures.counts:
        counts[key(count)].append(count)
    for taken in figures.turnarounds:
        turnarounds[key(taken)].append(taken)
    found = {group: tally(of_group, turnarounds[group]) for group, of_group in counts.items()}
    return {group: each for group, each in found.items() if each.studies}
