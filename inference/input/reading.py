"""Data sets read within the bounds of this process (bounds.py): the way to pydicom for whatever came from outside.

pydicom inflates a deflated data set as a whole before it looks at it. Here it reads from a stream that inflates what is
asked for, and that ends with `TooLarge`.
"""

from collections.abc import Callable, Sequence
from io import SEEK_END
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from inference.input.bounds import MOST_READS, TooLarge, bounds_in_force
from inference.input.deflate import Inflating
from inference.input.elements import integer

HEADER_BYTES = 128 << 20  # what stands before deflated pixels
LONGER_BYTES = 1 << 16  # by which pixels may be longer than the data set says, beside twice as long
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, pixel data
StopWhen = Callable[[BaseTag, str | None, int], bool]


class BoundedFile:
    """A file of which no more than so much can be read; TooLarge then."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file, self._most, self._left, self._reads = file, most_bytes, most_bytes, 0

    def read(self, count: int = -1) -> bytes:
        """Read on."""
        self._reads += 1
        if self._reads > MOST_READS:
            raise TooLarge("the data set holds too many elements")
        found = self._file.read(self._left + 1 if count < 0 else min(count, self._left + 1))
        self._left -= len(found)
        if self._left < 0:
            raise TooLarge(f"the header is larger than {self._most >> 20} MiB")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def read_dicom(
    source: Path | BinaryIO,
    *,
    stop_before_pixels: bool = False,
    stop_when: StopWhen | None = None,
    specific_tags: Sequence[int | str] | None = None,
    force: bool = False,
    whole: bool = False,
    defer_size: int | None = None,
    most_bytes: int | None = None,
) -> FileDataset:
    """`dcmread` within the bounds; `whole`: also what is read up to its pixels must be so to its end.

    `defer_size` and `most_bytes` (of what is read) concern data sets that are not deflated.

    A file that is given stays open. Raises what stands in `elements.UNREADABLE`.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_dicom(
                file,
                stop_before_pixels=stop_before_pixels,
                stop_when=stop_when,
                specific_tags=specific_tags,
                force=force,
                whole=whole,
                defer_size=defer_size,
                most_bytes=most_bytes,
            )
    stop = _at_pixels if stop_before_pixels else stop_when
    tags: list[Any] | None = None if specific_tags is None else [Tag(each) for each in specific_tags]
    begin = source.tell()
    preamble, meta = read_preamble(source, force), _read_file_meta_info(source)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        source.seek(begin)
        plain = source if most_bytes is None else cast(BinaryIO, BoundedFile(source, most_bytes))
        found = read_partial(plain, stop, defer_size, force=force, specific_tags=tags)
        if found.filename:  # from where it reads what it has left there
            found.fileobj_type, found.buffer = open, None
        return found
    start, end = source.tell(), source.seek(0, SEEK_END)
    source.seek(start)
    most = bounds_in_force().most_inflated(end - start)
    stream = Inflating(source, min(most, HEADER_BYTES) if stop else most)
    if stop is None:
        _check_pixels(stream)
    dataset = read_dataset(cast(BinaryIO, stream), False, True, stop_when=stop, specific_tags=tags)
    if whole:
        stream.most_bytes = most
        stream.check()
    name = getattr(source, "name", "")
    found = FileDataset(name if isinstance(name, str) else "", dataset, preamble, meta, False, True)
    found.set_original_encoding(False, True, dataset._character_set)
    return found


def _check_pixels(stream: Inflating) -> None:
    """TooLarge where the pixels are longer than the data set announces, before any of them is inflated."""
    lengths: list[int] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in PIXEL_TAGS:
            lengths.append(length)
        return tag in PIXEL_TAGS

    header = read_dataset(cast(BinaryIO, stream), False, True, stop_when=at_pixels)
    stream.seek(0)
    factors = [integer(header, each) or 1 for each in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")]
    expected = prod(factors) * (integer(header, "BitsAllocated") or 8) // 8
    if lengths and lengths[0] > min(stream.most_bytes, 2 * expected + LONGER_BYTES):
        raise TooLarge(f"the deflated pixels would become {lengths[0]} bytes")


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in PIXEL_TAGS
