"""Child processes for everything that decodes compressed pixels (pixels.py, transcode.py, same_image.py).

A decoder may abort its whole process on a corrupt stream, never come to an end or take all memory; here it costs its
own request and no other. ProcessPoolExecutor has no such guards, and cannot end one of its processes by itself.
"""

import fcntl
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import structlog

from dicom_node.dicom.checks import NOT_DECODED
from dicom_node.errors import CannotDecode, TriageNodeError
from inference.input.bounds import Bounds, bounds_in_force, set_bounds

START_S = 60.0  # for a process to start and to import what its function needs
MEMORY_IN_USE = Path("/proc/self/statm")  # in pages; the sixth number is what RLIMIT_DATA counts
P = ParamSpec("P")
T = TypeVar("T")
Task = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
log = structlog.get_logger()


class Decoders:
    """Runs functions in `processes` child processes, for any number of threads, until `close`.

    Who finds all of them busy waits for the next that is free, first come first served. A process starts when it is
    first needed, and again when it has died; it ends with its parent, however that went. It is killed when a function
    takes longer than `limit_s`. `memory_bytes` is what it may use beyond what it needs to start, where the system can
    tell (Linux); a data set may inflate there as in the process that asks.
    """

    def __init__(self, processes: int = 2, limit_s: float = 60.0, memory_bytes: int = 1 << 30) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._children = tuple(_Child(memory_bytes) for _ in range(processes))
        self._free = list(self._children)
        self._waiting: deque[Future[_Child]] = deque()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function of some module returns for these arguments, or raises: a TriageNodeError or an OSError.

        CannotDecode when no answer comes: the process died, hung, took too much memory or was closed.
        """
        child = self._take()
        try:
            for _ in range(2):  # one that died while nothing was asked of it may look alive for a moment
                with self._lock:  # so that none is started after `close`
                    self._refuse_when_closed()
                    child.start()
                if child.takes((function, args, kwargs)):
                    break
            answer: T | Exception = child.answer((function, args, kwargs), self._limit_s)
        finally:
            self._give_back(child)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End all processes; whoever waits for one of them gets CannotDecode."""
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().set_exception(CannotDecode(f"{NOT_DECODED}: the program ends"))
            for child in self._children:
                child.kill()

    def _take(self) -> "_Child":
        with self._lock:
            self._refuse_when_closed()
            if self._free:
                return self._free.pop()
            turn: Future[_Child] = Future()
            self._waiting.append(turn)
        return turn.result()

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set_result(child)
            else:
                self._free.append(child)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise CannotDecode(f"{NOT_DECODED}: the program ends")


class _Child:
    """One process; asked by one thread at a time."""

    _pipe: Connection  # from the first start on

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._process: SpawnProcess | None = None

    def start(self) -> None:
        """Have a process that lives."""
        if self._process is not None and self._process.is_alive():
            return
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        bounds = replace(bounds_in_force(), decoder_bytes=self._memory_bytes)
        self._process = context.Process(target=_work, args=(theirs, bounds), daemon=True)
        self._process.start()
        theirs.close()  # the process has its own; when that is closed, the pipe is at its end

    def takes(self, task: Task) -> bool:
        """Whether the process has understood the task; where it has not, there is none any more."""
        try:
            self._pipe.send(task)
            self._received(START_S)
        except (EOFError, OSError):
            self.kill()
            return False
        return True

    def answer(self, task: Task, limit_s: float) -> Any:
        """What the function returned or raised. CannotDecode, and no process, when no answer came."""
        answered = False
        try:
            answer = self._received(limit_s)
            answered = True
        except (EOFError, OSError) as error:
            reason = "took too long" if isinstance(error, TimeoutError) else "did not survive it"
            log.error("pixels could not be decoded", reason=f"the decoder {reason}", arguments=[*map(str, task[1])])
            raise CannotDecode(f"{NOT_DECODED}: the decoder {reason}") from None
        finally:
            if not answered:  # whatever comes out of the pipe later would be the answer to another question
                self.kill()
        return answer

    def kill(self) -> None:
        """Have no process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _received(self, patience_s: float) -> Any:
        if not self._pipe.poll(patience_s):
            raise TimeoutError
        return self._pipe.recv()


def _work(pipe: Connection, bounds: Bounds) -> None:
    """In the child: say that a task is understood, then its answer, one task after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which ends its children
    _end_with_parent()
    set_bounds(bounds)
    limited = False
    with suppress(EOFError):
        while True:
            task: Task = pipe.recv()  # this imports the function's module
            if not limited:
                _limit_memory(bounds.decoder_bytes)
                limited = True
            pipe.send(None)
            pipe.send(_answer(*task))


def _answer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except MemoryError:
        return CannotDecode(f"{NOT_DECODED}: they need more memory than a decoder may take")
    except (TriageNodeError, OSError) as error:
        return error


def _end_with_parent() -> None:
    """Have the kernel end this process (by SIGIO) when the parent's end of a pipe closes.

    A thread that waits for that would not do: a decoder that hangs does not let other threads of its process run.
    """
    parent = parent_process()
    assert parent is not None
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # which ends a process; who started the parent may have ignored it
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if connection.wait([parent.sentinel], timeout=0):  # it was gone before
        os._exit(1)


def _limit_memory(more_bytes: int) -> None:
    """Let this process take so many bytes more. RLIMIT_AS would count what libraries only reserve."""
    if MEMORY_IN_USE.exists():
        limit = int(MEMORY_IN_USE.read_text().split()[5]) * resource.getpagesize() + more_bytes
        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        if highest == resource.RLIM_INFINITY or limit < highest:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, highest))
