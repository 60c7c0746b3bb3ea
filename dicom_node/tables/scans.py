"""Whose head each analysed result was measured in, and when it was scanned: what two studies of a patient share.

Written with the result, from the headers of the images that were analysed.
"""

from datetime import datetime

from dicom_node.entities import Scan
from dicom_node.tables.database import Row, Transaction


def add(tx: Transaction, scan: Scan) -> None:
    """Record the scan behind a result."""
    tx.run(
        "INSERT OR REPLACE INTO scans VALUES (:study_uid, :version, :patient_id, :issuer, :patient_name, :birth_date,"
        " :acquired_at, :zone_stated, :compared)",
        study_uid=scan.study_uid,
        version=scan.version,
        patient_id=scan.patient_id,
        issuer=scan.issuer,
        patient_name=scan.patient_name,
        birth_date=scan.birth_date,
        acquired_at=scan.acquired_at.isoformat() if scan.acquired_at else None,
        zone_stated=scan.zone_stated,
        compared=scan.compared,
    )


def latest(tx: Transaction, study_uid: str) -> Scan | None:
    """The scan behind the study's latest result; None where it was analysed before scans were kept, or never."""
    row = tx.row("SELECT * FROM scans WHERE study_uid = :uid ORDER BY version DESC LIMIT 1", uid=study_uid)
    return _scan(row) if row else None


def others(tx: Transaction, scan: Scan) -> list[Scan]:
    """The latest scans of other studies under the same Patient ID and issuer; nobody for an empty ID.

    A study whose Patient ID was corrected since has nobody else's scans, and nobody has its.
    """
    rows = tx.rows(
        "SELECT s.* FROM scans s JOIN studies own ON own.study_uid = :study JOIN studies theirs"
        " ON theirs.study_uid = s.study_uid WHERE s.patient_id = :patient AND s.patient_id <> '' AND s.issuer = :issuer"
        " AND s.study_uid <> :study AND own.patient_id = :patient AND theirs.patient_id = :patient"
        " AND s.version = (SELECT max(version) FROM scans WHERE study_uid = s.study_uid)",
        patient=scan.patient_id,
        issuer=scan.issuer,
        study=scan.study_uid,
    )
    return [_scan(row) for row in rows]


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's scans."""
    tx.run("DELETE FROM scans WHERE study_uid = :uid", uid=study_uid)


def _scan(row: Row) -> Scan:
    at = datetime.fromisoformat(row["acquired_at"]) if row["acquired_at"] else None
    return Scan(**row | {"acquired_at": at, "zone_stated": bool(row["zone_stated"])})
