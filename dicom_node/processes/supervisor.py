"""`serve`: keeps three processes running (node, worker, web) and restarts one that crashed or hangs.

They meet only in the database and the archive, so none stops another. A process hangs when it has not kept the promise
of its last sign of life (see life.py). Kept by hand: process managers know that a process has ended, not that it hangs.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import structlog

from dicom_node.tables import processes
from dicom_node.tables.database import Database

START_S = 180.0  # until the first sign of life: importing torch on a slow disk takes its time
CALM_S = 30.0  # a process that ran for so long is restarted at once
LONGEST_WAIT_S = 30.0
PATIENCE_S = 10.0  # for a process that was asked to end
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


class Supervisor:
    """Starts the processes and, with every `look`, puts right what went wrong."""

    def __init__(self, database: Database, names: tuple[str, ...], options: list[str]) -> None:
        self._database = database
        command = [sys.executable, "-m", "dicom_node", *options, "--supervisor", str(os.getpid())]
        self._children = [Child(name, [*command, name]) for name in names]

    def look(self, now: float) -> None:
        """Start what is down and due, kill what hangs."""
        with self._database.read() as tx:
            beats = {beat.pid: beat for beat in processes.beats(tx)}
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    self._start(child, now)
            elif (code := child.process.poll()) is not None:
                self._plan_restart(child, now, code)
            else:
                beat = beats.get(child.process.pid)
                if now > (beat.until if beat else child.started_at + START_S):
                    log.error(
                        "a process hangs and is killed", child=child.name, doing=beat.doing if beat else "starting"
                    )
                    child.process.kill()

    def stop(self) -> None:
        """Ask all to end, and make them after a while."""
        running = [child.process for child in self._children if child.process and child.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, child: Child, now: float) -> None:
        child.process = subprocess.Popen(
            child.arguments, start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        child.started_at = now

    def _plan_restart(self, child: Child, now: float, code: int) -> None:
        if child.process is not None:
            with self._database.write() as tx:
                processes.forget_beat(tx, child.name, child.process.pid)
        calm = now - child.started_at > CALM_S
        child.wait_s = 0.0 if calm else min(LONGEST_WAIT_S, max(0.5, child.wait_s * 2))
        child.process, child.start_at = None, now + child.wait_s
        log.error("a process ended and is started again", child=child.name, exit_code=code, wait_s=child.wait_s)
