"""An object on its way in: what comes piece by piece becomes a Part 10 file, bounded and hashed meanwhile.

Nothing of it stays on the disk unless somebody takes the file over.
"""

import hashlib
from pathlib import Path
from typing import Self

from dicom_node.durable import refuses_when_full
from dicom_node.errors import OutOfResources


class Spool:
    """One file in the making; `most_bytes` is what the data set may have. OutOfResources says what cannot be kept."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self._most_bytes = path, most_bytes
        self.bytes = 0  # of the data set so far
        self._hash = hashlib.sha256()
        with refuses_when_full():
            self._file = path.open("xb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file where nobody has taken it over."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def begin(self, header: bytes) -> None:
        """Write the preamble and the file meta information, which are not part of the data set."""
        self._write(header)

    def write(self, piece: bytes | memoryview) -> None:
        """Write on."""
        self.bytes += memoryview(piece).nbytes
        if self.bytes > self._most_bytes:
            raise OutOfResources(f"the object is larger than {self._most_bytes} bytes")
        self._hash.update(piece)
        self._write(piece)

    def digest(self) -> str:
        """The SHA-256 of the data set so far."""
        return self._hash.hexdigest()

    def _write(self, piece: bytes | memoryview) -> None:
        with refuses_when_full():
            left = memoryview(piece)
            while left:
                left = left[self._file.write(left) :]
