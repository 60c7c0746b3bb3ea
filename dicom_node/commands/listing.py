"""What the commands print: worklist, jobs and answers, as JSON or as a table. Only `retry` changes anything."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dicom_node.commands.text import table
from dicom_node.entities import Job, JobKind
from dicom_node.errors import CommandError
from dicom_node.processes.running import database
from dicom_node.settings import Settings
from dicom_node.tables import deliveries as delivery_table
from dicom_node.tables import feedback as feedback_table
from dicom_node.tables import jobs as job_table
from dicom_node.tables.feedback import Feedback

if TYPE_CHECKING:
    from dicom_node.commands.analyse_files import SeriesAnswer

LONGEST_LIST = 10_000
JOB_ID = re.compile(r"[AD][0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """One study of `worklist --json`; `results` are SOP Instance UIDs of the latest result, `priors` Study UIDs.

    `sent_uid` is the Study Instance UID as the images state it; `contradiction` is empty, "undecided" or the decision.
    """

    study_uid: str
    accession: str
    patient_id: str
    urgency: str
    headline: str
    state: str
    received_at: datetime
    flagged_at: datetime | None
    results: tuple[str, ...]
    scanned_at: datetime | None
    priors: tuple[str, ...]
    sent_uid: str
    contradiction: str
    missed_by: str


@dataclass(frozen=True, slots=True)
class JobEntry:
    """One line of `jobs --json`: an analysis (A...) or a delivery (D...)."""

    id: str
    study_uid: str
    what: str
    state: str
    attempts: int
    error: str | None


def worklist(settings: Settings) -> list[WorklistEntry]:
    """The list in reading order."""
    from dicom_node import clock, headlines
    from dicom_node.derived.priors import priors_of
    from dicom_node.tables import results
    from dicom_node.tables import worklist as worklist_table
    from dicom_node.tables.views import overview

    wanted = settings.worklist
    with database(settings).read() as tx:
        entries = []
        order = worklist_table.ReadingOrder(
            clock.utc_now(),
            timedelta(minutes=wanted.ageing_cap_minutes),
            timedelta(hours=wanted.leave_after_hours),
            wanted.overdue_first,
        )
        items = worklist_table.listed(tx, order, LONGEST_LIST)
        rows = {row.item.study_uid: row for row in overview.rows(tx, items)}
        priors = priors_of(tx, [row.study for row in rows.values()])
        for item in items:
            row = rows.get(item.study_uid)
            made = [
                each
                for part in item.parts
                for each in results.objects_of(tx, item.study_uid, part.question, part.version)
            ]
            entries.append(
                WorklistEntry(
                    study_uid=item.study_uid,
                    accession=row.study.accession if row else "",
                    patient_id=row.study.patient_id if row else "",
                    urgency=item.urgency,
                    headline=headlines.headline(item),
                    state=item.state,
                    received_at=item.received_at,
                    flagged_at=item.flagged_at,
                    results=tuple(each.sop_uid for each in made),
                    scanned_at=item.scanned_at,
                    priors=tuple(each.row.item.study_uid for each in priors.get(item.study_uid, ())),
                    sent_uid=row.study.sent_uid if row else item.study_uid,
                    contradiction="" if row is None or row.contradiction is None else row.contradiction or "undecided",
                    missed_by=item.missed_by,
                )
            )
    return entries


def jobs(settings: Settings, limit: int) -> list[JobEntry]:
    """The last analyses and deliveries, newest first."""
    with database(settings).read() as tx:
        analyses = [
            JobEntry(f"A{job.job_id}", job.study_uid, what_of(job), job.state, job.attempts, job.error)
            for job in job_table.recent(tx, limit)
        ]
        sent = [
            JobEntry(
                f"D{each.delivery_id}",
                each.study_uid,
                f"{each.kind} to {each.destination}",
                each.state,
                each.attempts,
                each.error,
            )
            for each in delivery_table.recent(tx, limit)
        ]
    return analyses + sent


def what_of(job: Job) -> str:
    """What a job is for."""
    if job.kind is JobKind.PREVIEW:
        return "small pictures for the list"
    return f"analyse ({job.pipeline if job.kind is JobKind.ANALYSE else 'not analysed'})"


def retry(settings: Settings, job_id: str) -> None:
    """Make a failed analysis or delivery due again, or a waiting delivery now. CommandError when there is none."""
    kind, number = job_id[:1].upper(), job_id[1:]
    if not JOB_ID.fullmatch(kind + number):
        raise CommandError(f"{job_id!r} is no ID; `triage-node jobs` lists them (A12, D34)")
    with database(settings).write() as tx:
        if kind == "D":
            revived = delivery_table.revive(tx, int(number))
        elif revived := job_table.revive(tx, int(number)):
            from dicom_node import clock
            from dicom_node.derived import flag

            study_uid = job_table.study_of(tx, int(number))
            flag.refresh(tx, study_uid, clock.utc_now())
    if not revived:
        wanted = "neither waiting nor failed" if kind == "D" else "not failed"
        raise CommandError(f"{job_id} is {wanted} (or does not exist); `triage-node jobs` lists them")


def feedback(settings: Settings, limit: int) -> list[Feedback]:
    """What readers said last, the newest first."""
    with database(settings).read() as tx:
        return feedback_table.recent(tx, limit)


def answer_line(answer: "SeriesAnswer") -> str:
    """An answer for people."""
    if answer.status != "analysed" or answer.probability is None or answer.seconds is None:
        return f"{answer.series_uid}: not analysed: {answer.reason}"
    from dicom_node import headlines

    said = headlines.positive_or_negative(
        answer.question, answer.findings, answer.suspected, answer.probability, answer.band or ""
    )
    notes = "".join(f"\n    Note: {warning}" for warning in answer.warnings)
    return f"{answer.series_uid}: {said}; {answer.seconds.total:.1f} s{notes}"


def worklist_text(entries: list[WorklistEntry]) -> str:
    """The worklist as a table."""
    rows = [(e.urgency, e.patient_id, e.accession, e.state, e.headline) for e in entries]
    return table(("urgency", "patient", "accession", "state", "headline"), rows) if rows else "the worklist is empty"


def jobs_text(entries: list[JobEntry]) -> str:
    """The jobs as a table."""
    rows = [(e.id, e.state, str(e.attempts), e.what, e.study_uid, e.error or "") for e in entries]
    return table(("id", "state", "attempts", "what", "study", "error"), rows) if rows else "there are no jobs"


def feedback_text(entries: list[Feedback]) -> str:
    """What readers said as a table."""
    rows = [
        (
            each.given_at.isoformat(timespec="seconds"),
            each.reader,
            each.verdict if each.in_force else f"{each.verdict}, changed since",
            f"{each.study_uid} result {each.version}",
            "; ".join(part for part in (*each.right_types, " ".join(each.comment.split())) if part),
        )
        for each in entries
    ]
    return table(("given", "reader", "verdict", "about", "types and comment"), rows) if rows else "there is no feedback"
