"""Folders and renames that survive a power cut, what a full disk means, and whether a process lives."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import OutOfResources

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def refuses_when_full() -> Iterator[None]:
    """Around what writes: OutOfResources when there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            raise OutOfResources(f"the disk is full: {error}") from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def is_running(pid: int) -> bool:
    """Whether a process of that ID lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make renames within a folder survive a power cut."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make what was written to a file survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
