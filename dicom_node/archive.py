"""The node's files: DICOM instances as received and the result objects, as Part 10 files (PS3.10).

`put` is durable when it returns: temporary file, fsync, rename, fsync of the folder. Paths are built from UIDs only
after `checked_uid`. Layout: instances/STUDY/SERIES/SOP.SHA256.dcm, results/STUDY/QUESTION/VERSION/KIND.dcm and beside
them pictures for the pages, incoming/ for what is being written, removed/ for what is being deleted.
"""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dicom_node.dicom.checks import checked_uid
from dicom_node.durable import is_running, make_folder, refuses_when_full, sync_file, sync_folder
from dicom_node.spool import Spool


class Archive:
    """The folder of one node."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._incoming = self.root / "incoming"
        self._removed = self.root / "removed"
        with suppress(OSError):  # a full or read-only disk: made when it is needed
            for folder in (self._incoming, self._removed, self.root / "instances", self.root / "results"):
                folder.mkdir(parents=True, exist_ok=True)

    def instance_path(self, study_uid: str, series_uid: str, sop_uid: str, sha256: str) -> Path:
        """Where the instance with these bytes lies. CannotUnderstand if one of the UIDs is none."""
        folder = self.root / "instances" / checked_uid(study_uid) / checked_uid(series_uid)
        return folder / f"{checked_uid(sop_uid)}.{sha256}.dcm"

    def result_path(self, study_uid: str, question: str, version: int, kind: str) -> Path:
        """Where a result object lies."""
        return self.root / "results" / checked_uid(study_uid) / question / str(version) / f"{kind.lower()}.dcm"

    def new_incoming(self) -> Path:
        """A fresh path for a file that is being written; what a killed process leaves there is cleared."""
        return self._incoming / f"{os.getpid()}.{uuid.uuid4().hex}"

    def preview_path(self, study_uid: str, question: str, version: int) -> Path:
        """Where the small pictures of a result lie; `version` 0 are those of a study without one."""
        return self.root / "results" / checked_uid(study_uid) / question / str(version) / "preview.zip"

    def drop_preview(self, path: Path) -> None:
        """Remove small pictures that are out of date."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
            for folder in list(path.parents)[:3]:  # those that are now empty: version, question, study
                folder.rmdir()

    def put(self, path: Path, *parts: bytes) -> None:
        """Write the parts as one file, durably; all of it is there or nothing. OutOfResources when the disk is full."""
        temporary = self.new_incoming()
        try:
            with refuses_when_full():
                make_folder(self._incoming)
            with refuses_when_full(), temporary.open("wb") as file:
                for part in parts:
                    file.write(part)
            self.adopt(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, path: Path) -> None:
        """Take a whole file of this file system into the archive, durably. OutOfResources when the disk is full."""
        with refuses_when_full():
            make_folder(path.parent)
            sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)

    def spool(self, most_bytes: int) -> Spool:
        """Where an object is written while it comes in."""
        return Spool(self.new_incoming(), most_bytes)

    def clear_incoming(self) -> None:
        """Remove what killed processes were writing; before this process itself writes."""
        for left in self._incoming.iterdir() if self._incoming.is_dir() else ():
            writer = left.name.partition(".")[0]
            if not writer.isdigit() or int(writer) == os.getpid() or not is_running(int(writer)):
                left.unlink(missing_ok=True)
        self.clear_set_aside()

    def stored(self) -> Iterator[Path]:
        """Every instance file."""
        return (self.root / "instances").rglob("*.dcm")

    def size_bytes(self, study_uid: str = "") -> int:
        """What instances, results and their pictures take, all or those of one study."""
        folders = (self.root / "instances" / study_uid, self.root / "results" / study_uid)
        return sum(_size(path) for folder in folders for path in folder.rglob("*"))

    def set_aside(self, study_uid: str) -> None:
        """Take all files of a study out of the archive at one stroke; `clear_set_aside` then deletes them."""
        for kind in ("results", "instances"):  # in this order: what is left after a crash has rows and goes later
            folder = self.root / kind / checked_uid(study_uid)
            if folder.exists():
                make_folder(self._removed)
                folder.rename(self._removed / uuid.uuid4().hex)

    def clear_set_aside(self) -> None:
        """Delete what was set aside."""
        for folder in self._removed.iterdir() if self._removed.is_dir() else ():
            shutil.rmtree(folder, ignore_errors=True)


def _size(path: Path) -> int:
    """The bytes of a file; 0 of a folder, and of what has just been removed or renamed."""
    with suppress(FileNotFoundError):
        state = path.stat()
        return state.st_size if stat.S_ISREG(state.st_mode) else 0
    return 0
