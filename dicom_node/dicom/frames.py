"""Frames as they are stored (PS3.5 8 and A.4): where they lie in a file, and their bytes, not decoded.

What announces them may be wrong: a number of frames that the pixels do not hold counts as far as they go, and an offset
table that does not point at fragments is not believed.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dicom_node.dicom.checks import damage_raises
from dicom_node.dicom.part10 import StoredHeader, chunks
from dicom_node.errors import DamagedFile, NoSuchValue
from inference.input.bounds import Unusable
from inference.input.codestream import JPEG_START, SIZ
from inference.input.elements import integer, text, value

ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
ITEM_HEAD_BYTES = 8
OFFSET_TABLES = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
MOST_FRAGMENTS = 1_000_000
DAMAGED = "The stored pixels cannot be read"
FEWER = "The stored pixels are fewer than the instance says."
Fragment = tuple[int, int]  # where it begins in the file, and its length


def stored_frame(path: Path, header: StoredHeader, index: int) -> bytes:
    """A frame (from 0) as it lies in the file: compressed, or a plain stream (`header.is_plain`)."""
    if header.pixels is None:
        raise NoSuchValue("This instance has no pixels.")
    if not header.syntax.is_encapsulated:
        return _plain_frame(path, header, index)
    frames = _compressed_frames(path, header)
    if index >= len(frames):
        raise DamagedFile(FEWER)
    found = b"".join(b"".join(chunks(path, *fragment)) for fragment in frames[index])
    if len(found) < sum(length for _, length in frames[index]):
        raise DamagedFile(FEWER)
    return found


def frames_in(path: Path, header: StoredHeader) -> int:
    """How many of the announced frames there are; 0 without pixels."""
    if header.pixels is None:
        return 0
    if header.syntax.is_encapsulated:
        return min(header.frames, len(_compressed_frames(path, header)))
    bits = frame_bits(header)
    if header.pixels.length is None or not bits:
        return header.frames
    return min(header.frames, header.pixels.length * 8 // bits)


def frame_bits(header: StoredHeader) -> int:
    """How many bits an uncompressed frame takes."""
    dataset = header.dataset
    halved = text(dataset, "PhotometricInterpretation") == "YBR_FULL_422"
    samples = 2 if halved else integer(dataset, "SamplesPerPixel") or 1
    pixels = (integer(dataset, "Rows") or 0) * (integer(dataset, "Columns") or 0)
    return pixels * samples * (integer(dataset, "BitsAllocated") or 8)


def _plain_frame(path: Path, header: StoredHeader, index: int) -> bytes:
    """The frame's piece of the stream. Bits (PS3.5 8.1.1) are moved to begin at a byte of their own."""
    if header.pixels is None or header.pixels.length is None:
        raise DamagedFile("The pixels of this instance are not where they should be.")
    bits = frame_bits(header)
    first, last = bits * index, bits * (index + 1)
    begin, end = first // 8, (last + 7) // 8
    if last > header.pixels.length * 8:
        raise DamagedFile(FEWER)
    found = b"".join(chunks(path, header.pixels.offset + begin, end - begin))
    if len(found) < end - begin:
        raise DamagedFile(FEWER)
    if bits % 8 == 0:
        return found
    unpacked = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")[first % 8 : first % 8 + bits]
    return np.packbits(unpacked, bitorder="little").tobytes()


def _compressed_frames(path: Path, header: StoredHeader) -> Sequence[Sequence[Fragment]]:
    """The fragments of each frame: by an offset table that is right, else by how fragments begin."""
    assert header.pixels is not None
    with damage_raises(DamagedFile, DAMAGED):
        basic, fragments, starts = _fragments(path, header.pixels.offset, path.stat().st_mtime_ns)
    if header.frames == 1 or not fragments:
        return [fragments]
    if len(fragments) == header.frames:
        return [[each] for each in fragments]
    extended = value(header.dataset, "ExtendedOffsetTable")
    extended = extended[: len(extended) // 8 * 8] if isinstance(extended, bytes) else b""
    tables = (np.frombuffer(extended, "<u8").tolist(), basic, starts)
    first = fragments[0][0] - ITEM_HEAD_BYTES
    places = {begin - ITEM_HEAD_BYTES - first: number for number, (begin, _) in enumerate(fragments)}
    for table in tables:
        cuts = [places.get(offset, -1) for offset in table]
        if cuts and cuts[0] == 0 and len(cuts) in (header.frames, len(starts)) and cuts == sorted(set(cuts)):
            return [fragments[one:other] for one, other in pairwise([*cuts, len(fragments)])]
    return [[each] for each in fragments] if len(fragments) < header.frames else []


@lru_cache(maxsize=4)
def _fragments(path: Path, offset: int, changed_at: int) -> tuple[list[int], list[Fragment], list[int]]:
    """The basic offset table, the fragments behind it, and the offsets of those that look like a frame's first."""
    with path.open("rb") as file:
        file.seek(offset)
        begin, length = _next_item(file) or (0, 0)
        basic = np.frombuffer(file.read(length // 4 * 4), "<u4").tolist()
        file.seek(begin + length)
        fragments: list[Fragment] = []
        starts: list[int] = []
        while item := _next_item(file):
            if file.read(4).startswith((JPEG_START, SIZ)):
                starts.append(item[0] - ITEM_HEAD_BYTES - (begin + length))
            fragments.append(item)
            if len(fragments) > MOST_FRAGMENTS:
                raise Unusable(f"more than {MOST_FRAGMENTS} fragments")
            file.seek(sum(item))
    return basic, fragments, starts


def _next_item(file: BinaryIO) -> Fragment | None:
    """The item that begins here; None at the end of the pixels, and where the file is cut off."""
    head = file.read(ITEM_HEAD_BYTES)
    if len(head) < ITEM_HEAD_BYTES or head.startswith(SEQUENCE_END):
        return None
    if not head.startswith(ITEM):
        raise Unusable("the pixels are no sequence of fragments")
    return file.tell(), int.from_bytes(head[4:], "little")
