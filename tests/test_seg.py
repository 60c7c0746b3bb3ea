"""Segmentations: the mask that comes back is the mask that went in, on the slices it was made on."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from reports_support import (
    MODEL,
    NOW,
    as_bytes,
    blobs,
    ct_series,
    enhanced_ct,
    negative_result,
    read,
    reports,
    result_for,
    stack_of,
    suspected_context,
    validator_errors,
    write_all,
)

from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports.context import Kind, ReportContext, ReportOptions
from reports.identity import hashed_uid
from reports.vocabulary.haemorrhage import TERMS

SPARSE = ReportOptions(omit_empty_frames=True)
CIELAB = {
    HaemorrhageType.EPIDURAL: (48258, 39927, 51862),
    HaemorrhageType.SUBDURAL: (47534, 29386, 21967),
    HaemorrhageType.SUBARACHNOID: (59636, 30071, 52477),
    HaemorrhageType.INTRAPARENCHYMAL: (41371, 50428, 31018),
    HaemorrhageType.INTRAVENTRICULAR: (52285, 17565, 40498),
}  # of 65,535 each; how the white point is rounded moves them by 2


def masks_in(context: ReportContext) -> list[NDArray[np.bool_]]:
    return [each.mask for each in context.result.findings if each.mask is not None and each.mask.any()]


def assert_same_masks(seg: Dataset, context: ReportContext) -> None:
    """Through bytes, and read by source instance or frame, as any receiver does."""
    back = Segmentation.from_dataset(read(as_bytes(seg)))
    stack = context.stack
    if "PerFrameFunctionalGroupsSequence" in context.sources[0]:
        planes = back.get_pixels_by_source_frame(
            stack.sop_uids[0], list(stack.frames), assert_missing_frames_are_empty=True
        )
    else:
        planes = back.get_pixels_by_source_instance(list(stack.sop_uids), assert_missing_frames_are_empty=True)
    for number, mask in enumerate(masks_in(context)):
        np.testing.assert_array_equal(planes[..., number].astype(bool), mask)


def assert_on_the_source_grid(seg: Dataset, sources: Sequence[Dataset]) -> None:
    by_uid = {ds.SOPInstanceUID: ds for ds in sources}
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = by_uid[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, np.array(source.ImagePositionPatient, float), atol=1e-9)
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        np.testing.assert_allclose(orientation, np.array(source.ImageOrientationPatient, float), atol=1e-9)
        np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, source.PixelSpacing)
    assert (seg.Rows, seg.Columns) == (sources[0].Rows, sources[0].Columns)
    assert seg.FrameOfReferenceUID == sources[0].FrameOfReferenceUID


@pytest.mark.parametrize("options", [ReportOptions(), SPARSE], ids=["whole", "sparse"])
@pytest.mark.parametrize("columns", [64, 61], ids=["bytes", "bits"])
def test_round_trip(options: ReportOptions, columns: int) -> None:
    sources = ct_series(columns=columns)
    context = suspected_context(sources[::-1], stack_of(sources))
    seg = reports(context, options)[Kind.SEG]
    assert_same_masks(seg, context)
    assert_on_the_source_grid(seg, sources)


def test_round_trip_of_an_uneven_and_tilted_series(shared: Path) -> None:
    """The real GE head: gantry tilt of 18.5 degrees and slices 4.00, 1.08 and 7.00 mm apart."""
    sources = [
        dcmread(path, stop_before_pixels=True) for path in sorted((shared / "dicom/gantry_tilt_head").glob("*.dcm"))
    ]
    context = suspected_context(sources)
    for options in (ReportOptions(), SPARSE):
        seg = reports(context, options)[Kind.SEG]
        assert_same_masks(seg, context)
        assert_on_the_source_grid(seg, sources)


def test_round_trip_of_a_multiframe_image_counts_the_sources_own_frames() -> None:
    source, stack = enhanced_ct()
    context = suspected_context([source], stack)
    seg = reports(context)[Kind.SEG]
    assert_same_masks(seg, context)
    named = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber: frame.PlanePositionSequence[0]
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    assert set(named) == set(stack.frames)
    for number, place in named.items():
        assert place == source.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0]


def test_frames_of_several_multiframe_images() -> None:
    """A stack may be cut into two multi-frame instances."""
    source, stack = enhanced_ct()
    other = copy.deepcopy(source)
    other.SOPInstanceUID = hashed_uid("second half")
    for ds, first in ((source, 4), (other, 0)):
        ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[first : first + 4]
        ds.NumberOfFrames = 4
    halves = (source.SOPInstanceUID,) * 4 + (other.SOPInstanceUID,) * 4
    stack = dataclasses.replace(stack, sop_uids=halves, frames=(4, 3, 2, 1, 4, 3, 2, 1))
    context = suspected_context([source, other], stack)
    seg = read(as_bytes(reports(context)[Kind.SEG]))
    listed = {each.ReferencedSOPInstanceUID for each in seg.SourceImageSequence}
    assert listed == {source.SOPInstanceUID, other.SOPInstanceUID}
    segments = masks_in(context)
    for plane, frame in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = list(zip(stack.sop_uids, stack.frames, strict=True)).index(
            (origin.ReferencedSOPInstanceUID, origin.ReferencedFrameNumber)
        )
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(plane.astype(bool), segments[number - 1][place])
        assert frame.PlanePositionSequence[0].ImagePositionPatient[2] == stack.positions[place][2]


def test_empty_frames_stay_unless_asked_otherwise() -> None:
    sources = ct_series()
    stack = stack_of(sources)
    mask = np.zeros((12, 64, 64), bool)
    mask[3:5, 10:20, 10:20] = True
    context = ReportContext(tuple(sources), stack, result_for(stack, {HaemorrhageType.EPIDURAL: mask}), NOW, version=1)
    assert reports(context)[Kind.SEG].NumberOfFrames == 12
    assert reports(context, SPARSE)[Kind.SEG].NumberOfFrames == 2


def test_segments_are_coded_and_name_the_algorithm() -> None:
    seg = reports(suspected_context(ct_series()))[Kind.SEG]
    assert seg.SegmentationType == "BINARY"
    assert seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert [each.SegmentLabel for each in seg.SegmentSequence] == [
        "Subdural haemorrhage",
        "Intraventricular haemorrhage",
    ]
    for number, segment in enumerate(seg.SegmentSequence, start=1):
        assert segment.SegmentNumber == number
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        coded = (
            segment.SegmentedPropertyCategoryCodeSequence[0],
            segment.SegmentedPropertyTypeCodeSequence[0],
            segment.AnatomicRegionSequence[0],
        )
        assert [(each.CodeValue, each.CodingSchemeDesignator) for each in coded] == [
            ("49755003", "SCT"),
            ("50960005", "SCT"),
            ("12738006", "SCT"),
        ]
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
        assert MODEL.sha256 in algorithm.AlgorithmParameters


def test_no_segmentation_without_a_mask_or_a_suspicion() -> None:
    sources = ct_series()
    context = suspected_context(sources)
    empty = result_for(context.stack, {HaemorrhageType.SUBDURAL: np.zeros((12, 64, 64), bool)})
    unsure = dataclasses.replace(context.result, suspected=False, probability=0.2)
    for result in (negative_result(context.stack), empty, unsure):
        assert Kind.SEG not in reports(dataclasses.replace(context, result=result))


def test_a_type_that_is_not_present_gets_no_segment() -> None:
    context = suspected_context(ct_series())
    findings = tuple(
        dataclasses.replace(each, present=False) if each.name == "subdural" else each
        for each in context.result.findings
    )
    result = dataclasses.replace(context.result, findings=findings)
    seg = reports(dataclasses.replace(context, result=result))[Kind.SEG]
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["Intraventricular haemorrhage"]


@pytest.mark.parametrize(
    "elements",
    [
        {"SliceThickness": None},
        {"SliceThickness": ""},
        {"FrameOfReferenceUID": None},
        {"PositionReferenceIndicator": None},
    ],
    ids=lambda each: next(iter(each)),
)
def test_sources_that_leave_something_out(elements: dict[str, Any], tmp_path: Path) -> None:
    context = suspected_context(ct_series(**elements))
    seg = reports(context)[Kind.SEG]
    assert_same_masks(seg, context)
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) == 5
    assert validator_errors(write_all([seg], tmp_path)[0]) == []


def test_orientations_that_differ_in_the_last_digit() -> None:
    sources = ct_series()
    sources[4].ImageOrientationPatient = [1, 0, 0.000001, 0, 1, 0]
    context = suspected_context(sources)
    assert_same_masks(reports(context)[Kind.SEG], context)


@pytest.mark.parametrize("options", [ReportOptions(), SPARSE], ids=["whole", "sparse"])
def test_types_side_by_side_come_back_apart(options: ReportOptions) -> None:
    sources = ct_series()
    stack = stack_of(sources)
    owner = np.random.default_rng(4).integers(0, 9, (12, 64, 64))
    masks = {kind: owner == number for number, kind in enumerate(HaemorrhageType)}
    context = ReportContext(tuple(sources), stack, result_for(stack, masks), NOW, version=1)
    seg = reports(context, options)[Kind.SEG]
    assert len(seg.SegmentSequence) == 5
    assert seg.SegmentsOverlap == "NO"
    assert_same_masks(seg, context)


def test_overlapping_types_both_come_back() -> None:
    sources = ct_series()
    stack = stack_of(sources)
    mask = blobs((12, 64, 64), 3)
    masks = {HaemorrhageType.SUBDURAL: mask, HaemorrhageType.SUBARACHNOID: mask}
    context = ReportContext(tuple(sources), stack, result_for(stack, masks), NOW, version=1)
    assert_same_masks(reports(context)[Kind.SEG], context)


@pytest.mark.parametrize("kind", HaemorrhageType)
def test_segment_has_the_pictures_colour(kind: HaemorrhageType) -> None:
    sources = ct_series()
    stack = stack_of(sources)
    mask = blobs((len(stack.sop_uids), *stack.hu.shape[1:]), 1)
    context = ReportContext(tuple(sources), stack, result_for(stack, {kind: mask}), NOW, 1)
    stored = list(reports(context)[Kind.SEG].SegmentSequence[0].RecommendedDisplayCIELabValue)
    assert stored == pytest.approx(CIELAB[kind], abs=2)
    assert CIELabColor.from_dicom_value(stored).to_rgb() == TERMS[kind].colour
