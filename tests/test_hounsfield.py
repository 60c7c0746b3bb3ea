"""Stored pixel values become Hounsfield units, however they were stored."""

from typing import Any

import numpy as np
import pytest
from ct_slices import SHAPE, ct_slice, garble
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from inference.findings import NotAnalysable
from inference.input.hounsfield import AIR_HU, is_inverted, pixel_format, write_hu

RAMP = np.arange(24).reshape(SHAPE) * 150
SIGNED = {"PixelRepresentation": 1, "RescaleIntercept": 0}
WIDE = {"BitsStored": 16, "HighBit": 15}


def hu_of(ds: Dataset, *, inverted: bool = False) -> NDArray[np.float32]:
    """The HU of a single-frame data set."""
    plane = np.full(SHAPE, np.nan, np.float32)
    write_hu(ds, [plane], inverted=inverted)
    return plane


def test_unsigned_values_are_rescaled() -> None:
    assert np.array_equal(hu_of(ct_slice(0, RAMP)), RAMP - 1024)
    assert np.array_equal(hu_of(ct_slice(0, RAMP, RescaleSlope=0.5, RescaleIntercept=-100)), RAMP * 0.5 - 100)


@pytest.mark.parametrize("garbage", [0, 0xF000], ids=["clear", "set"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bits_above_the_stored_ones_mean_nothing(garbage: int, syntax: UID) -> None:
    signed = RAMP // 2 - 1000
    for true, attributes in ((RAMP - 1024, {}), (signed, SIGNED)):
        stored = RAMP if not attributes else signed
        ds = ct_slice(0, (stored & 0x0FFF) | garbage, **attributes)
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        assert np.array_equal(hu_of(ds), true)


def test_stored_bits_need_not_be_the_lowest() -> None:
    assert np.array_equal(hu_of(ct_slice(0, RAMP << 4 | 5, HighBit=15)), RAMP - 1024)


def test_eight_bit_values() -> None:
    pixels = (RAMP // 20).astype("u1")
    ds = ct_slice(0, BitsAllocated=8, BitsStored=8, HighBit=7, RescaleIntercept=0, PixelData=pixels.tobytes())
    assert np.array_equal(hu_of(ds), pixels)


@pytest.mark.parametrize("sign_extended", [True, False])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_signed_values(syntax: UID, sign_extended: bool) -> None:
    true = np.arange(4096).reshape(64, 64) - 1024
    true[true > 2047] = 0
    stored = (true if sign_extended else true & 0x0FFF).astype("<i2")
    ds = ct_slice(0, **SIGNED, Rows=64, Columns=64, PixelData=stored.tobytes())
    ds.compress(syntax)
    plane = np.empty((64, 64), np.float32)
    write_hu(ds, [plane])
    assert np.array_equal(plane, true)


@pytest.mark.parametrize(
    ("padding", "written"),
    [
        ({"PixelPaddingValue": 3000}, 3000),
        ({"PixelPaddingValue": 0}, 0),
        ({**SIGNED, **WIDE, "PixelPaddingValue": -2000}, -2000),
        ({**SIGNED, **WIDE, "PixelPaddingValue": 63536}, -2000),
        ({**SIGNED, **WIDE, "PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1900}, -1950),
        ({**WIDE, "PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000}, 61000),
    ],
)
def test_padding_becomes_air(padding: dict[str, Any], written: int) -> None:
    stored = np.full(SHAPE, 1000)
    stored[0, 1] = written
    hu = hu_of(ct_slice(0, stored, **padding))
    assert hu[0, 1] == AIR_HU
    hu[0, 1] = hu[0, 0]
    assert np.all(hu == hu[0, 0]) and hu[0, 0] > AIR_HU


def test_nothing_in_ct_is_below_air() -> None:
    assert np.all(hu_of(ct_slice(0, -3000, **SIGNED, **WIDE)) == AIR_HU)


def test_other_modalities_keep_their_values() -> None:
    ds = ct_slice(0, RAMP, Modality="MR", RescaleSlope=None, RescaleIntercept=None, PixelPaddingValue=int(RAMP[0, 1]))
    expected = RAMP.copy()
    expected[0, 1] = 0
    assert np.array_equal(hu_of(ds), expected)
    assert np.array_equal(hu_of(ct_slice(0, RAMP, Modality="MR", RescaleSlope=2)), RAMP * 2 - 1024)


@pytest.mark.parametrize("attributes", [{}, {**SIGNED, **WIDE}], ids=["unsigned", "signed"])
def test_monochrome1_by_the_standard_and_as_negatives(attributes: dict[str, Any]) -> None:
    true = np.full(SHAPE, -1000)
    true[1:3, 1:4] = [30, 40, 800]
    upright = true if attributes else true + 1024
    negative = -1 - upright if attributes else 4095 - upright
    right = ct_slice(0, upright, PhotometricInterpretation="MONOCHROME1", **attributes)
    wrong = ct_slice(0, negative, PhotometricInterpretation="MONOCHROME1", **attributes)
    undone = ct_slice(0, negative, PhotometricInterpretation="MONOCHROME1", **attributes)
    undone.RescaleSlope, undone.RescaleIntercept = -1, -1 if attributes else 4095 - 1024
    for ds in (right, wrong, undone):
        assert np.array_equal(hu_of(ds, inverted=is_inverted([ds])), true)
    assert is_inverted([wrong]) and not is_inverted([right]) and not is_inverted([undone])
    plain = ct_slice(0, upright, **attributes)
    assert not is_inverted([plain])
    assert np.array_equal(hu_of(plain, inverted=is_inverted([plain, wrong])), true)


def test_padding_is_no_evidence_for_negatives() -> None:
    stored = np.full(SHAPE, 3000)
    stored[1:3, 1:4] = 1060
    ds = ct_slice(0, stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=3000)
    assert not is_inverted([ds])
    assert hu_of(ds)[2, 2] == 36


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"PixelData": None}, "without an image"),
        ({"PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": None}, "colour"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"Rows": None}, "size"),
        ({"Columns": 0}, "size"),
        ({"BitsAllocated": None}, "size"),
        ({"Rows": 60000}, "60000 x 6"),
        ({"PixelData": b"\0" * 46}, "cut short"),
        ({"RescaleSlope": None}, "Hounsfield"),
        ({"RescaleSlope": 0}, "Hounsfield"),
        ({"RescaleIntercept": ""}, "Hounsfield"),
        ({"RescaleSlope": 1e30}, "Hounsfield"),
        ({"RescaleType": "Z_EFF"}, "Z_EFF"),
        ({"NumberOfFrames": 2, "PixelData": b"\0" * 96}, "each of its frames"),
        ({"BitsAllocated": 12}, "cannot be read"),
    ],
)
def test_what_cannot_be_hounsfield_units_says_why(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotAnalysable, match=words):
        hu_of(ct_slice(0, **attributes))


def test_pixels_that_do_not_decode_name_their_syntax() -> None:
    ds = ct_slice(0)
    ds.compress(RLELossless)
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    with pytest.raises(NotAnalysable, match=r"JPEG Extended.*1\.2\.840\.10008\.1\.2\.4\.51"):
        hu_of(ds)


def test_elements_of_the_wrong_length() -> None:
    with pytest.raises(NotAnalysable, match="size"):
        pixel_format(garble(ct_slice(0), "Rows", "US", b"\0"))
    form = pixel_format(ct_slice(0, HighBit=40, BitsStored=99))
    assert (form.bits_stored, form.high_bit) == (16, 15)
