"""Deflated data sets (PS3.5 A.5) inflated a little at a time, so that a small file cannot take all memory.

pydicom inflates such a data set as a whole before it looks at it. Here it reads from a stream that inflates what is
asked for, and that ends with `TooLarge` at the bounds of this process (bounds.py).
"""

import zlib
from collections.abc import Callable, Sequence
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from inference.input.bounds import TooLarge, bounds_in_force
from inference.input.elements import integer

HEADER_BYTES = 128 << 20  # what stands before the pixels
MOST_READS = 2_000_000  # each element takes two; pydicom's objects take far more memory than an empty element
LONGER_BYTES = 1 << 16  # by which pixels may be longer than the data set says, beside twice as long
CHUNK_BYTES = 1 << 16
KEPT_BYTES = 1 << 19  # pydicom goes back by at most 128 KiB; who goes further back begins anew
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, pixel data
StopWhen = Callable[[BaseTag, str | None, int], bool]


class Inflating(RawIOBase):
    """The inflated bytes of what follows in a file, which can be read and sought in; TooLarge beyond `most_bytes`."""

    def __init__(self, source: BinaryIO, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._source, self._start = source, source.tell()
        self._reads = 0
        self._restart()
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to another place; to the end by inflating everything."""
        if whence == SEEK_END:
            self._inflate_to(None)
        self._at = offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._end}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer only at the end."""
        self._reads += 1
        if self._reads > MOST_READS:
            raise TooLarge("the deflated data set holds too many elements")
        if self._at < self._begin:
            self._source.seek(self._start)
            self._restart()
        until = None if size is None or size < 0 else self._at + size
        if until is not None and until > self.most_bytes + KEPT_BYTES:  # an element says that it is so long
            raise self._too_large()
        self._drop_before(self._at)
        self._inflate_to(until, keep_from=self._at)
        found = bytes(memoryview(self._window)[self._at - self._begin :][: None if until is None else until - self._at])
        self._at += len(found)
        return found

    def check(self) -> None:
        """Inflate to the end and keep nothing: TooLarge, or zlib.error where it is damaged or cut off."""
        self._inflate_to(None, keep_from=None)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the deflated data set becomes larger than {self.most_bytes >> 20} MiB")

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._window, self._begin, self._end = bytearray(), 0, 0

    def _drop_before(self, place: int) -> None:
        if (drop := min(place, self._end) - KEPT_BYTES - self._begin) > KEPT_BYTES:
            del self._window[:drop]
            self._begin += drop

    def _inflate_to(self, until: int | None, keep_from: int | None = None) -> None:
        """Have the bytes up to there, or all; what lies far before `keep_from` (None: everything) is not kept."""
        while (until is None or self._end < until) and not self._inflater.eof:
            deflated = self._inflater.unconsumed_tail or self._source.read(CHUNK_BYTES)
            inflated = self._inflater.decompress(deflated, CHUNK_BYTES)
            if not deflated and not inflated:
                raise zlib.error("the deflated data set is cut off")
            self._window += inflated
            self._end += len(inflated)
            if self._end > self.most_bytes:
                raise self._too_large()
            self._drop_before(self._end if keep_from is None else keep_from)


def read_dicom(
    source: Path | BinaryIO,
    *,
    stop_before_pixels: bool = False,
    stop_when: StopWhen | None = None,
    specific_tags: Sequence[int | str] | None = None,
    force: bool = False,
    whole: bool = False,
) -> FileDataset:
    """`dcmread` within the bounds; `whole`: also what is read up to its pixels must be so to its end.

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
            )
    stop = _at_pixels if stop_before_pixels else stop_when
    tags: list[Any] | None = None if specific_tags is None else [Tag(each) for each in specific_tags]
    begin = source.tell()
    preamble, meta = read_preamble(source, force), _read_file_meta_info(source)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        source.seek(begin)
        return read_partial(source, stop, force=force, specific_tags=tags)
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
