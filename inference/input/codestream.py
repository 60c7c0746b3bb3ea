"""What a compressed frame says of its own size, read before a decoder is given it.

JPEG (ISO/IEC 10918-1 B.2.2), JPEG-LS (14495-1 C.2.4.1), JPEG 2000 and its high-throughput form (15444-1 A.5.1, I.5),
RLE (PS3.5 G). A decoder makes room for what the codestream says, whatever the data set announces.
"""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from inference.input.bounds import TooLarge, Unusable, bounds_in_force
from inference.input.elements import integer

FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF of JPEG and of JPEG-LS
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
JPEG_START, END_OF_IMAGE, START_OF_SCAN, PRESETS = b"\xff\xd8", 0xD9, 0xDA, 0xF8
OVERSIZE = 4  # the kind of JPEG-LS presets that holds an image's size (C.2.4.1.5)
COMPRESSED = "1.2.840.10008.1.2"  # and .4.50 to .4.81: JPEG; .4.9x, .4.20x: JPEG 2000; .5: RLE
SIZ = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream
MOST_TILES = 16_384
RLE_HEADER_BYTES = 64


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size of one frame, as announced by a data set or by a codestream."""

    rows: int
    columns: int
    samples: int

    @property
    def count(self) -> int:
        """All samples."""
        return self.rows * self.columns * self.samples


def announced_by(dataset: Dataset) -> FrameSize:
    """The size of a data set's frames; what is absent counts as 1."""
    rows, columns, samples = (integer(dataset, each) or 1 for each in ("Rows", "Columns", "SamplesPerPixel"))
    return FrameSize(rows, columns, samples)


def check_announced(announced: FrameSize) -> None:
    """TooLarge where a decoder could not hold the frame."""
    if announced.count > bounds_in_force().most_samples:
        said = f"{announced.rows} x {announced.columns} pixels of {announced.samples} samples"
        raise TooLarge(f"an image of {said} needs more memory than a decoder may take")


def check_codestream(frame: bytes, syntax: str, dataset: Dataset) -> None:
    """Unusable unless the frame decodes to what its data set announces, and that is not too large."""
    announced = announced_by(dataset)
    check_announced(announced)
    kind = syntax.removeprefix(COMPRESSED)
    if kind.startswith((".4.5", ".4.6", ".4.7", ".4.8")):
        found = _size_of_jpeg(frame)
    elif kind.startswith((".4.9", ".4.20")):
        found = _size_of_jpeg_2000(frame)
    else:
        _check_rle(frame, announced, integer(dataset, "BitsAllocated") or 8)
        return
    if found != announced:  # smaller ones, too: some decoder ends its process there
        raise TooLarge(
            f"the compressed image has {found.rows} x {found.columns} pixels of {found.samples} samples, announced are"
            f" {announced.rows} x {announced.columns} of {announced.samples}"
        )


def _size_of_jpeg(frame: bytes) -> FrameSize:
    """From the frame header, or from the presets where a JPEG-LS image is too large for that."""
    oversize: FrameSize | None = None
    at = 2 if frame.startswith(JPEG_START) else len(frame)
    while at + 4 <= len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF or marker in (END_OF_IMAGE, START_OF_SCAN):
            break
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = _number(frame, at + 2, 2)
        if marker in FRAME_HEADERS:
            size = FrameSize(_number(frame, at + 5, 2), _number(frame, at + 7, 2), _number(frame, at + 9, 1))
            rows, columns = (oversize.rows, oversize.columns) if oversize else (size.rows, size.columns)
            if not rows or not columns:
                break
            return FrameSize(rows, columns, size.samples)
        if marker == PRESETS and _number(frame, at + 4, 1) == OVERSIZE:
            width = _number(frame, at + 5, 1)
            oversize = FrameSize(_number(frame, at + 6, width), _number(frame, at + 6 + width, width), 1)
        at += 2 + length
    raise Unusable("the compressed image does not say how large it is")


def _size_of_jpeg_2000(frame: bytes) -> FrameSize:
    """From the SIZ marker, which is the codestream's first."""
    at = _codestream_of(frame) + len(SIZ) + 4  # behind the marker's length and the capabilities
    right, bottom, left, top, width, height, tiles_left, tiles_top = (
        _number(frame, at + 4 * place, 4) for place in range(8)
    )
    if not width or not height or right <= left or bottom <= top:
        raise Unusable("the compressed image does not say how large it is")
    tiles = -(-(right - tiles_left) // width) * -(-(bottom - tiles_top) // height)
    if tiles > MOST_TILES:
        raise TooLarge(f"the compressed image has {tiles} tiles")
    return FrameSize(bottom - top, right - left, _number(frame, at + 32, 2))


def _codestream_of(frame: bytes) -> int:
    """Where the codestream begins: at once, or in the box of a JP2 file that holds it."""
    at = 0
    while not frame.startswith(SIZ, at):
        length, kind, head = _number(frame, at, 4), frame[at + 4 : at + 8], 8
        if length == 1:
            length, head = _number(frame, at + 8, 8), 16
        if kind != b"jp2c" and length < head:
            break
        at += head if kind == b"jp2c" else length
        if kind == b"jp2c" and not frame.startswith(SIZ, at):
            break
    else:
        return at
    raise Unusable("the compressed image does not begin as one")


def _check_rle(frame: bytes, announced: FrameSize, bits_allocated: int) -> None:
    """What is encoded as badly as can be takes a 128th more than it was, and a pad for each row."""
    expected = announced.count * max(1, bits_allocated // 8)
    if len(frame) > RLE_HEADER_BYTES + 2 * expected + 2 * announced.rows * announced.samples * 8:
        raise TooLarge("the compressed image is larger than it is uncompressed")


def _number(data: bytes, at: int, size: int) -> int:
    """ValueError where the data end before."""
    found = data[at : at + size]
    if len(found) < size:
        raise Unusable("the compressed image is cut off")
    return int.from_bytes(found, "big")
