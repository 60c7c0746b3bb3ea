"""The SQLite file as a file: whether all of it is there, and whether it is the same one as before."""

import os
import sqlite3
from pathlib import Path

MAGIC = b"SQLite format 3\0"


def check_whole(path: Path) -> None:
    """DatabaseError where the file is shorter than it says itself, or empty beside an archive that is not.

    SQLite would find the first only when it comes to the pages that are missing, and take the second for a new one.
    """
    try:
        with path.open("rb") as file:
            head, size = file.read(100), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return
    log_of_changes = path.with_name(f"{path.name}-wal")
    if log_of_changes.exists() and log_of_changes.stat().st_size:
        return  # its pages come to the file later
    if size < 100:
        archive = path.parent / "instances"
        damaged = size > 0 or (archive.is_dir() and any(archive.iterdir()))
    else:
        page_bytes = int.from_bytes(head[16:18], "big")
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        counted = head[24:28] == head[92:96]  # else the number of pages does not hold (SQLite, file format 1.3.7)
        damaged = head[:16] == MAGIC and counted and size < page_bytes * int.from_bytes(head[28:32], "big")
    if damaged:
        error = sqlite3.DatabaseError("the database file was cut off")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode, None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
