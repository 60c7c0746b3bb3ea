"""Figures with their 95 % intervals and counts: how well scores and decisions agree with the truth.

A figure that cannot be measured is nan and says why. Intervals are percentiles of resampled patients; where all or none
of the decisions are right that interval would have no width, and Wilson's over patients is given in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.training.evaluation.statistics import (
    Bools,
    Floats,
    Resampling,
    Statistic,
    bayes,
    calibration_statistic,
    interval,
    precision_recall_points,
    ranking_statistic,
    roc_points,
    wilson,
)

NAN = float("nan")
BOOTSTRAP = "bootstrap by patient"
WILSON = "Wilson by patients"
FEW_PATIENTS = 5
MANY_UNITS = 200
CURVE_POINTS = 400
GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure: `of` units of `patients` patients went into it; `hits` of them were right where it is a proportion.

    `positives` counts the units with haemorrhage among them. `interval` names the interval's method, '' where there is
    none; `note` says why a figure cannot be measured or its interval not be trusted.
    """

    value: float
    low: float = NAN
    high: float = NAN
    of: int = 0
    patients: int = 0
    positives: int = 0
    hits: int | None = None
    interval: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """Units whose probability lies in [low, high): their mean probability, and how many truly are positive."""

    low: float
    high: float
    count: int
    mean_probability: float
    observed: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """`slope` 1 and `intercept` 0 are perfect; `in_the_large` is above 0 where probabilities are too low."""

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate
    expected_error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """ROC and precision-recall as drawn; the band is the ROC's interval at each of `band_rate`."""

    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]
    band_rate: tuple[float, ...]
    band_low: tuple[float, ...]
    band_high: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictive values by Bayes at a prevalence that was asked for; predicted, not measured."""

    prevalence: float
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True, slots=True)
class Level:
    """Everything about one kind of unit, studies or slices."""

    units: int
    patients: int
    positives: int
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    auc: Estimate
    average_precision: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    brier: Estimate
    calibration: Calibration
    curves: Curves | None
    predicted: tuple[Predicted, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Scores in 0..1, decisions and truth of units, each of which belongs to a patient."""

    patients: Sequence[str]
    scores: Floats
    decided: Bools
    truth: Bools

    def count_patients(self, which: Bools | None = None) -> int:
        """How many patients have a unit among these."""
        chosen = np.ones(len(self.patients), bool) if which is None else which
        return len({patient for patient, there in zip(self.patients, chosen, strict=True) if there})

    def values(self, sampling: Resampling, statistic: Statistic, figures: int) -> Floats:
        """(round + 1, figures) resampled; all nan without both kinds."""
        if self.truth.all() or not self.truth.any():
            return np.full((len(sampling.draws), figures), NAN)
        return sampling.values(self.patients, statistic)


def estimate(values: Floats, units: Units, note: str = "") -> Estimate:
    """A figure from its resampled values over all units, the first of which is the figure itself."""
    count, patients = len(units.truth), units.count_patients()
    if np.isnan(values[0]):
        return Estimate(NAN, of=count, patients=patients, positives=int(units.truth.sum()), note=note or _gap(units))
    low, high = interval(values[1:])
    few = min(units.count_patients(units.truth), units.count_patients(~units.truth))
    lost = float(np.isnan(values[1:]).mean())
    said = note
    if not said and low == high:
        low, high, said = NAN, NAN, "no interval: resampling shows no spread"
    elif not said and few < FEW_PATIENTS:
        said = f"only {few} patient{'' if few == 1 else 's'} of one kind: the interval is a rough guess"
    elif not said and lost > 0.05:
        said = f"not measurable in {lost:.0%} of the resamples"
    method = "" if np.isnan(low) else BOOTSTRAP
    return Estimate(float(values[0]), low, high, count, patients, int(units.truth.sum()), None, method, said)


def _gap(units: Units) -> str:
    if not len(units.truth):
        return "not measurable: no cases"
    if not units.truth.any():
        return "not measurable: no positives"
    return "not measurable: no negatives" if units.truth.all() else "not measurable: no finite value fits"


def proportion(units: Units, among: Bools, right: Bools, sampling: Resampling, empty: str) -> Estimate:
    """The share of `right` units among some; `empty` says what is missing where there are none."""
    of, hits, patients = int(among.sum()), int((among & right).sum()), units.count_patients(among)
    positives = int((units.truth & among).sum())
    if not of:
        return Estimate(NAN, note=f"not measurable: {empty}")
    values = sampling.ratio(units.patients, (among & right).astype(float), among.astype(float))
    low, high = interval(values[1:])
    method = BOOTSTRAP
    if hits in (0, of) or low == high:
        low, high = wilson(hits / of * patients, patients)
        method = WILSON
    few = f"only {patients} patient{'' if patients == 1 else 's'}" if patients < FEW_PATIENTS else ""
    return Estimate(hits / of, low, high, of, patients, positives, hits, method, few)


def calibration(units: Units, sampling: Resampling) -> Calibration:
    """Of the probabilities themselves, whatever the threshold."""
    rows = units.values(sampling, calibration_statistic(units.scores, units.truth), 3)
    slope, intercept, large = (estimate(column, units) for column in rows.T)
    count = 10 if len(units.truth) >= MANY_UNITS else 5
    places = np.minimum((units.scores * count).astype(int), count - 1)
    bins = []
    for place in range(count):
        inside = places == place
        hits, number = int(units.truth[inside].sum()), int(inside.sum())
        low, high = wilson(hits, number)
        share = hits / number if number else NAN
        note = "" if number else "empty"
        observed = Estimate(
            share, low, high, number, units.count_patients(inside), hits, hits, "Wilson" if number else "", note
        )
        mean = float(units.scores[inside].mean()) if number else NAN
        bins.append(Bin(place / count, (place + 1) / count, number, mean, observed))
    error = sum(b.count * abs(b.mean_probability - b.observed.value) for b in bins if b.count)
    return Calibration(slope, intercept, large, error / len(units.truth) if len(units.truth) else NAN, tuple(bins))


def curves(units: Units, sensitivities: Floats) -> Curves | None:
    """The curves and their band, from resampled `sensitivities` (round, len(GRID)); None without both kinds."""
    if units.truth.all() or not units.truth.any():
        return None
    bands = np.nanpercentile(sensitivities, [2.5, 97.5], axis=0)
    rate, sensitivity = roc_points(units.scores, units.truth)
    recall, precision = precision_recall_points(units.scores, units.truth)

    def listed(values: Floats) -> tuple[float, ...]:
        return tuple(round(float(v), 5) for v in values)

    roc, pr = _thinned(len(rate)), _thinned(len(recall))
    return Curves(
        listed(rate[roc]),
        listed(sensitivity[roc]),
        listed(GRID),
        listed(bands[0]),
        listed(bands[1]),
        listed(recall[pr]),
        listed(precision[pr]),
    )


def _thinned(count: int) -> list[int]:
    """At most CURVE_POINTS places, both ends among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, CURVE_POINTS)).round()})


def predicted(
    units: Units, sampling: Resampling, prevalence: float, sensitivity: Estimate, specificity: Estimate
) -> Predicted:
    """PPV and NPV as they would be where this share of studies has haemorrhage.

    Where a rate is 0 or 1 the bounds are those of both rates' own intervals taken together, which is wider.
    """
    if np.isnan(sensitivity.value) or np.isnan(specificity.value):
        missing = Estimate(NAN, note=_gap(units))
        return Predicted(prevalence, missing, missing)
    if {sensitivity.value, specificity.value} & {0.0, 1.0}:
        bounds = [np.array([each.value, each.low, each.high]) for each in (sensitivity, specificity)]
        pairs = bayes(bounds[0], bounds[1], prevalence)
        method = "bounds of sensitivity and specificity"
        made = [Estimate(float(v[0]), float(v[1]), float(v[2]), interval=method) for v in pairs]
        return Predicted(prevalence, made[0], made[1])
    rates = []
    for positive in (True, False):
        among = units.truth == positive
        right = among & (units.decided == positive)
        rates.append(sampling.ratio(units.patients, right.astype(float), among.astype(float)))
    values = bayes(rates[0], rates[1], prevalence)
    return Predicted(prevalence, estimate(values[0], units), estimate(values[1], units))


def level(units: Units, sampling: Resampling, prevalences: Sequence[float] = ()) -> Level:
    """All figures of these units; patients are resampled among all of `sampling`."""
    truth, decided, patients = units.truth, units.decided, units.patients
    squares = (units.scores - truth) ** 2
    ranking = units.values(sampling, ranking_statistic(units.scores, truth, GRID), 2 + len(GRID))
    sensitivity = proportion(units, truth, decided, sampling, "no positives")
    specificity = proportion(units, ~truth, ~decided, sampling, "no negatives")
    return Level(
        units=len(truth),
        patients=units.count_patients(),
        positives=int(truth.sum()),
        true_positives=int((truth & decided).sum()),
        false_negatives=int((truth & ~decided).sum()),
        false_positives=int((~truth & decided).sum()),
        true_negatives=int((~truth & ~decided).sum()),
        auc=estimate(ranking[:, 0], units),
        average_precision=estimate(ranking[:, 1], units),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=proportion(units, decided, truth, sampling, "nothing was flagged"),
        npv=proportion(units, ~decided, ~truth, sampling, "everything was flagged"),
        brier=estimate(sampling.ratio(patients, squares, np.ones(len(truth))), units),
        calibration=calibration(units, sampling),
        curves=curves(units, ranking[1:, 2:]),
        predicted=tuple(predicted(units, sampling, share, sensitivity, specificity) for share in prevalences),
    )
