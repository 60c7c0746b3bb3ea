"""Analyse: runs a queued job and leaves its result, its objects in the outbox and its flag, in one transaction.

The objects' UIDs follow from the study, the result's number and the kind, so that a job that is done again after a
crash makes the same objects and nothing is doubled.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from time import perf_counter

import structlog

from dicom_node import clock, headlines
from dicom_node.analysis import analysis_of, examine, part10_bytes, report_options, result_object, with_warnings
from dicom_node.archive import Archive
from dicom_node.derived import candidates, flag, growth, identity, previews
from dicom_node.entities import Analysis, ChoiceKind, Job, JobKind, JobState, ResultObject, Scan
from dicom_node.errors import TriageNodeError, say_error
from dicom_node.faults import PASSING, fault_of
from dicom_node.settings import Settings
from dicom_node.tables import deliveries, instances, jobs, results, scans, worklist
from dicom_node.tables.database import Database, Transaction
from dicom_node.tables.worklist import Standing
from inference.change import Growth
from inference.engines.local import Engine
from inference.errors import InferenceError
from inference.findings import NotAnalysable
from inference.input.stack import read_headers
from reports.build import build_not_analysed, build_reports
from reports.context import Kind, Replaced, ReportContext, ReportObject

RETRY_WAIT_S = 5.0
log = structlog.get_logger()


class LeaseLost(TriageNodeError):
    """Another worker has taken the job meanwhile: what this one found is void."""


def analyse_next(
    database: Database,
    archive: Archive,
    settings: Settings,
    engine: Engine,
    owner: str,
    begin: Callable[[Job], None],
    preview: Callable[[Job, str], None] | None = None,
) -> bool:
    """Run the next queued job, if there is one; whether there was. `begin` is told before the work starts.

    `preview` makes small pictures for an owner; without it such jobs are left alone.
    """
    with database.write() as tx:
        job = jobs.claim(tx, owner, clock.monotonic(), settings.analyse.lease_s, previews=preview is not None)
    if job is None:
        return False
    begin(job)
    try:
        with lease(database, job, owner, settings.analyse.lease_s):
            if job.kind is JobKind.PREVIEW and preview is not None:
                preview(job, owner)
            elif job.kind is JobKind.EXPLAIN:
                explain(database, archive, settings, job, owner)
            else:
                perform(database, archive, settings, engine, job, owner)
    except NotAnalysable as reason:
        decline(database, settings, job, owner, str(reason))
    except LeaseLost:
        log.warning("the job was taken over by another worker", job=job.job_id)
    except Exception as error:
        if isinstance(error, TriageNodeError | InferenceError) or fault_of(error, database.path):
            log.error("an analysis failed", job=job.job_id, attempt=job.attempts, error=say_error(error))
        else:
            log.exception("an analysis failed", job=job.job_id, attempt=job.attempts)
        put_back(database, settings, job, owner, error)
    return True


def put_back(database: Database, settings: Settings, job: Job, owner: str, error: Exception) -> None:
    """Queue the job again, or leave it failed after too many attempts; a full disk or a lock makes none of them."""
    tried = replace(job, attempts=job.attempts - (fault_of(error, database.path) in PASSING))
    with database.write() as tx:
        text = f"{type(error).__name__}: {say_error(error)}"
        state = jobs.put_back(tx, tried, owner, text, clock.monotonic() + RETRY_WAIT_S, settings.analyse.attempts)
        if job.kind is JobKind.PREVIEW:
            return
        if state is JobState.FAILED:
            candidates.reconsider(tx, job.study_uid, job.question)
        flag.refresh(tx, job.study_uid, clock.utc_now())
        previews.ask(tx, job.study_uid, job.question, clock.utc_now())


def perform(database: Database, archive: Archive, settings: Settings, engine: Engine, job: Job, owner: str) -> None:
    """Analyse the job's series and leave everything that follows from it."""
    began = perf_counter()
    with database.read() as tx:
        paths = [instance.path for instance in instances.of_series(tx, job.study_uid, job.series_uid)]
        series = instances.get_series(tx, job.study_uid, job.series_uid)
    examined = examine(paths, job.pipeline, engine, expected=series.expected if series else None)
    done = False
    while not done:  # again only if another result of the study was numbered or its last scan measured meanwhile
        now = clock.utc_now()
        with database.read() as tx:
            version = results.next_version(tx, job.study_uid, job.question)
            replaced = predecessors(tx, job.study_uid, job.question)
            result = with_warnings(examined.result, identity.warnings(tx, job.study_uid))
            analysis = analysis_of(job, version, result, 0.0, now)
            scan = growth.scan_of(examined.headers, analysis)
            compared = growth.growth_since_last_scan(tx, scan, analysis)
            earlier_report = report_of(tx, job.question, compared)
            growth.log_not_compared(tx, scan)
        context = ReportContext(
            sources=examined.headers,
            stack=examined.stack,
            result=result,
            now=now.astimezone(),
            version=version,
            kept_as=job.study_uid,
            replaces=replaced,
            growth=compared,
            earlier_report=earlier_report,
        )
        made = store(archive, job, version, build_reports(context, report_options(settings.report)))
        analysis = replace(analysis, seconds=perf_counter() - began)
        scan = replace(scan, compared=growth.as_reported(job.question, compared))
        done = finish(database, settings, job, owner, analysis, scan, made)
    log.info("analysed", job=job.job_id, suspected=examined.result.suspected, seconds=round(perf_counter() - began, 2))


def finish(
    database: Database,
    settings: Settings,
    job: Job,
    owner: str,
    analysis: Analysis,
    scan: Scan,
    made: Sequence[ResultObject],
) -> bool:
    """Commit a result. LeaseLost when the job is no longer ours.

    False when the result's number was taken meanwhile, or what it was compared with is no longer what stands.
    """
    with database.write() as tx:
        if results.next_version(tx, job.study_uid, job.question) != analysis.version:
            return False
        if growth.as_reported(job.question, growth.growth_since_last_scan(tx, scan, analysis)) != scan.compared:
            return False
        newer = [other for other in candidates.analyses_of(tx, job.study_uid) if other.job_id > job.job_id]
        overtaken = any(other.state is JobState.DONE and other.question == job.question for other in newer)
        if not jobs.finish(tx, job, owner, JobState.SUPERSEDED if overtaken else JobState.DONE):
            raise LeaseLost(f"job {job.job_id}")
        if not overtaken:
            results.add_analysis(tx, analysis)
            scans.add(tx, scan)
            send_out(tx, settings, job, analysis.version, made, analysis.made_at)
            compare_later(tx, scan, analysis)
            identity.issue_again(tx, job.study_uid, job.series_uid)
        flag.refresh(tx, job.study_uid, analysis.made_at)
        previews.ask(tx, job.study_uid, job.question, analysis.made_at)
    return True


def compare_later(tx: Transaction, scan: Scan, analysis: Analysis) -> None:
    """Bring the patient's later scans up to this result: their rows at once, by a new version their reports."""
    for later in growth.later_scans(tx, scan):
        flag.refresh(tx, later.study_uid, analysis.made_at)
        stands = growth.of_study(tx, later.study_uid, analysis.question)
        if growth.as_reported(analysis.question, stands) != later.compared:
            jobs.again(tx, later.study_uid, analysis.question, priority=candidates.LAST)


def decline(database: Database, settings: Settings, job: Job, owner: str, reason: str) -> None:
    """The images cannot be analysed: say so on the worklist, and let the study's other series be considered."""
    now = clock.utc_now()
    with database.write() as tx:
        if not jobs.finish(tx, job, owner, JobState.DECLINED, reason):
            return
        for choice in jobs.choices_of_study(tx, job.study_uid):
            if choice.series_uid == job.series_uid and choice.question == job.question:
                declined = replace(choice, kind=ChoiceKind.DECLINED, reason=reason)
                jobs.put_choice(tx, declined)
                if settings.report.say_not_analysed or settings.report.picture_for_not_analysed:
                    candidates.ask_for_notice(tx, declined, now)
        candidates.reconsider(tx, job.study_uid, job.question)
        flag.refresh(tx, job.study_uid, now)
        previews.ask(tx, job.study_uid, job.question, now)
    log.info("not analysed", job=job.job_id, reason=reason)


def explain(database: Database, archive: Archive, settings: Settings, job: Job, owner: str) -> None:
    """Make report and picture that say why a study was not analysed; none when it has a result or may still get one."""
    now = clock.utc_now()
    with database.read() as tx:
        paths = [instance.path for instance in instances.of_series(tx, job.study_uid, job.series_uid)]
        item = worklist.get(tx, job.study_uid)
        version = results.next_version(tx, job.study_uid, job.question)
        replaced = predecessors(tx, job.study_uid, job.question)
    part = item.part(job.question) if item else None
    made: list[ResultObject] = []
    if part is not None and part.standing in (Standing.NOT_ANALYSED, Standing.FAILED):
        headers, options = read_headers(paths), report_options(settings.report)
        reason = headlines.say_reason(part)
        built = build_not_analysed(
            headers, reason, job.question, now.astimezone(), version, replaced, options, job.study_uid
        )
        made = store(archive, job, version, built)
    with database.write() as tx:
        if results.next_version(tx, job.study_uid, job.question) != version:
            made = []  # a result came meanwhile: nothing is to be said
        if not jobs.finish(tx, job, owner, JobState.DONE if made else JobState.SUPERSEDED):
            raise LeaseLost(f"job {job.job_id}")
        send_out(tx, settings, job, version, made, now)


def send_out(
    tx: Transaction, settings: Settings, job: Job, version: int, made: Sequence[ResultObject], now: datetime
) -> None:
    """Record the objects and put each into the outbox of every destination that takes its kind.

    What has not been sent yet of the results before is withdrawn: they say what no longer holds.
    """
    if made:
        deliveries.withdraw(tx, job.study_uid, job.question)
    for each in made:
        results.add_object(tx, job.study_uid, job.question, version, each, now)
        for peer in settings.destinations:
            if each.kind in peer.kinds:
                deliveries.add(tx, job.study_uid, peer.name, each)


def store(archive: Archive, job: Job, version: int, built: Sequence[ReportObject]) -> list[ResultObject]:
    """Write the objects into the archive."""
    made = []
    for each in built:
        path = archive.result_path(job.study_uid, job.question, version, each.kind)
        written = part10_bytes(each.dataset)
        archive.put(path, written)
        made.append(result_object(each, path, written))
    return made


def predecessors(tx: Transaction, study_uid: str, question: str) -> tuple[Replaced, ...]:
    """The objects of the question's last result, which the next one replaces."""
    last = results.last_version(tx, study_uid, question)
    if last is None:
        return ()
    version, made_at = last
    return tuple(
        Replaced(Kind(each.kind), each.sop_class_uid, each.sop_uid, each.series_uid, made_at.astimezone())
        for each in results.objects_of(tx, study_uid, question, version)
    )


def report_of(tx: Transaction, question: str, compared: Growth | None) -> Replaced | None:
    """The report of the result that this one is compared with."""
    if compared is None:
        return None
    for each in results.objects_of(tx, compared.earlier_study_uid, question, compared.earlier_version):
        if each.kind == Kind.SR:
            study = instances.get_study(tx, compared.earlier_study_uid)
            sent_uid = study.sent_uid if study else ""
            return Replaced(Kind.SR, each.sop_class_uid, each.sop_uid, each.series_uid, compared.earlier_at, sent_uid)
    return None


@contextmanager
def lease(database: Database, job: Job, owner: str, lease_s: float) -> Iterator[None]:
    """Keep renewing the job's lease while the body runs."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease_s / 3):
            with suppress(sqlite3.Error, OSError), database.write() as tx:  # else at its next time
                jobs.renew(tx, job, owner, clock.monotonic() + lease_s)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
