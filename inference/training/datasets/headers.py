"""What the headers of a folder's DICOM files say, without their pixels; kept in an index file if one is named.

The index is a CSV: a line with the folder, then a row per file (path below the folder, size, time of change,
attributes). A file that is in it unchanged and was readable is not opened again, so that a scan of many files that was
stopped goes on where it was. What cannot be read is logged and marked, and does not stop the rest.
"""

import csv
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError

from inference.input.elements import UNREADABLE, integer, text
from inference.training.datasets.base import DatasetError

log = logging.getLogger(__name__)

LOG_STEP = 5_000
WRITE_STEP = 50_000
FOLDER = "folder"
KEYWORDS = {
    "patient_id": "PatientID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "sop_uid": "SOPInstanceUID",
    "accession_number": "AccessionNumber",
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "kernel": "ConvolutionKernel",
    "contrast": "ContrastBolusAgent",
}


@dataclass(frozen=True, slots=True)
class Header:
    """One file: where it lies below the folder, size in bytes, time of change, and its attributes ('' where absent).

    A file that is no readable DICOM image has no `study_uid`; it is `damaged` where it should have been one.
    """

    path: str
    size: int
    mtime_ns: int
    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    accession_number: str = ""
    modality: str = ""
    series_description: str = ""
    kernel: str = ""
    contrast: str = ""
    frames: int = 1
    damaged: bool = False


COLUMNS = tuple(field.name for field in fields(Header))


def read_headers(root: Path, index: Path | None = None) -> list[Header]:
    """The header of every file below the folder, by path; DatasetError where the folder or the index is none."""
    files = sorted(each for each in _files(root) if index is None or root / each[0] != index)
    if not files:
        raise DatasetError(f"{root}: holds no files; expected DICOM images.")
    known = _read_index(root, index) if index is not None and index.exists() else {}
    found: list[Header] = []
    opened = 0
    for path, size, mtime_ns in files:
        old = known.get(path)
        if old is not None and (old.size, old.mtime_ns, old.damaged) == (size, mtime_ns, False):
            found.append(old)
            continue
        found.append(_read_header(root, path, size, mtime_ns))
        opened += 1
        if opened % LOG_STEP == 0:
            log.info("%s: %d of %d headers", root, len(found), len(files))
        if opened % WRITE_STEP == 0:
            _write_index(root, index, found)
    if opened or len(known) != len(found):
        _write_index(root, index, found)
    return found


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    """Path below the folder with '/', size and time of change; hidden files and folders are none.

    A folder that cannot be read is left out; a file that cannot be looked at (a dangling link) is of size and time 0.
    """
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(root / below) as scanned:
                items = list(scanned)
        except OSError as error:
            log.warning("%s: is left out; the folder cannot be read (%s)", root / below, error.strerror)
            continue
        for item in items:
            name = f"{below}{item.name}"
            if item.name.startswith("."):
                continue
            try:
                if item.is_dir():
                    folders.append(f"{name}/")
                else:
                    status = item.stat()
                    yield name, status.st_size, status.st_mtime_ns
            except OSError:
                yield name, 0, 0


def _read_header(root: Path, path: str, size: int, mtime_ns: int) -> Header:
    try:
        with disable_value_validation():
            ds = dcmread(root / path, stop_before_pixels=True, specific_tags=[*KEYWORDS.values(), "NumberOfFrames"])
            said = {name: text(ds, keyword) for name, keyword in KEYWORDS.items()}
            frames = integer(ds, "NumberOfFrames") or 1
    except InvalidDicomError:
        return Header(path, size, mtime_ns, damaged=path.lower().endswith(".dcm"))
    except UNREADABLE as error:
        log.warning("%s: cannot be read (%s)", root / path, error)
        return Header(path, size, mtime_ns, damaged=True)
    damaged = not said["study_uid"] and path.lower().endswith(".dcm")
    return Header(path, size, mtime_ns, **said, frames=frames, damaged=damaged)


def _read_index(root: Path, index: Path) -> dict[str, Header]:
    """{path: header}, none where the index is of another folder."""
    try:
        with index.open(encoding="utf-8", newline="") as lines:
            named = next(csv.reader(lines), [])
            if named[:1] == [FOLDER] and named != [FOLDER, str(root.resolve())]:
                log.info("%s: is the index of another folder and is made anew", index)
                return {}
            rows = csv.DictReader(lines)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise DatasetError(f"{index}: is no index of headers, or an older one; delete it.")
            return {row["path"]: _header_of(row) for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise DatasetError(f"{index}: cannot be read as an index of headers ({error}); delete it.") from error


def _header_of(row: dict[str, str]) -> Header:
    said = {name: row[name] for name in KEYWORDS}
    return Header(
        row["path"],
        int(row["size"]),
        int(row["mtime_ns"]),
        **said,
        frames=int(row["frames"]),
        damaged=row["damaged"] == "True",
    )


def _write_index(root: Path, index: Path | None, headers: Sequence[Header]) -> None:
    """All at once: a half-written index is never seen."""
    if index is None:
        return
    part = index.with_name(f"{index.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow([FOLDER, str(root.resolve())])
            writer.writerow(COLUMNS)
            writer.writerows([getattr(header, name) for name in COLUMNS] for header in headers)
        part.replace(index)
    except OSError as error:
        raise DatasetError(f"{index}: the index of headers cannot be written ({error.strerror}).") from error
