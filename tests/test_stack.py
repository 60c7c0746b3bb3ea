"""A series becomes one sorted stack in Hounsfield units, or a sentence that says why not."""

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ct_slices import SHAPE, ct_slice, garble
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from inference.findings import NotAnalysable
from inference.input.stack import SliceStack, build_stack, patient_age_years, read_series

UNDECODABLE = {"51", "53", "55"}
LARGEST_ERROR_HU = {"50": 65.0, "91": 5.0, "81": 1.0}


def five(**attributes: Any) -> list[Dataset]:
    """Five slices that form a stack."""
    return [ct_slice(i, **attributes) for i in range(5)]


def refused(instances: list[Dataset]) -> str:
    """The one sentence with which the instances are refused."""
    with pytest.raises(NotAnalysable) as caught:
        build_stack(instances)
    sentence = str(caught.value)
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence
    return sentence


def of_folder(folder: Path) -> SliceStack:
    """The stack of the files in a folder."""
    return build_stack(read_series(sorted(folder.glob("*.dcm"))))


def test_a_head_written_as_dicom_comes_back(ct_ich: ModuleType, tmp_path: Path) -> None:
    hu = ct_ich.volume_hu(66)[:12]
    ct_ich.write_dicom(66, tmp_path, hu)
    stack = of_folder(tmp_path)
    assert np.array_equal(stack.hu, np.round(hu))
    assert stack.hu.dtype == np.float32
    assert stack.depths_mm == pytest.approx(np.arange(12) * 5.0)
    assert stack.pixel_spacing == (0.488, 0.488)
    assert stack.frames == (1,) * 12
    assert stack.patient_age_years is not None and stack.patient_age_years > 0
    by_number = {dcmread(path).InstanceNumber: dcmread(path) for path in tmp_path.iterdir()}
    assert stack.sop_uids == tuple(by_number[i + 1].SOPInstanceUID for i in range(12))
    assert (stack.study_uid, stack.series_uid) == (by_number[1].StudyInstanceUID, by_number[1].SeriesInstanceUID)


def test_the_tilted_and_uneven_head(shared: Path) -> None:
    files = sorted((shared / "dicom/gantry_tilt_head").glob("*.dcm"))
    stack = build_stack(read_series(files))
    assert stack.hu.shape == (28, 512, 512)
    steps = np.diff(stack.depths_mm)
    assert steps[:13] == pytest.approx(4.002, abs=2e-3)
    assert steps[13] == pytest.approx(1.081, abs=2e-3)
    assert steps[14:] == pytest.approx(6.999, abs=2e-3)
    assert stack.positions[0] == pytest.approx([-125, -123.5404569, 5.8360586])
    for i in (0, 13, 27):
        ds = dcmread(files[i])
        assert stack.sop_uids[i] == ds.SOPInstanceUID
        assert np.array_equal(stack.hu[i], np.maximum(ds.pixel_array, -1024))
    assert stack.row_direction @ stack.column_direction == pytest.approx(0, abs=1e-12)
    assert np.linalg.norm(stack.normal) == pytest.approx(1)


def test_every_syntax_gives_the_same_values(shared: Path) -> None:
    folder = shared / "dicom/syntaxes"
    plain = dcmread(folder / "CTImage.dcm")
    expected = np.maximum(plain.pixel_array * 1.0 - 1024, -1024)
    seen = set()
    for path in sorted(folder.glob("CTImage*.dcm")):
        series = read_series([path] * 3)
        for i, ds in enumerate(series):
            ds.SOPInstanceUID, ds.InstanceNumber = f"1.2.{i}", i + 1
            ds.ImagePositionPatient = [0, 0, 5 * i]
        syntax = series[0].file_meta.TransferSyntaxUID
        last = syntax.split(".")[-1]
        seen.add(str(syntax))
        if ".4." in syntax and last in UNDECODABLE:
            assert str(syntax) in refused(series)
            continue
        error = np.abs(build_stack(series).hu - expected).max()
        assert error <= (LARGEST_ERROR_HU.get(last, 0.0) if ".4." in syntax else 0.0), path.name
    assert len(seen) == 15


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("sliceincrement/001", "missing between images 9 and 10"),
        ("sliceincrement/002", "missing between images 3 and 5"),
        ("sliceorientation/001", "different directions"),
        ("slicecount/001", "only 2 slices"),
        ("notavolume/001", "same position"),
    ],
)
def test_series_that_are_no_stack(shared: Path, folder: str, words: str) -> None:
    assert words in refused(read_series(sorted((shared / "dicom/geometry" / folder).glob("*.dcm"))))


def test_objects_that_are_no_slices(shared: Path) -> None:
    folder = shared / "dicom/syntaxes"
    assert "holds no image" in refused(read_series([folder / "no-pixel-data.dcm"]))
    assert "colour" in refused(read_series([folder / "no-pixel-spacing.dcm"]))


def test_good_series_of_other_kinds(shared: Path) -> None:
    assert of_folder(shared / "dicom/geometry/gantrytilting/001").depths_mm == pytest.approx(
        np.arange(4) * 4.8514786 - 122.19340, abs=1e-4
    )
    magnetic = of_folder(shared / "dicom/geometry/good_mr")
    first = dcmread(shared / "dicom/geometry/good_mr/IM-0001-0004-0001.dcm")
    assert magnetic.sop_uids[3] == dcmread(shared / "dicom/geometry/good_mr/IM-0001-0001-0001.dcm").SOPInstanceUID
    assert np.array_equal(magnetic.hu[0], first.pixel_array)


@pytest.mark.parametrize("folder", ["001", "001_implicit"])
def test_multi_frame_images(shared: Path, folder: str) -> None:
    [ds] = read_series(sorted((shared / "dicom/enhanced" / folder).glob("*.dcm")))
    stack = build_stack([ds])
    assert sorted(stack.frames) == list(range(1, 9))
    assert set(stack.sop_uids) == {ds.SOPInstanceUID}
    assert np.all(np.diff(stack.depths_mm) > 0.9)
    pixels = ds.pixel_array
    for place, frame in enumerate(stack.frames):
        groups = ds.PerFrameFunctionalGroupsSequence[frame - 1]
        slope = float(groups.PixelValueTransformationSequence[0].RescaleSlope)
        assert np.allclose(stack.hu[place], pixels[frame - 1] * slope)
        assert stack.positions[place] == pytest.approx(
            [float(each) for each in groups.PlanePositionSequence[0].ImagePositionPatient]
        )


def test_an_enhanced_ct_with_its_own_rescale_per_frame() -> None:
    frames = []
    for i in (2, 0, 1, 3):
        place, transformation, groups = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 5 * i]
        transformation.RescaleSlope, transformation.RescaleIntercept = 2, -1024 - i
        groups.PlanePositionSequence = Sequence([place])
        groups.PixelValueTransformationSequence = Sequence([transformation])
        frames.append(groups)
    measures, direction, shared_groups = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.4, 0.4], 5
    direction.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared_groups.PixelMeasuresSequence = Sequence([measures])
    shared_groups.PlaneOrientationSequence = Sequence([direction])
    pixels = np.broadcast_to(np.array([2, 0, 1, 3], "<u2")[:, None, None], (4, *SHAPE))
    ds = ct_slice(0, NumberOfFrames=4, PixelData=pixels.tobytes(), PixelSpacing=None, ImagePositionPatient=None)
    ds.SharedFunctionalGroupsSequence = Sequence([shared_groups])
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    stack = build_stack([ds])
    assert stack.frames == (2, 3, 1, 4)
    assert stack.pixel_spacing == (0.4, 0.4)
    assert stack.hu[:, 0, 0].tolist() == [-1024, -1023, -1022, -1021]
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames[:3])
    assert "where in the patient" in refused([ds])


def test_each_slice_has_its_own_rescale() -> None:
    stack = build_stack([ct_slice(i, 1000, RescaleSlope=1 + i, RescaleIntercept=-i) for i in range(4)])
    assert stack.hu[:, 0, 0].tolist() == [1000, 1999, 2998, 3997]


def test_rows_and_columns_keep_their_places() -> None:
    ramp = np.arange(24).reshape(SHAPE)
    stack = build_stack([ct_slice(i, ramp + 1024) for i in range(3)])
    assert np.array_equal(stack.hu[1], ramp)
    assert stack.pixel_spacing == (0.5, 0.25)
    assert stack.row_direction.tolist() == [1, 0, 0] and stack.column_direction.tolist() == [0, 1, 0]


def test_negatives_of_a_whole_series_are_turned_back() -> None:
    true = np.full(SHAPE, -1000)
    true[1:3, 1:5] = 35
    stack = build_stack([ct_slice(i, 3071 - true, PhotometricInterpretation="MONOCHROME1") for i in range(3)])
    assert np.array_equal(stack.hu, np.broadcast_to(true, (3, *SHAPE)))


@given(st.randoms(use_true_random=False), st.sampled_from([1, -1]))
def test_the_order_of_the_images_never_matters(order: random.Random, sign: int) -> None:
    slices = [ct_slice(i, ImagePositionPatient=[-10, i * 1.3, sign * i * 5], InstanceNumber=9 - i) for i in range(6)]
    straight = build_stack(slices)
    order.shuffle(slices)
    shuffled = build_stack(slices)
    assert np.array_equal(shuffled.hu, straight.hu)
    assert shuffled.sop_uids == straight.sop_uids
    assert np.array_equal(shuffled.positions, straight.positions)
    assert np.all(np.diff(shuffled.depths_mm) == 5)
    assert shuffled.hu[:, 0, 0].tolist() == list(range(6))[::sign]


@given(st.tuples(*[st.floats(-1, 1)] * 6).filter(lambda v: np.linalg.norm(np.cross(v[:3], v[3:])) > 0.1))
def test_depths_ascend_in_any_direction(seeds: tuple[float, ...]) -> None:
    row = np.array(seeds[:3]) / np.linalg.norm(seeds[:3])
    column = np.array(seeds[3:]) - (row @ seeds[3:]) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    orientation = [round(each, 6) for each in (*row, *column)]
    slices = []
    for i, depth in enumerate((0.0, 4.0, 5.1, 12.1, 19.1)):
        position = np.array([30, -20, 10]) + depth * normal + 0.3 * depth * column
        attributes = {"ImagePositionPatient": position.round(6).tolist(), "ImageOrientationPatient": orientation}
        slices.append(ct_slice(i, SliceThickness=7, **attributes))
    stack = build_stack(slices[::-1])
    assert stack.hu[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert np.diff(stack.depths_mm) == pytest.approx([4, 1.1, 7, 7], abs=1e-3)
    assert stack.normal == pytest.approx(normal, abs=1e-5)


def test_localizers_are_left_out() -> None:
    scout = ct_slice(7, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    assert len(build_stack([*five(), scout]).hu) == 5
    assert refused([scout]) == "The series holds no slices: image 8 is a localizer (scout)."


def test_the_same_image_sent_twice_counts_once() -> None:
    slices = five()
    assert len(build_stack([*slices, ct_slice(2)]).hu) == 5
    assert "same identifier" in refused([*slices, ct_slice(2, 77)])
    assert "same identifier" in refused([*slices, ct_slice(2, ImagePositionPatient=[0, 0, 50])])


def test_missing_slices_are_refused_by_name() -> None:
    slices = [ct_slice(i) for i in range(12)]
    assert refused(slices[:5] + slices[6:]) == ("Slices are missing between images 5 and 7, which are 10.0 mm apart.")
    assert refused(slices[:3] + slices[4:8] + slices[9:]).endswith("10.0 mm apart, and in 1 more place.")


def test_a_number_that_was_something_else_is_no_missing_slice() -> None:
    slices = five()
    for ds in slices[2:]:
        ds.InstanceNumber += 1
    assert len(build_stack(slices).hu) == 5


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Rows": 6, "Columns": 4}, "image 3 has another number of rows or columns"),
        ({"PixelSpacing": [0.5, 0.3]}, "image 3 has another pixel spacing"),
        ({"PixelSpacing": None}, "does not state its pixel spacing"),
        ({"PixelSpacing": [0, 0]}, "does not state its pixel spacing"),
        ({"ImagePositionPatient": None}, "where in the patient"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 2, 0]}, "where in the patient"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "image 3 lies in another direction"),
        ({"ImagePositionPatient": [3, 4, 5]}, "same position (images 2 and 3)"),
        ({"SeriesInstanceUID": "1.2.9"}, "more than one series"),
        ({"SOPInstanceUID": None}, "no identifier"),
        ({"PixelData": None}, "The file of image 3 is damaged"),
        ({"PixelData": b"12"}, "The file of image 3 is damaged"),
    ],
)
def test_one_bad_image_is_named(attributes: dict[str, Any], words: str) -> None:
    assert words in refused([*five()[:2], ct_slice(2, **attributes), *five()[3:]])


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing", "RescaleSlope", "ImageOrientationPatient"])
@pytest.mark.parametrize("written", [b"", b"nan\\nan\\nan ", b"\\\\ ", b"far away", b"1\\x\\2 ", b"1e999 "])
@pytest.mark.filterwarnings("ignore")
def test_garbled_numbers_give_a_sentence(keyword: str, written: bytes) -> None:
    refused([*five()[:4], garble(ct_slice(4), keyword, "DS", written)])


@pytest.mark.filterwarnings("ignore")
def test_decimal_commas_are_read() -> None:
    stack = build_stack([*five()[:4], garble(ct_slice(4), "ImagePositionPatient", "DS", b"-10,0\\-20,0\\20,0 ")])
    assert stack.depths_mm.tolist() == [0, 5, 10, 15, 20]


def test_nothing_is_no_stack() -> None:
    assert refused([]) == "The series is empty."


@pytest.mark.parametrize(
    ("attributes", "years"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "010W"}, 0.19165),
        ({"PatientAge": "003D"}, 0.00821),
        ({"PatientAge": "45"}, None),
        ({"PatientAge": "", "PatientBirthDate": "20000301", "StudyDate": "20200301"}, 20.0),
        ({"PatientBirthDate": "20210301", "StudyDate": "20200301"}, None),
        ({"PatientBirthDate": "18000301", "StudyDate": "20200301"}, None),
        ({"PatientBirthDate": "2000", "StudyDate": "20200301"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20200301"}, None),
        ({}, None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_age(attributes: dict[str, Any], years: float | None) -> None:
    found = patient_age_years(ct_slice(0, **attributes))
    assert found == (None if years is None else pytest.approx(years, abs=1e-3))


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("a letter")
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(b"")
    for path in (text, empty):
        with pytest.raises(NotAnalysable, match=path.name):
            read_series([path])
    with pytest.raises(FileNotFoundError):
        read_series([tmp_path / "absent.dcm"])


@pytest.mark.filterwarnings("ignore")
def test_files_cut_anywhere_never_end_in_a_traceback(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "dicom/geometry/good_mr").glob("*.dcm"))
    whole = files[0].read_bytes()
    cut = tmp_path / "cut.dcm"
    for length in [*range(140, 4000, 37), len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(NotAnalysable):
            build_stack(read_series([*files[1:], cut]))
