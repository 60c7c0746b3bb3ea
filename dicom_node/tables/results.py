"""What the pipelines said of each study, version by version, and the objects that say it."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from dicom_node.entities import Analysis, FindingRow, ResultObject
from dicom_node.tables.database import Row, Transaction


def next_version(tx: Transaction, study_uid: str) -> int:
    """The number of the study's next result, from 1; pictures that say "not analysed" count too."""
    analyses = tx.number("SELECT max(version) FROM analyses WHERE study_uid = :uid", uid=study_uid)
    return 1 + max(analyses, tx.number("SELECT max(version) FROM results WHERE study_uid = :uid", uid=study_uid))


def add_analysis(tx: Transaction, analysis: Analysis) -> None:
    """Record a pipeline's answer."""
    tx.run(
        "INSERT INTO analyses VALUES (:study_uid, :version, :series_uid, :pipeline, :suspected, :probability,"
        " :threshold, :findings, :model_name, :model_version, :model_sha256, :warnings, :seconds, :made_at)",
        study_uid=analysis.study_uid,
        version=analysis.version,
        series_uid=analysis.series_uid,
        pipeline=analysis.pipeline,
        suspected=analysis.suspected,
        probability=analysis.probability,
        threshold=analysis.threshold,
        findings=json.dumps([asdict(finding) for finding in analysis.findings]),
        model_name=analysis.model_name,
        model_version=analysis.model_version,
        model_sha256=analysis.model_sha256,
        warnings=json.dumps(analysis.warnings),
        seconds=analysis.seconds,
        made_at=analysis.made_at.isoformat(),
    )


def add_object(tx: Transaction, study_uid: str, version: int, made: ResultObject, now: datetime) -> None:
    """Record an object that the node made."""
    tx.run(
        "INSERT INTO results (sop_uid, study_uid, version, kind, sop_class_uid, series_uid, path, made_at)"
        " VALUES (:sop, :study, :version, :kind, :sop_class, :series, :path, :now)",
        sop=made.sop_uid,
        study=study_uid,
        version=version,
        kind=made.kind,
        sop_class=made.sop_class_uid,
        series=made.series_uid,
        path=str(made.path),
        now=now.isoformat(),
    )


def analyses_of_study(tx: Transaction, study_uid: str) -> list[Analysis]:
    """All answers for a study, oldest first."""
    return [
        _analysis(row)
        for row in tx.rows("SELECT * FROM analyses WHERE study_uid = :uid ORDER BY version", uid=study_uid)
    ]


def objects_of_study(tx: Transaction, study_uid: str, version: int | None = None) -> list[ResultObject]:
    """The objects made for a study: those of one version, or all."""
    rows = tx.rows(
        "SELECT kind, sop_uid, sop_class_uid, series_uid, path FROM results WHERE study_uid = :uid"
        " AND (:version IS NULL OR version = :version) ORDER BY version, kind",
        uid=study_uid,
        version=version,
    )
    return [ResultObject(**row | {"path": Path(row["path"])}) for row in rows]


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


def _analysis(row: Row) -> Analysis:
    return Analysis(
        **row
        | {
            "suspected": bool(row["suspected"]),
            "findings": tuple(FindingRow(**finding) for finding in json.loads(row["findings"])),
            "warnings": tuple(json.loads(row["warnings"])),
            "made_at": datetime.fromisoformat(row["made_at"]),
        }
    )
