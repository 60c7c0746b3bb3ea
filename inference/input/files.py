"""DICOM files as they lie on disks: Part 10 files (PS3.10 7), and older ones without preamble or file meta information.

Old scanners and planning systems write data sets without the 128 bytes and `DICM` before them, and some without any
file meta information, then in Implicit VR Little Endian as a rule (PS3.5 10.1). Such a file is taken for DICOM only if
its first element is one that stands first in a data set and its class and instance are named.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from inference.input.elements import UNREADABLE, text
from inference.input.reading import read_dicom

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
START_BYTES = PREAMBLE_BYTES + len(PREFIX)
MEDIA_STORAGE_CLASS = b"\x02\x00\x02\x00UI"  # the element up to its length
DIRECTORY_CLASS = b"1.2.840.10008.1.3.10"
META_BYTES = 512
FIRST_BYTES = 8  # of an element: its tag, and its VR and length
LAST_FIRST_ELEMENTS = {0x0002: 0x0002, 0x0008: 0x0016}  # up to the Media Storage SOP Class, or the SOP Class
LONGEST_FIRST_VALUE = 256
ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


def is_dicom(path: Path) -> bool:
    """Whether a file is a Part 10 file by its prefix, or a data set that lacks what should stand before it."""
    start = _start_of(path)
    if has_prefix(start):
        return True
    if _beginning(start) is None:
        return False
    try:
        ds = read_file(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    except UNREADABLE:
        return False
    return bool(text(ds, "SOPClassUID") and text(ds, "SOPInstanceUID"))


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a DICOMDIR by its Media Storage SOP Class: an index, and no object."""
    with path.open("rb") as file:
        start = file.read(META_BYTES)
    at = start.find(MEDIA_STORAGE_CLASS) + len(MEDIA_STORAGE_CLASS)
    length = int.from_bytes(start[at : at + 2], "little")
    return MEDIA_STORAGE_CLASS in start and start[at + 2 : at + 2 + length].rstrip(b"\0 ") == DIRECTORY_CLASS


def read_file(path: Path, **options: Any) -> FileDataset:
    """`read_dicom`, also without preamble or file meta information; the transfer syntax is then filled in."""
    start = _start_of(path)
    beginning = None if has_prefix(start) else _beginning(start)
    if beginning is None:
        return read_dicom(path, **options)
    ds = read_dicom(BytesIO(path.read_bytes()[beginning:]), force=True, **options)
    ds.filename = str(path)
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds


def has_prefix(start: bytes) -> bool:
    """Whether preamble and prefix stand at the beginning of a file."""
    return start[PREAMBLE_BYTES:START_BYTES] == PREFIX


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(START_BYTES + FIRST_BYTES)


def _beginning(start: bytes) -> int | None:
    """Where the first element may stand: at once, or after half of what should stand before it; None if nowhere."""
    places = (len(PREFIX),) if start.startswith(PREFIX) else (0, PREAMBLE_BYTES)
    return next((place for place in places if _is_first_element(start[place : place + FIRST_BYTES])), None)


def _is_first_element(head: bytes) -> bool:
    """Whether a file meta information or a data set may begin with this element (PS3.5 7.1)."""
    if len(head) < FIRST_BYTES:
        return False
    for order in ORDERS:
        group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        is_explicit = head[4:6].isalpha() and head[4:6].isupper()
        length = int.from_bytes(head[6:8] if is_explicit else head[4:8], order)
        if element <= LAST_FIRST_ELEMENTS.get(group, -1):
            return length <= LONGEST_FIRST_VALUE and length % 2 == 0
    return False
