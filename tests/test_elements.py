"""Elements of data sets that are wrong in ways that real senders are wrong."""

import pytest
from ct_slices import ct_slice, garble
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from inference.input.elements import frame_macros, integer, items, number, numbers, text, texts


@pytest.mark.parametrize(
    ("vr", "written", "read"),
    [
        ("DS", b"1.5\\-2\\3e1 ", (1.5, -2.0, 30.0)),
        ("DS", b"1,5\\2\\3 ", (1.5, 2.0, 3.0)),
        ("DS", b"1\\2", None),
        ("DS", b"1\\2\\3\\4 ", None),
        ("DS", b"1\\\\3", None),
        ("DS", b"nan\\2\\3 ", None),
        ("DS", b"1\\inf\\3", None),
        ("DS", b"here", None),
        ("DS", b"", None),
        ("FD", b"\0" * 24, (0.0, 0.0, 0.0)),
        ("FD", b"\0" * 23, None),
        ("ZZ", b"junk", None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_three_numbers_or_none(vr: str, written: bytes, read: tuple[float, ...] | None) -> None:
    assert numbers(garble(Dataset(), "ImagePositionPatient", vr, written), "ImagePositionPatient", 3) == read


@pytest.mark.parametrize(
    ("written", "read"), [(b"12", 12), (b"1.0 ", 1), (b"1.5 ", None), (b"x ", None), (b"1\\2 ", None), (b"", None)]
)
@pytest.mark.filterwarnings("ignore")
def test_one_whole_number_or_none(written: bytes, read: int | None) -> None:
    assert integer(garble(Dataset(), "InstanceNumber", "IS", written), "InstanceNumber") == read


def test_absent_elements_are_none_and_empty() -> None:
    ds = Dataset()
    assert number(ds, "RescaleSlope") is None
    assert numbers(ds, "PixelSpacing", 2) is None
    assert text(ds, "Modality") == ""
    assert texts(ds, "ImageType") == ()
    assert items(ds, "SharedFunctionalGroupsSequence") == ()


def test_a_value_with_several_parts_gives_its_first_as_text() -> None:
    assert text(garble(Dataset(), "Modality", "CS", b"CT\\MR "), "Modality") == "CT"


def test_a_sequence_of_junk_has_no_items() -> None:
    ds = garble(Dataset(), "SharedFunctionalGroupsSequence", "SQ", b"junk")
    assert items(ds, "SharedFunctionalGroupsSequence") == ()


def test_a_single_frame_image_is_its_own_macro() -> None:
    ds = ct_slice(0)
    assert frame_macros(ds, "PixelMeasuresSequence") == (ds,)


def test_a_frames_own_group_goes_before_the_shared_one() -> None:
    shared, own, frame = Dataset(), Dataset(), Dataset()
    shared.SliceThickness, own.SliceThickness = 1, 2
    groups = Dataset()
    groups.PixelMeasuresSequence = Sequence([shared])
    frame.PixelMeasuresSequence = Sequence([own])
    ds = Dataset()
    ds.NumberOfFrames = 2
    ds.SharedFunctionalGroupsSequence = Sequence([groups])
    ds.PerFrameFunctionalGroupsSequence = Sequence([frame, Dataset()])
    assert [number(each, "SliceThickness") for each in frame_macros(ds, "PixelMeasuresSequence")] == [2.0, 1.0]
    ds.NumberOfFrames = 3
    assert frame_macros(ds, "PixelMeasuresSequence") == ()


def test_a_name_is_read_as_a_whole() -> None:
    """It can be iterated, letter by letter, which is not what is meant."""
    ds = Dataset()
    ds.PatientName = "Grün^Änne=绿^安"
    ds.OtherPatientNames = ["Gruen^Aenne", "Verd^Anne"]
    assert text(ds, "PatientName") == "Grün^Änne=绿^安"
    assert texts(ds, "OtherPatientNames") == ("Gruen^Aenne", "Verd^Anne")
    ds.PatientName = ""
    assert text(ds, "PatientName") == ""
