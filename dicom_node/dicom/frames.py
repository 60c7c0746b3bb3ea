"""Frames as they are stored (PS3.5 8 and A.4): where they lie in a file, and their bytes, not decoded."""

from pathlib import Path

import numpy as np
from pydicom import encaps

from dicom_node.dicom.checks import damage_raises
from dicom_node.dicom.part10 import StoredHeader, chunks
from dicom_node.errors import DamagedFile, NoSuchValue
from inference.input.elements import integer, text


def stored_frame(path: Path, header: StoredHeader, index: int) -> bytes:
    """A frame (from 0) as it lies in the file: compressed, or a plain stream (`header.is_plain`)."""
    if header.syntax.is_encapsulated:
        return _compressed_frame(path, header, index)
    return _plain_frame(path, header, index)


def _compressed_frame(path: Path, header: StoredHeader, index: int) -> bytes:
    """The fragments of the frame, joined."""
    if header.pixels is None:
        raise NoSuchValue("This instance has no pixels.")
    offsets = header.dataset.get("ExtendedOffsetTable"), header.dataset.get("ExtendedOffsetTableLengths")
    with damage_raises(DamagedFile, "The stored pixels cannot be read"), path.open("rb") as file:
        file.seek(header.pixels.offset)
        return encaps.get_frame(
            file, index, number_of_frames=header.frames, extended_offsets=offsets if all(offsets) else None
        )


def _plain_frame(path: Path, header: StoredHeader, index: int) -> bytes:
    """The frame's piece of the stream. Bits (PS3.5 8.1.1) are moved to begin at a byte of their own."""
    if header.pixels is None or header.pixels.length is None:
        raise DamagedFile("The pixels of this instance are not where they should be.")
    bits = frame_bits(header)
    first, last = bits * index, bits * (index + 1)
    begin, end = first // 8, (last + 7) // 8
    found = b"".join(chunks(path, header.pixels.offset + begin, end - begin))
    if last > header.pixels.length * 8 or len(found) < end - begin:
        raise DamagedFile("The stored pixels are fewer than the instance says.")
    if bits % 8 == 0:
        return found
    unpacked = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")[first % 8 : first % 8 + bits]
    return np.packbits(unpacked, bitorder="little").tobytes()


def frame_bits(header: StoredHeader) -> int:
    """How many bits an uncompressed frame takes."""
    dataset = header.dataset
    halved = text(dataset, "PhotometricInterpretation") == "YBR_FULL_422"
    samples = 2 if halved else integer(dataset, "SamplesPerPixel") or 1
    pixels = (integer(dataset, "Rows") or 0) * (integer(dataset, "Columns") or 0)
    return pixels * samples * (integer(dataset, "BitsAllocated") or 8)
