"""What a site's check found: plain dataclasses, written to validation.json, and how they follow from the studies.

Proportions have Wilson's 95 % intervals (Wilson 1927), each study counted once; the area under the curve has its
interval by bootstrap of patients, as in every evaluation.
"""

import datetime
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from inference.models.card import OperatingPoint
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.evaluation.figures import RESEARCH, Mistake, Unanalysed
from inference.training.evaluation.metrics import NAN, Estimate, Level, level
from inference.training.evaluation.records import AnswerOutcome, JudgedStudy, KnownTruth, RunKey, StudyRecord, cases_of
from inference.training.evaluation.statistics import Resampling, wilson
from inference.training.evaluation.summary import AGES_YEARS, ROUNDS, mistake, study_units
from inference.training.validation.kept import Kept, Traits
from inference.training.validation.truths import Listed, StudyTruth, Truths

TYPES = tuple(kind.value for kind in HaemorrhageType)
DISTANCES_MM = (("Under 2 mm", 0.0, 2.0), ("2 to under 4 mm", 2.0, 4.0), ("4 mm and more", 4.0, math.inf))
SEXES = {"F": "Female", "M": "Male", "O": "Other"}
UNKNOWN = "Not stated"
FEWEST_EXPECTED = 5  # Cochran's rule: so many wrong answers must be allowed, or the wish cannot be judged
STEPS = 10_000  # thresholds are said to four places


@dataclass(frozen=True, slots=True)
class Rates:
    """The four proportions of some studies at one threshold."""

    studies: int
    positives: int
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the studies, e.g. of one scanner; `by` says what they have in common."""

    by: str
    label: str
    rates: Rates


@dataclass(frozen=True, slots=True)
class TypeRate:
    """Studies with this type of haemorrhage, whatever else they show, and how many of them were flagged."""

    name: str
    sensitivity: Estimate


@dataclass(frozen=True, slots=True)
class Aim:
    """A wish, the threshold that meets it on these studies, and what it would have brought; `threshold` None where none
    meets it. `aim_of_card` is the card's point that meets it with the fewest wrong answers of the other kind."""

    kind: str
    wish: float
    threshold: float | None
    rates: Rates | None
    aim_of_card: float | None
    threshold_of_card: float | None
    rates_of_card: Rates | None
    warning: str


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything a check found. `study` is None where no study was analysed."""

    statement: str
    date: datetime.date
    run: RunKey
    pipeline: str
    listed: int
    patients: int
    threshold: float
    rates: Rates
    study: Level | None
    groups: tuple[Group, ...]
    types: tuple[TypeRate, ...]
    aims: tuple[Aim, ...]
    missed: tuple[Mistake, ...]
    false_alarms: tuple[Mistake, ...]
    not_analysed: tuple[Unanalysed, ...]
    unclear: tuple[Listed, ...]
    untold: tuple[Listed, ...]
    not_here: tuple[Listed, ...]
    notes: tuple[Listed, ...]
    by_reports: bool


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a site wants of an operating point; None: no such wish."""

    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An analysed study with its truth and its traits."""

    case: JudgedStudy
    traits: Traits

    @property
    def is_positive(self) -> bool:
        """Whether it truly shows haemorrhage."""
        return self.case.truth.haemorrhage

    @property
    def probability(self) -> float:
        """What the model said."""
        return self.case.answer.probability


def joined(kept: Kept, truth: StudyTruth) -> StudyRecord:
    """The record with what is true, as evaluations take it. The truth is yes or no."""
    types = truth.types if truth.haemorrhage else (False,) * len(TYPES)
    known = KnownTruth(bool(truth.haemorrhage), types, None, kept.traits.age_years)
    record = kept.record
    if record.answer is None or record.answer.suspected == truth.haemorrhage:
        return replace(record, truth=known, picture=None)
    return replace(record, truth=known)


def proportion(hits: int, of: int) -> Estimate:
    """With Wilson's interval."""
    low, high = wilson(hits, of)
    low, high = 0.0 if of and not hits else low, 1.0 if of and hits == of else high  # exactly, whatever was rounded
    note = "" if of else "not measurable: no such studies"
    return Estimate(hits / of if of else NAN, low, high, of, hits=hits, interval="Wilson" if of else "", note=note)


def rates(judged: Sequence[Judged], threshold: float | None = None) -> Rates:
    """Of these studies as they were flagged, or as they would have been from another threshold on."""
    flags = [each.case.answer.suspected if threshold is None else each.probability >= threshold for each in judged]
    pairs = [(each.is_positive, flag) for each, flag in zip(judged, flags, strict=True)]
    hits, misses, alarms, rests = (
        pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    return Rates(
        len(pairs),
        hits + misses,
        proportion(hits, hits + misses),
        proportion(rests, rests + alarms),
        proportion(hits, hits + alarms),
        proportion(rests, rests + misses),
    )


def scanner_of(traits: Traits) -> str:
    """Manufacturer and model."""
    return " ".join(filter(None, (traits.manufacturer, traits.model))) or UNKNOWN


def sex_of(traits: Traits) -> str:
    """In words."""
    return SEXES.get(traits.sex.upper(), UNKNOWN)


def _within(value: float | None, bounds: Sequence[tuple[str, float, float]]) -> str:
    if value is None:
        return UNKNOWN
    return next(label for label, low, high in bounds if low <= value < high)


def groups(judged: Sequence[Judged]) -> tuple[Group, ...]:
    """By scanner, age, sex and distance of slices; scanners with most studies first, the others in their order."""
    ages, distances = ([label for label, _, _ in bounds] for bounds in (AGES_YEARS, DISTANCES_MM))
    ways: tuple[tuple[str, Callable[[Traits], str], list[str]], ...] = (
        ("Scanner", scanner_of, []),
        ("Age", lambda traits: _within(traits.age_years, AGES_YEARS), ages),
        ("Sex", sex_of, [*SEXES.values()]),
        ("Distance between slices", lambda traits: _within(traits.distance_mm, DISTANCES_MM), distances),
    )
    found = []
    for by, label_of, order in ways:
        parts: dict[str, list[Judged]] = {}
        for each in judged:
            parts.setdefault(label_of(each.traits), []).append(each)
        labels = sorted(parts, key=lambda label: (-len(parts[label]), label))
        labels = [*(each for each in order if each in parts), *(each for each in labels if each not in order)]
        found += [Group(by, label, rates(parts[label])) for label in labels]
    return tuple(found)


def type_rates(judged: Sequence[Judged]) -> tuple[TypeRate, ...]:
    """Types that some study is said to have."""
    found = []
    for place, name in enumerate(TYPES):
        flags = [each.case.answer.suspected for each in judged if each.case.truth.types[place]]
        if flags:
            found.append(TypeRate(name, proportion(sum(flags), len(flags))))
    return tuple(found)


def aim(judged: Sequence[Judged], kind: str, wish: float, points: Sequence[OperatingPoint]) -> Aim:
    """The threshold that meets a wish for "sensitivity" (the highest such) or "specificity" (the lowest such).

    It is rounded to four places, towards meeting the wish, and everything is counted with the rounded one.
    """
    wants_bleeds = kind == "sensitivity"
    values = [each.probability for each in judged if each.is_positive is wants_bleeds]

    def met(found: Rates) -> float:
        return (found.sensitivity if wants_bleeds else found.specificity).value

    steps = [math.floor(round(p * STEPS, 6)) for p in values]
    choices = [step / STEPS if wants_bleeds else (step + 1) / STEPS for step in steps]
    choices = sorted({*choices, 0.0} if not wants_bleeds else set(choices), reverse=wants_bleeds)
    place = bisect_left(choices, True, key=lambda t: met(rates(judged, t)) >= wish)  # it is met from there on
    threshold = choices[place] if values and place < len(choices) and choices[place] <= 1 else None
    fitting = [point for point in points if met(rates(judged, point.threshold)) >= wish] if values else []
    best = (max if wants_bleeds else min)(fitting, key=lambda point: point.threshold, default=None)
    return Aim(
        kind,
        wish,
        threshold,
        None if threshold is None else rates(judged, threshold),
        None if best is None else best.aim,
        None if best is None else best.threshold,
        None if best is None else rates(judged, best.threshold),
        _too_few(kind, wish, len(values)),
    )


def _too_few(kind: str, wish: float, count: int) -> str:
    """Why these studies cannot judge the wish, or ''."""
    allowed = count * (1 - wish)
    if wish < 1 and allowed >= FEWEST_EXPECTED:
        return ""
    who = "with haemorrhage" if kind == "sensitivity" else "without haemorrhage"
    if wish >= 1:
        return f"No number of studies shows a {kind} of 1; {count} {who} were counted."
    needed = math.ceil(round(FEWEST_EXPECTED / (1 - wish), 6))
    return (
        f"Too few: only {count} studies {who} were counted; at least {needed} are needed before a threshold for a "
        f"{kind} of {wish:g} can be trusted."
    )


def validate(
    truths: Truths,
    kept: Sequence[Kept],
    wishes: Wishes,
    points: Sequence[OperatingPoint],
    run: RunKey,
    pipeline: str,
    threshold: float,
    date: datetime.date,
    by_reports: bool,
) -> Validation:
    """All figures, from what was kept of every study whose truth is yes or no; the same give the same figures."""
    records = [joined(each, truths.studies[each.record.study_id]) for each in kept]
    cases = cases_of(records)
    traits = {each.record.study_id: each.traits for each in kept}
    judged = [Judged(case, traits[case.record.study_id]) for case in cases]
    sampling = Resampling.of([case.record.patient_id for case in cases], ROUNDS, seed=1)
    wrong = [case for case in cases if case.answer.suspected != case.truth.haemorrhage]
    wrong.sort(key=lambda case: -abs(case.answer.probability - case.answer.threshold))
    wanted = (("sensitivity", wishes.sensitivity), ("specificity", wishes.specificity))
    return Validation(
        statement=RESEARCH,
        date=date,
        run=run,
        pipeline=pipeline,
        listed=len(kept),
        patients=len({case.record.patient_id for case in cases}),
        threshold=threshold,
        rates=rates(judged),
        study=level(study_units(cases), sampling) if cases else None,
        groups=groups(judged),
        types=type_rates(judged),
        aims=tuple(aim(judged, kind, wish, points) for kind, wish in wanted if wish is not None),
        missed=tuple(mistake(case) for case in wrong if case.truth.haemorrhage),
        false_alarms=tuple(mistake(case) for case in wrong if not case.truth.haemorrhage),
        not_analysed=tuple(
            Unanalysed(each.study_id, each.outcome, each.reason, each.truth.haemorrhage if each.truth else None)
            for each in records
            if each.outcome is not AnswerOutcome.ANALYSED
        ),
        unclear=tuple(truths.unclear),
        untold=tuple(truths.untold),
        not_here=tuple(truths.not_here),
        notes=tuple(truths.notes),
        by_reports=by_reports,
    )
