"""Signs of life: one small file for each process, in memory (/dev/shm), so that no full or broken disk silences them.

A file's name says which process it is, its modification time until when the last word holds (monotonic seconds, see
clock.py), so that a further sign needs no space at all. Its text says what the process does, the port it was given,
the faults it has met and, of one that has given up, why. Kept apart for each user and data folder.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicom_node.durable import is_running
from dicom_node.faults import Fault, Trouble

ROOTS = (Path("/dev/shm"), Path("/tmp"))  # never the disk of the data, as long as one of them is there


@dataclass(frozen=True, slots=True)
class Sign:
    """A process's word that it lives and will say so again before `until` (monotonic seconds)."""

    process: str
    pid: int
    until: float
    doing: str = ""
    port: int | None = None
    troubles: tuple[Trouble, ...] = ()
    failed: str = ""


def folder_of(data: Path) -> Path:
    """Where the signs of the processes on a data folder are: in memory, or where that cannot be, in the folder."""
    name = f"triage-node-{os.getuid()}-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]}"
    for root in ROOTS:
        folder = root / name
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                return folder
    return data / "run"


def show(data: Path, sign: Sign, now: float) -> None:
    """Say that a process lives. Signs of its kind that are out of date go with their processes."""
    folder = folder_of(data)
    path = folder / f"{sign.process}.{sign.pid}"
    told = asdict(sign)
    text = json.dumps({name: told[name] for name in ("doing", "port", "troubles", "failed")})
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        _prune(data, sign.process, now)
    if path.read_text() != text:
        with suppress(OSError):  # without its text it is a sign all the same
            path.write_text(text)
    os.utime(path, ns=(0, int(sign.until * 1e9)))


def read(data: Path) -> list[Sign]:
    """The last sign of each process, of several of a kind the freshest last."""
    folder, found = folder_of(data), []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            process, _, pid = path.name.partition(".")
            if pid.isdigit():
                with suppress(FileNotFoundError):
                    found.append(_sign(path, process, int(pid)))
    return sorted(found, key=lambda sign: (sign.process, sign.until))


def forget(data: Path, process: str, pid: int) -> None:
    """A process has ended."""
    with suppress(OSError):
        (folder_of(data) / f"{process}.{pid}").unlink(missing_ok=True)


def _sign(path: Path, process: str, pid: int) -> Sign:
    until = path.stat().st_mtime_ns / 1e9
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        troubles = tuple(Trouble(Fault(each["fault"]), each["about"]) for each in told["troubles"])
        return Sign(process, pid, until, told["doing"], told["port"], troubles, told["failed"])
    except (ValueError, KeyError, TypeError):  # being written at this moment, or never
        return Sign(process, pid, until)


def _prune(data: Path, process: str, now: float) -> None:
    for sign in read(data):
        if sign.process == process and sign.until < now and not is_running(sign.pid):
            forget(data, process, sign.pid)
