"""Compare: do two versions of an instance show the same pixels in the same place?

Compressed pixels are decoded in a process of their own: a decoder may abort its whole process on a corrupt stream.
"""

import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import FileDataset

from dicom_node.dicom.checks import UNREADABLE

NOT_IMAGES = {"SEG", "SR", "KO", "PR", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "FID", "AU", "ECG", "PLAN"}
GEOMETRY = (
    *("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation"),
    *("PhotometricInterpretation", "SeriesInstanceUID", "InstanceNumber", "ImageType", "ConvolutionKernel"),
    *("ContrastBolusAgent", "BodyPartExamined"),
)
DECODE_S = 60.0
log = structlog.get_logger()


def same_image(old: Path, new: Path) -> bool:
    """Whether two files show the same image; False when that cannot be told."""
    try:
        one, other = dcmread(old), dcmread(new)
        if any(one.get(keyword) != other.get(keyword) for keyword in GEOMETRY):
            return False
        if "PixelData" not in one and "PixelData" not in other:
            return one.get("Modality") in NOT_IMAGES
        if is_compressed(one) or is_compressed(other):
            return _decoders.same_pixels(old, new)
    except UNREADABLE:
        return False
    return same_pixels(old, new)


def is_compressed(dataset: FileDataset) -> bool:
    """Whether a decoder is needed for the pixels."""
    return dataset.file_meta.TransferSyntaxUID.is_encapsulated


def same_pixels(old: Path, new: Path) -> bool:
    """Whether two files decode to the same pixels; False when one cannot be decoded."""
    try:
        return bool(np.array_equal(dcmread(old).pixel_array, dcmread(new).pixel_array))
    except UNREADABLE:
        return False


class DecoderProcess:
    """A process that compares compressed pixels, started when first needed and again when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def same_pixels(self, old: Path, new: Path) -> bool:
        """See `same_pixels`; False, too, when the process did not survive it."""
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"))
            try:
                return self._pool.submit(same_pixels, old, new).result(DECODE_S)
            except (BrokenProcessPool, TimeoutError):
                log.error("two versions of an image could not be compared", path=str(new))
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
                return False


_decoders = DecoderProcess()
