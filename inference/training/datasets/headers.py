"""What the headers of a folder's DICOM files say, without their pixels; kept in an index file if one is named.

The index is a CSV with a row per file (path below the folder, size, attributes). A file whose path and size are in it
is not opened again, so that a scan of many files that was stopped goes on where it was.
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

from inference.elements import UNREADABLE, integer, text
from inference.training.datasets.base import DatasetError

log = logging.getLogger(__name__)

STEP = 50_000
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
    """One file: where it lies below the folder, its size in bytes, and its attributes ('' where absent).

    A file that is no readable DICOM image has no `study_uid`; it is `damaged` where it should have been one.
    """

    path: str
    size: int
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
    files = sorted((path, size) for path, size in _files(root) if index is None or root / path != index)
    if not files:
        raise DatasetError(f"{root}: holds no files; expected DICOM images.")
    known = _read_index(index) if index is not None and index.exists() else {}
    found: list[Header] = []
    opened = 0
    for path, size in files:
        old = known.get(path)
        if old is not None and old.size == size:
            found.append(old)
            continue
        found.append(_read_header(root, path, size))
        opened += 1
        if opened % STEP == 0:
            log.info("%s: %d of %d headers", root, len(found), len(files))
            _write_index(index, found)
    if opened or len(known) != len(found):
        _write_index(index, found)
    return found


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Path below the folder with '/', and size; hidden files and folders are none."""
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(root / below) as items:
                for item in items:
                    name = f"{below}{item.name}"
                    if item.name.startswith("."):
                        continue
                    if item.is_dir():
                        folders.append(f"{name}/")
                    else:
                        yield name, item.stat().st_size
        except OSError as error:
            raise DatasetError(f"{root / below}: cannot be read ({error.strerror}).") from error


def _read_header(root: Path, path: str, size: int) -> Header:
    try:
        with disable_value_validation():
            ds = dcmread(root / path, stop_before_pixels=True, specific_tags=[*KEYWORDS.values(), "NumberOfFrames"])
            said = {name: text(ds, keyword) for name, keyword in KEYWORDS.items()}
            frames = integer(ds, "NumberOfFrames") or 1
    except InvalidDicomError:
        return Header(path, size, damaged=path.lower().endswith(".dcm"))
    except UNREADABLE as error:
        log.warning("%s: cannot be read (%s)", root / path, error)
        return Header(path, size, damaged=True)
    return Header(path, size, **said, frames=frames, damaged=not said["study_uid"] and path.lower().endswith(".dcm"))


def _read_index(index: Path) -> dict[str, Header]:
    try:
        with index.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise DatasetError(f"{index}: is no index of headers; expected the columns {', '.join(COLUMNS)}.")
            return {row["path"]: _header_of(row) for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise DatasetError(f"{index}: cannot be read as an index of headers ({error}); delete it.") from error


def _header_of(row: dict[str, str]) -> Header:
    said = {name: row[name] for name in KEYWORDS}
    return Header(row["path"], int(row["size"]), **said, frames=int(row["frames"]), damaged=row["damaged"] == "True")


def _write_index(index: Path | None, headers: Sequence[Header]) -> None:
    """All at once: a half-written index is never seen."""
    if index is None:
        return
    part = index.with_name(f"{index.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(COLUMNS)
            writer.writerows([getattr(header, name) for name in COLUMNS] for header in headers)
        part.replace(index)
    except OSError as error:
        raise DatasetError(f"{index}: the index of headers cannot be written ({error.strerror}).") from error
