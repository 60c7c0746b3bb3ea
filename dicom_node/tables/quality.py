"""How the node did, one row a study and question: week, scanner, what became of it, what a reader said of that.

`derived.quality` makes the row from the other tables, inside the transaction that changes them. The row outlives the
study in the archive, whose other rows go when room is needed. Triggers keep the sums that the page shows.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from dicom_node.entities import Equipment
from dicom_node.tables.database import Transaction
from dicom_node.tables.rows import rows_as


class Outcome(StrEnum):
    """What became of a study. One that was flagged once stays flagged, whatever a later result says."""

    FLAGGED = "flagged"
    NEGATIVE = "negative"
    NOT_ANALYSED = "not_analysed"  # declined or failed
    OUTSIDE = "outside"  # the rules never took it for a study of the question


@dataclass(frozen=True, slots=True)
class Scanner:
    """Who sent a study, by its AE title, and what made it."""

    scanner_id: int
    aet: str
    equipment: Equipment


@dataclass(frozen=True, slots=True)
class Count:
    """How many studies of a week (its Monday, UTC) and a scanner ended so; `judged` is feedback in force or ''."""

    week: date
    scanner_id: int
    outcome: Outcome
    judged: str
    studies: int


@dataclass(frozen=True, slots=True)
class Turnarounds:
    """Milliseconds from the last image to the flag, ascending, of a week's flagged studies of a scanner."""

    week: date
    scanner_id: int
    milliseconds: tuple[int, ...]


def note_equipment(tx: Transaction, series_uid: str, study_uid: str, equipment: Equipment) -> None:
    """Remember what made a series; its first image says it."""
    tx.run(
        "INSERT OR IGNORE INTO equipment VALUES (:study, :series, :manufacturer, :model, :station)",
        series=series_uid,
        study=study_uid,
        manufacturer=equipment.manufacturer,
        model=equipment.model,
        station=equipment.station,
    )


def counts(tx: Transaction, question: str, since: date) -> list[Count]:
    """How many studies ended how, from that week on."""
    return tx.all(
        Count,
        "SELECT week, scanner_id, outcome, judged, studies FROM quality_sums WHERE question = :question"
        " AND week >= :since AND studies > 0",
        question=question,
        since=since,
    )


def turnarounds(tx: Transaction, question: str, since: date) -> list[Turnarounds]:
    """All turnarounds from that week on; one text a group, since a row for each would take ten times as long."""
    rows = tx.rows(
        "SELECT week, scanner_id, group_concat(turnaround_ms) AS ms FROM quality INDEXED BY quality_turnarounds"
        " WHERE turnaround_ms IS NOT NULL AND question = :question AND week >= :since GROUP BY week, scanner_id",
        question=question,
        since=since,
    )
    return [
        Turnarounds(date.fromisoformat(row["week"]), row["scanner_id"], tuple(sorted(map(int, row["ms"].split(",")))))
        for row in rows
    ]


def scanners(tx: Transaction) -> list[Scanner]:
    """Every scanner that a study has come from."""
    rows = tx.rows("SELECT * FROM scanners ORDER BY aet, manufacturer, model, station")
    return rows_as(Scanner, [row | {"equipment": row} for row in rows])


def questions(tx: Transaction) -> list[str]:
    """The questions that were ever asked of a study."""
    return [row["question"] for row in tx.rows("SELECT DISTINCT question FROM quality_sums")]


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop what made the study's series; how the node did with the study stays."""
    tx.run("DELETE FROM equipment WHERE study_uid = :uid", uid=study_uid)


def monday_of(moment: datetime) -> date:
    """The Monday of a moment's week (ISO 8601), in UTC."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())
