"""The picture: what its header says, what is drawn and where, and when there is one."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from reports_support import (
    ALL_PICTURES,
    NOW,
    as_bytes,
    blobs,
    by_kind,
    ct_series,
    enhanced_ct,
    negative_result,
    reports,
    result_for,
    second_version,
    stack_of,
    suspected_context,
    with_ranges,
)

from inference.findings import volume_text
from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports import picture, words
from reports.build import build_not_analysed, warm_up
from reports.context import Kind, Replaced, ReportContext, ReportOptions
from reports.vocabulary.haemorrhage import TERMS, VOCABULARY
from reports.vocabulary.terms import RGB


def pixels(ds: Dataset) -> NDArray[np.uint8]:
    return ds.pixel_array if "PixelData" in ds else np.zeros((0, 0, 3), np.uint8)


def near(image: NDArray[np.uint8], colour: RGB) -> NDArray[np.bool_]:
    return np.asarray(np.abs(image.astype(int) - np.array(colour)).max(axis=2) < 12)


def one_lesion(kind: HaemorrhageType, where: tuple[slice, slice] = (slice(24, 34), slice(36, 44))) -> ReportContext:
    sources = ct_series()
    stack = stack_of(sources)
    mask = np.zeros((12, 64, 64), bool)
    mask[(slice(5, 8), *where)] = True
    return ReportContext(tuple(sources), stack, result_for(stack, {kind: mask}), NOW, version=1)


def test_header() -> None:
    ds = reports(suspected_context(ct_series()))[Kind.SC]
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (ds.PhotometricInterpretation, ds.BodyPartExamined, ds.BurnedInAnnotation) == ("RGB", "HEAD", "NO")
    assert ds.ImageComments == "AI: SUSPECTED INTRACRANIAL HAEMORRHAGE - NOT FOR DIAGNOSTIC USE"
    assert ds.PatientOrientation is None
    assert (ds.Rows, ds.Columns) == (1024, 1280)


def test_banner_tells_the_verdict_by_colour() -> None:
    sources = ct_series()
    context = suspected_context(sources)
    suspected = pixels(reports(context)[Kind.SC])
    negative = dataclasses.replace(context, result=negative_result(context.stack))
    calm = pixels(reports(negative, ALL_PICTURES)[Kind.SC])
    notice = by_kind(build_not_analysed(sources, "Contrast was given.", "haemorrhage", NOW, 1, (), ALL_PICTURES))
    for image, colour in ((suspected, picture.RED), (calm, picture.SLATE), (pixels(notice[Kind.SC]), picture.AMBER)):
        banner = image[:100]
        assert near(banner, colour).mean() > 0.5
        assert near(banner, (255, 255, 255)).mean() > 0.05
        assert 0.02 < near(image[112:148], (255, 255, 255)).mean() < 0.5


@pytest.mark.parametrize("kind", HaemorrhageType)
def test_outline_and_legend_have_the_types_colour(kind: HaemorrhageType) -> None:
    image = pixels(reports(one_lesion(kind))[Kind.SC])
    large, small, column = image[152:956, :636], image[152:956, 644:960], image[152:956, 970:]
    for other in HaemorrhageType:
        seen = [near(part, TERMS[other].colour).any() for part in (large, small, column)]
        assert seen == [other == kind] * 3


def test_outline_lies_round_the_region_and_leaves_it_visible() -> None:
    tile = picture.Tile(np.full((64, 64), 40, np.float32), (), "")
    finding = one_lesion(HaemorrhageType.EPIDURAL).result.findings[0]
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:50] = True
    tile = dataclasses.replace(tile, outlines=((finding, mask),))
    page = picture.Page(
        picture.RED,
        ("A", "B"),
        (tile,),
        (1.0, 1.0),
        ("R", "L", "A", "P"),
        (finding,),
        VOCABULARY,
        (),
        (),
        ("C",),
    )
    image = picture.draw_page(page)[152:956, :636]
    ring = near(image, TERMS["epidural"].colour)
    rows, columns = np.nonzero(ring.any(1))[0], np.nonzero(ring[150:].any(0))[0]
    inside = image[rows[0] + 60 : rows[-1] - 12, columns[0] + 12 : columns[-1] - 12]
    assert near(inside, (127, 127, 127)).all()
    # 40 columns of 20 rows: the ring has the region's shape, whatever the zoom.
    assert (columns[-1] - columns[0]) / (rows[-1] - np.nonzero(ring.sum(1) > 200)[0][0]) == pytest.approx(2, rel=0.1)


def test_left_and_right_are_not_swapped() -> None:
    """A lesion in high columns, which are the patient's left, is drawn on the right, where the L stands."""
    context = one_lesion(HaemorrhageType.SUBDURAL)
    image = pixels(reports(context)[Kind.SC])[152:956, :636]
    assert np.nonzero(near(image, TERMS["subdural"].colour).any(0))[0].mean() > 318
    assert picture.sides_of(context.stack.row_direction, context.stack.column_direction) == ("R", "L", "A", "P")


@pytest.mark.parametrize(
    ("row", "column", "sides"),
    [
        ((1, 0, 0), (0, 1, 0), ("R", "L", "A", "P")),
        ((-1, 0, 0), (0, 1, 0), ("L", "R", "A", "P")),
        ((1, 0, 0), (0, -1, 0), ("R", "L", "P", "A")),
        ((1, 0, 0), (0, 0.948, -0.317), ("R", "L", "A", "P")),
        ((0, 1, 0), (0, 0, -1), ("A", "P", "H", "F")),
    ],
)
def test_letters_follow_the_geometry(row: tuple[float, ...], column: tuple[float, ...], sides: tuple[str, ...]) -> None:
    assert picture.sides_of(np.array(row, float), np.array(column, float)) == sides


def test_unequal_pixels_are_drawn_in_proportion() -> None:
    sources = ct_series(rows=64, columns=128)
    stack = stack_of(sources)
    mask = np.zeros((12, 64, 128), bool)
    mask[5:8, 24:40, 48:80] = True
    context = ReportContext(tuple(sources), stack, result_for(stack, {HaemorrhageType.EPIDURAL: mask}), NOW, 1)
    ring = near(pixels(reports(context)[Kind.SC])[152:956, :636], TERMS["epidural"].colour)
    lines = np.nonzero(ring.sum(1) > 100)[0]
    columns = np.nonzero(ring[lines[0] : lines[-1]].any(0))[0]
    assert (columns[-1] - columns[0]) / (lines[-1] - lines[0]) == pytest.approx(1, rel=0.1)


def test_very_small_region_is_still_outlined() -> None:
    context = one_lesion(HaemorrhageType.SUBARACHNOID, (slice(30, 31), slice(30, 31)))
    assert near(pixels(reports(context)[Kind.SC])[152:956, :636], TERMS["subarachnoid"].colour).sum() > 50


@pytest.mark.parametrize("top", [0, 30])
def test_labels_of_regions_at_one_place_do_not_cover_each_other(top: int) -> None:
    sources = ct_series()
    stack = stack_of(sources)
    mask = np.zeros((12, 64, 64), bool)
    mask[5:8, top : top + 4, 30:34] = True
    context = ReportContext(
        tuple(sources), stack, result_for(stack, dict.fromkeys(HaemorrhageType, mask)), NOW, version=1
    )
    image = pixels(reports(context)[Kind.SC])[152:956, :636]
    heights = [np.nonzero(near(image, TERMS[kind].colour)[:, 330:].any(1))[0] for kind in HaemorrhageType]
    assert len({int(each.min()) // 20 for each in heights}) == len(HaemorrhageType)


def test_suspected_without_an_outline() -> None:
    context = suspected_context(ct_series())
    bare = dataclasses.replace(result_for(context.stack, {}), key_slices=())
    made = reports(dataclasses.replace(context, result=bare))
    assert set(made) == {Kind.SR, Kind.SC}
    assert near(pixels(made[Kind.SC])[:100], picture.RED).mean() > 0.5


@pytest.mark.parametrize("slices", [1, 2, 12])
def test_few_slices(slices: int) -> None:
    context = suspected_context(ct_series(slices=slices))
    bare = dataclasses.replace(context.result, key_slices=())
    made = reports(dataclasses.replace(context, result=bare))[Kind.SC]
    assert len(made.SourceImageSequence) == min(slices, 3)


def test_air_alone_is_drawn() -> None:
    context = suspected_context(ct_series())
    empty = dataclasses.replace(context.stack, hu=np.full((12, 64, 64), -1000, np.float32))
    assert Kind.SC in reports(dataclasses.replace(context, stack=empty))


def test_long_warnings_never_reach_the_small_print() -> None:
    context = suspected_context(ct_series())
    masks = {kind: blobs((12, 64, 64), 5) for kind in HaemorrhageType}
    few, many = (
        pixels(reports(dataclasses.replace(context, result=result_for(context.stack, masks, warnings=each)))[Kind.SC])
        for each in ((), ["A sentence that goes on and on. "] * 40)
    )
    np.testing.assert_array_equal(few[-68:], many[-68:])
    assert near(few[-68:], (200, 206, 212)).any()
    assert (few[:-68] != many[:-68]).any()


def test_multiframe_references_frames() -> None:
    source, stack = enhanced_ct()
    context = suspected_context([source], stack)
    shown = reports(context)[Kind.SC].SourceImageSequence
    assert [each.ReferencedFrameNumber for each in shown] == [stack.frames[i] for i in context.result.key_slices[:3]]


def test_picture_of_a_negative_only_when_configured() -> None:
    context = suspected_context(ct_series())
    negative = dataclasses.replace(context, result=negative_result(context.stack))
    assert Kind.SC not in reports(negative)
    assert Kind.SC in reports(negative, ReportOptions(picture_for_negative=True))


def test_earlier_picture_is_never_the_last_word() -> None:
    """A suspected picture that a negative or no result replaces is replaced by a picture, configured or not."""
    second = second_version(suspected_context(ct_series()))
    negative = dataclasses.replace(second, result=negative_result(second.stack))
    lowered = reports(negative)[Kind.SC]
    assert lowered.InstanceNumber == 2
    assert "NO SUSPICION" in lowered.ImageComments
    taken_back = build_not_analysed(
        second.sources, "Slices are missing.", "haemorrhage", NOW, 2, second.replaces, ReportOptions()
    )
    before = next(each for each in second.replaces if each.kind is Kind.SC)
    after = by_kind(taken_back)[Kind.SC]
    assert after.SeriesInstanceUID != before.series_uid
    assert after.SeriesDescription.startswith("Picture 2 (replaces 1): ")
    assert after.SOPInstanceUID != before.sop_uid
    assert after.ImageComments == "AI: NOT ANALYSED - NOT FOR DIAGNOSTIC USE"


def test_warming_up_leaves_no_trace() -> None:
    before = as_bytes(reports(suspected_context(ct_series()))[Kind.SC])
    warm_up(NOW)
    assert as_bytes(reports(suspected_context(ct_series()))[Kind.SC]) == before


def test_not_analysed_says_why() -> None:
    made, other = (
        by_kind(build_not_analysed(ct_series(), reason, "haemorrhage", NOW, 1, (), ReportOptions()))
        for reason in ("A localizer.", "Too few slices.")
    )
    assert (pixels(made[Kind.SC]) != pixels(other[Kind.SC])).any()


def test_words_of_volumes_and_replacements() -> None:
    assert [volume_text(each) for each in (0.0, 0.04, 0.31, 7.26, 48.4)] == [
        "under 1 ml",
        "under 1 ml",
        "under 1 ml",
        "7.3 ml",
        "48 ml",
    ]
    ranges = ((0.04, 0.0248, 0.068), (0.31, 0.19, 0.53), (7.26, 4.5, 12.34), (12.3, 7.63, 20.9), (48.4, 30.0, 82.3))
    assert [volume_text(*each) for each in ranges] == [
        "under 1 ml",
        "under 1 ml",
        "7.3 ml (4 to 12)",
        "12.3 ml (8 to 21)",
        "48 ml (30 to 82)",
    ]
    # A range holds the volume however both are rounded, ends included, and what is small is not falsely exact.
    odd = ((0.04, 0.1, 1.1), (0.9, 0.5, 4.2), (2.54, 2.53, 2.55), (20.4, 20.46, 20.47), (88.5, 88.51, 91.0))
    assert [volume_text(*each) for each in odd] == [
        "under 1 ml",
        "under 1 ml (up to 4)",
        "2.5 ml (2 to 3)",
        "20 ml",
        "88 ml (88 to 91)",
    ]
    context = suspected_context(ct_series())
    assert words.with_disclaimer(words.headline(context.result)) == (
        "AI: SUSPECTED INTRACRANIAL HAEMORRHAGE - NOT FOR DIAGNOSTIC USE"
    )


def test_ranges_of_volumes_are_drawn() -> None:
    context = suspected_context(ct_series())
    plainly = pixels(reports(context)[Kind.SC])
    ranged = pixels(reports(with_ranges(context, 0.62, 1.7))[Kind.SC])
    for finding in (each for each in context.result.findings if each.present):
        colour = TERMS[finding.name].colour
        assert near(ranged[:, 970:], colour).sum() > near(plainly[:, 970:], colour).sum()
    assert (ranged[:, :960] == plainly[:, :960]).all()


def test_replacement_is_drawn() -> None:
    context = suspected_context(ct_series())
    replaced = (Replaced(Kind.SC, "1.2", "1.3", "1.4", NOW),)
    plainly = pixels(reports(context)[Kind.SC])
    again = pixels(reports(dataclasses.replace(context, version=2, replaces=replaced))[Kind.SC])
    yellow = (255, 214, 102)
    assert near(again[:, 970:], yellow).sum() > near(plainly[:, 970:], yellow).sum()


def test_only_slices_with_an_outline_are_drawn() -> None:
    """A key slice without anything outlined tells nothing beside one that has it."""
    context = suspected_context(ct_series())
    mask = np.zeros((12, 64, 64), bool)
    mask[5, 20:30, 20:30] = True
    result = result_for(context.stack, {HaemorrhageType.SUBDURAL: mask})
    mixed = dataclasses.replace(context, result=dataclasses.replace(result, key_slices=(2, 5)))
    shown = reports(mixed)[Kind.SC].SourceImageSequence
    assert [each.ReferencedSOPInstanceUID for each in shown] == [context.stack.sop_uids[5]]
