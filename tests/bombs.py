"""Small objects that want much memory: deflated ones, and compressed images that are larger than they look."""

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from openjpeg.utils import encode_array
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless
from series import ct

from dicom_node.dicom.part10 import part10_header


def data_set_of(dataset: Dataset) -> bytes:
    """The data set alone, in Explicit VR Little Endian."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=False, implicit_vr=False, little_endian=True)
    whole = buffer.getvalue()
    return whole[whole.index(b"\x08\x00") :]


def deflated(dataset: Dataset, *, mib: int, tag: bytes = b"\xe0\x7f\x10\x00") -> bytes:
    """The data set with a last element of so many MiB of zeros, deflated."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = data_set_of(dataset) + tag + b"OW\0\0" + (mib << 20).to_bytes(4, "little")
    begin = deflater.compress(start) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)  # stands alone, however often
    return begin + block * mib + deflater.flush()


def bomb(kind: str, index: int = 0, **elements: Any) -> tuple[bytes, UID]:
    """A slice of a head CT (series.py) that is a bomb of some kind: its data set and transfer syntax."""
    dataset = ct(index, **elements)
    pixels = dataset.PixelData
    del dataset.PixelData
    if kind == "pixels":
        return deflated(dataset, mib=2048), DeflatedExplicitVRLittleEndian
    if kind == "frames":
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 8192, 512, 512
        return deflated(dataset, mib=4095), DeflatedExplicitVRLittleEndian
    if kind == "header":
        return deflated(dataset, mib=2048, tag=b"\x09\x00\x10\x10"), DeflatedExplicitVRLittleEndian
    if kind == "after the pixels":
        dataset.PixelData = pixels
        return deflated(dataset, mib=2048, tag=b"\xfc\xff\xfc\xff"), DeflatedExplicitVRLittleEndian
    return compressed(dataset, large_jpeg_2000()), JPEG2000Lossless


def large_jpeg_2000(side: int = 30_000) -> bytes:
    """A codestream of a few hundred bytes that says that it has so many rows and columns."""
    stream = bytearray(encode_array(np.zeros((64, 64), np.uint16), photometric_interpretation=2))
    siz = stream.index(b"\xff\x4f\xff\x51") + 8
    for place in (0, 1, 4, 5):  # the size of the image, and that of its tiles
        stream[siz + 4 * place : siz + 4 * place + 4] = side.to_bytes(4, "big")
    return bytes(stream)


def compressed(dataset: Dataset, *frames: bytes) -> bytes:
    """The data set with these frames."""
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return data_set_of(dataset)


def write_bomb(path: Path, kind: str, index: int = 0, **elements: Any) -> Path:
    """The bomb as a Part 10 file."""
    data, syntax = bomb(kind, index, **elements)
    dataset = ct(index, **elements)
    path.write_bytes(part10_header(dataset.SOPClassUID, dataset.SOPInstanceUID, syntax, "BOMB") + data)
    return path
