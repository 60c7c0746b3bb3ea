"""The small pictures of a series as one file: a ZIP archive, uncompressed, of pictures and of `index.json`."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from reports.preview import Window

_INDEX = "index.json"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a ZIP archive: the same pictures always make the same file
DAMAGED = (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError, NotImplementedError)
"""What reading raises for a file that is damaged, or made by another version of this program."""


@dataclass(frozen=True, slots=True)
class ShownSlice:
    """Where a tile lies in the series, from 1, and how the images name it (None or 0 where they do not).

    `sop_uid` and `frame` (from 1) are those of the image.
    """

    place: int
    number: int
    sop_uid: str
    frame: int


@dataclass(frozen=True, slots=True)
class Index:
    """What the pictures show. `first` is the number of the most telling tile, `total` how many slices the series has.

    `revision` counts the series' changes; `sides` are the letters of the left, right, top and bottom edge; every sheet
    has `columns` square tiles in a row.
    """

    series_uid: str
    revision: int
    total: int
    first: int
    tile: int
    columns: int
    sides: tuple[str, str, str, str]
    windows: tuple[Window, ...]
    outlined: bool
    slices: tuple[ShownSlice, ...]


def pack(index: Index, pictures: Mapping[str, bytes]) -> bytes:
    """The file's bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in ((_INDEX, json.dumps(asdict(index)).encode()), *pictures.items()):
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST), content)
    return buffer.getvalue()


def read_picture(path: Path, name: str) -> bytes:
    """One of the pictures. KeyError where it has none of that name, one of DAMAGED where it cannot be read."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def read_index(path: Path) -> Index:
    """What the pictures show. One of DAMAGED where it cannot be read."""
    known = json.loads(read_picture(path, _INDEX))
    left, right, top, bottom = known.pop("sides")
    windows = tuple(Window(**each) for each in known.pop("windows"))
    slices = tuple(ShownSlice(**each) for each in known.pop("slices"))
    return Index(**known, sides=(left, right, top, bottom), windows=windows, slices=slices)
