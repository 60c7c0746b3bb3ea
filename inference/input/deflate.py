"""Deflated data sets (PS3.5 A.5) inflated a little at a time, so that a small file cannot take all memory."""

import zlib
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import BinaryIO

from inference.input.bounds import MOST_READS, TooLarge, Unusable

CHUNK_BYTES = 1 << 16
KEPT_BYTES = 1 << 19  # pydicom goes back by at most 128 KiB; who goes further back begins anew


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
        """Inflate to the end and keep nothing: TooLarge, or Unusable where it is cut off."""
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
                raise Unusable("the deflated data set is cut off")
            self._window += inflated
            self._end += len(inflated)
            if self._end > self.most_bytes:
                raise self._too_large()
            self._drop_before(self._end if keep_from is None else keep_from)
