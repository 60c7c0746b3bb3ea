"""Every file that a row names, images and results alike, a few at a time: what the scrub looks through."""

from dataclasses import dataclass
from pathlib import Path

from dicom_node.tables.database import Transaction


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A stored file and what its row says of it.

    `sha256` is of the data set, empty where none was kept; `bytes` is the whole file's size, 0 where it was not kept;
    `kind` is an image's modality or a result object's kind.
    """

    path: Path
    study_uid: str
    sop_uid: str
    kind: str
    sha256: str
    transfer_syntax_uid: str = ""
    bytes: int = 0


def images_after(tx: Transaction, path: str, limit: int) -> list[NamedFile]:
    """The next files of instances, every version, in the order of their paths."""
    return tx.all(
        NamedFile,
        "SELECT path, study_uid, sop_uid, modality AS kind, sha256, transfer_syntax_uid, bytes FROM instances"
        " WHERE path > :path ORDER BY path LIMIT :limit",
        path=path,
        limit=limit,
    )


def objects_after(tx: Transaction, sop_uid: str, limit: int) -> list[NamedFile]:
    """The next files of result objects, in the order of their SOP Instance UIDs."""
    return tx.all(
        NamedFile,
        "SELECT path, study_uid, sop_uid, kind, sha256 FROM results WHERE sop_uid > :uid ORDER BY sop_uid LIMIT :limit",
        uid=sop_uid,
        limit=limit,
    )


def damaged(tx: Transaction, limit: int) -> list[NamedFile]:
    """The files that are known to be damaged."""
    return tx.all(
        NamedFile,
        "SELECT i.path, i.study_uid, i.sop_uid, modality AS kind, sha256, transfer_syntax_uid, bytes"
        " FROM damages JOIN instances i USING (path)"
        " UNION ALL SELECT r.path, r.study_uid, r.sop_uid, r.kind, r.sha256, '', 0"
        " FROM damages d JOIN results r ON r.sop_uid = d.sop_uid AND r.path = d.path LIMIT :limit",
        limit=limit,
    )
