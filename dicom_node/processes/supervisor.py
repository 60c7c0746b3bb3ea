"""`serve`: keeps three processes running (node, worker, web) and restarts one that crashed, hangs or was stopped.

They meet only in the database and the archive, so none stops another. A process hangs when it has not kept the promise
of its last sign of life (see life.py). Nothing here needs the database or the disk. Kept by hand: process managers know
that a process has ended, not that it hangs.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_node import signs
from dicom_node.errors import CommandError
from dicom_node.faults import Trouble
from dicom_node.signs import Sign

START_S = 180.0  # until the first sign of life: importing torch on a slow disk takes its time
STOPPED_S = 5.0  # for a process that is stopped (SIGSTOP): it may hold the database
CALM_S = 30.0  # a process that ran for so long is restarted at once
LONGEST_WAIT_S = 30.0
PATIENCE_S = 4.0  # for all processes together, when they are asked to end
log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    wait_s: float = 0.0
    stopped_at: float | None = None
    killed: bool = False


class Supervisor:
    """Starts the processes and, with every `look`, puts right what went wrong."""

    def __init__(self, data: Path, names: tuple[str, ...], options: list[str]) -> None:
        self._data = data
        command = [sys.executable, "-m", "dicom_node", *options, "--supervisor", str(os.getpid())]
        self._children = [Child(name, [*command, name]) for name in names]

    def look(self, now: float) -> None:
        """Start what is down and due, kill what hangs. CommandError when one says that it cannot run."""
        known = self._signs()
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    self._start(child, now)
            elif (code := child.process.poll()) is not None:
                self._plan_restart(child, now, code)
            elif reason := _reason_to_kill(child, known.get(child.process.pid), now):
                self._kill(child, reason, known.get(child.process.pid))

    def signs(self) -> dict[str, Sign]:
        """The last sign of life of each process that runs, by its name."""
        known = self._signs()
        found = [known.get(child.process.pid) for child in self._children if child.process]
        return {sign.process: sign for sign in found if sign is not None}

    def troubles(self) -> list[Trouble]:
        """The faults that the processes have met."""
        return [each for sign in self.signs().values() for each in sign.troubles]

    def stop(self) -> None:
        """Ask all to end, and make them after a while."""
        running = [child for child in self._children if child.process and child.process.poll() is None]
        for child in running:
            if child.process:
                child.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE_S
        for child in running:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a process did not end in time and is killed", child=child.name)
                child.process.kill()
                child.process.wait()
            signs.forget(self._data, child.name, child.process.pid)

    def _signs(self) -> dict[int, Sign]:
        return {sign.pid: sign for sign in signs.read(self._data)}

    def _start(self, child: Child, now: float) -> None:
        memory = str(signs.folder_of(self._data))  # MONAI imports matplotlib where it is, which must write somewhere
        environment = {"MPLCONFIGDIR": memory} | os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
        child.started_at, child.stopped_at, child.killed = now, None, False
        try:
            child.process = subprocess.Popen(child.arguments, start_new_session=True, env=environment)
        except OSError as error:  # too little memory, too many processes
            self._wait_longer(child, now)
            log.error("a process cannot be started", child=child.name, error=str(error), wait_s=child.wait_s)

    def _kill(self, child: Child, reason: str, sign: Sign | None) -> None:
        if child.process is not None and not child.killed:
            log.error(reason, child=child.name, doing=sign.doing if sign else "starting")
            child.killed = True
            child.process.kill()

    def _plan_restart(self, child: Child, now: float, code: int) -> None:
        sign = None
        if child.process is not None:
            sign = self._signs().get(child.process.pid)  # its last word
            signs.forget(self._data, child.name, child.process.pid)
        child.process = None
        if now - child.started_at > CALM_S:
            child.wait_s, child.start_at = 0.0, now
        else:
            self._wait_longer(child, now)
        if sign and sign.failed:  # it has tried for a while itself
            raise CommandError(f"{child.name} cannot run: {sign.failed}")
        log.error("a process ended and is started again", child=child.name, exit_code=code, wait_s=child.wait_s)

    def _wait_longer(self, child: Child, now: float) -> None:
        child.wait_s = min(LONGEST_WAIT_S, max(0.5, child.wait_s * 2))
        child.start_at = now + child.wait_s


def _reason_to_kill(child: Child, sign: Sign | None, now: float) -> str:
    if child.process is None:
        return ""
    if not _is_stopped(child.process.pid):
        child.stopped_at = None
    elif child.stopped_at is None:
        child.stopped_at = now
    elif now - child.stopped_at >= STOPPED_S:
        return "a process was stopped and is killed"
    promised = sign.until if sign else child.started_at + START_S
    return "a process hangs and is killed" if now > promised else ""


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process (state T; under a debugger it is t)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
