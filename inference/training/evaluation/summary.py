"""Records -> Evaluation: every figure of a run, from the records of its studies alone."""

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.findings import HaemorrhageType
from inference.training.evaluation.figures import (
    RESEARCH,
    Counts,
    Evaluation,
    Mistake,
    Outlines,
    SizeBin,
    StudyLine,
    Timings,
    TypeFigures,
    Unanalysed,
    VolumePair,
    WorstCase,
)
from inference.training.evaluation.metrics import NAN, Estimate, Level, Units, estimate, level, proportion
from inference.training.evaluation.records import (
    Answer,
    KnownTruth,
    Outcome,
    Overlap,
    RunKey,
    StudyRecord,
)
from inference.training.evaluation.statistics import Floats, Resampling, auc_statistic, wilson

ROUNDS = 2000
TYPES = tuple(kind.value for kind in HaemorrhageType)
VOLUMES_ML = (0.0, 1.0, 3.0, 10.0, 30.0)
HEIGHTS_MM = (0.0, 15.0, 30.0, 55.0)


@dataclass(frozen=True, slots=True)
class Case:
    """An analysed study with both its sides."""

    record: StudyRecord
    truth: KnownTruth
    answer: Answer


def cases_of(records: Sequence[StudyRecord]) -> list[Case]:
    """The analysed studies."""
    return [Case(r, r.truth, r.answer) for r in records if r.truth is not None and r.answer is not None]


def study_units(cases: Sequence[Case]) -> Units:
    """One unit per study."""
    return Units(
        [case.record.patient_id for case in cases],
        np.array([case.answer.probability for case in cases], float),
        np.array([case.answer.suspected for case in cases], bool),
        np.array([case.truth.haemorrhage for case in cases], bool),
    )


def slice_units(cases: Sequence[Case]) -> Units:
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


def type_figures(cases: Sequence[Case], index: int, sampling: Resampling) -> TypeFigures:
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
        estimate(sampling.values(units.patients, auc_statistic(units.scores, units.truth)), units),
        proportion(units, units.truth, flagged, sampling, "no positives"),
        proportion(units, units.truth, units.decided, sampling, "no positives"),
        proportion(units, ~units.truth, ~units.decided, sampling, "no negatives"),
        tuple(int(n) for n in named[units.truth].sum(0)),
        _mean([p for p, _ in drawn], [d for _, d in drawn], sampling, "no outline of this type"),
    )


def _mean(patients: Sequence[str], values: Sequence[float], sampling: Resampling, empty: str) -> Estimate:
    """Mean over studies; nothing is positive or negative here, so no kind can be missing."""
    if not values:
        return Estimate(NAN, note=f"not measurable: {empty}")
    return _of(patients, sampling.ratio(patients, np.array(values, float), np.ones(len(values))))


def _of(patients: Sequence[str], rows: Floats) -> Estimate:
    count = len(set(patients))
    made = estimate(rows, Units(patients, np.zeros(0), np.zeros(0, bool), np.ones(len(patients), bool)), note=" ")
    note = f"only {count} patient{'' if count == 1 else 's'}: no interval can be trusted" if count < 5 else ""
    alone = count < 2
    return Estimate(
        made.value,
        NAN if alone else made.low,
        NAN if alone else made.high,
        len(patients),
        count,
        len(patients),
        None,
        "" if alone else made.interval,
        note,
    )


def height_mm(truth: KnownTruth) -> float | None:
    """How much of the scan's length shows blood; None where no slice is marked."""
    marked = [s.extent_mm for s in truth.slices or () if s.judged and s.labels[0]]
    return round(sum(marked), 2) if marked else None


def volume_ml(record: StudyRecord) -> float | None:
    """The whole bleed's volume; None unless the outlines cover the whole stack."""
    outline = record.outline
    return outline.any_type.true_ml if outline is not None and outline.complete else None


def size_bins(
    cases: Sequence[Case], sizes: Sequence[float | None], edges: Sequence[float], unit: str
) -> tuple[SizeBin, ...]:
    """Sensitivity by size with Wilson's intervals; empty where no size is known."""
    known = [(c, s) for c, s in zip(cases, sizes, strict=True) if c.truth.haemorrhage and s is not None]
    if not known:
        return ()
    bins = []
    for low, high in zip(edges, [*edges[1:], float("inf")], strict=True):
        inside = [case for case, size in known if low <= size < high]
        hits = sum(case.answer.suspected for case in inside)
        patients = len({case.record.patient_id for case in inside})
        share = hits / len(inside) if inside else NAN
        bounds = wilson(share * patients, patients) if inside else (NAN, NAN)
        note = "" if inside else "not measurable: no such bleed"
        sensitivity = Estimate(
            share, *bounds, len(inside), patients, len(inside), hits, "Wilson by patients" if inside else "", note
        )
        bins.append(SizeBin(_bin_label(low, high, unit), low, high, sensitivity))
    return tuple(bins)


def _bin_label(low: float, high: float, unit: str) -> str:
    if low == 0:
        return f"< {high:g} {unit}"
    return f"≥ {low:g} {unit}" if np.isinf(high) else f"{low:g} to {high:g} {unit}"


def outlines(cases: Sequence[Case], sampling: Resampling) -> Outlines | None:
    """None where no study with blood was outlined."""
    drawn = [(case, case.record.outline) for case in cases if case.record.outline is not None]
    bleeding = [(case, outline) for case, outline in drawn if outline.any_type.true_voxels]
    if not bleeding:
        return None
    overlaps: list[Overlap] = [outline.any_type for _, outline in bleeding]
    patients = [case.record.patient_id for case, _ in bleeding]
    errors = np.array([o.predicted_ml - o.true_ml for o in overlaps])
    shared = np.array([2.0 * o.shared_voxels for o in overlaps])
    both = np.array([float(o.true_voxels + o.predicted_voxels) for o in overlaps])
    ones = np.ones(len(errors))
    mean = sampling.ratio(patients, errors, ones)
    scatter = np.sqrt((sampling.ratio(patients, errors**2, ones) - mean**2).clip(0))
    if len(errors) > 1:
        scatter = scatter * np.sqrt(len(errors) / (len(errors) - 1))
    else:
        scatter = np.full_like(scatter, NAN)
    free = [(case, outline) for case, outline in drawn if not case.truth.haemorrhage]
    return Outlines(
        len(bleeding),
        sum(outline.slices for _, outline in bleeding),
        _of(patients, sampling.ratio(patients, np.array([o.dice for o in overlaps]), ones)),
        _of(patients, sampling.ratio(patients, shared, both)),
        _of(patients, mean),
        _of(patients, sampling.ratio(patients, np.abs(errors), ones)),
        _of(patients, mean - 1.96 * scatter),
        _of(patients, mean + 1.96 * scatter),
        _mean(
            [case.record.patient_id for case, _ in free],
            [outline.any_type.predicted_ml for _, outline in free],
            sampling,
            "no study without haemorrhage has known voxels",
        ),
        tuple(
            VolumePair(c.record.study_id, o.any_type.true_ml, o.any_type.predicted_ml, o.complete) for c, o in bleeding
        ),
    )


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


def mistake(case: Case) -> Mistake:
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
        case.record.picture,
    )


def study_line(case: Case) -> StudyLine:
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
        tuple(name for name, present in zip(TYPES, answer.types_present, strict=True) if present),
        sum(answer.volumes_ml),
    )


def _timings(records: Sequence[StudyRecord]) -> Timings | None:
    done = [record for record in records if record.outcome is Outcome.ANALYSED]
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
        outcomes[Outcome.ANALYSED],
        len({record.patient_id for record in records if record.outcome is Outcome.ANALYSED}),
        outcomes[Outcome.NOT_ANALYSED],
        outcomes[Outcome.ERROR],
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
        if r.outcome is not Outcome.ANALYSED
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
        sizes_ml=size_bins(cases, [volume_ml(case.record) for case in cases], VOLUMES_ML, "ml"),
        sizes_mm=size_bins(cases, [height_mm(case.truth) for case in cases], HEIGHTS_MM, "mm"),
        outlines=outlines(cases, sampling),
        worst_case=worst_case(study, missing),
        false_negatives=tuple(mistake(case) for case in wrong if case.truth.haemorrhage),
        false_positives=tuple(mistake(case) for case in wrong if not case.truth.haemorrhage),
        not_analysed=missing,
        timings=_timings(records),
        warnings=tuple(Counter(w for case in cases for w in case.answer.warnings).most_common()),
        studies=tuple(study_line(case) for case in cases),
    )
