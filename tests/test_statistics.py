"""The evaluation's figures against scikit-learn's and SciPy's: random scores with ties, random weights, any shares."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from inference.training.evaluation.metrics import MANY_UNITS, Level, Units, level
from inference.training.evaluation.records import Overlap
from inference.training.evaluation.statistics import (
    Resampling,
    auc,
    calibration_statistic,
    logit,
    precision_recall_points,
    ranking_statistic,
    roc_points,
    wilson,
)
from inference.training.release.decide import choose_threshold, fit_platt

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Weighted = tuple[Floats, Bools, Floats]

STEPS = 12  # so few different scores that many are equal
RATES = np.linspace(0, 1, 21)


@st.composite
def weighted(draw: st.DrawFn, least: int = 2, most: int = 40) -> Weighted:
    """Scores, truth and how often each unit was drawn, none of either kind missing."""
    count = draw(st.integers(least, most))
    steps = draw(st.lists(st.integers(0, STEPS - 1), min_size=count, max_size=count))
    truth = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), float)
    assume(weights[truth].any() and weights[~truth].any())
    return (np.array(steps) + 0.5) / STEPS, truth, weights


def overlapping(count: int, seed: int) -> tuple[Floats, Bools]:
    """Log-odds and a truth that follows them loosely, so that a regression has a finite answer."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, count).round(1)
    return odds, rng.random(count) < expit(0.3 + 0.7 * odds)


def level_of(scores: Floats, truth: Bools) -> Level:
    """All figures, each unit a patient of its own, flagged from 0.5 on."""
    patients = [str(i) for i in range(len(truth))]
    return level(Units(patients, scores, scores >= 0.5, truth), Resampling.of(patients, 2, seed=1))


@given(weighted())
def test_auc_average_precision_and_sensitivities_of_weighted_units(units: Weighted) -> None:
    """One row of weights is one resample."""
    scores, truth, weights = units
    area, precision, *sensitivities = ranking_statistic(scores, truth, RATES)(weights[None])[0]
    assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    assert precision == pytest.approx(average_precision_score(truth, scores, sample_weight=weights))
    along, up, _ = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    assert sensitivities == pytest.approx(np.interp(RATES, along, up))


@given(weighted())
def test_auc_of_plain_units(units: Weighted) -> None:
    """Every unit once."""
    scores, truth, _ = units
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


@given(weighted())
def test_points_of_the_curves(units: Weighted) -> None:
    """scikit-learn's precision-recall curve goes the other way, and ends in a point that no threshold gives."""
    scores, truth, _ = units
    rate, sensitivity = roc_points(scores, truth)
    along, up, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert rate == pytest.approx(along) and sensitivity == pytest.approx(up)
    recall, precision = precision_recall_points(scores, truth)
    precise, recalled, _ = precision_recall_curve(truth, scores)
    assert recall == pytest.approx(recalled[-2::-1]) and precision == pytest.approx(precise[-2::-1])


@given(weighted())
def test_rates_of_decisions(units: Weighted) -> None:
    """The table of four fields and what follows from it; nan where nothing is counted."""
    scores, truth, _ = units
    found, decided = level_of(scores, truth), scores >= 0.5
    table = [found.true_negatives, found.false_positives, found.false_negatives, found.true_positives]
    assert table == confusion_matrix(truth, decided, labels=[False, True]).ravel().tolist()
    wanted: list[tuple[float, Callable[..., float], Bools, Bools]] = [
        (found.sensitivity.value, recall_score, truth, decided),
        (found.specificity.value, recall_score, ~truth, ~decided),
        (found.ppv.value, precision_score, truth, decided),
        (found.npv.value, precision_score, ~truth, ~decided),
    ]
    for value, score, true, said in wanted:
        assert value == pytest.approx(score(true, said, zero_division=np.nan), nan_ok=True)
    assert found.brier.value == pytest.approx(brier_score_loss(truth, scores))


@given(st.one_of(weighted(), weighted(MANY_UNITS, MANY_UNITS + 20)))
def test_expected_calibration_error(units: Weighted) -> None:
    """Five bins of few units, ten of many; empty ones count for nothing."""
    scores, truth, _ = units
    found = level_of(scores, truth).calibration
    observed, predicted = calibration_curve(truth, scores, n_bins=len(found.bins), strategy="uniform")
    filled = [each for each in found.bins if each.count]
    assert [each.observed.value for each in filled] == pytest.approx(observed)
    assert [each.mean_probability for each in filled] == pytest.approx(predicted)
    counts = np.array([each.count for each in filled])
    assert found.expected_error == pytest.approx(np.average(abs(observed - predicted), weights=counts))


@pytest.mark.parametrize("seed", range(5))
def test_calibration_slope_and_intercept_are_a_logistic_regression(seed: int) -> None:
    """And the calibration in the large makes as many positives probable as there are."""
    odds, truth = overlapping(200, seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(odds)).astype(float)
    slope, intercept, in_the_large = calibration_statistic(expit(odds), truth)(weights[None])[0]
    x = logit(expit(odds))
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    regression.fit(x[:, None], truth, sample_weight=weights)
    assert (slope, intercept) == pytest.approx((regression.coef_[0, 0], regression.intercept_[0]), rel=1e-4, abs=1e-5)
    assert in_the_large == pytest.approx(brentq(lambda a: weights @ (truth - expit(a + x)), -10, 10), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_platt_scaling_without_a_ridge(seed: int) -> None:
    """Softened targets, as scikit-learn fits them; that it calibrates a shifted and stretched score changes nothing."""
    odds, truth = overlapping(60, seed)
    own = fit_platt(odds[:, None], truth, ridge=1e-9)
    stretched = FrozenEstimator(LogisticRegression().fit(odds[:, None], truth))
    theirs = CalibratedClassifierCV(stretched, method="sigmoid").fit(odds[:, None], truth)
    at = np.linspace(-4, 4, 9)
    assert [own(float(each)) for each in at] == pytest.approx(theirs.predict_proba(at[:, None])[:, 1], abs=1e-4)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_platt_scaling_of_two_inputs_with_a_ridge(ridge: float) -> None:
    """A softened target t is a positive that weighs t beside a negative that weighs 1 - t."""
    first, truth = overlapping(80, 1)
    inputs = np.column_stack([first, np.random.default_rng(2).normal(size=80)])
    positives, negatives = truth.sum(), (~truth).sum()
    softened = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    regression = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-10)
    regression.fit(
        np.vstack([inputs, inputs]), np.repeat([True, False], 80), sample_weight=np.append(softened, 1 - softened)
    )
    own = fit_platt(inputs, truth, ridge)
    assert own.slopes == pytest.approx(tuple(regression.coef_[0]), rel=1e-4)
    assert own.intercept == pytest.approx(regression.intercept_[0], rel=1e-3)


@given(weighted(), st.sampled_from([0.5, 0.8, 0.85, 0.95, 1.0]))
def test_chosen_threshold_is_the_highest_that_is_sensitive_enough(units: Weighted, aim: float) -> None:
    """On scikit-learn's curve it is the first step that reaches the aim."""
    scores, truth, _ = units
    threshold = choose_threshold(scores, truth, aim)
    _, sensitivities, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    first = int(np.argmax(sensitivities >= aim - 1e-9))
    assert ((scores >= threshold) == (scores >= thresholds[first])).all()


@given(weighted(), st.integers(0, 2**32 - 1))
def test_dice_is_the_f1_score_of_voxels(units: Weighted, seed: int) -> None:
    """Drawn against predicted."""
    _, true, _ = units
    predicted = np.random.default_rng(seed).random(len(true)) < 0.5
    overlap = Overlap(int(true.sum()), int(predicted.sum()), int((true & predicted).sum()), 0.0, 0.0)
    assert overlap.dice == pytest.approx(f1_score(true, predicted))


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilsons_interval(count: int, share: float) -> None:
    """Of any proportion."""
    hits = round(share * count)
    expected = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
