"""Folders and renames that survive a power cut, files that are their owner's alone, and whether a process lives."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import OutOfResources

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


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


def keep_private() -> None:
    """From now on let nobody but this process's user read what it writes."""
    os.umask(0o077)


def make_private(folder: Path, *names: str) -> None:
    """Take from everybody but its owner what lies under these names of a folder, and last the folder itself.

    Nothing is looked at where the folder is private already. PermissionError where it is another user's.
    """
    if not folder.is_dir() or not folder.stat().st_mode & 0o077:
        return
    for path in _everything(folder, names):
        wanted = PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE
        if not path.is_symlink() and path.stat().st_mode & 0o777 != wanted:
            path.chmod(wanted)
    folder.chmod(PRIVATE_FOLDER)


def _everything(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        for path in folder.glob(name):
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from path.rglob("*")
