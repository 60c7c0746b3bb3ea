"""Records -> Evaluation: every figure of a run, from the records of its studies alone."""

import datetime
from collections import Counter
from collections.abc import Sequence

import numpy as np

from inference.training.evaluation.agreement import bands, drawings
from inference.training.evaluation.drawing import TYPES
from inference.training.evaluation.figures import (
    RESEARCH,
    AgeGroup,
    Counts,
    Evaluation,
    Mistake,
    StudyLine,
    Timings,
    TypeFigures,
    Unanalysed,
    WorstCase,
)
from inference.training.evaluation.metrics import (
    NAN,
    Estimate,
    Level,
    Units,
    estimate,
    level,
    proportion,
)
from inference.training.evaluation.records import (
    AnswerOutcome,
    JudgedStudy,
    RunKey,
    StudyAnswer,
    StudyRecord,
    cases_of,
)
from inference.training.evaluation.sizes import (
    HEIGHTS_MM,
    VOLUMES_ML,
    height_mm,
    mean_of_studies,
    outlines,
    size_bins,
    volume_ml,
)
from inference.training.evaluation.statistics import Resampling, auc_statistic, wilson

ROUNDS = 2000
AGES_YEARS = (("Under 18 years", 0.0, 18.0), ("18 to 64 years", 18.0, 65.0), ("65 years and more", 65.0, float("inf")))


def study_units(cases: Sequence[JudgedStudy]) -> Units:
    """One unit per study."""
    return Units(
        [case.record.patient_id for case in cases],
        np.array([case.answer.probability for case in cases], float),
        np.array([case.answer.suspected for case in cases], bool),
        np.array([case.truth.haemorrhage for case in cases], bool),
    )


def slice_units(cases: Sequence[JudgedStudy]) -> Units:
    """One unit per slice that a reader judged."""
    patients, scores, decided, truth = [], [], [], []
    for case in cases:
        for known, probability in zip(case.truth.slices or (), case.answer.slice_probabilities, strict=False):
            if known.judged:
                patients.append(case.record.patient_id)
                scores.append(probability)
                decided.append(probability >= case.answer.slice_threshold)
                truth.append(known.labels[0])
    return Units(patients, np.array(scores, float), np.array(decided, bool), np.array(truth, bool))


def type_figures(cases: Sequence[JudgedStudy], index: int, sampling: Resampling) -> TypeFigures:
    """Of the studies whose readers said whether this type is there."""
    told = [case for case in cases if case.truth.types[index] is not None]
    units = Units(
        [case.record.patient_id for case in told],
        np.array([case.answer.type_probabilities[index] for case in told], float),
        np.array([case.answer.types_present[index] for case in told], bool),
        np.array([case.truth.types[index] for case in told], bool),
    )
    flagged = np.array([case.answer.suspected for case in told], bool)
    named = np.array([case.answer.types_present for case in told], bool).reshape(-1, len(TYPES))
    drawn = [
        (case.record.patient_id, overlap.dice)
        for case in cases
        if case.record.outline is not None
        and (overlap := case.record.outline.types[index]) is not None
        and overlap.true_voxels
    ]
    return TypeFigures(
        TYPES[index],
        int(units.truth.sum()),
        estimate(units.values(sampling, auc_statistic(units.scores, units.truth), 1)[:, 0], units),
        proportion(units, units.truth, flagged, sampling, "no positives"),
        proportion(units, units.truth, units.decided, sampling, "no positives"),
        proportion(units, ~units.truth, ~units.decided, sampling, "no negatives"),
        tuple(int(n) for n in named[units.truth].sum(0)),
        mean_of_studies([p for p, _ in drawn], [d for _, d in drawn], sampling, "no outline of this type"),
    )


def age_groups(cases: Sequence[JudgedStudy], sampling: Resampling) -> tuple[AgeGroup, ...]:
    """Children, adults and the old, as far as ages are known; a group without studies is left out."""
    groups = []
    for label, low, high in AGES_YEARS:
        aged = [c for c in cases if c.truth.age_years is not None and low <= c.truth.age_years < high]
        if aged:
            units = study_units(aged)
            auc = estimate(units.values(sampling, auc_statistic(units.scores, units.truth), 1)[:, 0], units)
            sensitivity = proportion(units, units.truth, units.decided, sampling, "no positives")
            specificity = proportion(units, ~units.truth, ~units.decided, sampling, "no negatives")
            groups.append(AgeGroup(label, low, high, auc, sensitivity, specificity))
    return tuple(groups)


def worst_case(study: Level, missing: Sequence[Unanalysed]) -> WorstCase:
    """Wilson's intervals over studies, since nobody can say how such cases repeat."""
    made = []
    for kind, right, wrong in (
        (True, study.true_positives, study.false_negatives),
        (False, study.true_negatives, study.false_positives),
    ):
        extra = sum(each.haemorrhage is kind or each.haemorrhage is None for each in missing)
        of = right + wrong + extra
        low, high = wilson(right, of)
        note = "" if of else "not measurable: no such studies"
        made.append(Estimate(right / of if of else NAN, low, high, of, 0, of if kind else 0, right, "Wilson", note))
    return WorstCase(made[0], made[1])


def _named(answer: StudyAnswer) -> tuple[str, ...]:
    return tuple(name for name, present in zip(TYPES, answer.types_present, strict=True) if present)


def mistake(case: JudgedStudy) -> Mistake:
    """A wrong answer as it is listed."""
    marked = [s for s in case.truth.slices or () if s.judged and s.labels[0]]
    return Mistake(
        case.record.study_id,
        case.record.patient_id,
        tuple(TYPES[i] for i in case.truth.type_indices),
        None not in case.truth.types,
        case.answer.probability,
        case.answer.threshold,
        len(marked) if case.truth.slices is not None else None,
        volume_ml(case.record),
        _named(case.answer),
        sum(case.answer.volumes_ml),
        case.record.picture,
    )


def study_line(case: JudgedStudy) -> StudyLine:
    """An analysed study as it is listed."""
    answer = case.answer
    return StudyLine(
        case.record.study_id,
        case.record.patient_id,
        case.truth.haemorrhage,
        answer.suspected,
        answer.probability,
        answer.threshold,
        tuple(TYPES[i] for i in case.truth.type_indices),
        _named(answer),
        sum(answer.volumes_ml),
        case.record.series_uid,
        case.record.series_name,
    )


def _timings(records: Sequence[StudyRecord]) -> Timings | None:
    done = [record for record in records if record.outcome is AnswerOutcome.ANALYSED]
    if not done:
        return None
    analyse = np.array([record.analyse_s for record in done])
    return Timings(
        float(np.median([record.read_s for record in done])),
        float(np.median(analyse)),
        float(np.percentile(analyse, 95)),
        float(analyse.max()),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (NAN, NAN)


def _counts(records: Sequence[StudyRecord]) -> Counts:
    outcomes = Counter(record.outcome for record in records)
    return Counts(
        len(records),
        len({record.patient_id for record in records}),
        outcomes[AnswerOutcome.ANALYSED],
        len({record.patient_id for record in records if record.outcome is AnswerOutcome.ANALYSED}),
        outcomes[AnswerOutcome.NOT_ANALYSED],
        outcomes[AnswerOutcome.ERROR],
        outcomes[AnswerOutcome.FAILED],
    )


def summarise(
    records: Sequence[StudyRecord],
    run: RunKey,
    date: datetime.date,
    device: str,
    prevalences: Sequence[float] = (),
    seed: int = 1,
    rounds: int = ROUNDS,
) -> Evaluation:
    """All figures; the same records and seed give the same figures."""
    cases = cases_of(records)
    sampling = Resampling.of([case.record.patient_id for case in cases], rounds, seed)
    study = level(study_units(cases), sampling, prevalences)
    of_slices = slice_units(cases)
    missing = tuple(
        Unanalysed(r.study_id, r.outcome, r.reason, None if r.truth is None else r.truth.haemorrhage)
        for r in records
        if r.outcome is not AnswerOutcome.ANALYSED
    )
    wrong = [case for case in cases if case.answer.suspected != case.truth.haemorrhage]
    wrong.sort(key=lambda case: -abs(case.answer.probability - case.answer.threshold))
    return Evaluation(
        statement=RESEARCH,
        date=date,
        run=run,
        seed=seed,
        rounds=rounds,
        device=device,
        counts=_counts(records),
        study_thresholds=_range([case.answer.threshold for case in cases]),
        slice_thresholds=_range([case.answer.slice_threshold for case in cases]),
        study=study,
        slices=level(of_slices, sampling) if len(of_slices.truth) else None,
        types=tuple(type_figures(cases, index, sampling) for index in range(len(TYPES))),
        ages=age_groups(cases, sampling),
        sizes_ml=size_bins(cases, [volume_ml(case.record) for case in cases], VOLUMES_ML, "ml"),
        sizes_mm=size_bins(cases, [height_mm(case.truth) for case in cases], HEIGHTS_MM, "mm"),
        bands=bands(cases, sampling),
        outlines=outlines(cases, sampling),
        drawings=drawings(cases, sampling),
        comparison=None,
        worst_case=worst_case(study, missing),
        false_negatives=tuple(mistake(case) for case in wrong if case.truth.haemorrhage),
        false_positives=tuple(mistake(case) for case in wrong if not case.truth.haemorrhage),
        not_analysed=missing,
        timings=_timings(records),
        warnings=tuple(Counter(w for case in cases for w in case.answer.warnings).most_common()),
        studies=tuple(study_line(case) for case in cases),
    )
