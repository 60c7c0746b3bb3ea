"""The radiologist's list: one row a study, and the order in which they are read.

Suspected and not yet acknowledged studies come first; then what waits longer than the ageing cap, so that a missed
bleed is not starved by flags (PMC8128725); then by waiting time. `overdue_first` swaps the first two.
"""

from datetime import datetime, timedelta

from dicom_node.entities import ItemState, Urgency, WorklistItem
from dicom_node.tables.database import Row, Transaction


def get(tx: Transaction, study_uid: str) -> WorklistItem | None:
    """The study's row, or None."""
    row = tx.row("SELECT * FROM worklist WHERE study_uid = :uid", uid=study_uid)
    return _item(row) if row else None


def put(tx: Transaction, item: WorklistItem) -> None:
    """Insert or replace the study's row."""
    tx.run(
        "INSERT OR REPLACE INTO worklist (study_uid, urgency, headline, state, received_at, waiting_since, flagged_at,"
        " acknowledged_at, version) VALUES (:uid, :urgency, :headline, :state, :received, :waiting, :flagged,"
        " :acknowledged, :version)",
        uid=item.study_uid,
        urgency=item.urgency,
        headline=item.headline,
        state=item.state,
        received=_text(item.received_at),
        waiting=_text(item.waiting_since),
        flagged=_text(item.flagged_at),
        acknowledged=_text(item.acknowledged_at),
        version=item.version,
    )


def listed(
    tx: Transaction, now: datetime, ageing_cap: timedelta, leave_after: timedelta, overdue_first: bool, limit: int
) -> list[WorklistItem]:
    """The list in reading order, without what is closed or older than `leave_after`."""
    suspected, overdue = "urgency = 'HIGH' AND state = 'unread'", "state <> 'acknowledged' AND waiting_since <= :cap"
    first, second = (overdue, suspected) if overdue_first else (suspected, overdue)
    rows = tx.rows(
        "SELECT * FROM worklist WHERE state <> 'closed' AND waiting_since > :oldest"
        f" ORDER BY ({first}) DESC, ({second}) DESC, waiting_since, study_uid LIMIT :limit",
        cap=_text(now - ageing_cap),
        oldest=_text(now - leave_after),
        limit=limit,
    )
    return [_item(row) for row in rows]


def acknowledge(tx: Transaction, study_uid: str, now: datetime) -> bool:
    """A reader has seen the result; False when there is none to see."""
    return bool(
        tx.run(
            "UPDATE worklist SET state = 'acknowledged', acknowledged_at = :now"
            " WHERE study_uid = :uid AND state = 'unread'",
            uid=study_uid,
            now=_text(now),
        )
    )


def close(tx: Transaction, study_uid: str) -> bool:
    """A reader is done with an acknowledged study: it leaves the list."""
    sql = "UPDATE worklist SET state = 'closed' WHERE study_uid = :uid AND state = 'acknowledged'"
    return bool(tx.run(sql, uid=study_uid))


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's row."""
    tx.run("DELETE FROM worklist WHERE study_uid = :uid", uid=study_uid)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None


def _item(row: Row) -> WorklistItem:
    times = {
        name: datetime.fromisoformat(row[name]) if row[name] else None
        for name in ("received_at", "waiting_since", "flagged_at", "acknowledged_at")
    }
    return WorklistItem(**row | times | {"urgency": Urgency(row["urgency"]), "state": ItemState(row["state"])})
