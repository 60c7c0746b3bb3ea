"""How large the bleeds are, how detection depends on it, and how well the drawn agree with readers' outlines."""

from collections.abc import Sequence

import numpy as np

from inference.training.evaluation.figures import Outlines, SizeBin, VolumePair
from inference.training.evaluation.metrics import BOOTSTRAP, FEW_PATIENTS, NAN, WILSON, Estimate
from inference.training.evaluation.records import JudgedStudy, KnownTruth, Overlap, StudyRecord
from inference.training.evaluation.statistics import Floats, Resampling, interval, wilson

VOLUMES_ML = (0.0, 1.0, 3.0, 10.0, 30.0)
HEIGHTS_MM = (0.0, 15.0, 30.0, 55.0)


def mean_of_studies(patients: Sequence[str], values: Sequence[float], sampling: Resampling, empty: str) -> Estimate:
    """Mean over studies."""
    if not values:
        return Estimate(NAN, note=f"not measurable: {empty}")
    return figure_of(patients, sampling.ratio(patients, np.array(values, float), np.ones(len(values))))


def figure_of(patients: Sequence[str], rows: Floats) -> Estimate:
    """A figure of studies that all count; fewer than FEW_PATIENTS have no interval worth the name."""
    count, value = len(set(patients)), float(rows[0])
    low, high = interval(rows[1:])
    if count < FEW_PATIENTS or np.isnan(value):
        note = f"only {count} patient{'' if count == 1 else 's'}: no interval"
        return Estimate(value, of=len(patients), patients=count, positives=len(patients), note=note)
    return Estimate(value, low, high, len(patients), count, len(patients), None, BOOTSTRAP)


def height_mm(truth: KnownTruth) -> float | None:
    """How much of the scan's length shows blood; None where no slice is marked."""
    marked = [s.extent_mm for s in truth.slices or () if s.judged and s.labels[0]]
    return round(sum(marked), 2) if marked else None


def volume_ml(record: StudyRecord) -> float | None:
    """The whole bleed's volume; None unless the outlines cover the whole stack."""
    outline = record.outline
    return outline.any_type.true_ml if outline is not None and outline.complete else None


def size_bins(
    cases: Sequence[JudgedStudy], sizes: Sequence[float | None], edges: Sequence[float], unit: str
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
        sensitivity = Estimate(share, *bounds, len(inside), patients, len(inside), hits, WILSON if inside else "", note)
        bins.append(SizeBin(bin_label(low, high, unit), low, high, sensitivity))
    return tuple(bins)


def bin_label(low: float, high: float, unit: str) -> str:
    """A range of sizes in words."""
    if low == 0:
        return f"< {high:g} {unit}"
    return f"≥ {low:g} {unit}" if np.isinf(high) else f"{low:g} to {high:g} {unit}"


def outlines(cases: Sequence[JudgedStudy], sampling: Resampling) -> Outlines | None:
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
        figure_of(patients, sampling.ratio(patients, np.array([o.dice for o in overlaps]), ones)),
        figure_of(patients, sampling.ratio(patients, shared, both)),
        figure_of(patients, mean),
        figure_of(patients, sampling.ratio(patients, np.abs(errors), ones)),
        figure_of(patients, mean - 1.96 * scatter),
        figure_of(patients, mean + 1.96 * scatter),
        mean_of_studies(
            [case.record.patient_id for case, _ in free],
            [outline.any_type.predicted_ml for _, outline in free],
            sampling,
            "no study without haemorrhage has known voxels",
        ),
        tuple(
            VolumePair(c.record.study_id, o.any_type.true_ml, o.any_type.predicted_ml, o.complete) for c, o in bleeding
        ),
    )
