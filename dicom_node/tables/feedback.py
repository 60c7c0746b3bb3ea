"""What readers say of results: rows are only ever added, so that changed feedback keeps its history.

Each row holds a copy of the result it is about, with the model's name, version and sha256: it says the same after the
study has left the archive. The feedback in force is a reader's last on a result; a result is known by its study, its
number and when it was made, since numbers begin anew for a study that was removed and sent again.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.entities import FindingRow
from dicom_node.tables.database import Transaction

IN_FORCE = (
    "NOT EXISTS (SELECT 1 FROM feedback AS later WHERE (later.study_uid, later.question, later.version,"
    " later.result_made_at, later.reader) = (f.study_uid, f.question, f.version, f.result_made_at, f.reader)"
    " AND later.feedback_id > f.feedback_id)"
)


class Verdict(StrEnum):
    """What a reader says of a result."""

    AGREE = "agree"
    MISSED = "missed"  # what was looked for is there, and was not suspected
    FALSE_ALARM = "false_alarm"  # it is not there, and was suspected
    WRONG_TYPE = "wrong_type"  # it is there, of other types than those named
    WITHDRAWN = "withdrawn"  # the reader takes back what he said; counts as if never said


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a reader says, as it came from the form. `right_types` are names of types, in the order of every list."""

    verdict: Verdict
    right_types: tuple[str, ...]
    comment: str
    reader: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """One row: what was said, by whom and when, and the result it is about. Times are UTC.

    `in_force` is whether the reader has said nothing later of the same result. `accession` is empty once the study
    has left the archive.
    """

    feedback_id: int
    study_uid: str
    accession: str
    question: str
    version: int
    result_made_at: datetime
    verdict: Verdict
    right_types: tuple[str, ...]
    comment: str
    reader: str
    given_at: datetime
    in_force: bool
    pipeline: str
    suspected: bool
    probability: float
    threshold: float
    findings: tuple[FindingRow, ...]
    model_name: str
    model_version: str
    model_sha256: str


def add(
    tx: Transaction,
    study_uid: str,
    question: str,
    version: int,
    result_made_at: datetime,
    given: Opinion,
    now: datetime,
) -> Feedback | None:
    """Keep what was said of a result; None, and nothing is kept, when there is no such result."""
    return tx.one(
        Feedback,
        "INSERT INTO feedback (study_uid, question, version, result_made_at, verdict, right_types, comment, reader,"
        " given_at, pipeline, suspected, probability, threshold, findings, model_name, model_version, model_sha256)"
        " SELECT study_uid, question, version, made_at, :verdict, :types, :comment, :reader, :now, pipeline, suspected,"
        " probability, threshold, findings, model_name, model_version, model_sha256 FROM analyses"
        " WHERE study_uid = :uid AND question = :question AND version = :version AND made_at = :made_at"
        " RETURNING *, '' AS accession, 1 AS in_force",
        uid=study_uid,
        question=question,
        version=version,
        made_at=result_made_at,
        verdict=given.verdict,
        types=given.right_types,
        comment=given.comment,
        reader=given.reader,
        now=now.isoformat(timespec="milliseconds"),
    )


def of_study(tx: Transaction, study_uid: str) -> list[Feedback]:
    """All that was ever said of the study's results, the newest first."""
    return _select(tx, "f.study_uid = :uid ORDER BY f.feedback_id DESC", uid=study_uid)


def recent(tx: Transaction, limit: int) -> list[Feedback]:
    """What was said last, the newest first."""
    return _select(tx, "1 ORDER BY f.feedback_id DESC LIMIT :limit", limit=limit)


def last_id(tx: Transaction) -> int:
    """The ID of what was said last; 0 when nothing was."""
    return tx.number("SELECT max(feedback_id) FROM feedback")


def page_after(tx: Transaction, after: int, up_to: int, limit: int) -> list[Feedback]:
    """The next rows in the order in which they came: for reading them all, a few at a time."""
    wanted = "f.feedback_id > :after AND f.feedback_id <= :up_to ORDER BY f.feedback_id LIMIT :limit"
    return _select(tx, wanted, after=after, up_to=up_to, limit=limit)


def missed(tx: Transaction, study_uid: str) -> list[Feedback]:
    """The reports in force that a result of the study missed something, the oldest first."""
    wanted = f"f.study_uid = :uid AND verdict = 'missed' AND {IN_FORCE} ORDER BY f.feedback_id"
    return _select(tx, wanted, uid=study_uid)


def last_verdict(tx: Transaction, study_uid: str, question: str, suspected: bool) -> Verdict | None:
    """The last verdict in force on a result that suspects, or on one that does not; None where there is none."""
    row = tx.row(
        "SELECT verdict FROM feedback f WHERE study_uid = :uid AND question = :question AND suspected = :suspected"
        f" AND verdict <> 'withdrawn' AND {IN_FORCE} ORDER BY feedback_id DESC LIMIT 1",
        uid=study_uid,
        question=question,
        suspected=suspected,
    )
    return Verdict(row["verdict"]) if row else None


def _select(tx: Transaction, wanted: str, **parameters: object) -> list[Feedback]:
    return tx.all(
        Feedback,
        f"SELECT f.*, coalesce(s.accession, '') AS accession, {IN_FORCE} AS in_force FROM feedback f"
        f" LEFT JOIN studies s USING (study_uid) WHERE {wanted}",
        **parameters,
    )
