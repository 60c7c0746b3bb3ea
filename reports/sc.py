"""Result -> one picture as Secondary Capture (PS3.3 A.8.1), RGB, Explicit VR Little Endian: what every PACS shows."""

from collections.abc import Sequence

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from inference.findings import chance_text, prevalence_text
from inference.input.elements import integer, text
from reports import codes, picture, words
from reports.context import Kind, Replaced, ReportOptions
from reports.identity import Identity, plain
from reports.patient import finish
from reports.prepared import Prepared
from reports.vocabulary.terms import vocabulary_of

_SLICES_SHOWN = 3


def build_sc(prepared: Prepared) -> Dataset:
    """The picture of a result, suspected or not."""
    who = prepared.who(Kind.SC)
    shown = shown_slices(prepared)
    pixels = picture.draw_page(_page(prepared, who, shown))
    made = _capture(pixels, prepared.sources[0], who, prepared.options, words.summary(prepared.result))
    made.SourceImageSequence = _references(prepared, shown)
    return made


def build_notice(
    source: Dataset, reason: str, who: Identity, replaces: tuple[Replaced, ...], options: ReportOptions
) -> Dataset:
    """The picture that says why a study was not analysed."""
    earlier = words.replacement(replaces, who)
    paragraphs = (plain(reason), *([f"{earlier}."] if earlier else []))
    small_print = (f"{words.model(who)}, {words.clock(who.now)}", words.RESEARCH)
    pixels = picture.draw_notice(
        words.headline_not_analysed(), paragraphs, vocabulary_of(who.question).nothing_looked_for, small_print
    )
    return _capture(pixels, source, who, options, words.headline_not_analysed())


def shown_slices(prepared: Prepared) -> tuple[int, ...]:
    """The slices drawn: key slices on which something is outlined, else all of them, else the middle of the head."""
    keys = prepared.result.key_slices
    masks = [each.mask for each in prepared.segmented if each.mask is not None]
    outlined = tuple(index for index in keys if any(mask[index].any() for mask in masks))
    if keys:
        return (outlined or keys)[:_SLICES_SHOWN]
    count = len(prepared.stack.sop_uids)
    return tuple(dict.fromkeys(count * each // 10 for each in (5, 6, 4)))


def _page(prepared: Prepared, who: Identity, shown: Sequence[int]) -> picture.Page:
    context, result, stack = prepared.context, prepared.result, prepared.stack
    findings = prepared.segmented
    earlier = words.replacement(context.replaces, who)
    return picture.Page(
        banner=picture.RED if result.suspected else picture.SLATE,
        headline=words.headline_lines(result),
        tiles=tuple(_tile(prepared, i) for i in shown),
        pixel_spacing=stack.pixel_spacing,
        sides=picture.sides_of(stack.row_direction, stack.column_direction),
        legend=findings,
        vocabulary=prepared.vocabulary,
        facts=(
            *(["No region is outlined."] if not findings else []),
            *words.differential(result),
            *words.chance(result),
        ),
        warnings=(
            *words.change(context.growth, prepared.vocabulary),
            *([earlier] if earlier else []),
            *map(plain, result.warnings),
        ),
        small_print=(
            f"Model {words.model(who)}, threshold {chance_text(result.threshold)}{prevalence_text(result.prevalence)}. "
            f"Analysed {words.clock(who.now)}. {_series(prepared)}",
            words.RESEARCH,
        ),
    )


def _tile(prepared: Prepared, index: int) -> picture.Tile:
    masks = [(each, each.mask[index]) for each in prepared.segmented if each.mask is not None]
    outlines = tuple((each, mask) for each, mask in masks if mask.any())
    return picture.Tile(prepared.stack.hu[index], outlines, _caption(prepared, index))


def _caption(prepared: Prepared, index: int) -> str:
    """The slice as the viewer numbers it."""
    if prepared.multiframe:
        return f"Frame {prepared.stack.frames[index]}"
    number = integer(prepared.sources[index], "InstanceNumber")
    return f"Image {number}" if number is not None else f"Slice {index + 1} of {len(prepared.stack.sop_uids)}"


def _series(prepared: Prepared) -> str:
    source = prepared.sources[0]
    return plain(f"Series {text(source, 'SeriesNumber')} {text(source, 'SeriesDescription')}".strip())


def _references(prepared: Prepared, shown: Sequence[int]) -> list[Dataset]:
    sources, items = prepared.sources, []
    for i in shown:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sources[i].SOPClassUID, sources[i].SOPInstanceUID
        if prepared.multiframe:
            item.ReferencedFrameNumber = prepared.stack.frames[i]
        item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
        items.append(item)
    return items


def _capture(
    pixels: NDArray[np.uint8], source: Dataset, who: Identity, options: ReportOptions, headline: str
) -> Dataset:
    made = SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        **who.in_series,
        manufacturer=options.manufacturer,
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    result = finish(made, source, who, options)
    # A page of several slices has no orientation of its own; each slice carries its letters.
    result.PatientOrientation = None
    result.BodyPartExamined = text(source, "BodyPartExamined") or "HEAD"
    result.ConversionType = "WSD"
    # Asks whether the pixels identify the patient (PS3.3 C.7.6.1), which they never do here.
    result.BurnedInAnnotation = "NO"
    result.DateOfSecondaryCapture, result.TimeOfSecondaryCapture = result.ContentDate, result.ContentTime
    result.SecondaryCaptureDeviceManufacturer = result.Manufacturer
    result.SecondaryCaptureDeviceManufacturerModelName = result.ManufacturerModelName
    result.SecondaryCaptureDeviceSoftwareVersions = result.SoftwareVersions
    result.ImageComments = words.with_disclaimer(headline)
    if text(source, "LossyImageCompression") == "01":
        result.LossyImageCompression = "01"
    return result
