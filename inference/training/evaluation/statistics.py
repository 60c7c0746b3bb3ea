"""The statistics of an evaluation, each over many bootstrap resamples of patients at once.

A resample is a row of weights: how often each patient was drawn. A statistic takes weights (round, unit) and answers
(round, figure), nan where a resample cannot measure it. Percentile intervals (Efron 1979) and, where a proportion is
0 or 1 and its bootstrap has no width, Wilson's (1927).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Statistic = Callable[[Floats], Floats]

CELLS = 4_000_000
Z95 = 1.959964
NEWTON_STEPS = 40
SETTLED = 1e-5
MOST_LOGIT = 12.0


def draw(count: int, rounds: int, seed: int) -> NDArray[np.intp]:
    """(round, count) which of `count` patients each resample holds."""
    return np.random.default_rng(seed).integers(count, size=(rounds, count))


def interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of resampled values; nan is left out, and is the answer where all are."""
    measured = values[~np.isnan(values)]
    if not len(measured):
        return float("nan"), float("nan")
    low, high = np.percentile(measured, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True, eq=False)
class Resampling:
    """`column` of every patient in `draws` (round, patient): how often each is drawn. Row 0 draws everyone once, so
    that the first value of any statistic is its value over all patients."""

    column: dict[str, int]
    draws: NDArray[np.float32]

    @classmethod
    def of(cls, patients: Sequence[str], rounds: int, seed: int) -> "Resampling":
        """Resamples of the patients among these, each counted once."""
        names = sorted(set(patients))
        draws = np.ones((rounds + 1, len(names)), np.float32)
        for row, drawn in enumerate(draw(len(names), rounds, seed) if names else (), start=1):
            draws[row] = np.bincount(drawn, minlength=len(names))
        return cls({name: place for place, name in enumerate(names)}, draws)

    def columns(self, patients: Sequence[str]) -> NDArray[np.intp]:
        """The column of each unit's patient."""
        return np.array([self.column[name] for name in patients], np.intp)

    def values(self, patients: Sequence[str], statistic: Statistic) -> Floats:
        """(round + 1, figure) the statistic over units of these patients (one at least), in blocks that fit memory."""
        columns = self.columns(patients)
        step = max(1, CELLS // len(columns))
        parts = []
        with np.errstate(divide="ignore", invalid="ignore"):
            for start in range(0, len(self.draws), step):
                parts.append(statistic(self.draws[start : start + step][:, columns].astype(np.float64)))
        return np.concatenate(parts)

    def ratio(self, patients: Sequence[str], numerators: Floats, denominators: Floats) -> Floats:
        """(round + 1,) sum over sum; sums are made per patient first, so that a million slices cost nothing."""
        columns, count = self.columns(patients), len(self.column)
        above, below = (np.bincount(columns, values, count) for values in (numerators, denominators))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.draws @ above) / (self.draws @ below), np.float64)


def median_statistic(values: Floats) -> Statistic:
    """(round, 1) median, of an even number the mean of the middle two; nan where nothing was drawn."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]

    def statistic(weights: Floats) -> Floats:
        reached = np.cumsum(weights[:, order], 1)
        half = reached[:, -1:] / 2
        lower, upper = (ranked[found.argmax(1)] for found in (reached >= half, reached > half))
        return np.where(half > 0, ((lower + upper) / 2)[:, None], np.nan)

    return statistic


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Units in ascending order of score; units of equal score are one step, beginning at `starts`."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    truth: Floats

    @classmethod
    def of(cls, scores: Floats, truth: Bools) -> "_Ranked":
        order = np.argsort(scores, kind="stable")
        starts = np.unique(scores[order], return_index=True)[1]
        return cls(order, starts, truth[order].astype(np.float64))

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """(round, step) positives and negatives of each step."""
        ordered = weights[:, self.order]
        positive = np.add.reduceat(ordered * self.truth, self.starts, axis=1)
        return positive, np.add.reduceat(ordered, self.starts, axis=1) - positive


def _auc(positive: Floats, negative: Floats) -> Floats:
    """Area under the ROC curve (Mann-Whitney) from counts per ascending step, ties counted half."""
    below = np.cumsum(negative, 1) - negative / 2
    return np.asarray((positive * below).sum(1) / (positive.sum(1) * negative.sum(1)))


def _average_precision(hits: Floats, flagged: Floats) -> Floats:
    """Sum over steps of the gain in recall times the precision there, from running counts, highest score first."""
    precision = np.divide(hits, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return np.asarray((np.diff(hits, axis=1, prepend=0) * precision).sum(1) / hits[:, -1])


def auc_statistic(scores: Floats, truth: Bools) -> Statistic:
    """(round, 1) area under the ROC curve."""
    ranked = _Ranked.of(scores, truth)
    return lambda weights: _auc(*ranked.counts(weights))[:, None]


def auc(scores: Floats, truth: Bools) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half; nan without both classes."""
    if truth.all() or not truth.any():
        return float("nan")
    return float(auc_statistic(scores, truth)(np.ones((1, len(scores))))[0, 0])


def ranking_statistic(scores: Floats, truth: Bools, at: Floats) -> Statistic:
    """(round, 2 + len(at)) AUC, average precision, and the sensitivity at these false positive rates (straight between
    steps), in one pass."""
    ranked = _Ranked.of(scores, truth)

    def statistic(weights: Floats) -> Floats:
        positive, negative = ranked.counts(weights)
        area = _auc(positive, negative)
        hits, alarms = (np.cumsum(part[:, ::-1], 1) for part in (positive, negative))
        rows = np.full((len(weights), 2 + len(at)), np.nan)
        rows[:, 0], rows[:, 1] = area, _average_precision(hits, hits + alarms)
        for row, up, along in zip(rows, hits, alarms, strict=True):
            if up[-1] and along[-1]:
                row[2:] = np.interp(at, np.append(0.0, along / along[-1]), np.append(0.0, up / up[-1]))
        return rows

    return statistic


def roc_points(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """False positive rate and sensitivity at every step, from (0, 0) to (1, 1)."""
    positive, negative = (
        np.append(0.0, np.cumsum(part[0, ::-1])) for part in _Ranked.of(scores, truth).counts(np.ones((1, len(scores))))
    )
    return negative / negative[-1], positive / positive[-1]


def precision_recall_points(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """Recall and precision at every step, the highest score first."""
    positive, negative = (
        np.cumsum(part[0, ::-1]) for part in _Ranked.of(scores, truth).counts(np.ones((1, len(scores))))
    )
    return positive / positive[-1], positive / (positive + negative)


def logit(probability: Floats) -> Floats:
    """Log-odds, kept finite."""
    tiny = 1 / (1 + np.exp(MOST_LOGIT))
    clipped = probability.clip(tiny, 1 - tiny)
    return np.asarray(np.log(clipped / (1 - clipped)))


def calibration_statistic(probability: Floats, truth: Bools) -> Statistic:
    """(round, 3) slope and intercept of the logistic regression of the truth on the log-odds (Cox 1958), and the
    calibration in the large: the intercept with the slope held at 1. nan where nothing finite fits (separation)."""
    x, y = logit(probability), truth.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = _newton(np.ones((1, len(x))), x, y, np.zeros((1, 2)))[0]
    warm = np.where(np.isnan(start), 0.0, start)

    def statistic(weights: Floats) -> Floats:
        fitted = _newton(weights, x, y, np.tile(warm, (len(weights), 1)))
        return np.column_stack([fitted[:, 1], fitted[:, 0], _shift(weights, x, y)])

    return statistic


def _newton(weights: Floats, x: Floats, y: Floats, start: Floats) -> Floats:
    """(round, 2) intercept and slope by Newton's method."""
    a, b = start[:, 0].copy(), start[:, 1].copy()
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x).clip(-30, 30)))
        residual = weights * (y - p)
        curve = weights * p * (1 - p)
        g0, g1 = residual.sum(1), residual @ x
        h00, h01, h11 = curve.sum(1), curve @ x, curve @ (x * x)
        determinant = h00 * h11 - h01 * h01
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], 1) / determinant[:, None]
        a, b = a + step[:, 0].clip(-2, 2), b + step[:, 1].clip(-2, 2)
        settled = np.abs(step).max(1) < SETTLED
        if settled.all():
            break
    return np.where(settled[:, None], np.stack([a, b], 1), np.nan)


def _shift(weights: Floats, x: Floats, y: Floats) -> Floats:
    """(round,) the intercept with the slope held at 1."""
    a = np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(a[:, None] + x).clip(-30, 30)))
        step = (weights * (y - p)).sum(1) / (weights * p * (1 - p)).sum(1)
        a = a + step.clip(-2, 2)
        settled = np.abs(step) < SETTLED
        if settled.all():
            break
    return np.where(settled, a, np.nan)


def wilson(hits: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; nan without any."""
    if count <= 0:
        return float("nan"), float("nan")
    share, squared = hits / count, Z95**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = Z95 / (1 + squared / count) * np.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def bayes(sensitivity: Floats, specificity: Floats, prevalence: float) -> tuple[Floats, Floats]:
    """Positive and negative predictive value at this share of studies with haemorrhage."""
    with np.errstate(divide="ignore", invalid="ignore"):
        true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
        right, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
        return true / (true + false), right / (right + missed)
