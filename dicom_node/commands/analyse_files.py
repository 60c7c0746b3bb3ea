"""Files in, result objects out: `triage-node analyse`. The same rules, pipelines and writers as the node, no network.

The order of a study's series does not matter here: every series that a rule sends to a pipeline is analysed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import structlog
from pydicom.dataset import Dataset

from dicom_node import clock
from dicom_node.analysis import (
    Examined,
    examine,
    finding_rows,
    part10_bytes,
    report_options,
    result_object,
)
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.derived.identity import fitting, own_study
from dicom_node.dicom.checks import UNREADABLE, checked_uid
from dicom_node.dicom.folders import sort_files
from dicom_node.dicom.headers import patient_of
from dicom_node.entities import FindingRow, Patient, ResultObject
from dicom_node.errors import CannotUnderstand, CommandError
from dicom_node.routes import Rules, features_of_series, load_rules
from dicom_node.settings import Settings
from dicom_node.tables.database import open_database
from inference.engines.local import Engine
from inference.findings import ModelIdentity, NotAnalysable
from inference.input.bounds import set_bounds
from inference.input.files import read_file
from inference.pipelines.registry import QUESTIONS
from reports.build import build_not_analysed, build_reports
from reports.context import ReportContext, ReportObject

NAMED_BY = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one series and their headers; `study_uid` as a node would keep it."""

    study_uid: str
    series_uid: str
    paths: tuple[Path, ...]
    headers: tuple[Dataset, ...]


@dataclass(frozen=True, slots=True)
class SliceScore:
    """One slice's probability; `frame` counts from 1 within its instance."""

    sop_uid: str
    frame: int
    probability: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time went."""

    read: float
    infer: float
    report: float
    total: float


@dataclass(frozen=True, slots=True)
class SeriesAnswer:
    """One series' line of `analyse --json`, for one question."""

    study_uid: str
    series_uid: str
    question: str
    pipeline: str | None
    status: str
    reason: str | None
    suspected: bool | None
    probability: float | None
    findings: tuple[FindingRow, ...]
    slices: tuple[SliceScore, ...]
    outputs: tuple[ResultObject, ...]
    seconds: Seconds | None
    model: ModelIdentity | None
    band: str | None = None
    threshold: float | None = None
    prevalence: float | None = None
    warnings: tuple[str, ...] = ()


def analyse_files(path: Path, out: Path, settings: Settings, engine: Engine) -> Iterator[SeriesAnswer]:
    """Analyse every series under a folder; each answer comes as soon as its objects are written.

    Objects are written to out/STUDY/SERIES/KIND.dcm. CommandError when there is nothing that could be analysed, and at
    the end where a series is such that no result of it can be made.
    """
    set_bounds(settings.decoder.bounds)
    rules = load_rules(settings.routes_path)
    found = find_series(path)
    if not found:
        raise CommandError(f"no DICOM files under {path} that could be analysed")
    known = known_pipelines(settings)
    failed = 0
    for series in found:
        try:
            yield from analyse_series(series, out, settings, rules, known, engine)
        except UNREADABLE as error:  # what the checks before let pass and a writer stumbles over
            if isinstance(error, OSError):
                raise
            log.warning("left out: the series cannot be analysed", series_uid=series.series_uid, error=repr(error))
            failed += 1
    if failed:
        raise CommandError(f"{failed} of {len(found)} series could not be analysed")


def known_pipelines(settings: Settings) -> dict[str, str]:
    """The question of every pipeline: those of the package, and the installed models of a node that has run here."""
    if not settings.database_path.exists():
        return {question: question for question in QUESTIONS}
    with open_database(settings.database_path).read() as tx:
        return questions_of_pipelines(tx)


def find_series(path: Path) -> list[Found]:
    """All series under a folder, in the order of their first file; what is no DICOM is named."""
    files = sort_files(path)
    for line in files.say():
        log.warning(line)
    return series_of(files.dicom)


def series_of(files: Sequence[Path]) -> list[Found]:
    """The series of these files, in the order of their first file; files that cannot be read are left out.

    Images that name another patient under the same Study Instance UID are those of a study of their own.
    """
    groups: dict[tuple[str, str], list[tuple[Path, Dataset]]] = {}
    patients: dict[str, dict[str, Patient]] = {}
    for file in files:
        try:
            header = read_file(file, stop_before_pixels=True)
            _, sent_uid, series_uid = (uid_of(header, keyword) for keyword in NAMED_BY)
        except (*UNREADABLE, CannotUnderstand) as error:
            log.warning("left out: the file cannot be read", path=str(file), error=str(error))
            continue
        study_uid = kept_as(sent_uid, patient_of(header), patients.setdefault(sent_uid, {}))
        groups.setdefault((study_uid, series_uid), []).append((file, header))
    return [
        Found(study_uid, series_uid, tuple(file for file, _ in pairs), tuple(header for _, header in pairs))
        for (study_uid, series_uid), pairs in groups.items()
    ]


def uid_of(header: Dataset, keyword: str) -> str:
    """A UID without which an image has no place. CannotUnderstand names the element where it is absent or none."""
    try:
        return checked_uid(header.get(keyword))
    except CannotUnderstand as error:
        raise CannotUnderstand(f"{keyword} is missing" if not header.get(keyword) else f"{keyword}: {error}") from None


def kept_as(sent_uid: str, patient: Patient, known: dict[str, Patient]) -> str:
    """The study of a patient's image among those that are known under its Study Instance UID; a new one is noted."""
    if (study_uid := fitting(patient, known)) is None:
        study_uid = own_study(sent_uid, patient) if known else sent_uid
        known[study_uid] = patient
    return study_uid


def analyse_series(
    series: Found, out: Path, settings: Settings, rules: Rules, known: Mapping[str, str], engine: Engine
) -> Iterator[SeriesAnswer]:
    """Route one series and run its pipelines, one for each question that is asked of it."""
    features = features_of_series(series.paths, series.headers, "", own=False)
    for question, rule in rules.decide(features, known).items():
        if rule.pipeline is None:
            yield not_analysed(series, out, settings, question, None, rule.reason_for(features))
        else:
            yield answer_by(rule.pipeline, question, series, out, settings, engine)


def answer_by(
    pipeline: str, question: str, series: Found, out: Path, settings: Settings, engine: Engine
) -> SeriesAnswer:
    """Run one pipeline on a series."""
    began = perf_counter()
    try:
        examined = examine(series.paths, pipeline, engine)
    except NotAnalysable as reason:
        return not_analysed(series, out, settings, question, pipeline, str(reason))
    reporting = perf_counter()
    now = clock.utc_now().astimezone()
    context = ReportContext(examined.headers, examined.stack, examined.result, now, version=1, kept_as=series.study_uid)
    outputs = write(build_reports(context, report_options(settings.report)), series, question, out)
    ended = perf_counter()
    seconds = Seconds(examined.read_s, examined.infer_s, ended - reporting, ended - began)
    return answer_of(series, examined, outputs, seconds)


def not_analysed(
    series: Found, out: Path, settings: Settings, question: str, pipeline: str | None, reason: str
) -> SeriesAnswer:
    """The answer for a series without a result; what says so to the PACS is written where the site wants it."""
    wanted = settings.report.picture_for_not_analysed or (pipeline is not None and settings.report.say_not_analysed)
    outputs: tuple[ResultObject, ...] = ()
    if wanted:
        now = clock.utc_now().astimezone()
        options = report_options(settings.report)
        built = build_not_analysed(series.headers, reason, question, now, 1, (), options, series.study_uid)
        outputs = write(built, series, question, out)
    return SeriesAnswer(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        question=question,
        pipeline=pipeline,
        status="not_analysed",
        reason=reason,
        suspected=None,
        probability=None,
        findings=(),
        slices=(),
        outputs=outputs,
        seconds=None,
        model=None,
    )


def answer_of(series: Found, examined: Examined, outputs: tuple[ResultObject, ...], seconds: Seconds) -> SeriesAnswer:
    """The answer for an analysed series."""
    result, stack = examined.result, examined.stack
    return SeriesAnswer(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        question=result.question,
        pipeline=result.pipeline,
        status="analysed",
        reason=None,
        suspected=result.suspected,
        probability=result.probability,
        findings=finding_rows(result),
        slices=tuple(map(SliceScore, stack.sop_uids, stack.frames, result.slice_probabilities)),
        outputs=outputs,
        seconds=seconds,
        model=result.model,
        band=result.band,
        threshold=result.threshold,
        prevalence=result.prevalence,
        warnings=result.warnings,
    )


def write(built: Sequence[ReportObject], series: Found, question: str, out: Path) -> tuple[ResultObject, ...]:
    """Write objects as Part 10 files; those of a further question into a folder of its own."""
    folder = out / series.study_uid / series.series_uid
    if question != QUESTIONS[0]:
        folder /= question
    made = []
    for each in built:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{each.kind.lower()}.dcm"
        written = part10_bytes(each.dataset)
        path.write_bytes(written)
        made.append(result_object(each, path, written))
    return tuple(made)
