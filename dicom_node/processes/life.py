"""How a process of the node lives: it takes its place, shows signs of life, and ends when it is told to or orphaned.

A sign of life is in memory (signs.py), so that a full disk or a locked database is no reason to seem dead. Once a
second `report` asks whether the database can be written, by leaving a copy of the sign there for whoever reads it from
elsewhere.
"""

import fcntl
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TypeVar

import structlog

from dicom_node import clock, signs
from dicom_node.durable import keep_private, make_private
from dicom_node.errors import CommandError, TriageNodeError
from dicom_node.faults import Fault, Faults, Teller, fault_of, fault_of_folder
from dicom_node.settings import Settings
from dicom_node.tables import processes
from dicom_node.tables.database import Database
from inference.errors import InferenceError

BEAT_EVERY_S = 1.0
BEAT_LASTS_S = 20.0
PROBE_S = 2.0  # a database that is locked for longer is said to be
ENDING_S = 1.0  # for what a process does at its end, beside the receiver's own
PORTS = {"node": "dicom_port", "web": "web_port"}
OWN_FILES = (
    "node.sqlite*",
    "*.lock",
    "instances",
    "results",
    "models",
    "viewer",
    "incoming",
    "removed",
    "run",
    "before-restore-*",
    "settings-of-backup",
    "last-backup.txt",
)
Opened = TypeVar("Opened")
log = structlog.get_logger()


class Life:
    """One process's signs of life, the faults it has met, and its wish to end.

    `supervisor` is the process ID of the `serve` that started this one, None where a person did.
    `promise` says how long the process may be silent from now: the supervisor restarts it when it is silent for longer.
    """

    def __init__(self, database: Database, process: str, supervisor: int | None = None) -> None:
        self._database, self.process, self._supervisor = database, process, supervisor
        self._data = database.path.parent
        self._sign = signs.Sign(process, os.getpid(), 0.0)
        self._teller = Teller()
        self.faults = Faults(database.path)
        self.port: int | None = None  # the one it was given
        self._published: int | None = None
        self.ending = threading.Event()

    def promise(self, seconds: float = BEAT_LASTS_S, doing: str = "", failed: str = "") -> None:
        """Give a sign of life; of one that has `failed` it is the last, and says why."""
        now = clock.monotonic()
        troubles = self.faults.lasting()
        self._sign = signs.Sign(self.process, os.getpid(), now + seconds, doing, self.port, troubles, failed)
        with suppress(OSError):  # memory itself is full: it may not be at the next second
            signs.show(self._data, self._sign, now)

    def report(self) -> None:
        """Copy the sign into the database, and find out by that which faults last."""
        self.check_supervisor()
        if self._database.was_replaced():
            log.warning("another file lies in the place of the database: this process starts anew with it")
            self.ending.set()
        self._probe()
        if self._supervisor is None:
            self._teller.tell(self.faults.lasting())

    def _probe(self) -> None:
        now = clock.monotonic()
        sign = processes.Beat(self.process, os.getpid(), self._sign.until, self._sign.doing)
        if fault := Fault.MISSING if self._database.is_missing() else fault_of_folder(self._data):
            self.faults.note(fault)
        try:
            with self._database.write(PROBE_S) as tx:
                processes.beat(tx, sign, now)
                if self.port is not None and self.port != self._published:
                    processes.publish(tx, PORTS[self.process], str(self.port))
                    self._published = self.port
        except (sqlite3.Error, OSError) as error:
            if self.faults.met(error) is None:
                raise
        else:
            self.faults.settle()

    def check_supervisor(self) -> None:
        """End when the supervisor is gone, so that a new one finds its ports free."""
        if self._supervisor is not None and os.getppid() != self._supervisor:
            self.ending.set()

    def end_on_signals(self) -> None:
        """SIGTERM and SIGINT ask the process to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ending.set())

    @contextmanager
    def lived(self) -> Iterator[None]:
        """Say the start and the end. A supervisor is left to say why a process cannot run; it tries again first."""
        log.info("started", pid=os.getpid(), version=version("triage-node"))
        told = False
        try:
            yield
            log.info("ended", pid=os.getpid())
        except (TriageNodeError, InferenceError) as error:
            if self._supervisor is None:
                raise
            self.promise(failed=str(error))
            told = True
            raise SystemExit(1) from None
        finally:
            if not told:
                self.finish()

    def finish(self) -> None:
        """Leave no sign of life behind."""
        signs.forget(self._data, self.process, os.getpid())
        try:
            with self._database.write(PROBE_S / 4) as tx:
                processes.forget_beat(tx, self.process, os.getpid())
        except (sqlite3.Error, OSError) as error:
            if self.faults.met(error) is None:
                raise


def take_folder(settings: Settings) -> None:
    """Make the data folder, if it can be made now, and keep it private. CommandError where it never can be used."""
    keep_private()
    data = settings.node.data
    try:
        data.mkdir(parents=True, exist_ok=True)
        make_private(data, *OWN_FILES)
    except (FileExistsError, NotADirectoryError):
        raise CommandError(f"the data folder {data.absolute()} is a file") from None
    except OSError as error:
        if fault_of(error, settings.database_path) not in (Fault.DISK_FULL, Fault.READ_ONLY):
            raise CommandError(f"the data folder {data.absolute()} cannot be used: {error.strerror}") from None
    if data.is_dir() and not os.access(data, os.R_OK | os.X_OK):
        raise CommandError(f"the data folder {data.absolute()} cannot be used: Permission denied")


@contextmanager
def only_one(folder: Path, process: str, patience_s: float = 10.0) -> Iterator[None]:
    """Be the only process of this kind on a data folder, waiting a little for one that is just ending."""
    with _lock_file(folder, f"{process}.lock") as file:
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise CommandError(f"another {process} runs on the folder {folder}") from None
                time.sleep(0.1)
        yield


def _lock_file(folder: Path, name: str) -> IO[str]:
    """A file in the folder; where none can be made there (a full or read-only disk), one beside the signs of life."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("a")
    except OSError as error:
        if fault_of(error, folder / "node.sqlite") not in (Fault.DISK_FULL, Fault.READ_ONLY):
            raise CommandError(f"{folder / name} cannot be written: {error.strerror}") from None
    try:
        return (folder / name).open("r")
    except OSError:
        return (signs.folder_of(folder) / name).open("a")


def try_again(opened: Callable[[], Opened], tries: int = 5, wait_s: float = 1.0) -> Opened:
    """What opens a port; CommandError when it cannot be opened after a few tries."""
    for _ in range(tries - 1):
        try:
            return opened()
        except CommandError:
            time.sleep(wait_s)
    return opened()
