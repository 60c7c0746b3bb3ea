"""Everything that decodes pixels, in a process of its own: a decoder may abort its whole process on a corrupt stream.

The work itself stands in pixels.py. One request at a time; the process starts when it is first needed, again when it
has died, and ends with the process that started it.
"""

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from dicom_node.dicom import pixels
from dicom_node.dicom.pixels import Look
from dicom_node.errors import CannotDecode, TriageNodeError

DECODE_S = 120.0
P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()


class Decoder:
    """Decodes for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def frame(self, path: Path, index: int) -> bytes:
        """A frame (from 0) as little endian bytes, uncompressed."""
        return self._run(pixels.frame_bytes, path, index)

    def picture(self, path: Path, index: int, look: Look) -> bytes:
        """A frame as a picture to look at."""
        return self._run(pixels.picture, path, index, look)

    def explicit_little_endian(self, path: Path) -> Path:
        """The instance as Part 10 file in Explicit VR Little Endian; the caller removes the file."""
        handle, name = tempfile.mkstemp(suffix=".dcm")
        os.close(handle)
        target = Path(name)
        try:
            self._run(pixels.transcode, path, target)
        except (TriageNodeError, OSError):
            target.unlink(missing_ok=True)
            raise
        return target

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent)
            try:
                return self._pool.submit(work, *args, **kwargs).result(DECODE_S)
            except (BrokenProcessPool, TimeoutError):
                log.error("pixels could not be decoded: the decoder died or hangs", arguments=[str(a) for a in args])
                self._end()
                raise CannotDecode("The pixels cannot be decoded: the decoder did not survive it") from None

    def _end(self) -> None:
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def end_with_parent() -> None:
    """In the decoding process: end when the one that started it is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(0)
