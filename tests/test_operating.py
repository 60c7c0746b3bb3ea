"""What an operating point means at a prevalence: Bayes' theorem, its intervals and its ends."""

import math
from dataclasses import replace

import pytest

from inference.findings import Band
from inference.models.card import Figure, ModelCard, OperatingPoint, load_card
from inference.models.operating import band_of, predict

POINT = OperatingPoint(0.9, 0.3, Figure("sensitivity", 0.9, 0.8, 0.95), Figure("specificity", 0.8, 0.7, 0.9))


def test_predictive_values_follow_bayes() -> None:
    """Of 1000 studies with 100 bleeds: 90 found, 180 false alarms, 720 rightly not flagged, 10 missed."""
    expected = predict(POINT, 0.1)
    assert (expected.found_per_100, expected.false_alarms_per_100) == pytest.approx((9, 18))
    assert expected.ppv.value == pytest.approx(90 / 270) and expected.npv.value == pytest.approx(720 / 730)
    assert expected.ppv.low == pytest.approx(80 / (80 + 270)) and expected.ppv.high == pytest.approx(95 / (95 + 90))
    assert expected.npv.low == pytest.approx(630 / 650) and expected.npv.high == pytest.approx(810 / 815)


def test_predictive_values_at_the_ends() -> None:
    """No bleeds, only bleeds, and no prevalence at all."""
    assert predict(POINT, 0).ppv.value == 0 and predict(POINT, 0).npv.value == 1
    assert predict(POINT, 1).ppv.value == 1 and predict(POINT, 1).npv.value == 0
    certain = replace(POINT, specificity=Figure("specificity", 1, 1, 1))
    assert math.isnan(predict(certain, 0).ppv.value)
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            predict(POINT, wrong)


def point(threshold: float, sensitivity: float, specificity: float) -> OperatingPoint:
    """A point of which only this matters."""
    named = (Figure("sensitivity", sensitivity, 0, 1), Figure("specificity", specificity, 0, 1))
    return OperatingPoint(sensitivity, threshold, *named)


def card_with(*points: OperatingPoint) -> ModelCard:
    return replace(load_card("haemorrhage"), operating_points=points)


def bands(card: ModelCard, threshold: float, *probabilities: float) -> list[str]:
    return [band_of(card, probability, threshold).value for probability in probabilities]


def test_the_shipped_card_s_bands() -> None:
    """A positive ratio of 10 is reached at 0.4813, a negative one of 0.2 up to 0.2680."""
    card = load_card("haemorrhage")
    assert bands(card, card.threshold, 0.0, 0.18, 0.2679, 0.268, 0.33, 0.4813, 1.0) == [
        *("low", "low", "low"),
        *("indeterminate", "indeterminate"),
        *("high", "high"),
    ]


def test_what_is_suspected_is_never_low_and_what_is_not_never_high() -> None:
    """Whatever point the site has chosen."""
    card = load_card("haemorrhage")
    assert bands(card, 0.1570, 0.15, 0.157, 0.2, 0.4813) == ["low", "indeterminate", "indeterminate", "high"]
    assert bands(card, 0.60, 0.2, 0.3, 0.59, 0.60) == ["low", "indeterminate", "indeterminate", "high"]


def test_bands_follow_likelihood_ratios() -> None:
    both = card_with(point(0.2, 0.99, 0.6), point(0.5, 0.9, 0.8), point(0.8, 0.5, 0.96))
    assert bands(both, 0.5, 0.19, 0.49, 0.5, 0.79, 0.8) == ["low", "low", *["indeterminate"] * 2, "high"]
    weak = card_with(point(0.3, 0.7, 0.6), point(0.6, 0.5, 0.8))
    assert bands(weak, 0.3, 0.29, 0.3, 0.99) == ["low", "indeterminate", "indeterminate"], "never high"
    perfect = card_with(point(0.4, 0.9, 1.0), point(0.9, 0.0, 1.0), point(0.1, 1.0, 0.0))
    assert bands(perfect, 0.4, 0.39, 0.4) == ["low", "high"]


def test_a_card_without_points_says_which_side_of_the_threshold() -> None:
    assert bands(card_with(), 0.5, 0.0, 0.49, 0.5, 1.0) == ["low", "low", "indeterminate", "indeterminate"]
    assert set(Band) == {"low", "indeterminate", "high"}
