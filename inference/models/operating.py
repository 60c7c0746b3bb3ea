"""What an operating point means in a house: predictive values at its own prevalence, by Bayes' theorem.

Intervals come from the corners: both sensitivity and specificity at their lower, then at their upper ends.
"""

import math
from dataclasses import dataclass

from inference.models.card import Figure, OperatingPoint


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of 100 studies: how many that show what is looked for are flagged, how many others; PPV and NPV in 0..1.

    NaN where there is no such value: a PPV where nothing is ever flagged, an NPV where everything is.
    """

    found_per_100: float
    false_alarms_per_100: float
    ppv: Figure
    npv: Figure


def predict(point: OperatingPoint, prevalence: float) -> Prediction:
    """What is to be expected of a point where `prevalence` (0..1) of the studies show what is looked for."""
    if not 0 <= prevalence <= 1:
        raise ValueError(f"a prevalence lies in 0..1, not {prevalence}")
    sensitivity, specificity = point.sensitivity, point.specificity
    ends = [
        predictive_values(s, t, prevalence)
        for s, t in (
            (sensitivity.value, specificity.value),
            (sensitivity.low, specificity.low),
            (sensitivity.high, specificity.high),
        )
    ]
    (ppv, npv), (ppv_low, npv_low), (ppv_high, npv_high) = ends
    return Prediction(
        found_per_100=100 * prevalence * sensitivity.value,
        false_alarms_per_100=100 * (1 - prevalence) * (1 - specificity.value),
        ppv=Figure("ppv", ppv, ppv_low, ppv_high),
        npv=Figure("npv", npv, npv_low, npv_high),
    )


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV, NaN where nothing or everything is flagged."""
    true_alarms, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_rests, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return _share(true_alarms, false_alarms), _share(true_rests, missed)


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else math.nan
