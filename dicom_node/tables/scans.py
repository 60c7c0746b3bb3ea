"""Whose head each analysed result was measured in, and when it was scanned: what two studies of a patient share.

Written with the result, from the headers of the images that were analysed.
"""

from dicom_node.entities import Scan
from dicom_node.tables.database import Transaction


def add(tx: Transaction, scan: Scan) -> None:
    """Record the scan behind a result."""
    tx.put("scans", scan, key=("study_uid", "question", "version"))


def latest(tx: Transaction, study_uid: str, question: str) -> Scan | None:
    """The scan behind the question's latest result; None where it was analysed before scans were kept, or never."""
    wanted = "SELECT * FROM scans WHERE study_uid = :uid AND question = :question ORDER BY version DESC LIMIT 1"
    return tx.one(Scan, wanted, uid=study_uid, question=question)


def others(tx: Transaction, scan: Scan) -> list[Scan]:
    """The latest scans, for the same question, of other studies under the same Patient ID; none for no ID.

    Those of another issuer are left out, not those where only one of both is stated. A study whose Patient ID was
    corrected since has nobody else's scans, and nobody has its.
    """
    return tx.all(
        Scan,
        "SELECT s.* FROM scans s JOIN studies own ON own.study_uid = :study JOIN studies theirs"
        " ON theirs.study_uid = s.study_uid WHERE s.patient_id = :patient AND s.patient_id <> ''"
        " AND (s.issuer = :issuer OR s.issuer = '' OR :issuer = '')"
        " AND s.study_uid <> :study AND own.patient_id = :patient AND theirs.patient_id = :patient"
        " AND s.question = :question AND s.version = (SELECT max(version) FROM scans"
        " WHERE study_uid = s.study_uid AND question = s.question)",
        patient=scan.patient_id,
        issuer=scan.issuer,
        study=scan.study_uid,
        question=scan.question,
    )


def has_earlier(tx: Transaction, scan: Scan) -> bool:
    """Whether another study under the same Patient ID was scanned before, whoever its patient is."""
    wanted = (
        "SELECT EXISTS (SELECT 1 FROM scans WHERE patient_id = :patient AND patient_id <> '' AND question = :question"
        " AND study_uid <> :study AND acquired_at < :at)"
    )
    at = scan.acquired_at
    return bool(tx.number(wanted, patient=scan.patient_id, question=scan.question, study=scan.study_uid, at=at))


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's scans."""
    tx.run("DELETE FROM scans WHERE study_uid = :uid", uid=study_uid)
