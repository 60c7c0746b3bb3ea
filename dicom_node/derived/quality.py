"""Quality: one row a study and question for the quality page, derived from what stands in the tables."""

from datetime import datetime, timedelta

from dicom_node.tables import feedback
from dicom_node.tables.database import Transaction
from dicom_node.tables.quality import Outcome, monday_of
from dicom_node.tables.rows import Row
from inference.pipelines.registry import question_of


def note_outcome(tx: Transaction, study_uid: str, question: str) -> None:
    """Bring the row up to what the other tables say; none before the question has a result or a reason for none.

    The turnaround is that of the first flag, kept as it was then: images that come later change it no more.
    """
    item = tx.row(
        "SELECT received_at, waiting_since, flagged_at, state, (SELECT max(suspected) FROM analyses a"
        " WHERE a.study_uid = w.study_uid AND a.question = :question) AS suspected, (SELECT outcome FROM quality q"
        " WHERE q.study_uid = w.study_uid AND q.question = :question) AS before, EXISTS (SELECT 1 FROM jobs j"
        " WHERE (j.study_uid, j.question, j.kind) = (w.study_uid, :question, 'analyse')) AS asked,"
        " (SELECT min(outside) FROM choices c WHERE (c.study_uid, c.question) = (w.study_uid, :question)"
        " AND kind <> 'ignored') AS outside FROM worklist w WHERE study_uid = :uid",
        uid=study_uid,
        question=question,
    )
    if item is None or (item["suspected"] is None and item["state"] == "waiting"):
        return
    unanswered = Outcome.OUTSIDE if item["outside"] and not item["asked"] else Outcome.NOT_ANALYSED
    outcome = unanswered if item["suspected"] is None else Outcome.NEGATIVE
    if item["suspected"] or item["before"] == Outcome.FLAGGED:
        outcome = Outcome.FLAGGED
    tx.run(
        "INSERT INTO quality VALUES (:uid, :question, :week, :scanner, :outcome, :turnaround, :judged)"
        " ON CONFLICT (study_uid, question) DO UPDATE SET scanner_id = excluded.scanner_id,"
        " judged = excluded.judged, outcome = excluded.outcome,"
        " turnaround_ms = coalesce(turnaround_ms, excluded.turnaround_ms)",
        uid=study_uid,
        question=question,
        week=monday_of(datetime.fromisoformat(item["received_at"])).isoformat(),
        scanner=_scanner_id(tx, study_uid, question),
        outcome=outcome,
        turnaround=_turnaround_ms(item) if outcome is Outcome.FLAGGED and question_of(question).urgent else None,
        judged=feedback.last_verdict(tx, study_uid, question, outcome is Outcome.FLAGGED) or "",
    )


def _turnaround_ms(item: Row) -> int | None:
    if item["flagged_at"] is None:
        return None
    taken = datetime.fromisoformat(item["flagged_at"]) - datetime.fromisoformat(item["waiting_since"])
    return max(0, round(taken / timedelta(milliseconds=1)))


def _scanner_id(tx: Transaction, study_uid: str, question: str) -> int:
    """The scanner of the series that was analysed, otherwise of a CT series; noted when it is new."""
    found = tx.row(
        "SELECT calling_aet AS aet, coalesce(manufacturer, '') AS manufacturer, coalesce(model, '') AS model,"
        " coalesce(station, '') AS station FROM series s LEFT JOIN equipment USING (study_uid, series_uid)"
        " WHERE s.study_uid = :uid ORDER BY series_uid = (SELECT series_uid FROM analyses WHERE study_uid = :uid"
        " AND question = :question ORDER BY version DESC LIMIT 1) DESC, modality = 'CT' DESC, series_uid LIMIT 1",
        uid=study_uid,
        question=question,
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
