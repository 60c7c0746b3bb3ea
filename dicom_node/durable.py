"""Folders and renames that survive a power cut, and whether a process lives."""

import os
from pathlib import Path


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
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
