"""What needs pixels decoded (runs in a process of decoding.py): frames as bytes and as pictures.

Windowing follows PS3.3 C.11.1 and C.11.2, the picture's parameters PS3.18 8.3.5.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from dicom_node.dicom.checks import NOT_DECODED, damage_raises
from dicom_node.dicom.frames import OFFSET_TABLES, stored_frame
from dicom_node.dicom.part10 import StoredHeader, read_header
from dicom_node.errors import CannotDecode, DamagedFile
from inference.input.codestream import announced_by, check_announced, check_codestream
from inference.input.elements import integer
from inference.input.reading import read_dicom

WINDOW_OF_NONE = (0.5, 99.5)  # percentiles shown where the instance names no window
MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
PIXEL_DATA = 0x7FE00010
Pixels = NDArray[Any]
Window = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is wanted; `window` is (centre, width, function), `box` the largest (width, height)."""

    media_type: str = "image/jpeg"
    window: Window | None = None
    box: tuple[int, int] | None = None
    quality: int = 90


@damage_raises(CannotDecode, NOT_DECODED)
def frame_bytes(path: Path, index: int) -> bytes:
    """A frame (from 0) in little endian, colours as RGB by pixel; bits are packed again."""
    header = read_header(path)
    return packed(frame_values(path, header, index), integer(header.dataset, "BitsAllocated"))


@damage_raises(CannotDecode, NOT_DECODED)
def render_frame(path: Path, index: int, look: Look) -> bytes:
    """A frame (from 0) as JPEG or PNG, as large as it is or as fits the box."""
    header = read_header(path)
    values = _shown(header.dataset, frame_values(path, header, index), index, look.window)
    shown = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if look.box:
        scale = min(look.box[0] / shown.width, look.box[1] / shown.height)
        size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    buffer = BytesIO()
    shown.save(buffer, "PNG" if look.media_type == "image/png" else "JPEG", quality=look.quality)
    return buffer.getvalue()


def frame_values(path: Path, header: StoredHeader, index: int) -> Pixels:
    """One frame's values; ValueError where it is, or its codestream says that it is, too large to be decoded."""
    dataset = header.dataset
    check_announced(announced_by(dataset))
    compressed = header.syntax.is_encapsulated
    if header.pixels is None or not (compressed or (header.is_plain and header.pixels.tag == PIXEL_DATA)):
        return pixel_array(read_dicom(path), index=index)  # of a deflated file by way of the whole
    try:
        frame = stored_frame(path, header, index)
    except DamagedFile as error:
        raise CannotDecode(f"{NOT_DECODED}: {error}") from None
    if compressed:
        check_codestream(frame, header.syntax, dataset)
    alone = Dataset()
    alone.update(dataset)
    alone.file_meta = dataset.file_meta
    alone.PixelData, alone.NumberOfFrames = encapsulate([frame]) if compressed else frame, 1
    for keyword in OFFSET_TABLES:
        if keyword in alone:
            del alone[keyword]
    return pixel_array(alone, index=0)


def packed(values: Pixels, bits: int | None) -> bytes:
    """Values as little endian bytes, single bits eight to a byte (PS3.5 8.1.1)."""
    if bits == 1:
        return np.packbits(values.ravel().astype(np.uint8), bitorder="little").tobytes()
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _shown(header: Dataset, values: Pixels, index: int, window: Window | None) -> Pixels:
    """Grey values or colours from 0 to 255."""
    photometric = header.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(values, header)
        return np.asarray(coloured * (255 / np.iinfo(coloured.dtype).max))
    if values.ndim == 3:
        return np.asarray(values * (255 / (2 ** (integer(header, "BitsStored") or 8) - 1)))
    frame = _frame_attributes(header, index)
    grey = apply_modality_lut(values, frame)
    window = window or _own_window(frame)
    if window:
        grey = _windowed(grey.astype(np.float64), *window)
    else:
        grey = apply_voi_lut(grey, frame).astype(np.float64)
        low, high = np.percentile(grey, WINDOW_OF_NONE)
        grey = (grey - low) * (255 / max(high - low, 1e-6))
    return 255 - grey.clip(0, 255) if photometric == "MONOCHROME1" else grey


def _frame_attributes(header: Dataset, index: int) -> Dataset:
    """The header with what its functional groups say of one frame (PS3.3 C.7.6.16)."""
    found = Dataset()
    found.update(header)
    shared, frames = header.get(SHARED) or [], header.get(PER_FRAME) or []
    for groups in (*shared[:1], *frames[index : index + 1]):
        for macro in MACROS:
            for item in (groups.get(macro) or [])[:1]:
                found.update(item)
    return found


def _own_window(frame: Dataset) -> Window | None:
    centre, width = frame.get("WindowCenter"), frame.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    centre, width = (each[0] if isinstance(each, MultiValue) else each for each in (centre, width))
    return float(centre), float(width), str(frame.get("VOILUTFunction") or "LINEAR")


def _windowed(grey: Pixels, centre: float, width: float, function: str) -> Pixels:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, to 0..255."""
    if function.upper() == "SIGMOID":
        return np.asarray(255 / (1 + np.exp(-4 * (grey - centre) / max(width, 1e-6))))
    if function.upper() == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return ((grey - centre) / max(width, 1e-6) + 0.5) * 255
