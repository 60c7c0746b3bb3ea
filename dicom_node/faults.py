"""Faults of the machine that the node lives through: a full disk, a read-only folder, a locked or damaged database.

`fault_of` tells them from mistakes of the program. A process keeps those that last in its `Faults`; whoever reports
them to people (the supervisor, or a process that runs alone) has a `Teller`, which logs a line when one begins and one
when it ends. Words are made by `say` and `advise` where a fault is shown.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from dicom_node import clock

LEAST_FREE_BYTES = 1 << 20  # with less nothing is stored, be there room for a row or not
CALM_S = 3.0  # a fault that was not met for so long is over
LAST_BACKUP = "last-backup.txt"
log = structlog.get_logger()


class Fault(StrEnum):
    """What keeps the node from storing or analysing."""

    DISK_FULL = "disk_full"
    READ_ONLY = "read_only"
    LOCKED = "locked"
    NO_ACCESS = "no_access"
    DISK_FAILS = "disk_fails"
    DAMAGED = "damaged"
    MISSING = "missing"
    MODEL = "model"


PASSING = (Fault.DISK_FULL, Fault.READ_ONLY, Fault.LOCKED)  # no reason to call the work in hand failed
OF_SYSTEM = {
    errno.ENOSPC: Fault.DISK_FULL,
    errno.EDQUOT: Fault.DISK_FULL,
    errno.EFBIG: Fault.DISK_FULL,
    errno.EROFS: Fault.READ_ONLY,
    errno.EACCES: Fault.NO_ACCESS,
    errno.EPERM: Fault.NO_ACCESS,
    errno.EIO: Fault.DISK_FAILS,
}
OF_SQLITE = {
    sqlite3.SQLITE_FULL: Fault.DISK_FULL,
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Fault.LOCKED,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
}
UNCLEAR = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
SAID = {
    Fault.DISK_FULL: "the disk is full",
    Fault.READ_ONLY: "the folder is read-only",
    Fault.LOCKED: "the database is locked by another program",
    Fault.NO_ACCESS: "the user of this program has not the permission to use the folder",
    Fault.DISK_FAILS: "the disk cannot be read or written",
    Fault.DAMAGED: "the database is damaged",
    Fault.MISSING: "the database is not there any more",
    Fault.MODEL: "a model cannot be used",
}
GOES_ON = "Images are refused (0xA700) until then; the node goes on by itself."
ADVICE = {
    Fault.DISK_FULL: f"Make room on it. {GOES_ON}",
    Fault.READ_ONLY: f"Make it writable. {GOES_ON}",
    Fault.LOCKED: f"End what holds it. {GOES_ON}",
    Fault.NO_ACCESS: f"Correct its owner and permissions. {GOES_ON}",
    Fault.DISK_FAILS: f"Look at the system's log for this disk. {GOES_ON}",
    Fault.MODEL: "Studies are received; analyses by it fail. See triage-node models list, then triage-node retry ID.",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that lasts; `about` is the file or folder, or of a model what is wrong with it."""

    fault: Fault
    about: str


def fault_of(error: BaseException | None, database: Path) -> Fault | None:
    """Which fault an error, or what caused it, speaks of; None for any other error. `database` is the SQLite file."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return _fault_of_sqlite(getattr(error, "sqlite_errorcode", None), database)
        if isinstance(error, OSError):
            return OF_SYSTEM.get(error.errno or 0)
        error = error.__cause__
    return None


def say(trouble: Trouble) -> str:
    """A fault in words."""
    return f"{SAID[trouble.fault]}: {trouble.about}" if trouble.about else SAID[trouble.fault]


def advise(trouble: Trouble) -> str:
    """What IT can do about it."""
    if trouble.fault in ADVICE:
        return ADVICE[trouble.fault]
    return f"Stop the node and restore the last backup: triage-node restore {last_backup(Path(trouble.about).parent)}"


def explain(error: BaseException, database: Path) -> str | None:
    """The fault behind an error as one line for a command's user; None where it is no fault."""
    fault = fault_of(error, database)
    if fault is None:
        return None
    trouble = Trouble(fault, about(fault, database))
    text = say(trouble)
    return f"{text}. {advise(trouble)}" if fault in (Fault.DAMAGED, Fault.MISSING) else text


def about(fault: Fault, database: Path) -> str:
    """What a fault is about: the database, or the folder it lies in."""
    named = fault in (Fault.LOCKED, Fault.DAMAGED, Fault.MISSING)
    return str((database if named else database.parent).absolute())


def last_backup(data: Path) -> str:
    """The file of the last backup, as it was noted in the data folder; FILE where none was."""
    try:
        return (data / LAST_BACKUP).read_text().strip() or "FILE"
    except (OSError, UnicodeDecodeError):
        return "FILE"


def fault_of_folder(folder: Path) -> Fault | None:
    """What can be seen of a folder's disk without writing to it."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return OF_SYSTEM.get(error.errno or 0)
    if found.f_flag & os.ST_RDONLY:
        return Fault.READ_ONLY
    if found.f_bavail * found.f_frsize < LEAST_FREE_BYTES:
        return Fault.DISK_FULL
    return None if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else Fault.NO_ACCESS


def _fault_of_sqlite(code: int | None, database: Path) -> Fault | None:
    primary = (code or 0) & 0xFF
    if primary not in UNCLEAR:
        return OF_SQLITE.get(primary)
    if fault := fault_of_folder(database.parent):
        return fault
    if not database.exists() or code == sqlite3.SQLITE_READONLY_DBMOVED:
        return Fault.MISSING
    if not os.access(database, os.R_OK | os.W_OK):
        return Fault.NO_ACCESS
    return Fault.READ_ONLY if primary == sqlite3.SQLITE_READONLY else Fault.DISK_FAILS


class Faults:
    """The faults that one process has met and that last. Safe to share between threads."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._met: dict[Fault, float] = {}  # when it was met last
        self._models: tuple[Trouble, ...] = ()

    def met(self, error: BaseException) -> Fault | None:
        """Note the fault that an error speaks of, if it does."""
        fault = fault_of(error, self._database)
        if fault is not None:
            self.note(fault)
        return fault

    def note(self, fault: Fault) -> None:
        """Note a fault that was seen now."""
        with self._lock:
            self._met[fault] = clock.monotonic()

    def note_models(self, problems: Iterable[str]) -> None:
        """Which models cannot be used, and why; those noted before are forgotten."""
        with self._lock:
            self._models = tuple(Trouble(Fault.MODEL, problem) for problem in problems)

    def settle(self) -> None:
        """Forget what was not met for a while; called when writing has just succeeded."""
        with self._lock:
            self._met = {fault: at for fault, at in self._met.items() if clock.monotonic() - at < CALM_S}

    def lasting(self) -> tuple[Trouble, ...]:
        """What lasts."""
        with self._lock:
            return (*(Trouble(fault, about(fault, self._database)) for fault in sorted(self._met)), *self._models)


class Teller:
    """Logs one line when a fault begins and one when it ends, whichever processes meet it."""

    def __init__(self) -> None:
        self._told: dict[tuple[Fault, str], Trouble] = {}

    def tell(self, troubles: Iterable[Trouble]) -> None:
        """Say what has changed since the last call."""
        now = {(each.fault, each.about if each.fault is Fault.MODEL else ""): each for each in troubles}
        for key, trouble in now.items():
            if key not in self._told:
                log.error(say(trouble), fault=str(trouble.fault), advice=advise(trouble))
        for key, trouble in self._told.items():
            if key not in now:
                log.info(f"over: {say(trouble)}", fault=str(trouble.fault))
        self._told = now
