"""Do two versions of an instance show the same pixels in the same place?"""

from pathlib import Path

import numpy as np
from pydicom import dcmread

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.dicom.decoding import Decoders
from dicom_node.errors import CannotDecode

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
        one, other = dcmread(old), dcmread(new)
        if any(one.get(keyword) != other.get(keyword) for keyword in GEOMETRY):
            return False
        if "PixelData" not in one and "PixelData" not in other:
            return one.get("Modality") in NOT_IMAGES
        if any(each.file_meta.TransferSyntaxUID.is_encapsulated for each in (one, other)):
            return decoders.run(same_pixels, old, new)
        return same_pixels(old, new)
    except (*UNREADABLE, CannotDecode):
        return False


def same_pixels(old: Path, new: Path) -> bool:
    """Whether two files decode to the same pixels; False when one cannot be decoded."""
    try:
        return bool(np.array_equal(dcmread(old).pixel_array, dcmread(new).pixel_array))
    except UNREADABLE:
        return False
