"""Probabilities where the finding is rarer, or more frequent, than in the data that a model was calibrated on.

By Bayes' theorem the log-odds of a study move by those of the assumed prevalence less those of the data's, if what the
model sees of studies with and without the finding is alike in both (Saerens et al., Neural Computation 2002;14:21-41).
The probabilities of kinds and of slices are moved by the same, so that all of a result lies on one scale; thresholds
move with them, so that no decision changes. A kind that is possible given that there is something stays as it is.
"""

import math
from dataclasses import replace

from inference.findings import Result
from inference.models.card import ModelCard


def shift_of(card: ModelCard, prevalence: float | None) -> float:
    """By how much log-odds move; 0 where no prevalence is assumed, or the card does not say that of its data."""
    if prevalence is None or card.calibrated_prevalence is None:
        return 0.0
    return _logit(prevalence) - _logit(card.calibrated_prevalence)


def shifted(probability: float, shift: float) -> float:
    """A probability whose log-odds are moved; 0 and 1 stay."""
    if shift == 0 or not 0 < probability < 1:
        return probability
    return 1 / (1 + math.exp(-(_logit(probability) + shift)))


def at_prevalence(result: Result, card: ModelCard, prevalence: float | None) -> Result:
    """The result at an assumed prevalence, in 0..1 without its ends; as it is where `shift_of` has nothing to say."""
    if prevalence is None or card.calibrated_prevalence is None:
        return result
    shift = shift_of(card, prevalence)
    findings = tuple(
        each if each.differential else replace(each, probability=shifted(each.probability, shift))
        for each in result.findings
    )
    return replace(
        result,
        probability=shifted(result.probability, shift),
        threshold=shifted(result.threshold, shift),
        findings=findings,
        slice_probabilities=tuple(shifted(each, shift) for each in result.slice_probabilities),
        prevalence=prevalence,
    )


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
