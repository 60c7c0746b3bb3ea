"""The stored files that were found damaged, until they are whole again or their study has left."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.entities import Damage
from dicom_node.tables.database import Transaction


@dataclass(frozen=True, slots=True)
class Damaged:
    """A stored file that is not what was stored; `kind` is an image's modality or a result object's kind."""

    path: Path
    study_uid: str
    sop_uid: str
    kind: str
    damage: Damage
    found_at: datetime


def put(tx: Transaction, damaged: Damaged) -> bool:
    """Record what was found; False, and nothing changes, where that is known or no row names the file any more."""
    return bool(
        tx.run(
            "INSERT INTO damages SELECT :path, :study, :sop, :kind, :damage, :found_at"
            " WHERE EXISTS (SELECT 1 FROM instances WHERE path = :path)"
            " OR EXISTS (SELECT 1 FROM results WHERE sop_uid = :sop AND path = :path)"
            " ON CONFLICT (path) DO UPDATE SET damage = excluded.damage WHERE damage <> excluded.damage",
            path=damaged.path,
            study=damaged.study_uid,
            sop=damaged.sop_uid,
            kind=damaged.kind,
            damage=damaged.damage,
            found_at=damaged.found_at,
        )
    )


def forget(tx: Transaction, path: Path) -> None:
    """The file is whole again."""
    tx.run("DELETE FROM damages WHERE path = :path", path=path)


def is_known(tx: Transaction, path: Path) -> bool:
    """Whether a file is known as damaged."""
    return bool(tx.number("SELECT count(*) FROM damages WHERE path = :path", path=path))


def forget_unnamed(tx: Transaction) -> None:
    """Drop what no row names any more."""
    tx.run(
        "DELETE FROM damages WHERE path NOT IN (SELECT path FROM instances JOIN damages d USING (path))"
        " AND NOT EXISTS (SELECT 1 FROM results r WHERE r.sop_uid = damages.sop_uid AND r.path = damages.path)"
    )


def every(tx: Transaction, limit: int = 1000) -> list[Damaged]:
    """All of them, the last found first, each with the study that it belongs to now."""
    return tx.all(
        Damaged,
        "SELECT d.path, coalesce(i.study_uid, d.study_uid) AS study_uid, d.sop_uid, d.kind, d.damage, d.found_at"
        " FROM damages d LEFT JOIN instances i USING (path) ORDER BY d.found_at DESC, d.path LIMIT :limit",
        limit=limit,
    )


def number(tx: Transaction, study_uid: str | None = None) -> int:
    """How many there are, in all or in a study."""
    return tx.number(
        "SELECT count(*) FROM damages d LEFT JOIN instances i USING (path)"
        " WHERE :uid IS NULL OR coalesce(i.study_uid, d.study_uid) = :uid",
        uid=study_uid,
    )


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop what was found in a study."""
    tx.run("DELETE FROM damages WHERE study_uid = :uid", uid=study_uid)
