"""What an operating point means in a house (predictive values, by Bayes' theorem), and the band of a probability.

Intervals come from the corners: both sensitivity and specificity at their lower, then at their upper ends.
"""

import math
from dataclasses import dataclass

from inference.findings import Band
from inference.models.card import Figure, ModelCard, OperatingPoint

# A flag that is raised so many times as often in studies with the finding as in others changes what is thought of a
# study by much, and so does the lack of one that is this rare (Jaeschke et al., JAMA 1994;271:703).
RAISES, LOWERS = 10.0, 0.2


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


def band_of(card: ModelCard, probability: float, threshold: float) -> Band:
    """What a probability means, by the likelihood ratios that were measured at the card's operating points.

    High from the lowest point on whose positive ratio is RAISES or more; low below the highest point whose negative
    ratio is LOWERS or less; indeterminate between. What is suspected (from `threshold` on) is never low, what is not is
    never high. A card without such points says low below the threshold and indeterminate from it on.
    """
    points = card.operating_points
    high = min((each.threshold for each in points if _positive_ratio(each) >= RAISES), default=math.inf)
    low = max((each.threshold for each in points if _negative_ratio(each) <= LOWERS), default=threshold)
    if probability >= max(high, threshold):
        return Band.HIGH
    return Band.LOW if probability < min(low, threshold) else Band.INDETERMINATE


def _positive_ratio(point: OperatingPoint) -> float:
    """How much oftener studies with the finding are flagged than others."""
    false_alarms = 1 - point.specificity.value
    if false_alarms > 0:
        return point.sensitivity.value / false_alarms
    return math.inf if point.sensitivity.value > 0 else 0.0


def _negative_ratio(point: OperatingPoint) -> float:
    """How much rarer studies with the finding are not flagged than others."""
    specificity = point.specificity.value
    return (1 - point.sensitivity.value) / specificity if specificity > 0 else math.inf


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV, NaN where nothing or everything is flagged."""
    true_alarms, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_rests, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return _share(true_alarms, false_alarms), _share(true_rests, missed)


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else math.nan
