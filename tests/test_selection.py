"""Strangers among the images of a series are set aside and named, and the same images always give the same choice."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from ct_slices import SHAPE, ct_slice, garble
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, SecondaryCaptureImageStorage

from inference.findings import NotAnalysable
from inference.input.selection import Selection, select_slices
from inference.input.set_aside import SetAside, Unfit, say_set_aside
from inference.input.stack import SliceStack, build_stack

RAMP = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)
COUNT = 31
SAGITTAL = [0, 1, 0, 0, 0, -1]


def image(index: int, uid: str = "", **attributes: Any) -> Dataset:
    """Slice `index` with pixels of its own; `uid` gives it another SOP Instance UID."""
    named = {"SOPInstanceUID": uid} if uid else {}
    return ct_slice(index, RAMP + 1000 + index, **({"ConvolutionKernel": "H31s"} | named | attributes))


def whole(first_number: int = 1, uid: str = "1.2.3", step: int = 1, **attributes: Any) -> list[Dataset]:
    """31 slices, 5 mm apart."""
    numbers = {"InstanceNumber": None} | attributes
    made = [image(i, f"{uid}.{i + 1}", **attributes) for i in range(COUNT)]
    for i, ds in enumerate(made):
        if numbers["InstanceNumber"] is None:
            ds.InstanceNumber = first_number + step * i
    return made


def stranger(index: int = 15, **attributes: Any) -> Dataset:
    """One more image, numbered 900, at the place of slice `index` where nothing else is said."""
    return image(index, "1.2.9.9", **({"InstanceNumber": 900} | attributes))


def colour(**attributes: Any) -> Dataset:
    """A screen save in colour."""
    found = stranger(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, **attributes)
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelData = 7, bytes(3 * SHAPE[0] * SHAPE[1])
    return found


def report() -> Dataset:
    """A report in the image series."""
    found = stranger(SOPClassUID=BasicTextSRStorage, Modality="SR", ImagePositionPatient=None)
    for keyword in ("Rows", "Columns", "PixelData", "PhotometricInterpretation"):
        delattr(found, keyword)
    return found


def copied() -> Dataset:
    """An identical copy under another SOP Instance UID."""
    found = image(15, "1.2.0.1")
    found.InstanceNumber = 900
    return found


def other_size() -> Dataset:
    """An image of fewer rows at the place of a slice."""
    return stranger(Rows=2, Columns=6, PixelData=bytes(24))


def without_place(**attributes: Any) -> Dataset:
    """An image that does not say where it lies."""
    return stranger(ImagePositionPatient=None, ImageOrientationPatient=None, **attributes)


STRANGERS: dict[str, tuple[Callable[[], Dataset], Unfit]] = {
    "flagged scout": (lambda: stranger(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), Unfit.LOCALIZER),
    "scout that is not flagged": (lambda: stranger(ImageOrientationPatient=SAGITTAL), Unfit.DIRECTION),
    "scout numbered 0": (lambda: stranger(ImageOrientationPatient=SAGITTAL, InstanceNumber=0), Unfit.DIRECTION),
    "scout of another size": (
        lambda: stranger(ImageOrientationPatient=SAGITTAL, Rows=2, PixelData=bytes(24)),
        Unfit.SIZE,
    ),
    "oblique slice": (lambda: stranger(ImageOrientationPatient=[1, 0, 0, 0, 0.9848, 0.1736]), Unfit.DIRECTION),
    "colour screen save": (colour, Unfit.COLOUR),
    "colour screen save without place": (lambda: colour(ImagePositionPatient=None), Unfit.COLOUR),
    "palette colour": (lambda: stranger(PhotometricInterpretation="PALETTE COLOR"), Unfit.COLOUR),
    "grey capture": (
        lambda: without_place(SOPClassUID=SecondaryCaptureImageStorage, ImageType=["DERIVED", "SECONDARY"]),
        Unfit.NO_POSITION,
    ),
    "grey capture at a slice": (lambda: stranger(14, ImageType=["DERIVED", "SECONDARY", "SCREEN"]), Unfit.KIND),
    "grey capture of another class": (
        lambda: image(14, "1.2.9.9", SOPClassUID=SecondaryCaptureImageStorage, ImageType=["DERIVED", "SECONDARY"]),
        Unfit.KIND,
    ),
    "identical copy": (copied, Unfit.COPY),
    "copy made later": (lambda: image(15, "1.2.0.1", ContentTime="235959"), Unfit.COPY),
    "repeated slice": (lambda: stranger(14, AcquisitionNumber=2), Unfit.ACQUISITION),
    "repeated slice without acquisition": (lambda: stranger(14, PixelData=bytes(48)), Unfit.REPEATED),
    "repeated slice numbered first": (lambda: stranger(14, PixelData=bytes(48), InstanceNumber=0), Unfit.REPEATED),
    "bone slice": (lambda: stranger(14, ConvolutionKernel="H70h"), Unfit.KERNEL),
    "without place": (without_place, Unfit.NO_POSITION),
    "garbled place": (lambda: garble(stranger(), "ImagePositionPatient", "DS", b"1\\x\\2 "), Unfit.NO_POSITION),
    "without pixel spacing": (lambda: stranger(PixelSpacing=None), Unfit.NO_SPACING),
    "other rows": (other_size, Unfit.SIZE),
    "other pixel spacing": (lambda: stranger(PixelSpacing=[0.6, 0.3]), Unfit.SPACING),
    "other modality": (lambda: stranger(Modality="PT"), Unfit.MODALITY),
    "report": (report, Unfit.NO_IMAGE),
    "far away": (lambda: stranger(ImagePositionPatient=[-10, -20, -400]), Unfit.FAR),
    "without identifier": (lambda: stranger(SOPInstanceUID=None), Unfit.UNNAMED),
    "without rescale": (lambda: stranger(14, AcquisitionNumber=7, RescaleSlope=None), Unfit.ACQUISITION),
}


def renamed(images: list[Dataset], seed: int) -> list[Dataset]:
    """The same images in another order and under other UIDs."""
    shuffler = random.Random(seed)
    made = deepcopy(images)
    shuffler.shuffle(made)
    uids = shuffler.sample(range(1000, 9999), len(made))
    for ds, uid in zip(made, uids, strict=True):
        if "SOPInstanceUID" in ds:
            ds.SOPInstanceUID = f"1.2.4.{uid}"
    return made


def by_headers(images: list[Dataset]) -> Selection:
    """What the router chooses: headers without pixels, which are asked for where they decide."""
    headers = deepcopy(images)
    for ds in headers:
        if "PixelData" in ds:
            del ds.PixelData
    return select_slices(headers, lambda i: images[i].get("PixelData"))


def named(several: tuple[SetAside, ...]) -> list[tuple[Unfit, int | None]]:
    """Reasons and Instance Numbers."""
    return [(each.reason, each.number) for each in several]


def pixels(stack: SliceStack) -> list[float]:
    """The first value of each slice, which tells the slices of `whole` apart."""
    return [float(each) for each in stack.hu[:, 0, 0]]


def refused(images: list[Dataset]) -> str:
    """The sentence with which the images are refused."""
    with pytest.raises(NotAnalysable) as caught:
        build_stack(images)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", STRANGERS)
def test_one_stranger_is_set_aside_and_named(which: str) -> None:
    make, reason = STRANGERS[which]
    odd = make()
    images = [*whole(), odd]
    for seed in range(3):
        made = renamed(images, seed)
        stack = build_stack(made)
        assert pixels(stack) == [1000 - 1024 + i for i in range(COUNT)]
        assert named(stack.set_aside) == [(reason, odd.InstanceNumber)]
        selection = by_headers(made)
        assert selection.shape.is_volume and not selection.shape.holes
        assert {each.sop_uid for each in selection.slices} == set(stack.sop_uids)
        assert selection.set_aside == stack.set_aside
        assert selection.typical is not None and selection.typical.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_many_strangers_at_once() -> None:
    left_out = ("other modality", "without identifier")
    odd = [make() for which, (make, _) in STRANGERS.items() if which not in left_out]
    for i, ds in enumerate(odd):
        ds.InstanceNumber = 900 + i
        ds.SOPInstanceUID = f"1.2.9.{i + 1}"
    stack = build_stack([*whole(), *odd])
    assert pixels(stack) == [1000 - 1024 + i for i in range(COUNT)]
    assert len(stack.set_aside) == len(odd)


SETS: dict[str, tuple[dict[str, Any], dict[str, Any], Unfit]] = {
    "Siemens kernels": ({}, {"ConvolutionKernel": "H70h"}, Unfit.KERNEL),
    "kernel with a strength": ({}, {"ConvolutionKernel": ["Hr68f", "3"]}, Unfit.KERNEL),
    "GE kernels": ({"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONEPLUS"}, Unfit.KERNEL),
    "Toshiba kernels": ({"ConvolutionKernel": "FC26"}, {"ConvolutionKernel": "FC30"}, Unfit.KERNEL),
    "Philips kernels": ({"ConvolutionKernel": "UB"}, {"ConvolutionKernel": "YA"}, Unfit.KERNEL),
    "acquisitions": ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, Unfit.ACQUISITION),
    "acquisition times": ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "101900"}, Unfit.TIME),
    "contrast phase": ({}, {"ContrastBolusAgent": "Ultravist 370"}, Unfit.CONTRAST),
    "tube voltages": ({"KVP": 120}, {"KVP": 80}, Unfit.ENERGY),
    "projections": ({}, {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, Unfit.KIND),
    "merged series": ({"SeriesDescription": "Head 5.0"}, {"SeriesDescription": "Head 5.0 again"}, Unfit.SERIES),
    "fields of view": ({"ReconstructionDiameter": 220}, {"ReconstructionDiameter": 230}, Unfit.FIELD),
    "pixel spacings": ({}, {"PixelSpacing": [0.6, 0.3], "ConvolutionKernel": "H70h"}, Unfit.SPACING),
    "directions": (
        {},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.9848, 0.1736], "ConvolutionKernel": "H70h"},
        Unfit.DIRECTION,
    ),
    "numbers alone": ({}, {}, Unfit.REPEATED),
}


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("interleaved", [False, True])
def test_of_two_sets_one_is_analysed(which: str, interleaved: bool) -> None:
    first, second, reason = SETS[which]
    step = 2 if interleaved else 1
    wanted = whole(1, "1.2.3", step, **first)
    other = whole(2 if interleaved else 1 + COUNT, "1.2.2", step, **second)
    for ds in other:
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + 500).astype("<u2").tobytes()
    for seed in range(2):
        made = renamed(wanted + other, seed)
        stack = build_stack(made)
        assert pixels(stack) == [1000 - 1024 + i for i in range(COUNT)]
        assert [each.reason for each in stack.set_aside] == [reason] * COUNT
        assert len(say_set_aside(stack.set_aside)) == 1
        selection = by_headers(made)
        assert selection.set_aside == stack.set_aside and selection.typical is not None
        assert selection.typical.get("ConvolutionKernel") == wanted[0].ConvolutionKernel


def test_a_series_that_came_twice_under_other_identifiers() -> None:
    stack = build_stack([*whole(), *whole(1, "1.2.2")])
    assert len(stack.hu) == COUNT and [each.reason for each in stack.set_aside] == [Unfit.COPY] * COUNT


def test_two_scans_with_the_same_numbers_are_told_apart_by_their_times() -> None:
    """Slice by slice, as a scanner without a helix takes them."""
    first, second = whole(), whole(1, "1.2.2")
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        one.AcquisitionTime, other.AcquisitionTime = f"1015{i:02d}", f"1020{i:02d}"
        other.PixelData = bytes([i]) * 48
    for seed in range(3):
        stack = build_stack(renamed([*second, *first], seed))
        assert pixels(stack) == [1000 - 1024 + i for i in range(COUNT)]
        assert [each.reason for each in stack.set_aside] == [Unfit.TIME] * COUNT


def test_about_5_mm_rather_than_thin_slices() -> None:
    thin = [
        image(i, f"1.2.1.{i}", InstanceNumber=100 + i, ImagePositionPatient=[-10, -20, i], SliceThickness=1)
        for i in range(151)
    ]
    stack = build_stack([*whole(), *thin])
    assert len(stack.hu) == COUNT and {each.reason for each in stack.set_aside} == {Unfit.THICKNESS}


def test_two_kernels_and_a_screen_save_and_a_scout() -> None:
    bone = whole(100, "1.2.2", ConvolutionKernel="H70h")
    scout = stranger(ImageOrientationPatient=SAGITTAL, InstanceNumber=0)
    capture = colour(SOPInstanceUID="1.2.9.10")
    said = say_set_aside(build_stack([*bone, *whole(), scout, capture]).set_aside)
    assert said == (
        "1 image of the series was set aside: image 900 is a colour image, no slice.",
        "1 image of the series was set aside: image 0 lies in another direction.",
        "31 images of the series were set aside: images 100 to 130 were made with another kernel (H70h).",
    )


def test_the_axial_stack_rather_than_reformats() -> None:
    coronal = [
        image(
            i,
            f"1.2.2.{i}",
            InstanceNumber=500 + i,
            ImagePositionPatient=[-10, 2 * i, 100],
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        )
        for i in range(80)
    ]
    stack = build_stack([*coronal, *whole()])
    assert len(stack.hu) == COUNT and abs(stack.normal[2]) == pytest.approx(1)


def test_a_kernel_that_changes_within_the_stack_parts_nothing() -> None:
    images = whole()
    for ds in images[:12]:
        ds.ConvolutionKernel, ds.AcquisitionNumber = "H40s", 2
    stack = build_stack(images)
    assert len(stack.hu) == COUNT and not stack.set_aside
    typical = by_headers(images).typical
    assert typical is not None and typical.ConvolutionKernel == "H31s"


def test_a_missing_slice_is_not_cured_by_half_a_head() -> None:
    images = whole()
    for ds in images[16:]:
        ds.AcquisitionNumber = 2
    del images[16]
    assert refused(images) == "Slices are missing between images 16 and 18, which are 10.0 mm apart."


def test_what_nothing_tells_apart_is_refused() -> None:
    repeated = whole(1, "1.2.2")
    for ds in repeated:
        ds.PixelData = bytes(48)
    assert "same position (images 1 and 1)" in refused([*whole(), *repeated])


def test_a_scan_over_time_is_refused() -> None:
    phases = [ds for phase in range(8) for ds in whole(1, f"1.2.{phase}", AcquisitionNumber=phase)]
    for i, ds in enumerate(phases):
        ds.PixelData = bytes([i % 200]) * 48
    assert "repeated scan or several phases" in refused(phases)


def blanked(index: int, value: int = 0) -> Dataset:
    """A slice whose pixels all have one value."""
    return image(index, PixelData=np.full(SHAPE, value, "<u2").tobytes())


@pytest.mark.parametrize("value", [0, 1024, 4095])
def test_a_blank_slice_is_left_out_and_named(value: int) -> None:
    images = whole()
    images[14] = blanked(14, value)
    stack = build_stack(images)
    assert len(stack.hu) == COUNT - 1
    assert say_set_aside(stack.set_aside) == (
        "1 image of the series was set aside: image 15 is blank, all its values are the same; "
        "the slices on both sides are 10.0 mm apart.",
    )


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImagePositionPatient": None}, Unfit.NO_POSITION),
        ({"PixelSpacing": None}, Unfit.NO_SPACING),
        ({"PixelSpacing": [0.7, 0.7]}, Unfit.SPACING),
        ({"Rows": 2, "PixelData": bytes(24)}, Unfit.SIZE),
        ({"RescaleSlope": None}, Unfit.UNITS),
        ({"SOPInstanceUID": None}, Unfit.UNNAMED),
    ],
)
def test_one_useless_slice_of_5_mm_is_let_pass(attributes: dict[str, Any], reason: Unfit) -> None:
    images = whole()
    images[15] = image(15, **attributes)
    for seed in range(2):
        stack = build_stack(renamed(images, seed))
        assert len(stack.hu) == COUNT - 1
        assert [(each.reason, each.number, each.gap_mm) for each in stack.set_aside] == [(reason, 16, 10.0)]


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 2, "PixelData": bytes(24)},
        {"PixelSpacing": [0.7, 0.35]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.9848, 0.1736]},
    ],
)
@pytest.mark.parametrize("first", [12, 20])
def test_half_a_head_is_no_head(attributes: dict[str, Any], first: int) -> None:
    images = whole()
    images[first:] = [image(i, **attributes) for i in range(first, COUNT)]
    sentence = refused(images)
    assert "differ in size or pixel spacing" in sentence or "different directions" in sentence
    assert by_headers(images).shape.obstacle == sentence


def test_blank_slices_that_leave_a_wide_hole_are_the_reason() -> None:
    images = whole()
    images[14], images[15] = blanked(14), blanked(15)
    assert refused(images) == (
        "Slices are missing between images 14 and 17, which are 15.0 mm apart: "
        "images 15 and 16 are blank, all their values are the same."
    )


def test_blank_slices_at_an_end_leave_no_hole() -> None:
    images = whole()
    images[0] = blanked(0)
    stack = build_stack(images)
    assert len(stack.hu) == COUNT - 1 and stack.set_aside[0].gap_mm is None


def test_a_good_copy_takes_the_place_of_a_blank_or_damaged_slice() -> None:
    images = whole()
    for useless in (blanked(14), image(14, PixelData=b"12"), image(14, RescaleIntercept=None)):
        images[14] = useless
        again = image(14, "1.2.0.77", InstanceNumber=77)
        assert len(build_stack([*images, again]).hu) == COUNT


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"PixelData": b"12"}, "The file of image 16 is damaged, and without it slices are missing between images 15"),
        ({"PixelData": None}, "The file of image 16 is damaged, and without it slices are missing between images 15"),
        ({"SamplesPerPixel": 3}, "10.0 mm apart: image 16 is a colour image, no slice."),
    ],
)
def test_a_hole_names_the_image_that_is_missing(attributes: dict[str, Any], words: str) -> None:
    images = whole()
    images[15] = image(15, **attributes)
    assert words in refused(images)


def test_a_damaged_slice_at_the_end_is_named() -> None:
    images = whole()
    images[30] = image(30, PixelData=b"12")
    stack = build_stack(images)
    assert say_set_aside(stack.set_aside) == (
        "1 image of the series was set aside: image 31 is damaged, its pixels cannot be read.",
    )


def test_many_slices_without_a_place_are_no_strangers() -> None:
    images = whole()
    for i in range(20, COUNT):
        del images[i].ImagePositionPatient
    assert refused(images) == "Images 21 to 31 do not say where in the patient they lie."


def test_numbers_are_said_briefly() -> None:
    def said(numbers: list[int | None]) -> str:
        return say_set_aside([SetAside("1.2", Unfit.COPY, number) for number in numbers])[0].partition(": ")[2]

    assert said([7]) == "image 7 is a copy of another image."
    assert said([7, 8]) == "images 7 and 8 are copies of other images."
    assert said([9, 3, 7, 8]) == "images 3 and 7 to 9 are copies of other images."
    assert said([1, 3, 5, 7, 9]) == "5 images between 1 and 9 are copies of other images."
    assert said([None]) == "one image without a number is a copy of another image."
    assert said([4, None, None]) == "image 4 and 2 images without a number are copies of other images."
