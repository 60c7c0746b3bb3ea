"""The statistics of an evaluation, each over many bootstrap resamples of patients at once.

A resample is a row of weights: how often each patient was drawn. Every statistic takes weights (round, unit) and
answers (round,), nan where a resample cannot measure it. Percentile intervals (Efron 1979) and, where a proportion is
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
        """(round + 1,) the statistic over units that belong to these patients, in blocks that fit into memory."""
        columns = self.columns(patients)
        if not len(columns):
            return np.full(len(self.draws), np.nan)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Units in ascending order of score; units of equal score are one step, beginning at `starts`."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    steps: Floats
    truth: Floats

    @classmethod
    def of(cls, scores: Floats, truth: Bools) -> "_Ranked":
        order = np.argsort(scores, kind="stable")
        steps, starts = np.unique(scores[order], return_index=True)
        return cls(order, starts, steps, truth[order].astype(np.float64))

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """(round, step) positives and negatives of each step."""
        ordered = weights[:, self.order]
        positive = np.add.reduceat(ordered * self.truth, self.starts, axis=1)
        return positive, np.add.reduceat(ordered, self.starts, axis=1) - positive


def auc_statistic(scores: Floats, truth: Bools) -> Statistic:
    """Area under the ROC curve (Mann-Whitney), ties counted half."""
    ranked = _Ranked.of(scores, truth)

    def statistic(weights: Floats) -> Floats:
        positive, negative = ranked.counts(weights)
        below = np.cumsum(negative, 1) - negative / 2
        return np.asarray((positive * below).sum(1) / (positive.sum(1) * negative.sum(1)))

    return statistic


def auc(scores: Floats, truth: Bools) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half; nan without both classes."""
    if truth.all() or not truth.any():
        return float("nan")
    return float(auc_statistic(scores, truth)(np.ones((1, len(scores))))[0])


def average_precision_statistic(scores: Floats, truth: Bools) -> Statistic:
    """Sum over steps of the gain in recall times the precision there (no interpolation)."""
    ranked = _Ranked.of(scores, truth)

    def statistic(weights: Floats) -> Floats:
        positive, negative = (part[:, ::-1] for part in ranked.counts(weights))
        flagged = np.cumsum(positive + negative, 1)
        precision = np.divide(np.cumsum(positive, 1), flagged, out=np.zeros_like(flagged), where=flagged > 0)
        return np.asarray((positive * precision).sum(1) / positive.sum(1))

    return statistic


def curve_statistic(scores: Floats, truth: Bools, at: Floats) -> Callable[[Floats], Floats]:
    """(round, len(at)) sensitivity at these false positive rates, straight between steps."""
    ranked = _Ranked.of(scores, truth)

    def statistic(weights: Floats) -> Floats:
        positive, negative = (np.cumsum(part[:, ::-1], 1) for part in ranked.counts(weights))
        rows = []
        for hits, alarms in zip(positive, negative, strict=True):
            if hits[-1] == 0 or alarms[-1] == 0:
                rows.append(np.full(len(at), np.nan))
                continue
            rates = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
            rows.append(np.interp(at, *rates))
        return np.array(rows)

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


def calibration_statistics(probability: Floats, truth: Bools) -> tuple[Statistic, Statistic, Statistic]:
    """Slope and intercept of the logistic regression of the truth on the log-odds (Cox 1958), and the calibration in
    the large: the intercept when the slope is held at 1. nan where no finite answer exists (separation)."""
    x, y = logit(probability), truth.astype(np.float64)

    def fit(weights: Floats) -> Floats:
        a, b = np.zeros(len(weights)), np.zeros(len(weights))
        for _ in range(NEWTON_STEPS):
            p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x).clip(-30, 30)))
            residual, curve = weights * (y - p), weights * p * (1 - p)
            g0, g1 = residual.sum(1), residual @ x
            h00, h01, h11 = curve.sum(1), curve @ x, curve @ (x * x)
            determinant = h00 * h11 - h01 * h01
            step_a, step_b = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            a, b = a + step_a.clip(-2, 2), b + step_b.clip(-2, 2)
        settled = (np.abs(step_a) < 1e-6) & (np.abs(step_b) < 1e-6)
        return np.where(settled, np.stack([a, b]), np.nan)

    def large(weights: Floats) -> Floats:
        a = np.zeros(len(weights))
        for _ in range(NEWTON_STEPS):
            p = 1 / (1 + np.exp(-(a[:, None] + x).clip(-30, 30)))
            step = (weights * (y - p)).sum(1) / (weights * p * (1 - p)).sum(1)
            a = a + step.clip(-2, 2)
        return np.where(np.abs(step) < 1e-6, a, np.nan)

    return lambda w: fit(w)[1], lambda w: fit(w)[0], large


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
