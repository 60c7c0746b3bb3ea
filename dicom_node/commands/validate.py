"""A site's check before it trusts: a folder of old studies and what is true of them -> the site's own page of figures.

`out` holds validation.html, validation.json, sentences.csv (where reports are read) and studies/ (what was said of each
study, and the pictures of wrong answers). The one command that uses inference.training, where models are measured.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from dicom_node.analysis import Examined
from dicom_node.clock import utc_now
from dicom_node.commands.analyse_files import known_pipelines
from dicom_node.commands.frame import plain
from dicom_node.commands.retrospective import StudyFiles, examine_study, find_studies
from dicom_node.dicom.headers import text_of
from dicom_node.errors import CommandError
from dicom_node.models.store import ModelStore
from dicom_node.routes import Rules, load_rules
from dicom_node.settings import Settings
from inference.engines.local import Engine
from inference.findings import NotAnalysable
from inference.input.bounds import set_bounds
from inference.models.card import study_threshold
from inference.pipelines.registry import QUESTIONS
from inference.training.datasets.base import DatasetError, Truth
from inference.training.evaluation.measure import FAILURES
from inference.training.evaluation.metrics import Estimate
from inference.training.evaluation.records import AnswerOutcome, RunKey, StudyRecord, write_whole
from inference.training.evaluation.source import code_digest
from inference.training.validation.figures import Validation, Wishes, validate
from inference.training.validation.kept import Keeper, Kept, Traits, answer_of, distance_mm
from inference.training.validation.page import render, summary_lines
from inference.training.validation.truths import (
    Named,
    StudyTruth,
    Told,
    Truths,
    differs,
    read_truths,
    sentences_csv,
)

QUESTION = QUESTIONS[0]
METHOD = (
    "The model as the settings have it, on the series that the routing rules choose, as the node would; nothing was "
    "sent or stored."
)
_VALIDATION = TypeAdapter(Validation)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed."""

    folder: Path
    out: Path
    truth: Path | None
    reports: Path | None
    sentences: Path | None
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True, slots=True)
class ValidationEntry:
    """The summary of `validate --json`; a rate is None where no study could show it."""

    statement: str
    page: Path
    model: str
    threshold: float
    studies: int
    counted: int
    analysed: int
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    auc: float | None
    threshold_for_sensitivity: float | None
    threshold_for_specificity: float | None
    not_analysed: int
    unclear: int
    untold: int
    not_here: int


@dataclass(frozen=True, slots=True)
class _Silent:
    """What every study's analysis needs."""

    rules: Rules
    known: Mapping[str, str]
    engine: Engine
    keeper: Keeper


def run(
    wanted: Wanted, settings: Settings, store: ModelStore, engine: Engine, say: Callable[[str], None]
) -> ValidationEntry:
    """Analyse what is not done yet and write everything; `say` gets lines of progress and the summary.

    CommandError where the folder or a CSV cannot be used; a bad study is listed and does not stop the others.
    """
    set_bounds(settings.decoder.bounds)
    rules, known = load_rules(settings.routes_path), known_pipelines(settings)
    asked = sorted(name for name in rules.pipelines if known.get(name) == QUESTION) or [QUESTION]
    cards = {name: store.card_for(name) for name in asked}
    studies = find_studies(wanted.folder)
    truths = _truths(wanted, studies)
    wanted.out.mkdir(parents=True, exist_ok=True)
    if wanted.reports is not None:
        _write_sentences(wanted, truths.sentences)
    means = repr((cards, settings.model, rules)).encode()
    signature = hashlib.sha256(means).hexdigest()
    key = RunKey(wanted.folder.resolve().name, engine.model(asked[0]), METHOD, signature, "", code_digest())
    silent = _Silent(rules, known, engine, Keeper(wanted.out / "studies", key))
    kept = _analyse_all(studies, truths, silent, say)
    found = validate(
        truths,
        kept,
        Wishes(wanted.sensitivity, wanted.specificity),
        cards[asked[0]].operating_points,
        key,
        ", ".join(asked),
        study_threshold(cards[asked[0]], settings.model.sensitivity),
        _today(),
        by_reports=wanted.reports is not None,
    )
    page = wanted.out / "validation.html"
    write_whole(wanted.out / "validation.json", _VALIDATION.dump_json(found, indent=1))
    write_whole(page, render(found, wanted.out / "studies").encode())
    for line in (*summary_lines(found), f"wrote {page}"):
        say(plain(line))
    return _entry(found, page, len(studies))


def _today() -> date:
    return utc_now().astimezone().date()


def _truths(wanted: Wanted, studies: Sequence[StudyFiles]) -> Truths:
    here = [Named(each.study_uid, each.accession, each.patient_id) for each in studies]
    try:
        return read_truths(here, wanted.truth, wanted.reports, wanted.sentences)
    except DatasetError as error:
        raise CommandError(str(error)) from error


def _write_sentences(wanted: Wanted, told: Sequence[Told]) -> None:
    """The file for the reader; one that was corrected and is not given back is never written over."""
    path = wanted.out / "sentences.csv"
    is_given = wanted.sentences is not None and path.exists() and wanted.sentences.samefile(path)
    try:
        if path.exists() and not is_given and differs(path, told):
            raise CommandError(f"{path} was corrected by hand; give it back with --sentences {path}, or remove it")
    except DatasetError as error:
        raise CommandError(f"{error} Mend it, or remove it.") from error
    write_whole(path, sentences_csv(told).encode("utf-8-sig"))


def _analyse_all(
    studies: Sequence[StudyFiles], truths: Truths, silent: _Silent, say: Callable[[str], None]
) -> list[Kept]:
    """Every study whose truth is yes or no, in the order of the files."""
    ahead = [each for each in studies if _is_clear(truths.studies.get(each.study_uid))]
    found: list[Kept] = []
    began, fresh = time.monotonic(), 0
    for count, study in enumerate(ahead, start=1):
        truth = truths.studies[study.study_uid]
        files = study.digest()
        kept = silent.keeper.find(study.study_uid, files, bool(truth.haemorrhage))
        if kept is None:
            kept = _analyse(study, files, truth, silent)
            silent.keeper.keep(kept)
            fresh += 1
            left = (time.monotonic() - began) / fresh * (len(ahead) - count) / 60
            said = f"about {math.ceil(left)} min left" if left > 1 else ""
            say(plain(f"{count}/{len(ahead)}  {study.study_uid}  {_outcome(kept.record, truth)}  {said}".rstrip()))
        found.append(kept)
    if len(found) > fresh:
        say(f"{len(found) - fresh} of {len(ahead)} studies were done already")
    return found


def _is_clear(truth: StudyTruth | None) -> bool:
    return truth is not None and truth.haemorrhage is not None


def _analyse(study: StudyFiles, files: str, truth: StudyTruth, silent: _Silent) -> Kept:
    """One study; never raises for what is wrong with it."""
    key = silent.keeper.key
    patient_id = study.patient_id or study.study_uid
    record = StudyRecord(study.study_uid, patient_id, AnswerOutcome.NOT_ANALYSED)
    try:
        examined = examine_study(study.paths, QUESTION, silent.rules, silent.known, silent.engine)
    except NotAnalysable as reason:
        return Kept(key, files, replace(record, reason=str(reason)), Traits())
    except FAILURES as error:
        log.warning("the analysis failed", study_uid=study.study_uid, exc_info=error)
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Kept(key, files, replace(record, outcome=AnswerOutcome.FAILED, reason=said), Traits())
    result, picture = examined.result, None
    if result.suspected != truth.haemorrhage:
        known = Truth(bool(truth.haemorrhage), truth.types)
        picture = silent.keeper.draw(study.study_uid, patient_id, examined.stack, result, known)
    done = replace(
        record,
        outcome=AnswerOutcome.ANALYSED,
        answer=answer_of(result),
        read_s=examined.read_s,
        analyse_s=examined.infer_s,
        picture=picture,
        series_uid=examined.stack.series_uid,
        series_name=text_of(examined.headers[0], "SeriesDescription"),
    )
    return Kept(key, files, done, _traits(examined))


def _traits(examined: Examined) -> Traits:
    header = examined.headers[0]
    return Traits(
        text_of(header, "Manufacturer"),
        text_of(header, "ManufacturerModelName"),
        text_of(header, "PatientSex"),
        examined.stack.patient_age_years,
        distance_mm(examined.stack),
    )


def _outcome(record: StudyRecord, truth: StudyTruth) -> str:
    """A study in a few words."""
    if record.answer is None:
        return f"{record.outcome.replace('_', ' ')}: {record.reason}"
    if record.answer.suspected:
        said = "flagged, rightly" if truth.haemorrhage else "false alarm"
    else:
        said = "MISSED" if truth.haemorrhage else "not flagged, rightly"
    return f"{said} ({record.answer.probability:.2f})"


def _entry(found: Validation, page: Path, studies: int) -> ValidationEntry:
    rates, model = found.rates, found.run.model
    thresholds = {each.kind: each.threshold for each in found.aims}
    hits, rests = rates.sensitivity.hits or 0, rates.specificity.hits or 0
    return ValidationEntry(
        found.statement,
        page,
        f"{model.name} {model.version}",
        found.threshold,
        studies,
        found.listed,
        rates.studies,
        hits,
        rates.sensitivity.of - hits,
        rates.specificity.of - rests,
        rests,
        *_told(rates.sensitivity),
        *_told(rates.specificity),
        _told(found.study.auc)[0] if found.study else None,
        thresholds.get("sensitivity"),
        thresholds.get("specificity"),
        len(found.not_analysed),
        len(found.unclear),
        len(found.untold),
        len(found.not_here),
    )


def _told(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    """Value and interval; None for what cannot be measured."""
    value, low, high = (None if math.isnan(each) else each for each in (estimate.value, estimate.low, estimate.high))
    return value, low, high
