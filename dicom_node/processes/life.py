"""How a process of the node lives: it takes its place, shows signs of life, and ends when it is told to or orphaned."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node import clock
from dicom_node.errors import CommandError
from dicom_node.tables import processes
from dicom_node.tables.database import Database

BEAT_EVERY_S = 1.0
BEAT_LASTS_S = 20.0


class Life:
    """One process's signs of life, and its wish to end.

    `supervisor` is the process ID of the `serve` that started this one, None where a person did.
    `promise` says how long the process may be silent from now: the supervisor restarts it when it is silent for longer.
    """

    def __init__(self, database: Database, process: str, supervisor: int | None = None) -> None:
        self._database, self.process, self._supervisor = database, process, supervisor
        self.ending = threading.Event()

    def promise(self, seconds: float = BEAT_LASTS_S, doing: str = "") -> None:
        """Write a sign of life."""
        now = clock.monotonic()
        with self._database.write() as tx:
            processes.beat(tx, processes.Beat(self.process, os.getpid(), now + seconds, doing), now)

    def check_supervisor(self) -> None:
        """End when the supervisor is gone, so that a new one finds its ports free."""
        if self._supervisor is not None and os.getppid() != self._supervisor:
            self.ending.set()

    def end_on_signals(self) -> None:
        """SIGTERM and SIGINT ask the process to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ending.set())

    def finish(self) -> None:
        """Leave no sign of life behind."""
        with self._database.write() as tx:
            processes.forget_beat(tx, self.process, os.getpid())


@contextmanager
def only_one(folder: Path, process: str, patience_s: float = 10.0) -> Iterator[None]:
    """Be the only process of this kind on a data folder, waiting a little for one that is just ending."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{process}.lock").open("w") as file:
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
