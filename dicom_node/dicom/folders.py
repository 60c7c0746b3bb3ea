"""Which files of a folder are DICOM: all that are, whatever their names, and why each other one is left out.

Links to folders are followed, each folder is read once; pipes and devices are never opened. A DICOMDIR (PS3.10 8.6) is
no object: it lists files that lie beside it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from inference.input.files import is_dicom, is_dicomdir

MOST_NAMES = 5


class LeftOut(StrEnum):
    """Why a file is not taken, though it could be read."""

    NO_DICOM = "no DICOM"
    INDEX = "an index of files that are taken by themselves"
    NO_FILE = "a device, pipe or socket"
    READ_ALREADY = "a folder that is read by another name"


@dataclass(frozen=True, slots=True)
class Folder:
    """What lies under a path, each in the order of names; `unreadable` says why."""

    dicom: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, LeftOut]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def say(self) -> Iterator[str]:
        """A line for each reason to leave files out, with the first names, and one for each that cannot be read."""
        for why in LeftOut:
            if paths := [path for path, reason in self.left_out if reason is why]:
                names = ", ".join(each.name for each in paths[:MOST_NAMES]) + (", ..." if paths[MOST_NAMES:] else "")
                yield f"left out, {why}: {names} ({len(paths)} file{'s' if len(paths) > 1 else ''})"
        for path, trouble in self.unreadable:
            yield f"{path}: cannot be read: {trouble}"


def find_dicom(path: Path) -> Sequence[Path]:
    """All DICOM files under a folder (or the file itself), whatever their names, in the order of these."""
    return sort_files(path).dicom


def sort_files(path: Path) -> Folder:
    """What lies under a folder, or what a file is; a DICOMDIR stands for the folder that it lies in."""
    found = Folder()
    with_index = path.is_file() and os.access(path, os.R_OK) and is_dicomdir(path)
    for file in _files(path.parent if with_index else path, found):
        try:
            if is_dicomdir(file):
                found.left_out.append((file, LeftOut.INDEX))
            elif is_dicom(file):
                found.dicom.append(file)
            else:
                found.left_out.append((file, LeftOut.NO_DICOM))
        except OSError as error:
            found.unreadable.append((file, error.strerror or str(error)))
    return found


def _files(top: Path, found: Folder) -> Iterator[Path]:
    """The regular files; what is none, and what cannot be entered, goes into `found`."""
    pending, entered = [top], set[str]()
    while pending:
        path = pending.pop()
        try:
            if path.stat() and path.is_dir():
                where = os.path.realpath(path)
                if where in entered:
                    found.left_out.append((path, LeftOut.READ_ALREADY))
                    continue
                entered.add(where)
                pending.extend(sorted(path.iterdir(), reverse=True))
            elif path.is_file():
                yield path
            else:
                found.left_out.append((path, LeftOut.NO_FILE))
        except OSError as error:
            broken = path.is_symlink() and isinstance(error, FileNotFoundError)
            found.unreadable.append((path, "a link to nothing" if broken else error.strerror or str(error)))
