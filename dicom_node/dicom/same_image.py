"""Do two versions of an instance show the same pixels in the same place?"""

from itertools import zip_longest
from pathlib import Path

import numpy as np

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.frames import frame_bits, frames_in
from dicom_node.dicom.part10 import StoredHeader, chunks, read_header
from dicom_node.dicom.pixels import frame_values
from dicom_node.errors import TriageNodeError

NOT_IMAGES = {"SEG", "SR", "KO", "PR", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "FID", "AU", "ECG", "PLAN"}
GEOMETRY = (
    *("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation"),
    *("PhotometricInterpretation", "SeriesInstanceUID", "InstanceNumber", "ImageType", "ConvolutionKernel"),
    *("ContrastBolusAgent", "BodyPartExamined"),
)


def same_image(old: Path, new: Path, decoders: Decoders) -> bool:
    """Whether two files show the same image; False when that cannot be told."""
    try:
        one, other = read_header(old), read_header(new)
        if any(one.dataset.get(keyword) != other.dataset.get(keyword) for keyword in GEOMETRY):
            return False
        if one.pixels is None and other.pixels is None:
            return one.dataset.get("Modality") in NOT_IMAGES
        return _same_bytes(old, one, new, other) or decoders.run(same_pixels, old, new)
    except (*UNREADABLE, TriageNodeError):
        return False


def _same_bytes(old: Path, one: StoredHeader, new: Path, other: StoredHeader) -> bool:
    """Whether both hold the same plain stream of pixels; nothing is decoded for that."""
    first, second = one.pixels, other.pixels
    if first is None or second is None or not (one.is_plain and other.is_plain):
        return False
    if first.length != second.length or frame_bits(one) != frame_bits(other):
        return False
    pieces = zip_longest(chunks(old, first.offset, first.length), chunks(new, second.offset, second.length))
    return all(piece == same for piece, same in pieces)


def same_pixels(old: Path, new: Path) -> bool:
    """Whether two files decode to the same pixels; False when one cannot be decoded."""
    try:
        one, other = read_header(old), read_header(new)
        frames = frames_in(old, one)
        return frames == frames_in(new, other) and all(
            np.array_equal(frame_values(old, one, index), frame_values(new, other, index)) for index in range(frames)
        )
    except (*UNREADABLE, TriageNodeError):
        return False
