"""Measures one study: an analyst's answer set against what readers say of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError
from inference.findings import ModelIdentity, NotAnalysable, Result
from inference.models.card import ModelCard
from inference.models.operating import band_of
from inference.training.datasets.base import (
    UNKNOWN,
    UNTYPED,
    Dataset,
    DatasetError,
    Entry,
    LabelledStudy,
    NoStack,
    Truth,
)
from inference.training.evaluation.drawing import TYPES, distance_mm, drawing_of, overlap
from inference.training.evaluation.peak import Peak
from inference.training.evaluation.pictures import draw_study
from inference.training.evaluation.records import (
    AnswerOutcome,
    Folder,
    KnownTruth,
    Outline,
    SliceTruth,
    StudyAnswer,
    StudyRecord,
)

# What reading raises at files and labels that are wrong, and what an analyst may raise that is no NotAnalysable.
DAMAGED = (DatasetError, OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError)
FAILURES = (InferenceError, *DAMAGED, MemoryError, TypeError, AttributeError, AssertionError)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Analyst:
    """Who answers. `answer` may raise NotAnalysable; `slice_threshold` is the probability from which a slice counts as
    positive; `method` is the sentence that says in every result how the answers were made; `signature` changes with
    anything besides the weights that changes an answer.

    `card` says what probabilities and volumes mean, None where nobody does; `peak` is asked after `answer` where its
    network was surest of blood.
    """

    answer: Callable[[LabelledStudy], Result]
    slice_threshold: Callable[[Entry], float]
    model: ModelIdentity
    method: str
    signature: str
    card: ModelCard | None = None
    peak: Callable[[LabelledStudy], Peak | None] = lambda study: None


def told_by(card: ModelCard) -> tuple[object, ...]:
    """What a card says of an answer, besides what decides the answer."""
    return card.operating_points, card.volume_error


def labels_of(result: Result, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(slice, row, column) of the predicted masks: 0 none, 1..5 the type."""
    labels = np.zeros(shape, np.uint8)
    for finding in result.findings:
        if finding.mask is not None and finding.name in TYPES:
            labels[finding.mask] = 1 + TYPES.index(finding.name)
    return labels


def compare(predicted: NDArray[np.uint8], study: LabelledStudy, peak: Peak | None = None) -> Outline | None:
    """Predicted labels against the outlines, voxel by voxel where they are known; None where nobody drew."""
    drawn = study.truth.mask
    if drawn is None or (drawn == UNKNOWN).all():
        return None
    voxel_ml, known = study.stack.voxels_ml, drawn != UNKNOWN
    typed = not (drawn == UNTYPED).any()
    return Outline(
        bool(known.all()),
        int(known.any((1, 2)).sum()),
        overlap(drawn > 0, predicted > 0, known, voxel_ml),
        tuple(overlap(drawn == t, predicted == t, known, voxel_ml) if typed else None for t in range(1, 6)),
        drawing_of(predicted, TYPES, drawn, voxel_ml),
        None if peak is None else distance_mm(peak.voxels(), drawn, study.stack),
    )


def truth_of(study: LabelledStudy) -> KnownTruth:
    """The labels without the outlines."""
    truth = study.truth
    return KnownTruth(truth.haemorrhage, truth.types, _slice_truth(truth, study.stack.extents_mm), truth.age_years)


def _told(truth: Truth | None) -> KnownTruth | None:
    """What is known of a study whose images cannot be used."""
    return None if truth is None else KnownTruth(truth.haemorrhage, truth.types, None, truth.age_years)


def _slice_truth(truth: Truth, extents_mm: NDArray[np.float64]) -> tuple[SliceTruth, ...] | None:
    if truth.slices is None:
        return None
    if len(truth.slices) != len(extents_mm) or len(truth.judged) != len(extents_mm):
        raise DatasetError(f"there are labels for {len(truth.slices)} slices, but {len(extents_mm)} slices")
    return tuple(
        SliceTruth(bool(judged), (bool(a), bool(b), bool(c), bool(d), bool(e), bool(f)), float(extent))
        for judged, (a, b, c, d, e, f), extent in zip(truth.judged, truth.slices, extents_mm, strict=True)
    )


def answer_of(result: Result, slice_threshold: float, card: ModelCard | None = None) -> StudyAnswer:
    """The result without its masks; what the card says of it."""
    by_name = {finding.name: finding for finding in result.findings}
    findings = [by_name[name] for name in TYPES]
    return StudyAnswer(
        probability=result.probability,
        threshold=result.threshold,
        suspected=result.suspected,
        type_probabilities=tuple(finding.probability for finding in findings),
        types_present=tuple(finding.present for finding in findings),
        volumes_ml=tuple(finding.volume_ml for finding in findings),
        slice_probabilities=result.slice_probabilities,
        slice_threshold=slice_threshold,
        key_slices=result.key_slices,
        warnings=result.warnings,
        band=None if card is None else band_of(card, result.probability, result.threshold),
        range_ml=_range_ml(sum(finding.volume_ml for finding in findings), card),
    )


def _range_ml(drawn_ml: float, card: ModelCard | None) -> tuple[float, float] | None:
    """Between which volumes the card says that the whole bleed lies; the range holds what is drawn."""
    factors = None if card is None or card.volume_error is None else card.volume_error.factors(drawn_ml)
    return None if factors is None else (min(factors[0], 1) * drawn_ml, max(factors[1], 1) * drawn_ml)


def measure(dataset: Dataset, entry: Entry, analyst: Analyst, folder: Folder) -> StudyRecord:
    """Reads, analyses and compares one study, and draws it if the answer is wrong; never raises for a bad study."""
    blank = StudyRecord(entry.study_id, entry.patient_id, AnswerOutcome.ERROR)
    began = time.perf_counter()
    try:
        study = dataset.load(entry)
        truth = truth_of(study)
    except NoStack as reason:
        return replace(blank, outcome=AnswerOutcome.NOT_ANALYSED, reason=str(reason), truth=_told(reason.truth))
    except NotAnalysable as reason:
        return replace(blank, outcome=AnswerOutcome.NOT_ANALYSED, reason=str(reason))
    except DAMAGED as error:
        known = _told(error.truth) if isinstance(error, DatasetError) else None
        return replace(blank, reason=_words(error), truth=known)
    stack = study.stack
    read_s = time.perf_counter() - began
    read = replace(blank, truth=truth, series_uid=stack.series_uid, series_name=study.series_name, read_s=read_s)
    try:
        return _analysed(read, study, analyst, folder.picture_path(entry))
    except NotAnalysable as reason:
        return replace(read, outcome=AnswerOutcome.NOT_ANALYSED, reason=str(reason))
    except _Failed as failure:
        log.warning("%s: the analysis failed", entry.study_id, exc_info=failure.error)
        return replace(read, outcome=AnswerOutcome.FAILED, reason=_words(failure.error))
    except DAMAGED as error:
        return replace(read, reason=_words(error))


class _Failed(Exception):
    """The analyst raised `error`, which says nothing of the images or their labels."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def _analysed(read: StudyRecord, study: LabelledStudy, analyst: Analyst, path: Path) -> StudyRecord:
    began = time.perf_counter()
    try:
        result = analyst.answer(study)
        answer = answer_of(result, analyst.slice_threshold(study.entry), analyst.card)
        peak = analyst.peak(study)
    except FAILURES as error:
        raise _Failed(error) from error
    analyse_s = time.perf_counter() - began
    predicted = labels_of(result, study.stack.hu.shape)
    outline = compare(predicted, study, peak)
    picture = None
    if result.suspected != study.truth.haemorrhage:
        draw_study(study, result, predicted).save(path, optimize=True)
        picture = path.name
    return replace(
        read, outcome=AnswerOutcome.ANALYSED, answer=answer, outline=outline, analyse_s=analyse_s, picture=picture
    )


def _words(error: BaseException) -> str:
    """One line that says what went wrong."""
    said = " ".join(str(error).split()) or "no message"
    return said if isinstance(error, DatasetError) else f"{type(error).__name__}: {said}"
