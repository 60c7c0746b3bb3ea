"""Images -> the frames among them that may be slices, and those that cannot be, from their headers alone.

An image that is in colour, a localizer, has no place in the patient or no pixel spacing is no slice (PS3.3 C.7.6.2,
C.8.2.1.1.1), whatever else the series holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from inference.input.elements import frame_macros, integer, numbers, text, texts
from inference.input.geometry import SliceGeometry, is_localizer, slice_geometry
from inference.input.set_aside import SetAside, Unfit

CAPTURES = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One frame that may be a slice. `instance` is its place among the images; `frame` counts from 1 within it."""

    instance: int
    header: Dataset
    sop_uid: str
    frame: int
    geometry: SliceGeometry
    pixel_spacing: tuple[float, float]
    of_several: bool

    def left(self, reason: Unfit, detail: str = "") -> "Left":
        """This frame as one that is not analysed."""
        frame = self.frame if self.of_several else None
        return Left(SetAside(self.sop_uid, reason, integer(self.header, "InstanceNumber"), frame, detail), self)


Unusable = Mapping[tuple[str, int], tuple[Unfit, str]]
"""Frames whose pixels are of no use, by SOP Instance UID and frame: why, and the detail."""


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """An image that is set aside; `candidate` where it says where it lies; `made` if it is no image of a scanner."""

    image: SetAside
    candidate: Candidate | None = None
    made: bool = False


def find_candidates(images: Sequence[Dataset], unusable: Unusable) -> tuple[list[Candidate], list[Left]]:
    """The frames that may be slices, and those that are none."""
    fit: list[Candidate] = []
    unfit: list[Left] = []
    for instance, ds in enumerate(images):
        reason = _why_unfit(ds)
        if reason is not None:
            file = file_name(ds) if reason is Unfit.DAMAGED else ""
            image = SetAside(text(ds, "SOPInstanceUID"), reason, integer(ds, "InstanceNumber"), detail=file)
            made = text(ds, "SOPClassUID") in CAPTURES or "SECONDARY" in texts(ds, "ImageType")
            unfit.append(Left(image, made=made))
            continue
        for each in _frames(instance, ds):
            why, detail = unusable.get((each.sop_uid, each.frame), (None, ""))
            if why is None:
                fit.append(each)
            else:
                unfit.append(each.left(why, detail))
    return fit, unfit


def file_name(ds: Dataset) -> str:
    """The name of the file that an image was read from; '' where it was not."""
    return Path(str(getattr(ds, "filename", None) or "")).name


def _why_unfit(ds: Dataset) -> Unfit | None:
    if not text(ds, "SOPInstanceUID"):
        return Unfit.UNNAMED
    if not integer(ds, "Rows") or not integer(ds, "Columns"):
        is_image = "Image Storage" in UID(text(ds, "SOPClassUID")).name
        return Unfit.DAMAGED if is_image else Unfit.NO_IMAGE
    if is_localizer(ds):
        return Unfit.LOCALIZER
    if (integer(ds, "SamplesPerPixel") or 1) != 1 or not text(ds, "PhotometricInterpretation").startswith("MONOCHROME"):
        return Unfit.COLOUR
    geometries, measures = slice_geometry(ds), frame_macros(ds, "PixelMeasuresSequence")
    if not geometries or len(geometries) != len(measures):
        return Unfit.NO_POSITION
    spacings = [numbers(each, "PixelSpacing", 2) for each in measures]
    return Unfit.NO_SPACING if any(each is None or min(each) <= 0 for each in spacings) else None


def _frames(instance: int, ds: Dataset) -> list[Candidate]:
    measures = frame_macros(ds, "PixelMeasuresSequence")
    result = []
    for i, (geometry, measure) in enumerate(zip(slice_geometry(ds), measures, strict=True)):
        spacing = numbers(measure, "PixelSpacing", 2)
        assert spacing is not None  # else the image would be unfit
        several = len(measures) > 1
        uid = text(ds, "SOPInstanceUID")
        result.append(Candidate(instance, ds, uid, i + 1, geometry, (spacing[0], spacing[1]), several))
    return result
