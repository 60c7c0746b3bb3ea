"""How the node did, one row a study: its week, its scanner, what became of it, and what a reader said of that.

`note` derives the row from the other tables, inside the transaction that changes them. The row outlives the study in
the archive, whose other rows go when room is needed. Triggers keep the sums that the page shows.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from dicom_node.tables.database import Row, Transaction


class Outcome(StrEnum):
    """What became of a study. One that was flagged once stays flagged, whatever a later result says."""

    FLAGGED = "flagged"
    NEGATIVE = "negative"
    NOT_ANALYSED = "not_analysed"  # declined or failed


@dataclass(frozen=True, slots=True)
class Equipment:
    """What made a series: Manufacturer, Manufacturer's Model Name and Station Name (PS3.3 C.7.5.1); '' where absent."""

    manufacturer: str
    model: str
    station: str


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
        "INSERT OR IGNORE INTO equipment VALUES (:series, :study, :manufacturer, :model, :station)",
        series=series_uid,
        study=study_uid,
        manufacturer=equipment.manufacturer,
        model=equipment.model,
        station=equipment.station,
    )


def note(tx: Transaction, study_uid: str) -> None:
    """Bring the study's row up to what the other tables say; none before the study has a result or a reason for none.

    The turnaround is that of the first flag, kept as it was then: images that come later change it no more.
    """
    item = tx.row(
        "SELECT received_at, waiting_since, flagged_at, state, (SELECT max(suspected) FROM analyses a"
        " WHERE a.study_uid = w.study_uid) AS suspected, (SELECT outcome FROM quality q"
        " WHERE q.study_uid = w.study_uid) AS before FROM worklist w WHERE study_uid = :uid",
        uid=study_uid,
    )
    if item is None or (item["suspected"] is None and item["state"] == "waiting"):
        return
    outcome = Outcome.NOT_ANALYSED if item["suspected"] is None else Outcome.NEGATIVE
    if item["suspected"] or item["before"] == Outcome.FLAGGED:
        outcome = Outcome.FLAGGED
    tx.run(
        "INSERT INTO quality VALUES (:uid, :week, :scanner, :outcome, :turnaround, :judged) ON CONFLICT (study_uid)"
        " DO UPDATE SET scanner_id = excluded.scanner_id, judged = excluded.judged, outcome = excluded.outcome,"
        " turnaround_ms = coalesce(turnaround_ms, excluded.turnaround_ms)",
        uid=study_uid,
        week=monday_of(datetime.fromisoformat(item["received_at"])).isoformat(),
        scanner=_scanner_id(tx, study_uid),
        outcome=outcome,
        turnaround=_turnaround_ms(item) if outcome is Outcome.FLAGGED else None,
        judged=_judged(tx, study_uid, outcome),
    )


def counts(tx: Transaction, since: date) -> list[Count]:
    """How many studies ended how, from that week on."""
    rows = tx.rows(
        "SELECT week, scanner_id, outcome, judged, studies FROM quality_sums WHERE week >= :since AND studies > 0",
        since=since.isoformat(),
    )
    return [
        Count(**row | {"week": date.fromisoformat(row["week"]), "outcome": Outcome(row["outcome"])}) for row in rows
    ]


def turnarounds(tx: Transaction, since: date) -> list[Turnarounds]:
    """All turnarounds from that week on; one text a group, since a row for each would take ten times as long."""
    rows = tx.rows(
        "SELECT week, scanner_id, group_concat(turnaround_ms) AS ms FROM quality INDEXED BY quality_turnarounds"
        " WHERE turnaround_ms IS NOT NULL AND week >= :since GROUP BY week, scanner_id",
        since=since.isoformat(),
    )
    return [
        Turnarounds(date.fromisoformat(row["week"]), row["scanner_id"], tuple(sorted(map(int, row["ms"].split(",")))))
        for row in rows
    ]


def scanners(tx: Transaction) -> list[Scanner]:
    """Every scanner that a study has come from."""
    rows = tx.rows("SELECT * FROM scanners ORDER BY aet, manufacturer, model, station")
    return [
        Scanner(row["scanner_id"], row["aet"], Equipment(row["manufacturer"], row["model"], row["station"]))
        for row in rows
    ]


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop what made the study's series; how the node did with the study stays."""
    tx.run("DELETE FROM equipment WHERE study_uid = :uid", uid=study_uid)


def monday_of(moment: datetime) -> date:
    """The Monday of a moment's week (ISO 8601), in UTC."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def _turnaround_ms(item: Row) -> int | None:
    if item["flagged_at"] is None:
        return None
    taken = datetime.fromisoformat(item["flagged_at"]) - datetime.fromisoformat(item["waiting_since"])
    return max(0, round(taken / timedelta(milliseconds=1)))


def _scanner_id(tx: Transaction, study_uid: str) -> int:
    """The scanner of the series that was analysed, otherwise of a CT series; noted when it is new."""
    found = tx.row(
        "SELECT calling_aet AS aet, coalesce(manufacturer, '') AS manufacturer, coalesce(model, '') AS model,"
        " coalesce(station, '') AS station FROM series s LEFT JOIN equipment USING (series_uid)"
        " WHERE s.study_uid = :uid ORDER BY series_uid = (SELECT series_uid FROM analyses WHERE study_uid = :uid"
        " ORDER BY version DESC LIMIT 1) DESC, modality = 'CT' DESC, series_uid LIMIT 1",
        uid=study_uid,
    )
    named = found or {"aet": "", "manufacturer": "", "model": "", "station": ""}
    known = "SELECT scanner_id FROM scanners WHERE (aet, manufacturer, model, station) ="
    values = "(:aet, :manufacturer, :model, :station)"
    row = tx.row(f"{known} {values}", **named)
    if row is None:
        row = tx.row(
            f"INSERT INTO scanners (aet, manufacturer, model, station) VALUES {values} RETURNING scanner_id", **named
        )
    assert row is not None
    return int(row["scanner_id"])


def _judged(tx: Transaction, study_uid: str, outcome: Outcome) -> str:
    """The last feedback in force on a result that speaks of the outcome; '' where there is none."""
    row = tx.row(
        "SELECT verdict FROM feedback f WHERE study_uid = :uid AND suspected = :flagged AND verdict <> 'withdrawn'"
        " AND NOT EXISTS (SELECT 1 FROM feedback later WHERE (later.study_uid, later.version, later.result_made_at,"
        " later.reader) = (f.study_uid, f.version, f.result_made_at, f.reader) AND later.feedback_id > f.feedback_id)"
        " ORDER BY feedback_id DESC LIMIT 1",
        uid=study_uid,
        flagged=outcome is Outcome.FLAGGED,
    )
    return str(row["verdict"]) if row else ""
