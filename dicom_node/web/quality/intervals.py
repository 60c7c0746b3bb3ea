"""The quality page's statistics, with the standard library alone: proportions, percentiles, and whether a rate drifts.

Proportions: Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001). Percentiles: nearest rank, with the
distribution-free interval between two order statistics (Conover, Practical Nonparametric Statistics, 3.2). Drift: a
two-sided test of two proportions (pooled z), judged only where the normal approximation holds (Cochran's rule).
Kept by hand: scipy.stats takes 3 s to import.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, erfc, exp, floor, lgamma, log, sqrt

Z95 = 1.959963984540054  # the normal distribution's 97.5th percentile
ALPHA = 0.05
DRIFT_P = 0.01
LEAST_EXPECTED = 5  # flagged and not flagged studies to be expected in each of the two periods


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """A figure with its 95 % interval and how many it stands on; a bound that so few cannot give is None."""

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `count`, as a proportion with its Wilson interval."""

    hits: int
    count: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RateChange:
    """A rate of late beside the rate before. `p` is None where there are too few studies to compare."""

    late: Rate
    before: Rate
    p: float | None

    def drifts(self, comparisons: int = 1) -> bool:
        """Whether chance alone hardly explains it, when so many are compared at once (Bonferroni)."""
        return self.p is not None and self.p < DRIFT_P / comparisons


def rate(hits: int, count: int) -> Rate | None:
    """A proportion with Wilson's 95 % interval; None of nothing."""
    if count == 0:
        return None
    share, z2 = hits / count, Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == count else min(1.0, centre + half)
    return Rate(hits, count, share, low, high)


def percentile(ascending: Sequence[float], share: float) -> RateEstimate | None:
    """The nearest-rank percentile (0 < share < 1) with an interval that covers the true one in at least 95 %."""
    count = len(ascending)
    if count == 0:
        return None
    low, high = ranks(count, share)
    return RateEstimate(
        value=ascending[max(1, ceil(share * count - 1e-9)) - 1],
        low=ascending[low - 1] if low else None,
        high=ascending[high - 1] if high else None,
        count=count,
    )


@lru_cache(maxsize=10_000)
def ranks(count: int, share: float) -> tuple[int | None, int | None]:
    """The ranks, from 1, of the two values between which the true percentile lies with at least 95 % confidence.

    B, the number of values below the percentile, is binomial (count, share). The low rank is the highest r with
    P(B < r) <= 2.5 %, the high one the lowest r with P(B >= r) <= 2.5 %; None where no value is far enough out.
    """
    spread = 9 * sqrt(count * share * (1 - share)) + 9
    first, last = max(0, floor(count * share - spread)), min(count, ceil(count * share + spread))
    low, high, below = None, None, 0.0
    for successes in range(first, last + 1):  # `below` is P(B < successes)
        if below <= ALPHA / 2 and successes >= 1:
            low = successes
        if high is None and successes >= 1 and below >= 1 - ALPHA / 2:
            high = successes
        below += exp(_log_binomial(count, share, successes))
    return low, high


def _log_binomial(count: int, share: float, successes: int) -> float:
    ways = lgamma(count + 1) - lgamma(successes + 1) - lgamma(count - successes + 1)
    return ways + successes * log(share) + (count - successes) * log(1 - share)


def change(late_hits: int, late_count: int, before_hits: int, before_count: int) -> RateChange | None:
    """Compare two periods; None where one of them is empty.

    z = (late - before) / sqrt(pooled (1 - pooled) (1/n + 1/m)), p two-sided. `p` only where each period may expect at
    least `LEAST_EXPECTED` of either kind at the pooled rate.
    """
    late, before = rate(late_hits, late_count), rate(before_hits, before_count)
    if late is None or before is None:
        return None
    pooled = (late_hits + before_hits) / (late_count + before_count)
    if min(late_count, before_count) * min(pooled, 1 - pooled) < LEAST_EXPECTED:
        return RateChange(late, before, None)
    error = sqrt(pooled * (1 - pooled) * (1 / late_count + 1 / before_count))
    return RateChange(late, before, erfc(abs(late.value - before.value) / error / sqrt(2)))
