"""What an operating point means at a prevalence: Bayes' theorem, its intervals and its ends."""

import math
from dataclasses import replace

import pytest

from inference.models.card import Figure, OperatingPoint
from inference.models.operating import predict

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
