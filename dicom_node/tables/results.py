"""What the pipelines said of each study, version by version, and the objects that say it."""

from datetime import datetime

from dicom_node.entities import Analysis, ResultObject
from dicom_node.tables.database import Transaction


def next_version(tx: Transaction, study_uid: str) -> int:
    """The number of the study's next result, from 1; pictures that say "not analysed" count too."""
    analyses = tx.number("SELECT max(version) FROM analyses WHERE study_uid = :uid", uid=study_uid)
    return 1 + max(analyses, tx.number("SELECT max(version) FROM results WHERE study_uid = :uid", uid=study_uid))


def add_analysis(tx: Transaction, analysis: Analysis) -> None:
    """Record a pipeline's answer."""
    tx.put("analyses", analysis)


def add_object(tx: Transaction, study_uid: str, version: int, made: ResultObject, now: datetime) -> None:
    """Record an object that the node made."""
    tx.put("results", made, study_uid=study_uid, version=version, made_at=now)


def analyses_of_study(tx: Transaction, study_uid: str) -> list[Analysis]:
    """All answers for a study, oldest first."""
    return tx.all(Analysis, "SELECT * FROM analyses WHERE study_uid = :uid ORDER BY version", uid=study_uid)


def objects_of_study(tx: Transaction, study_uid: str, version: int | None = None) -> list[ResultObject]:
    """The objects made for a study: those of one version, or all."""
    return tx.all(
        ResultObject,
        "SELECT * FROM results WHERE study_uid = :uid"
        " AND (:version IS NULL OR version = :version) ORDER BY version, kind",
        uid=study_uid,
        version=version,
    )


def last_version(tx: Transaction, study_uid: str) -> tuple[int, datetime] | None:
    """The number and the time of the study's last result objects; None where there are none."""
    row = tx.row(
        "SELECT version, made_at FROM results WHERE study_uid = :uid ORDER BY version DESC LIMIT 1", uid=study_uid
    )
    return (row["version"], datetime.fromisoformat(row["made_at"])) if row else None


def is_own(tx: Transaction, sop_uid: str) -> bool:
    """Whether the node made this object."""
    return tx.row("SELECT 1 FROM results WHERE sop_uid = :uid", uid=sop_uid) is not None


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop what was said of a study."""
    tx.run("DELETE FROM analyses WHERE study_uid = :uid", uid=study_uid)
    tx.run("DELETE FROM results WHERE study_uid = :uid", uid=study_uid)
