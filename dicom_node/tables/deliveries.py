"""The outbox: one row for each object and destination."""

from collections.abc import Sequence
from datetime import datetime

from dicom_node.entities import Delivery, ResultObject, SendProblem
from dicom_node.tables.database import Transaction

MAY_GO = (
    "study_uid NOT IN (SELECT study_uid FROM studies JOIN contradictions USING (sent_uid) WHERE decision = '')"
    " AND study_uid NOT IN (SELECT study_uid FROM analyses JOIN series e USING (study_uid, series_uid)"
    " WHERE e.state <> 'routed')"
    " AND NOT EXISTS (SELECT 1 FROM jobs j JOIN results r ON r.sop_uid = deliveries.sop_uid"
    " WHERE j.study_uid = deliveries.study_uid AND j.question = r.question AND j.kind = 'analyse'"
    " AND j.state IN ('queued', 'running'))"
)

DUE_NOW = (
    "UPDATE deliveries SET next_at = 0, attempts = CASE state WHEN 'failed' THEN 0 ELSE attempts END, problem = '',"
    " state = 'waiting'"
)


def add(tx: Transaction, study_uid: str, destination: str, made: ResultObject) -> None:
    """Put an object into the outbox; nothing changes where it lies there already."""
    tx.run(
        "INSERT OR IGNORE INTO deliveries (study_uid, destination, sop_uid, sop_class_uid, kind, path)"
        " VALUES (:study, :destination, :sop, :sop_class, :kind, :path)",
        study=study_uid,
        destination=destination,
        sop=made.sop_uid,
        sop_class=made.sop_class_uid,
        kind=made.kind,
        path=made.path,
    )


def due(tx: Transaction, destination: str, now: float) -> list[Delivery]:
    """What is due for one destination, of the one study that has waited longest.

    Nothing of a study whose patients contradict each other is, before IT has decided; nor a result whose series is
    receiving again, or which is being made anew.
    """
    return tx.all(
        Delivery,
        "SELECT * FROM deliveries WHERE state = 'waiting' AND destination = :destination AND next_at <= :now"
        f" AND {MAY_GO} AND study_uid = (SELECT study_uid FROM deliveries WHERE state = 'waiting'"
        f" AND destination = :destination AND next_at <= :now AND {MAY_GO} ORDER BY next_at, delivery_id LIMIT 1)"
        " ORDER BY delivery_id",
        destination=destination,
        now=now,
    )


def sent(tx: Transaction, delivery: Delivery, detail: str | None, now: datetime) -> None:
    """The destination has stored it; `detail` is a warning it gave."""
    tx.run(
        "UPDATE deliveries SET state = 'sent', attempts = attempts + 1, error = :detail, sent_at = :now, problem = ''"
        " WHERE delivery_id = :id",
        detail=detail,
        now=now,
        id=delivery.delivery_id,
    )


def postpone(
    tx: Transaction,
    delivery: Delivery,
    error: str,
    next_at: float,
    limit: int,
    problem: SendProblem = SendProblem.NONE,
) -> None:
    """An attempt failed: due again at `next_at`, or failed after `limit` attempts; not what was withdrawn meanwhile."""
    tx.run(
        "UPDATE deliveries SET attempts = attempts + 1, error = :error, next_at = :next_at, problem = :problem,"
        " unanswered = CASE :problem WHEN 'unanswered' THEN unanswered + 1 WHEN '' THEN 0 ELSE unanswered END,"
        " state = CASE WHEN attempts + 1 >= :limit THEN 'failed' ELSE 'waiting' END"
        " WHERE delivery_id = :id AND state = 'waiting'",
        error=error,
        next_at=next_at,
        limit=limit,
        problem=problem,
        id=delivery.delivery_id,
    )


def withdraw(tx: Transaction, study_uid: str, question: str) -> int:
    """What has not been sent yet of the results for a question never is; how many objects that are."""
    return tx.run(
        "UPDATE deliveries SET state = 'withdrawn' WHERE study_uid = :study AND state IN ('waiting', 'failed')"
        " AND sop_uid IN (SELECT sop_uid FROM results WHERE study_uid = :study AND question = :question)",
        study=study_uid,
        question=question,
    )


def revive(tx: Transaction, delivery_id: int) -> bool:
    """Make a delivery that has failed due again, as if new, or one that waits for its next attempt due now."""
    return bool(tx.run(f"{DUE_NOW} WHERE delivery_id = :id AND state IN ('waiting', 'failed')", id=delivery_id))


def hasten(tx: Transaction, destination: str | None = None, failed: bool = False) -> int:
    """Make due now what waits for a destination, or for any; `failed`: what has failed, too. How many objects wait."""
    states = ("waiting", "failed") if failed else ("waiting",)
    return tx.run(
        f"{DUE_NOW} WHERE (:destination IS NULL OR destination = :destination)"
        " AND state IN (SELECT value FROM json_each(:states))",
        destination=destination,
        states=states,
    )


def clear(tx: Transaction, destination: str) -> int:
    """What waits for a destination or has failed never is sent there; how many objects that are."""
    return tx.run(
        "UPDATE deliveries SET state = 'withdrawn' WHERE destination = :destination AND state IN ('waiting', 'failed')",
        destination=destination,
    )


def destinations(tx: Transaction) -> list[str]:
    """Every destination that anything was ever meant for."""
    return [row["destination"] for row in tx.rows("SELECT DISTINCT destination FROM deliveries ORDER BY destination")]


def of_study(tx: Transaction, study_uid: str) -> list[Delivery]:
    """All deliveries of a study."""
    return tx.all(Delivery, "SELECT * FROM deliveries WHERE study_uid = :uid ORDER BY delivery_id", uid=study_uid)


def recent(tx: Transaction, limit: int) -> list[Delivery]:
    """The last deliveries, newest first."""
    return tx.all(Delivery, "SELECT * FROM deliveries ORDER BY delivery_id DESC LIMIT :limit", limit=limit)


def waiting(tx: Transaction, study_uid: str, destinations: Sequence[str]) -> int:
    """How many objects of a study these destinations do not have yet, failed ones included.

    Withdrawn ones are not, and not what a destination does not take: that would keep every study for ever.
    """
    return tx.number(
        "SELECT count(*) FROM deliveries WHERE study_uid = :uid AND state IN ('waiting', 'failed')"
        " AND NOT (state = 'failed' AND problem IN ('not taken', 'no syntax'))"
        " AND destination IN (SELECT value FROM json_each(:destinations))",
        uid=study_uid,
        destinations=tuple(destinations),
    )


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's deliveries."""
    tx.run("DELETE FROM deliveries WHERE study_uid = :uid", uid=study_uid)
