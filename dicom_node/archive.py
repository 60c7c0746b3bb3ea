"""The node's files: DICOM instances as received and the result objects, as Part 10 files (PS3.10).

`put` is durable when it returns: temporary file, fsync, rename, fsync of the folder. Paths are built from UIDs only
after `checked_uid`. Layout: instances/STUDY/SERIES/SOP.SHA256.dcm, results/STUDY/VERSION/KIND.dcm, incoming/ for
what is being written, removed/ for what is being deleted.
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from dicom_node.errors import CannotUnderstand, OutOfResources

UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def checked_uid(text: object) -> str:
    """The text if it has the form of a UID (PS3.5 9.1; leading zeros, which scanners send, are let pass)."""
    uid = str(text or "").rstrip("\0 ")
    if len(uid) > 64 or not UID_FORM.fullmatch(uid):
        raise CannotUnderstand(f"not a UID: {uid[:80]!r}")
    return uid


class Archive:
    """The folder of one node."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._incoming = self.root / "incoming"
        self._removed = self.root / "removed"
        for folder in (self._incoming, self._removed, self.root / "instances", self.root / "results"):
            folder.mkdir(parents=True, exist_ok=True)

    def instance_path(self, study_uid: str, series_uid: str, sop_uid: str, sha256: str) -> Path:
        """Where the instance with these bytes lies. CannotUnderstand if one of the UIDs is none."""
        folder = self.root / "instances" / checked_uid(study_uid) / checked_uid(series_uid)
        return folder / f"{checked_uid(sop_uid)}.{sha256}.dcm"

    def result_path(self, study_uid: str, version: int, kind: str) -> Path:
        """Where a result object lies."""
        return self.root / "results" / checked_uid(study_uid) / str(version) / f"{kind.lower()}.dcm"

    def put(self, path: Path, *parts: bytes) -> None:
        """Write the parts as one file, durably; all of it is there or nothing. OutOfResources when the disk is full."""
        temporary = self._incoming / f"{os.getpid()}.{uuid.uuid4().hex}"
        try:
            make_folder(path.parent)
            with temporary.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if error.errno in OUT_OF_SPACE:
                raise OutOfResources(f"the disk is full: {error}") from error
            raise

    def clear_incoming(self) -> None:
        """Remove what killed processes were writing; before this process itself writes."""
        for left in self._incoming.iterdir():
            writer = left.name.partition(".")[0]
            if not writer.isdigit() or int(writer) == os.getpid() or not is_running(int(writer)):
                left.unlink(missing_ok=True)
        self.clear_set_aside()

    def stored(self) -> Iterator[Path]:
        """Every instance file."""
        return (self.root / "instances").rglob("*.dcm")

    def size_bytes(self, study_uid: str = "") -> int:
        """What instances and results take, all or those of one study."""
        folders = (self.root / "instances" / study_uid, self.root / "results" / study_uid)
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*.dcm"))

    def set_aside(self, study_uid: str) -> None:
        """Take all files of a study out of the archive at one stroke; `clear_set_aside` then deletes them."""
        for kind in ("results", "instances"):  # in this order: what is left after a crash has rows and goes later
            folder = self.root / kind / checked_uid(study_uid)
            if folder.exists():
                folder.rename(self._removed / uuid.uuid4().hex)

    def clear_set_aside(self) -> None:
        """Delete what was set aside."""
        for folder in self._removed.iterdir():
            shutil.rmtree(folder, ignore_errors=True)


def part10_header(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str, source_aet: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1) that go before a data set as sent."""
    head, tail = _meta_template(sop_class_uid, transfer_syntax_uid, source_aet)
    uid = sop_uid.encode("ascii")
    uid += b"\0" * (len(uid) % 2)
    element = b"\x02\x00\x03\x00UI" + len(uid).to_bytes(2, "little") + uid
    body = head + element + tail
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(body).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + length + body


@lru_cache(maxsize=256)
def _meta_template(sop_class_uid: str, transfer_syntax_uid: str, source_aet: str) -> tuple[bytes, bytes]:
    """The elements before and after Media Storage SOP Instance UID: the same for a whole series, so written once."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    before = _elements(meta)
    rest = FileMetaDataset()
    rest.TransferSyntaxUID = UID(transfer_syntax_uid)
    rest.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    rest.ImplementationVersionName = "TRIAGE_NODE"
    if source_aet:
        rest.SourceApplicationEntityTitle = source_aet
    return before, _elements(rest)


def _elements(meta: FileMetaDataset) -> bytes:
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=False)
    return buffer.getvalue()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def is_running(pid: int) -> bool:
    """Whether a process of that ID lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make renames within a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find_dicom(path: Path) -> Sequence[Path]:
    """All Part 10 files under a folder (or the file itself), by their DICM prefix, in name order."""
    candidates = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [file for file in candidates if _is_part10(file)]


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
