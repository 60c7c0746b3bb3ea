"""A digest of a data set's labels, so that results made with other labels are known as such."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from inference.training.datasets.base import DatasetError


def digest_of(tables: Iterable[Path], files: Iterable[Path] = ()) -> str:
    """SHA-256 over the content of the tables, and over name, size and time of change of the (many, large) files."""
    found = hashlib.sha256()
    try:
        for table in tables:
            content = table.read_bytes()
            found.update(f"{table.name} {len(content)}\n".encode() + content)
        for file in sorted(files):
            status = file.stat()
            found.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    except OSError as error:
        raise DatasetError(f"{error.filename}: cannot be read ({error.strerror}).") from error
    return found.hexdigest()
