"""Earlier studies under the same Patient ID and birth date, with what else tells whether the patient is the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dicom_node.entities import Study
from dicom_node.tables.database import Transaction
from dicom_node.tables.rows import rows_as

MOST = 20  # for each study, the latest


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study and one that may be of the same patient and is not of a later day; times are None where none is stated.

    An issuer is that of the Patient ID; None where the study was not analysed.
    """

    later_uid: str
    later_at: datetime | None
    later_date: str
    later_issuer: str | None
    study: Study
    scanned_at: datetime | None
    issuer: str | None


def candidates(tx: Transaction, study_uids: Sequence[str]) -> list[Candidate]:
    """For each of these studies the others under its Patient ID and birth date, neither of them empty."""
    found = tx.rows(
        "SELECT s.study_uid AS later_uid, own.scanned_at AS later_at, s.study_date AS later_date,"
        " (SELECT issuer FROM scans WHERE study_uid = s.study_uid ORDER BY version DESC LIMIT 1) AS later_issuer,"
        " p.*, w.scanned_at,"
        " (SELECT issuer FROM scans WHERE study_uid = p.study_uid ORDER BY version DESC LIMIT 1) AS issuer"
        " FROM json_each(:uids) u JOIN studies s ON s.study_uid = u.value JOIN worklist own ON own.study_uid = u.value"
        " JOIN studies p ON p.study_uid IN (SELECT study_uid FROM studies WHERE patient_id = s.patient_id"
        " AND birth_date = s.birth_date AND study_date <= s.study_date AND study_uid <> s.study_uid"
        f" AND patient_id <> '' AND birth_date <> '' ORDER BY study_date DESC LIMIT {MOST})"
        " JOIN worklist w ON w.study_uid = p.study_uid",
        uids=tuple(study_uids),
    )
    return rows_as(Candidate, [row | {"study": row} for row in found])
