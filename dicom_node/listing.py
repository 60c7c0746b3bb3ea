"""What the commands print: worklist, jobs and answers, as JSON or as a table. Only `retry` changes anything."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from dicom_node import clock
from dicom_node.errors import CommandError
from dicom_node.settings import Settings
from dicom_node.steps import flag
from dicom_node.tables import deliveries as delivery_table
from dicom_node.tables import feedback as feedback_table
from dicom_node.tables import instances, processes, results
from dicom_node.tables import jobs as job_table
from dicom_node.tables import worklist as worklist_table
from dicom_node.tables.database import Database, open_database
from dicom_node.tables.feedback import Feedback

if TYPE_CHECKING:
    from dicom_node.offline import Answer

LONGEST_LIST = 10_000
JOB_ID = re.compile(r"[AD][0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """One study of `worklist --json`; `results` are SOP Instance UIDs of the latest result."""

    study_uid: str
    accession: str
    patient_id: str
    urgency: str
    headline: str
    state: str
    received_at: datetime
    flagged_at: datetime | None
    results: tuple[str, ...]


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
    wanted = settings.worklist
    with database(settings).read() as tx:
        entries = []
        order = worklist_table.ReadingOrder(
            clock.utc_now(),
            timedelta(minutes=wanted.ageing_cap_minutes),
            timedelta(hours=wanted.leave_after_hours),
            wanted.overdue_first,
        )
        for item in worklist_table.listed(tx, order, LONGEST_LIST):
            study = instances.get_study(tx, item.study_uid)
            made = results.objects_of_study(tx, item.study_uid, item.version)
            entries.append(
                WorklistEntry(
                    study_uid=item.study_uid,
                    accession=study.accession if study else "",
                    patient_id=study.patient_id if study else "",
                    urgency=item.urgency,
                    headline=item.headline,
                    state=item.state,
                    received_at=item.received_at,
                    flagged_at=item.flagged_at,
                    results=tuple(each.sop_uid for each in made),
                )
            )
    return entries


def jobs(settings: Settings, limit: int) -> list[JobEntry]:
    """The last analyses and deliveries, newest first."""
    with database(settings).read() as tx:
        analyses = [
            JobEntry(f"A{job.job_id}", job.study_uid, f"analyse ({job.pipeline})", job.state, job.attempts, job.error)
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


def retry(settings: Settings, job_id: str) -> None:
    """Make a failed analysis or delivery due again. CommandError when there is none of that ID."""
    kind, number = job_id[:1].upper(), job_id[1:]
    if not JOB_ID.fullmatch(kind + number):
        raise CommandError(f"{job_id!r} is no ID; `triage-node jobs` lists them (A12, D34)")
    with database(settings).write() as tx:
        if kind == "D":
            revived = delivery_table.revive(tx, int(number))
        elif revived := job_table.revive(tx, int(number)):
            study_uid = job_table.study_of(tx, int(number))
            flag.refresh(tx, study_uid, clock.utc_now())
    if not revived:
        raise CommandError(f"{job_id} is not failed (or does not exist); `triage-node jobs` lists them")


def feedback(settings: Settings, limit: int) -> list[Feedback]:
    """What readers said last, the newest first."""
    with database(settings).read() as tx:
        return feedback_table.recent(tx, limit)


def dicom_port(settings: Settings) -> int:
    """The port the running node listens on."""
    if settings.node.port:
        return settings.node.port
    with database(settings).read() as tx:
        port = processes.published(tx, "dicom_port")
    if port is None:
        raise CommandError("no node has run on this data folder yet")
    return int(port)


def has_port(settings: Settings) -> bool:
    """Whether the running node has said which port it listens on."""
    with database(settings).read() as tx:
        return processes.published(tx, "dicom_port") is not None


def database(settings: Settings) -> Database:
    """The node's database; CommandError when there is none."""
    if not settings.database_path.exists():
        raise CommandError(f"there is no node's database at {settings.database_path.absolute()} (start one with serve)")
    return open_database(settings.database_path)


def to_json(entries: Any) -> str:
    """Dataclasses as a JSON array."""
    return json.dumps([asdict(entry) for entry in entries], indent=1, default=_plain, ensure_ascii=False)


def to_toml(settings: Settings) -> str:
    """The settings as TOML that can be used as a settings file."""
    sections = settings.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({name: content for name, content in sections.items() if content}).rstrip()


def answer_line(answer: "Answer") -> str:
    """An answer for people."""
    if answer.status != "analysed" or answer.probability is None or answer.seconds is None:
        return f"{answer.series_uid}: not analysed: {answer.reason}"
    headline = (
        flag.suspicion(answer.findings, answer.probability)
        if answer.suspected
        else f"no haemorrhage suspected (probability {answer.probability:.2f})"
    )
    return f"{answer.series_uid}: {headline}; {answer.seconds.total:.1f} s"


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


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under their heads, for a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Path | StrEnum):
        return str(value)
    raise TypeError(f"{type(value)} is not for JSON")
