"""What is drawn and named against what readers outlined, over all studies of a set; and the bands of probability.

A study is a unit; sets with outlines have one of each patient. Intervals resample patients.
"""

from collections.abc import Sequence

import numpy as np

from inference.findings import Band
from inference.training.evaluation.drawing import TYPES
from inference.training.evaluation.figures import BandFigures, BodyFigures, Drawings, VolumeFigures
from inference.training.evaluation.metrics import NAN, Estimate, Units, proportion
from inference.training.evaluation.records import Body, JudgedStudy, Outline
from inference.training.evaluation.sizes import bin_label, figure_of, mean_of_studies
from inference.training.evaluation.statistics import Resampling, median_statistic

LARGE_ML = 5.0
SIZES_ML = (0.0, LARGE_ML, 15.0, 30.0)
NEAR_MM = 5.0
FACTOR = 2.0


def share(patients: Sequence[str], right: Sequence[bool], sampling: Resampling, empty: str) -> Estimate:
    """Of units of these patients, those that are right; `empty` says what is missing where there are none."""
    decided = np.array(right, bool)
    everyone = np.ones(len(decided), bool)
    return proportion(Units(patients, decided.astype(float), decided, everyone), everyone, decided, sampling, empty)


def median(patients: Sequence[str], values: Sequence[float], sampling: Resampling, empty: str) -> Estimate:
    """The median over units of these patients."""
    if not values:
        return Estimate(NAN, note=f"not measurable: {empty}")
    return figure_of(patients, sampling.values(patients, median_statistic(np.array(values, float)))[:, 0])


def volume_figures(
    label: str, patients: Sequence[str], pairs: Sequence[tuple[float, float]], sampling: Resampling
) -> VolumeFigures:
    """Of pairs of an outlined volume and a drawn one."""
    ratios = [drawn / outlined for outlined, drawn in pairs]
    empty = "no such bleed"
    within = share(patients, [1 / FACTOR <= ratio <= FACTOR for ratio in ratios], sampling, empty)
    return VolumeFigures(label, within, median(patients, ratios, sampling, empty))


def body_figures(name: str, bodies: Sequence[tuple[str, Body]], sampling: Resampling) -> BodyFigures:
    """Of bodies with their patients."""
    drawn = [(patient, body) for patient, body in bodies if body.named]
    return BodyFigures(
        name,
        len(bodies),
        share([p for p, _ in bodies], [bool(body.named) for _, body in bodies], sampling, "no such body"),
        share([p for p, _ in drawn], [body.named == body.kind for _, body in drawn], sampling, "no such body is drawn"),
    )


def bands(cases: Sequence[JudgedStudy], sampling: Resampling) -> tuple[BandFigures, ...]:
    """How many studies with and without haemorrhage have which band; empty where no card says bands."""
    if not any(case.answer.band for case in cases):
        return ()
    found = []
    for band in Band:
        inside = [case for case in cases if case.answer.band is band]
        bleeding = [case.truth.haemorrhage for case in inside]
        chance = share([case.record.patient_id for case in inside], bleeding, sampling, "no study lies there")
        found.append(BandFigures(band, sum(bleeding), len(bleeding) - sum(bleeding), chance))
    return tuple(found)


def drawings(cases: Sequence[JudgedStudy], sampling: Resampling) -> Drawings | None:
    """None where no study with blood was outlined."""
    drawn = [(c, o) for c in cases if (o := c.record.outline) is not None and o.any_type.true_voxels]
    if not drawn:
        return None
    patients = [case.record.patient_id for case, _ in drawn]
    dices = [outline.any_type.dice for _, outline in drawn]
    slices = [(p, dice) for p, (_, o) in zip(patients, drawn, strict=True) for dice in o.drawing.slice_dices]
    bodies = [(p, body) for p, (_, o) in zip(patients, drawn, strict=True) for body in o.drawing.bodies]
    whole, by_size, by_type = _volumes(drawn, sampling)
    exact = _types_exact(cases, sampling)
    near = [
        (case.record.patient_id, outline.peak_mm)
        for case, outline in drawn
        if case.answer.suspected and outline.peak_mm is not None
    ]
    flagged, unknown = [p for p, _ in near], "no flagged study whose surest voxel is known"
    return Drawings(
        dice_slice=mean_of_studies([p for p, _ in slices], [dice for _, dice in slices], sampling, ""),
        dice_patient=mean_of_studies(patients, dices, sampling, ""),
        dice_patient_median=median(patients, dices, sampling, ""),
        volumes=whole,
        volumes_by_size=by_size,
        volumes_by_type=by_type,
        in_range=_in_range(drawn, sampling),
        types_exact_flagged=exact[0],
        types_exact=exact[1],
        bodies=body_figures("all types", bodies, sampling),
        bodies_by_type=tuple(body_figures(t, [b for b in bodies if b[1].kind == t], sampling) for t in TYPES),
        peak_inside=share(flagged, [mm == 0 for _, mm in near], sampling, unknown),
        peak_near=share(flagged, [mm <= NEAR_MM for _, mm in near], sampling, unknown),
    )


def _volumes(
    drawn: Sequence[tuple[JudgedStudy, Outline]], sampling: Resampling
) -> tuple[VolumeFigures, tuple[VolumeFigures, ...], tuple[VolumeFigures, ...]]:
    """Of bleeds that are outlined as a whole: the large ones, all by size, the large ones by what most of them is."""
    known = [(case.record.patient_id, o) for case, o in drawn if o.complete]

    def of(label: str, low: float, high: float, kind: str = "") -> VolumeFigures:
        chosen = [
            (patient, (o.any_type.true_ml, o.any_type.predicted_ml))
            for patient, o in known
            if low <= o.any_type.true_ml < high and kind in ("", _largest(o))
        ]
        return volume_figures(label, [p for p, _ in chosen], [pair for _, pair in chosen], sampling)

    ends = zip(SIZES_ML, [*SIZES_ML[1:], float("inf")], strict=True)
    return (
        of(bin_label(LARGE_ML, float("inf"), "ml"), LARGE_ML, float("inf")),
        tuple(of(bin_label(low, high, "ml"), low, high) for low, high in ends),
        tuple(of(kind, LARGE_ML, float("inf"), kind) for kind in TYPES),
    )


def _largest(outline: Outline) -> str:
    """The type that most of the outlined blood has; '' where no typed body is there."""
    volumes = {kind: sum(b.volume_ml for b in outline.drawing.bodies if b.kind == kind) for kind in TYPES}
    largest = max(volumes, key=lambda kind: volumes[kind])
    return largest if volumes[largest] else ""


def _in_range(drawn: Sequence[tuple[JudgedStudy, Outline]], sampling: Resampling) -> Estimate:
    given = [
        (case.record.patient_id, low <= outline.any_type.true_ml <= high)
        for case, outline in drawn
        if outline.complete and case.answer.range_ml is not None
        for low, high in [case.answer.range_ml]
    ]
    return share([p for p, _ in given], [inside for _, inside in given], sampling, "the card gives no range")


def _types_exact(cases: Sequence[JudgedStudy], sampling: Resampling) -> tuple[Estimate, Estimate]:
    """Of flagged studies with haemorrhage whose types readers named, and of all: those given exactly their types."""
    told = [case for case in cases if case.truth.haemorrhage and case.truth.type_indices]
    found = []
    for chosen, empty in (
        ([case for case in told if case.answer.suspected], "none of known types is flagged"),
        (told, "no types are known"),
    ):
        right = [
            case.answer.suspected
            and case.truth.type_indices == tuple(i for i, there in enumerate(case.answer.types_present) if there)
            for case in chosen
        ]
        found.append(share([case.record.patient_id for case in chosen], right, sampling, empty))
    return found[0], found[1]
