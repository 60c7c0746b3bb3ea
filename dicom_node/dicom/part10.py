"""Part 10 files read for the web: the header without pixels, where the pixels lie, frames as they are stored.

Nothing here decodes pixels: a decoder may abort its whole process (see decoding.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import encaps
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_partial
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from starlette.exceptions import HTTPException

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.errors import TriageNodeError

PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, pixel data
UNDEFINED_LENGTH = 0xFFFFFFFF
LONG_FORM = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
CHUNK_BYTES = 1 << 18


class Gone(TriageNodeError):
    """A file has been removed to make room; a response that is under way breaks off."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of the pixel element lies in the file; `length` None when it is encapsulated."""

    tag: int
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A data set without its pixels; `pixels` None when it has none."""

    dataset: FileDataset
    syntax: UID
    pixels: PixelElement | None

    @property
    def frames(self) -> int:
        """Number of frames; 0 without pixels."""
        return max(1, whole(self.dataset, "NumberOfFrames", 1)) if self.pixels else 0

    @property
    def is_plain(self) -> bool:
        """Whether the pixels lie in the file as an uncompressed little endian stream."""
        others = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
        return not self.syntax.is_encapsulated and self.syntax not in others


def whole(dataset: FileDataset, keyword: str, default: int = 0) -> int:
    """An element as a whole number."""
    try:
        return int(dataset.get(keyword) or default)
    except UNREADABLE:
        return default


def read_header(path: Path, tags: Sequence[int] | None = None) -> Header:
    """Read a file up to its pixels; 500 when it cannot be read."""
    try:
        with opened(path) as file:
            return _read_header(file, tags)
    except UNREADABLE as error:
        raise HTTPException(500, f"The stored file cannot be read: {error}") from None


def opened(path: Path) -> BinaryIO:
    """The file for reading. Gone when retention was quicker."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise Gone(f"{path.name} has been removed to make room") from None


def _read_header(file: BinaryIO, tags: Sequence[int] | None) -> Header:
    seen: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXEL_TAGS:
            seen.append((int(tag), vr, length))
        return tag in PIXEL_TAGS

    wanted: list[BaseTag | int] | None = None if tags is None else list(tags)
    dataset = read_partial(file, at_pixels, specific_tags=wanted)
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)
    if not seen:
        return Header(dataset, syntax, None)
    tag, vr, length = seen[0]
    head = 12 if vr in LONG_FORM else 8  # no VR: implicit
    known = None if length == UNDEFINED_LENGTH else length
    return Header(dataset, syntax, PixelElement(tag, vr or "OW", file.tell() + head, known))


def chunks(path: Path, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """A file, or a piece of it, a little at a time."""
    with opened(path) as file:
        left = length if length is not None else file.seek(0, 2) - offset
        file.seek(offset)
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def plain_frame(path: Path, header: Header, index: int) -> bytes:
    """An uncompressed frame (from 0) out of the file. Bits (PS3.5 8.1.1) begin at a byte of their own."""
    if header.pixels is None or header.pixels.length is None:
        raise HTTPException(500, "The pixels of this instance are not where they should be.")
    bits = frame_bits(header)
    first, last = bits * index, bits * (index + 1)
    if last > header.pixels.length * 8:
        raise HTTPException(500, "The stored pixels are fewer than the instance says.")
    begin, end = first // 8, (last + 7) // 8
    found = b"".join(chunks(path, header.pixels.offset + begin, end - begin))
    if bits % 8 == 0:
        return found
    unpacked = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")[first % 8 : first % 8 + bits]
    return np.packbits(unpacked, bitorder="little").tobytes()


def frame_bits(header: Header) -> int:
    """How many bits an uncompressed frame takes."""
    dataset = header.dataset
    samples = 2 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else whole(dataset, "SamplesPerPixel", 1)
    return whole(dataset, "Rows") * whole(dataset, "Columns") * samples * whole(dataset, "BitsAllocated", 8)


def compressed_frame(path: Path, header: Header, index: int) -> bytes:
    """A compressed frame (from 0) as it is stored, its fragments joined."""
    if header.pixels is None:
        raise HTTPException(404, "This instance has no pixels.")
    offsets = header.dataset.get("ExtendedOffsetTable"), header.dataset.get("ExtendedOffsetTableLengths")
    with opened(path) as file:
        file.seek(header.pixels.offset)
        try:
            return encaps.get_frame(
                file, index, number_of_frames=header.frames, extended_offsets=offsets if all(offsets) else None
            )
        except UNREADABLE as error:
            raise HTTPException(500, f"The stored pixels cannot be read: {error}") from None


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


def find_dicom(path: Path) -> Sequence[Path]:
    """All Part 10 files under a folder (or the file itself), by their DICM prefix, in name order."""
    candidates = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [file for file in candidates if _is_part10(file)]


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
