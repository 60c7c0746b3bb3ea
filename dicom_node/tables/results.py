"""What the pipelines said of each study, question by question and version by version, and the objects that say it."""

from datetime import datetime

from dicom_node.entities import Analysis, ResultObject
from dicom_node.tables.database import Transaction


def next_version(tx: Transaction, study_uid: str, question: str) -> int:
    """The number of the question's next result, from 1; pictures that say "not analysed" count too."""
    latest = "SELECT max(version) FROM {} WHERE study_uid = :uid AND question = :question"
    tables = ("analyses", "results")
    return 1 + max(tx.number(latest.format(table), uid=study_uid, question=question) for table in tables)


def add_analysis(tx: Transaction, analysis: Analysis) -> None:
    """Record a pipeline's answer."""
    tx.put("analyses", analysis)


def add_object(tx: Transaction, study_uid: str, question: str, version: int, made: ResultObject, now: datetime) -> None:
    """Record an object that the node made."""
    tx.put("results", made, study_uid=study_uid, question=question, version=version, made_at=now)


def keep_sha256(tx: Transaction, sop_uid: str, sha256: str) -> None:
    """Keep the hash of an object's data set, where none was."""
    tx.run("UPDATE results SET sha256 = :sha256 WHERE sop_uid = :uid AND sha256 = ''", sha256=sha256, uid=sop_uid)


def analyses_of_study(tx: Transaction, study_uid: str, question: str | None = None) -> list[Analysis]:
    """All answers for a study, or those to one question, oldest first."""
    return tx.all(
        Analysis,
        "SELECT * FROM analyses WHERE study_uid = :uid AND (:question IS NULL OR question = :question)"
        " ORDER BY question, version",
        uid=study_uid,
        question=question,
    )


def objects_of(tx: Transaction, study_uid: str, question: str, version: int) -> list[ResultObject]:
    """The objects of one result."""
    return tx.all(
        ResultObject,
        "SELECT * FROM results WHERE study_uid = :uid AND question = :question AND version = :version ORDER BY kind",
        uid=study_uid,
        question=question,
        version=version,
    )


def objects_of_study(tx: Transaction, study_uid: str) -> list[ResultObject]:
    """All objects that were ever made for a study."""
    wanted = "SELECT * FROM results WHERE study_uid = :uid ORDER BY question, version, kind"
    return tx.all(ResultObject, wanted, uid=study_uid)


def last_version(tx: Transaction, study_uid: str, question: str) -> tuple[int, datetime] | None:
    """The number and the time of the question's last result objects; None where there are none."""
    row = tx.row(
        "SELECT version, made_at FROM results WHERE study_uid = :uid AND question = :question"
        " ORDER BY version DESC LIMIT 1",
        uid=study_uid,
        question=question,
    )
    return (row["version"], datetime.fromisoformat(row["made_at"])) if row else None


def is_own(tx: Transaction, sop_uid: str) -> bool:
    """Whether the node made this object."""
    return study_of(tx, sop_uid) is not None


def study_of(tx: Transaction, sop_uid: str) -> str | None:
    """The study that an object was made for; None where the node did not make it."""
    row = tx.row("SELECT study_uid FROM results WHERE sop_uid = :uid", uid=sop_uid)
    return str(row["study_uid"]) if row else None


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop what was said of a study."""
    tx.run("DELETE FROM analyses WHERE study_uid = :uid", uid=study_uid)
    tx.run("DELETE FROM results WHERE study_uid = :uid", uid=study_uid)
