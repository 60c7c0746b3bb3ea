"""Part 10 files (PS3.10 7): read up to their pixels, and their file meta information written and split off.

A file is never held as a whole here, and no pixels are decoded: see frames.py for those as they are stored, and
decoding.py for all that needs a decoder.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.dicom.checks import checked_uid, damage_raises
from dicom_node.errors import CannotUnderstand, DamagedFile
from inference.input.elements import integer
from inference.input.files import PREFIX, START_BYTES, has_prefix
from inference.input.reading import PIXEL_TAGS, read_dicom

UNDEFINED_LENGTH = 0xFFFFFFFF
LONG_FORM = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT")  # PS3.5 Table 7.1-1
TRANSFER_SYNTAX = b"\x02\x00\x10\x00"
CHUNK_BYTES = 1 << 18
LARGEST_HEADER_BYTES = 1 << 28
LONGEST_VALUE_BYTES = 1 << 20  # longer ones are left in the file until somebody asks for them


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of the pixel element lies in the file; `length` None when it is encapsulated."""

    tag: int
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True, eq=False)
class StoredHeader:
    """A data set without its pixels; `pixels` None when it has none."""

    dataset: FileDataset
    syntax: UID
    pixels: PixelElement | None

    @property
    def frames(self) -> int:
        """Number of frames; 0 without pixels."""
        return max(1, integer(self.dataset, "NumberOfFrames") or 1) if self.pixels else 0

    @property
    def is_plain(self) -> bool:
        """Whether the pixels lie in the file as an uncompressed little endian stream."""
        others = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
        return not self.syntax.is_encapsulated and self.syntax not in others


def read_header(path: Path, tags: Sequence[int] | None = None) -> StoredHeader:
    """Read a file up to its pixels, or only these elements of it. DamagedFile when it cannot be read, or Gone."""
    with damage_raises(DamagedFile, "The stored file cannot be read"), path.open("rb") as file:
        return _read_header(file, tags)


def chunks(path: Path, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """A file, or a piece of it, a little at a time."""
    with damage_raises(DamagedFile, "The stored file cannot be read"), path.open("rb") as file:
        left = length if length is not None else file.seek(0, 2) - offset
        file.seek(offset)
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def part10_header(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str, source_aet: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1) that go before a data set as sent.

    CannotUnderstand when the SOP Instance UID is no UID.
    """
    head, tail = _meta_template(sop_class_uid, transfer_syntax_uid, source_aet)
    uid = checked_uid(sop_uid).encode("ascii")
    uid += b"\0" * (len(uid) % 2)
    element = b"\x02\x00\x03\x00UI" + len(uid).to_bytes(2, "little") + uid
    body = head + element + tail
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(body).to_bytes(4, "little")
    return b"\0" * (START_BYTES - len(PREFIX)) + PREFIX + length + body


def split_meta(part10: bytes) -> tuple[str, bytes]:
    """The transfer syntax that the file meta information names, and the data set behind it as it stands there.

    The preamble may be missing: some clients leave it out. CannotUnderstand when no transfer syntax is named.
    """
    at, syntax = START_BYTES if has_prefix(part10) else 0, ""
    while part10[at : at + 2] == TRANSFER_SYNTAX[:2]:
        long = part10[at + 4 : at + 6].decode("latin-1") in LONG_FORM
        head = 12 if long else 8
        length = int.from_bytes(part10[at + (8 if long else 6) : at + head], "little")
        if part10[at : at + 4] == TRANSFER_SYNTAX:
            syntax = checked_uid(part10[at + head : at + head + length].decode("latin-1"))
        at += head + length
    if not syntax:
        raise CannotUnderstand("a part is no DICOM file, or one without transfer syntax")
    return syntax, part10[at:]


def is_intact(path: Path, sha256: str, transfer_syntax_uid: str = "") -> bool:
    """Whether a stored file can be read and its data set has this SHA-256, and this transfer syntax where it is given.

    A file that is gone, empty, cut or changed is not intact.
    """
    digest = hashlib.sha256()
    try:
        for chunk in data_chunks(path, transfer_syntax_uid):
            digest.update(chunk)
    except (CannotUnderstand, OSError):
        return False
    return digest.hexdigest() == sha256


def data_chunks(path: Path, transfer_syntax_uid: str = "") -> Iterator[bytes]:
    """The data set of a stored file, as it stands behind the file meta information, a little at a time.

    CannotUnderstand when that information is damaged or names another transfer syntax than the one given.
    """
    with path.open("rb") as file:
        syntax, chunk = split_meta(file.read(CHUNK_BYTES))
        if transfer_syntax_uid and syntax != transfer_syntax_uid:
            raise CannotUnderstand(f"the file names the transfer syntax {syntax} instead of {transfer_syntax_uid}")
        while chunk:
            yield chunk
            chunk = file.read(CHUNK_BYTES)


def _read_header(file: BinaryIO, tags: Sequence[int] | None) -> StoredHeader:
    seen: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXEL_TAGS:
            seen.append((int(tag), vr, length))
        return tag in PIXEL_TAGS

    dataset = read_dicom(
        file,
        stop_when=at_pixels,
        specific_tags=tags,
        defer_size=LONGEST_VALUE_BYTES,
        most_bytes=LARGEST_HEADER_BYTES,
    )
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
    if not seen:
        return StoredHeader(dataset, syntax, None)
    tag, vr, length = seen[0]
    head = 12 if vr in LONG_FORM else 8  # no VR: implicit
    known = None if length == UNDEFINED_LENGTH else length
    return StoredHeader(dataset, syntax, PixelElement(tag, vr or "OW", file.tell() + head, known))


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
