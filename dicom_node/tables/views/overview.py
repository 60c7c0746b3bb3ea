"""Read-only views over several tables, each one query: what the pages show beside the rows of a single table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.entities import Decision, ResultObject, Study
from dicom_node.tables.database import Transaction
from dicom_node.tables.rows import rows_as
from dicom_node.tables.worklist import WorklistItem

WHILE_WAITING = "coalesce(CASE WHEN w.state = 'waiting' THEN"


@dataclass(frozen=True, slots=True)
class Pictured:
    """A result that has a picture."""

    question: str
    version: int


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """A study of the worklist with what stands about it elsewhere.

    While the study waits, `images` counts what has come, `expected` what its sender says will come (0: it does not
    say), `analysing` is whether it is being analysed and `ahead` how many analyses come before its own. `contradiction`
    is what IT has decided of patients who contradict each other; None where nobody does.
    """

    item: WorklistItem
    study: Study
    pictures: tuple[Pictured, ...]
    images: int
    deliveries_waiting: int
    deliveries_failed: int
    contradiction: Decision | None = None
    expected: int = 0
    analysing: bool = False
    ahead: int = 0

    @property
    def picture(self) -> Pictured | None:
        """The picture that belongs to what the row says: that of the first of its results which has one."""
        shown = {(part.question, part.version) for part in self.item.parts if part.has_result}
        return next((each for each in self.pictures if (each.question, each.version) in shown), None)


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series with the number of its images. `last_at` is monotonic seconds, 0 when before the last boot."""

    series_uid: str
    study_uid: str
    modality: str
    calling_aet: str
    state: str
    last_at: float
    images: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """How many objects for one destination stand in each state, and what it answered last when it refused.

    `not_taken` are the kinds of failed objects that it accepts no presentation context for.
    """

    destination: str
    waiting: int
    sent: int
    failed: int
    last_error: str | None
    not_taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeAt:
    """One result's question and number, when its objects were made, and whether a picture is among them."""

    question: str
    version: int
    made_at: datetime
    picture: bool


def rows(tx: Transaction, items: Sequence[WorklistItem]) -> list[WorklistRow]:
    """The items, in their order, with what stands about them elsewhere; without a study that is just being removed."""
    found = tx.rows(
        "SELECT s.*, (SELECT json_group_array(json_object('question', question, 'version', version)) FROM"
        " (SELECT DISTINCT question, version FROM results r WHERE r.study_uid = s.study_uid AND r.kind = 'SC'))"
        " AS pictures,"
        " CASE WHEN w.state = 'waiting' THEN (SELECT count(*) FROM instances i"
        " WHERE i.study_uid = s.study_uid AND i.current) ELSE 0 END AS images,"
        f" {WHILE_WAITING} (SELECT sum(expected) FROM series e WHERE e.study_uid = s.study_uid"
        " AND e.state = 'receiving' HAVING count(*) = count(expected)) END, 0) AS expected,"
        f" {WHILE_WAITING} (SELECT 1 FROM jobs j WHERE j.study_uid = s.study_uid AND j.state = 'running'"
        " AND j.kind = 'analyse' LIMIT 1) END, 0) AS analysing,"
        f" {WHILE_WAITING} (SELECT count(*) FROM jobs o JOIN jobs m ON m.study_uid = s.study_uid AND m.state = 'queued'"
        " AND m.kind = 'analyse' AND (o.state = 'running' OR o.priority > m.priority"
        " OR (o.priority = m.priority AND o.job_id < m.job_id))"
        " WHERE o.state IN ('queued', 'running') AND o.kind = 'analyse') END, 0) AS ahead,"
        " (SELECT count(*) FROM deliveries d WHERE d.study_uid = s.study_uid AND d.state = 'waiting')"
        " AS deliveries_waiting,"
        " (SELECT count(*) FROM deliveries d WHERE d.study_uid = s.study_uid AND d.state = 'failed')"
        " AS deliveries_failed,"
        " (SELECT decision FROM contradictions c WHERE c.sent_uid = s.sent_uid) AS contradiction"
        " FROM json_each(:uids) u JOIN studies s ON s.study_uid = u.value JOIN worklist w ON w.study_uid = u.value"
        " ORDER BY u.key",
        uids=[item.study_uid for item in items],
    )
    by_uid = {item.study_uid: item for item in items}
    return rows_as(WorklistRow, [row | {"item": by_uid[row["study_uid"]], "study": row} for row in found])


def series(tx: Transaction, study_uid: str | None = None, receiving: bool = False) -> list[SeriesRow]:
    """The series of a study, or those that are being received, the quietest last."""
    return tx.all(
        SeriesRow,
        "SELECT e.series_uid, e.study_uid, e.modality, e.calling_aet, e.state, e.last_at,"
        " (SELECT count(*) FROM instances i WHERE (i.study_uid, i.series_uid) = (e.study_uid, e.series_uid)"
        " AND i.current) AS images"
        " FROM series e WHERE (:study IS NULL OR e.study_uid = :study) AND (NOT :receiving OR e.state = 'receiving')"
        " ORDER BY e.last_at DESC, e.series_uid",
        study=study_uid,
        receiving=receiving,
    )


def first_files(tx: Transaction, study_uid: str) -> dict[str, Path]:
    """One image's file of each series of a study."""
    found = tx.rows(
        "SELECT series_uid, min(path) AS path FROM instances WHERE study_uid = :uid AND current GROUP BY series_uid",
        uid=study_uid,
    )
    return {row["series_uid"]: Path(row["path"]) for row in found}


def last_arrival(tx: Transaction) -> SeriesRow | None:
    """The series that an image came for last."""
    return tx.one(
        SeriesRow,
        "SELECT series_uid, study_uid, modality, calling_aet, state, last_at, 0 AS images FROM series"
        " ORDER BY last_at DESC LIMIT 1",
    )


def outbox(tx: Transaction) -> list[OutboxRow]:
    """What waits for, has reached and did not reach each destination."""
    return tx.all(
        OutboxRow,
        "SELECT destination, sum(state = 'waiting') AS waiting, sum(state = 'sent') AS sent,"
        " sum(state = 'failed') AS failed, (SELECT error FROM deliveries e WHERE e.destination = d.destination"
        " AND e.state IN ('waiting', 'failed')"
        " AND e.error IS NOT NULL ORDER BY e.delivery_id DESC LIMIT 1) AS last_error,"
        " (SELECT json_group_array(DISTINCT kind) FROM deliveries e WHERE e.destination = d.destination"
        " AND e.state = 'failed' AND e.problem IN ('not taken', 'no syntax')) AS not_taken"
        " FROM deliveries d GROUP BY destination ORDER BY destination",
    )


def jobs_by_state(tx: Transaction) -> dict[str, int]:
    """How many analyses stand in each state."""
    wanted = "SELECT state, count(*) AS n FROM jobs WHERE kind <> 'preview' GROUP BY state"
    return {row["state"]: row["n"] for row in tx.rows(wanted)}


def made(tx: Transaction, study_uid: str) -> list[MadeAt]:
    """The study's results that have objects, the newest first."""
    return tx.all(
        MadeAt,
        "SELECT question, version, max(made_at) AS made_at, max(kind = 'SC') AS picture FROM results"
        " WHERE study_uid = :uid GROUP BY question, version ORDER BY question, version DESC",
        uid=study_uid,
    )


def latest_picture(tx: Transaction, study_uid: str, question: str | None, version: int | None) -> ResultObject | None:
    """The picture (SC) of one result, or of the latest that has one."""
    return tx.one(
        ResultObject,
        "SELECT * FROM results WHERE study_uid = :uid AND kind = 'SC'"
        " AND (:question IS NULL OR question = :question)"
        " AND (:version IS NULL OR version = :version) ORDER BY version DESC LIMIT 1",
        uid=study_uid,
        question=question,
        version=version,
    )
