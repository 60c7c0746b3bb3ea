"""Source headers made fit for highdicom: one per slice, of what a result refers to and nothing more.

highdicom stops at a source that lacks a Type 2 element, has a birth date or sex outside the standard, or slices whose
orientation differs in the last digit. So it is given the references and the geometry of the stack (PS3.3 C.7.6.2,
C.7.6.16); the patient's own elements are copied afterwards, as they were sent.
"""

from collections.abc import Sequence
from statistics import median_high

from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from inference.input.elements import frame_macros, number, numbers, text
from inference.input.stack import SliceStack
from reports.identity import hashed_uid
from reports.patient import TYPE_2

_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def ordered_sources(sources: Sequence[Dataset], stack: SliceStack) -> tuple[Dataset, ...]:
    """The source of each slice of the stack, in its order; of a multi-frame series the one data set again and again."""
    by_uid = {str(each.SOPInstanceUID): each for each in sources}
    return tuple(by_uid[uid] for uid in stack.sop_uids)


def slice_headers(sources: Sequence[Dataset], stack: SliceStack) -> tuple[Dataset, ...]:
    """One header per slice in the stack's order, of its source. Frames of one instance have the same UID."""
    orientation = _orientation(sources[0], stack)
    spacing = [_decimal(each) for each in stack.pixel_spacing]
    thickness = _decimal(_thickness(sources[0], stack))
    # A CT without a frame of reference, or with several, breaks the standard, yet its slices form one stack.
    stated = (text(each, "FrameOfReferenceUID") for each in sources)
    space = next(filter(None, stated), "") or hashed_uid("space", stack.series_uid)
    result = []
    for source, position in zip(sources, stack.positions, strict=True):
        header = _reference(source, stack, space)
        header.ImagePositionPatient = [_decimal(each) for each in position]
        header.ImageOrientationPatient, header.PixelSpacing = orientation, spacing
        header.SliceThickness = thickness
        result.append(header)
    return tuple(result)


def _reference(source: Dataset, stack: SliceStack, space: str) -> Dataset:
    header = Dataset()
    for keyword in TYPE_2.split():
        setattr(header, keyword, "")
    header.SOPClassUID, header.SOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    header.StudyInstanceUID, header.SeriesInstanceUID = stack.study_uid, stack.series_uid
    header.FrameOfReferenceUID = space
    header.PositionReferenceIndicator = text(source, "PositionReferenceIndicator")
    header.Modality = text(source, "Modality") or "CT"
    header.Rows, header.Columns = stack.hu.shape[1:]
    for keyword in _LOSSY:
        if keyword in source:
            setattr(header, keyword, source.get(keyword))
    return header


def _orientation(source: Dataset, stack: SliceStack) -> list[DSfloat]:
    """The source's own words where they can be read: viewers compare them with the images'."""
    macros = frame_macros(source, "PlaneOrientationSequence")
    frame = stack.frames[0] - 1
    sent = numbers(macros[frame], "ImageOrientationPatient", 6) if frame < len(macros) else None
    return [_decimal(each) for each in sent or (*stack.row_direction, *stack.column_direction)]


def _thickness(source: Dataset, stack: SliceStack) -> float:
    """Slice Thickness may be empty (Type 2); then the median share of the normal."""
    macros = frame_macros(source, "PixelMeasuresSequence")
    frame = stack.frames[0] - 1
    sent = number(macros[frame], "SliceThickness") if frame < len(macros) else None
    return sent if sent and sent > 0 else median_high(map(float, stack.extents_mm))


def _decimal(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)
