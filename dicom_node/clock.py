"""Time: monotonic seconds for what is urgent, APScheduler for housekeeping.

APScheduler 3 follows the wall clock and stands still when that is set back, so sweeps, deliveries and leases run on
`Ticker`, which waits on the monotonic clock. Monotonic seconds are shared by all processes of one boot; `boot_id`
tells one boot from the next.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

LONGEST_WAIT_S = 5.0  # after errors that follow one another
log = structlog.get_logger()


def monotonic() -> float:
    """Seconds since boot, suspend included; the same for every process on this machine."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """A name for the current boot of this machine."""
    kernel = Path("/proc/sys/kernel/random/boot_id")
    return kernel.read_text().strip() if kernel.exists() else f"booted at {round(time.time() - monotonic(), -1)}"


def utc_now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


class Ticker:
    """Runs each function in a thread of its own, again `seconds` after it ended, until `stop`.

    After an error the function runs again later: the rows it works on still say what is due. `is_known` is asked of
    each error whether it is a fault that is told elsewhere; any other is logged once, until the function works again.
    """

    def __init__(self, is_known: Callable[[BaseException], object] = lambda error: None) -> None:
        self._is_known = is_known
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._running: dict[str, float] = {}  # name -> when it began

    def every(self, seconds: float, function: Callable[[], object], name: str) -> None:
        """Start calling `function`."""
        thread = threading.Thread(target=self._loop, args=(seconds, function, name), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stuck(self, limit_s: float) -> list[str]:
        """Names of functions that have been running for longer than that."""
        return [name for name, began in list(self._running.items()) if monotonic() - began > limit_s]

    def end(self) -> None:
        """Begin no further round."""
        self._stopping.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask all to end and wait for them, so long for all together."""
        self.end()
        until = monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - monotonic()))

    def _loop(self, seconds: float, function: Callable[[], object], name: str) -> None:
        wait_s, told = seconds, ""
        while not self._stopping.is_set():
            self._running[name] = monotonic()
            try:
                function()
                if told:
                    log.info("a clock job works again", job=name)
                wait_s, told = seconds, ""
            except Exception as error:
                wait_s = max(seconds, min(LONGEST_WAIT_S, 2 * wait_s))
                if not self._is_known(error) and repr(error) != told:
                    told = repr(error)
                    log.exception("a clock job failed and will run again", job=name)
            self._running.pop(name, None)
            self._stopping.wait(wait_s)
