"""Small CT slices made in memory, for tests that need a series which no scanner would send."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHAPE = (4, 6)


def ct_slice(index: int, stored: ArrayLike | None = None, **attributes: Any) -> Dataset:
    """Slice `index` of an axial series, 5 mm apart; `stored` are pixels, `attributes` replace or, None, remove."""
    pixels = np.full(SHAPE, 1024 + index) if stored is None else np.broadcast_to(np.asarray(stored), SHAPE)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.3.{index + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.1", "1.2.2"
    ds.Modality, ds.ImageType, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -20, 5 * index], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.25], 5
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = SHAPE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = (pixels.astype(np.int64) & 0xFFFF).astype("<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def garble(ds: Dataset, keyword: str, vr: str, value: bytes) -> Dataset:
    """Put an element into the data set as if these bytes had been read from a file."""
    tag = Tag(keyword)
    ds._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return ds
