"""Where lines of the log go: standard error, or a file that several processes share and that is rotated by its size.

Nothing here raises: a log that cannot be written is no reason to stop.
"""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path


def write_to_standard_error(line: str) -> None:
    """One line, dropped where nobody takes it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class LogFile:
    """Appends whole lines. FILE becomes FILE.1, that FILE.2 and so on, when it would grow beyond `most_bytes`.

    A line that cannot be written goes to standard error.
    """

    def __init__(self, path: Path, most_bytes: int, keep: int) -> None:
        self._path, self._most_bytes, self._keep = path.absolute(), most_bytes, keep
        self._handle: int | None = None
        self._said = ""

    def write(self, line: str) -> None:
        """One line."""
        try:
            self._append(f"{line}\n".encode(errors="replace"))
        except OSError as error:
            write_to_standard_error(line)
            self._say_once(f"the log file {self._path} cannot be written: {error.strerror}")

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            write_to_standard_error(text)

    def _append(self, data: bytes) -> None:
        handle = self._opened()
        if os.fstat(handle).st_size + len(data) > self._most_bytes:
            handle = self._rotated(handle, len(data))
        os.write(handle, data)

    def _opened(self) -> int:
        """The file as it is now: another process may have rotated it."""
        if self._handle is not None and not self._is_in_place(self._handle):
            os.close(self._handle)
            self._handle = None
        if self._handle is None:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._handle

    def _is_in_place(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except FileNotFoundError:
            return False

    def _rotated(self, handle: int, more_bytes: int) -> int:
        fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
        if self._is_in_place(handle) and os.fstat(handle).st_size:
            for number in range(self._keep, 0, -1):
                older = self._path if number == 1 else self._numbered(number - 1)
                with suppress(FileNotFoundError):
                    older.replace(self._numbered(number))
            if not self._keep:
                self._path.unlink()
        os.close(handle)
        self._handle = None
        return self._opened()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
