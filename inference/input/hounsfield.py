"""Pixel data of one instance -> Hounsfield units (PS3.3 C.7.6.3, C.7.5.1.1.2, C.11.1; PS3.5 section 8).

Uncompressed pixels are read straight from their bytes; compressed ones go through pydicom's decoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_fragments
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian

from inference.findings import NotAnalysable
from inference.input.bounds import TooLarge, Unusable, bounds_in_force
from inference.input.codestream import check_codestream
from inference.input.elements import UNREADABLE, frame_macros, integer, number, text, value

Stored: TypeAlias = NDArray[np.integer[Any]]

AIR_HU = -1024.0
LARGEST_SIDE = 4096
LARGEST_RESCALE = 1e6
# Rescale Types of CT images whose numbers are no Hounsfield units (PS3.3 C.11.1.1.2), e.g. of dual energy CT.
NOT_HOUNSFIELD = frozenset({"OD", "Z_EFF", "ED", "EDW", "PCT", "MGML"})


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the samples of an instance are stored (PS3.3 C.7.6.3)."""

    frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def range_sum(self) -> int:
        """Smallest plus largest value that can be stored: a value's negative is this minus the value."""
        return -1 if self.signed else (1 << self.bits_stored) - 1


def pixel_format(ds: Dataset) -> PixelFormat:
    """Read and check it; NotAnalysable where pixels are absent, coloured, or not described."""
    if not any(keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise NotAnalysable("The series holds an object without an image.")
    if not text(ds, "PhotometricInterpretation").startswith("MONOCHROME") or (integer(ds, "SamplesPerPixel") or 1) != 1:
        raise NotAnalysable("The series holds a colour image, which is no original slice.")
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    allocated = integer(ds, "BitsAllocated")
    if not rows or not columns or not allocated or min(rows, columns, allocated) < 1:
        raise NotAnalysable("The size of an image is not stated.")
    if max(rows, columns) > LARGEST_SIDE:
        raise NotAnalysable(f"An image has {rows} x {columns} pixels, more than any slice has.")
    stored = min(integer(ds, "BitsStored") or allocated, allocated)
    high_bit = integer(ds, "HighBit")
    if stored < 1 or high_bit is None or not stored <= high_bit + 1 <= allocated:
        stored, high_bit = max(stored, 1), max(stored, 1) - 1
    signed = integer(ds, "PixelRepresentation") == 1
    frames = integer(ds, "NumberOfFrames") or 1
    return PixelFormat(frames, rows, columns, allocated, stored, high_bit, signed)


def write_hu(ds: Dataset, planes: Sequence[NDArray[np.float32] | None], *, inverted: bool = False) -> None:
    """Decode each frame into the plane of the same place; in CT padding and what is below air become air.

    A frame without a plane is passed over. `inverted` takes the stored values of a MONOCHROME1 CT as negatives (see
    `is_inverted`). Other modalities get their rescaled values, which are no Hounsfield units, and 0 for padding.
    """
    form = pixel_format(ds)
    stored = stored_values(ds, form)
    rescale = rescales(ds)
    if not len(stored) == len(rescale) == len(planes):
        raise NotAnalysable("A multi-frame image does not describe each of its frames.")
    padding = _padding_range(ds, form)
    is_ct = text(ds, "Modality") == "CT"
    is_negative = inverted and _may_be_inverted(ds)
    for raw, plane, (slope, intercept) in zip(stored, planes, rescale, strict=True):
        if plane is None:
            continue
        plane[...] = raw
        if is_negative:
            np.subtract(np.float32(form.range_sum), plane, out=plane)
        if slope != 1:
            plane *= np.float32(slope)
        if intercept != 0:
            plane += np.float32(intercept)
        if padding:
            low, high = padding
            is_padding = raw == low if low == high else (raw >= low) & (raw <= high)
            plane[is_padding] = AIR_HU if is_ct else 0.0
        if is_ct:
            np.maximum(plane, np.float32(AIR_HU), out=plane)


def is_inverted(datasets: Sequence[Dataset]) -> bool:
    """Whether the MONOCHROME1 CT images among these hold negatives of their values.

    By the standard MONOCHROME1 concerns the display alone and Hounsfield units follow from the stored values as ever,
    but some senders invert the values and leave the rescale as it was. The air around the patient tells them apart.
    """
    upright = negative = 0
    for ds in datasets:
        if not _may_be_inverted(ds):
            continue
        try:
            form = pixel_format(ds)
            frames = list(zip(stored_values(ds, form), rescales(ds), strict=False))
        except NotAnalysable:  # a damaged image says nothing
            continue
        padding = _padding_range(ds, form) or (1, 0)
        for raw, (slope, intercept) in frames:
            real = raw[(raw < padding[0]) | (raw > padding[1])].astype(np.float32)
            upright += int(np.count_nonzero(real * slope + intercept < -500))
            negative += int(np.count_nonzero((form.range_sum - real) * slope + intercept < -500))
    return negative > upright


def rescales(ds: Dataset) -> list[tuple[float, float]]:
    """(slope, intercept) of each frame; NotAnalysable for a CT image whose Hounsfield units cannot be known."""
    result = []
    for macro in frame_macros(ds, "PixelValueTransformationSequence"):
        slope, intercept = number(macro, "RescaleSlope"), number(macro, "RescaleIntercept")
        if text(ds, "Modality") == "CT":
            unit = text(macro, "RescaleType").upper()
            if unit in NOT_HOUNSFIELD:
                raise NotAnalysable(f"The values of the images are not Hounsfield units ({unit}).")
            if not slope or intercept is None or max(abs(slope), abs(intercept)) > LARGEST_RESCALE:
                raise NotAnalysable("An image does not say how its values become Hounsfield units.")
        result.append((slope or 1.0, intercept or 0.0))
    return result


def _may_be_inverted(ds: Dataset) -> bool:
    return text(ds, "PhotometricInterpretation") == "MONOCHROME1" and text(ds, "Modality") == "CT"


def stored_values(ds: Dataset, form: PixelFormat) -> Stored:
    """(frame, row, column) values as stored, sign extended; NotAnalysable where they cannot be decoded."""
    syntax = UID(str(getattr(getattr(ds, "file_meta", None), "TransferSyntaxUID", "")))
    if syntax.is_transfer_syntax and syntax.is_compressed and not syntax.is_deflated:
        return _decoded(ds, form, syntax)
    big_endian = syntax == ExplicitVRBigEndian
    if form.bits_allocated != 16 and (form.bits_allocated != 8 or big_endian):
        return _decoded(ds, form, syntax)
    return _native(ds, form, ">" if big_endian else "<")


def _native(ds: Dataset, form: PixelFormat, byte_order: str) -> Stored:
    pixels = value(ds, "PixelData")
    shape = (form.frames, form.rows, form.columns)
    count = form.frames * form.rows * form.columns
    if not isinstance(pixels, bytes | bytearray) or len(pixels) < count * form.bits_allocated // 8:
        raise NotAnalysable("The pixel data of an image are cut short.")
    kind = "i" if form.signed else "u"
    stored = np.frombuffer(pixels, f"{byte_order}{kind}{form.bits_allocated // 8}", count).reshape(shape)
    if form.bits_stored == form.bits_allocated:
        return stored
    # Bits above the high bit may hold anything (formerly overlays); shifting back copies the sign, or zeros.
    shifted: Stored = np.left_shift(stored, stored.dtype.type(form.bits_allocated - 1 - form.high_bit))
    shifted >>= shifted.dtype.type(form.bits_allocated - form.bits_stored)
    return shifted


def _decoded(ds: Dataset, form: PixelFormat, syntax: UID) -> Stored:
    try:
        _check_compressed(ds, form, syntax)
        stored = np.asarray(pixel_array(ds, raw=True))
        return stored.reshape((form.frames, form.rows, form.columns))
    except UNREADABLE as error:
        name = f"{syntax.name}, {syntax}" if syntax.is_transfer_syntax else "unknown transfer syntax"
        raise NotAnalysable(f"The images are stored in a way that cannot be read here ({name}).") from error


def _check_compressed(ds: Dataset, form: PixelFormat, syntax: UID) -> None:
    """ValueError where the frames are fewer than announced, or decode to more: a decoder believes what it is given."""
    if not syntax.is_encapsulated:
        return
    if form.frames * form.rows * form.columns > bounds_in_force().most_samples:
        raise TooLarge("the images need more memory than a decoder may take")
    if form.frames > parse_fragments(ds.PixelData)[0]:
        raise Unusable("the frames are fewer than announced")
    for frame in generate_frames(ds.PixelData, number_of_frames=form.frames):
        check_codestream(frame, syntax, ds)


def _padding_range(ds: Dataset, form: PixelFormat) -> tuple[int, int] | None:
    """Lowest and highest stored value that means 'no image here', whatever sign they were written with."""
    first = _as_stored(integer(ds, "PixelPaddingValue"), form)
    if first is None:
        return None
    last = _as_stored(integer(ds, "PixelPaddingRangeLimit"), form)
    return (first, first) if last is None else (min(first, last), max(first, last))


def _as_stored(found: int | None, form: PixelFormat) -> int | None:
    if found is None:
        return None
    size = 1 << form.bits_allocated
    wrapped = found % size
    return wrapped - size if form.signed and wrapped >= size // 2 else wrapped
