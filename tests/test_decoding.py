"""Child processes that decode: whatever happens in one costs its own request and no other, and none is left behind."""

import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from peers import wait_until

from dicom_node.dicom.decoding import Decoders
from dicom_node.errors import CannotDecode, NotAsNegotiated

LIMIT_S = 10.0  # long enough for another process to start meanwhile
MANY = 16


def hang(sign: Path) -> None:
    """As decoders hang: without letting any other thread of the process run."""
    show(sign)
    re.match(r"(a+)+$", "a" * 60 + "b")


def meet(own: Path, other: Path) -> int:
    """Come to an end when the other one has begun."""
    show(own)
    return until(other)


def until(sign: Path) -> int:
    """Come to an end when there is such a file."""
    while not sign.exists():
        time.sleep(0.01)
    return os.getpid()


def show(sign: Path) -> None:
    """Write the own process ID where the test finds it whole."""
    sign.with_suffix(".part").write_text(str(os.getpid()))
    sign.with_suffix(".part").replace(sign)


def append(list_of: Path, number: int) -> None:
    """Write down one's turn."""
    with list_of.open("a") as file:
        file.write(f"{number} ")


def large(number: int, size: int) -> bytes:
    """An answer that is known by its number."""
    return bytes([number]) * size


def take(memory_bytes: int, piece_bytes: int) -> int:
    """Hold so much memory in pieces."""
    return len([bytearray(piece_bytes) for _ in range(memory_bytes // piece_bytes)])


def refuse(said: str) -> None:
    """An error of the node's."""
    raise NotAsNegotiated(said)


def lives(pid: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_of(sign: Path) -> int:
    """The process that has written this file."""
    wait_until(sign.exists, 60, f"{sign.name} begins")
    return int(sign.read_text())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Those who ask."""
    with ThreadPoolExecutor(MANY) as found:
        yield found


@pytest.fixture
def decoders(threads: ThreadPoolExecutor) -> Iterator[Decoders]:
    """Two processes, closed before the threads are waited for."""
    with Decoders(processes=2) as found:
        yield found


def both(decoders: Decoders, threads: ThreadPoolExecutor, folder: Path) -> set[int]:
    """Have both processes start; they work at the same time."""
    one, other = folder / "one", folder / "other"
    for sign in (one, other):
        sign.unlink(missing_ok=True)
    first = threads.submit(decoders.run, meet, one, other)
    second = decoders.run(meet, other, one)
    return {first.result(), second}


def test_nothing_starts_before_it_is_needed(decoders: Decoders) -> None:
    """And one process is enough for one request after the other."""
    before = set(multiprocessing.active_children())
    pids = {decoders.run(os.getpid) for _ in range(3)}
    assert len(pids) == len(set(multiprocessing.active_children()) - before) == 1
    assert os.getpid() not in pids


def test_killed_in_the_midst(decoders: Decoders, threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    """One request is lost, and only that."""
    other = threads.submit(decoders.run, until, tmp_path / "go")
    lost = threads.submit(decoders.run, hang, tmp_path / "begun")
    pid = pid_of(tmp_path / "begun")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(CannotDecode, match="did not survive"):
        lost.result()
    assert decoders.run(os.getpid) != pid
    assert not other.done()
    (tmp_path / "go").touch()
    assert other.result() != pid


def test_died_while_idle(decoders: Decoders) -> None:
    """The next request does not suffer from it."""
    first = decoders.run(os.getpid)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not lives(first), 20, "the process is dead")
    assert decoders.run(os.getpid) != first


def test_what_hangs_is_killed_at_its_limit(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Others are answered meanwhile."""
    with Decoders(processes=2, limit_s=LIMIT_S) as decoders:
        both(decoders, threads, tmp_path)
        hung = threads.submit(decoders.run, hang, tmp_path / "hangs")
        pid = pid_of(tmp_path / "hangs")
        assert decoders.run(large, 3, 1000) == b"\3" * 1000
        assert not hung.done()
        with pytest.raises(CannotDecode, match="took too long"):
            hung.result()
        assert not lives(pid)
        assert len(both(decoders, threads, tmp_path)) == 2


def test_first_come_first_served(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Those who wait for a process get it in the order in which they came."""
    with Decoders(processes=1) as decoders:
        threads.submit(decoders.run, meet, tmp_path / "begun", tmp_path / "go")
        pid_of(tmp_path / "begun")
        waiting: list[Future[None]] = []
        for number in range(8):
            waiting.append(threads.submit(decoders.run, append, tmp_path / "order", number))
            wait_until(lambda: len(decoders._waiting) == len(waiting), 20, "it waits")
        (tmp_path / "go").touch()
        for each in waiting:
            each.result()
    assert (tmp_path / "order").read_text().split() == [str(number) for number in range(8)]


def test_everyone_gets_the_own_answer(decoders: Decoders, threads: ThreadPoolExecutor) -> None:
    """Short and long ones, from many threads at once."""
    asked = [(number % 256, 1 + 7919 * number) for number in range(200)]
    answers = threads.map(lambda each: decoders.run(large, *each), asked)
    assert list(answers) == [large(*each) for each in asked]


@pytest.mark.parametrize("piece_bytes", [1 << 30, 1 << 20])
def test_memory_has_a_limit(piece_bytes: int) -> None:
    """At one stroke or little by little; the process goes on."""
    with Decoders(processes=1, memory_bytes=256 << 20) as decoders:
        pid = decoders.run(os.getpid)
        with pytest.raises(CannotDecode, match="memory"):
            decoders.run(take, 1 << 30, piece_bytes)
        assert decoders.run(take, 64 << 20, 1 << 20) == 64
        assert decoders.run(os.getpid) == pid


def test_errors_cross_the_border(decoders: Decoders) -> None:
    """Those of the node and of the disk as they are; any other ends its process."""
    with pytest.raises(NotAsNegotiated, match="of another class") as caught:
        decoders.run(refuse, "of another class")
    assert caught.value.status == 0xA900
    with pytest.raises(FileNotFoundError) as missing:
        decoders.run(os.stat, "/no/such/file")
    assert missing.value.errno == errno.ENOENT
    with pytest.raises(CannotDecode, match="did not survive"):
        decoders.run(divmod, 0, 0)
    with pytest.raises(CannotDecode, match="did not survive"):
        decoders.run(time.sleep, -1.0)
    with pytest.raises(CannotDecode, match="did not survive"):
        decoders.run(os.abort)
    assert decoders.run(os.getpid)


def test_close_ends_everything(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    """What works, what waits, what comes later; no process is left."""
    decoders = Decoders(processes=2)
    pids = both(decoders, threads, tmp_path)
    working = [threads.submit(decoders.run, hang, tmp_path / f"works {number}") for number in range(2)]
    assert pids == {pid_of(tmp_path / f"works {number}") for number in range(2)}
    waiting = [threads.submit(decoders.run, os.getpid) for _ in range(3)]
    wait_until(lambda: len(decoders._waiting) == len(waiting), 20, "they wait")
    decoders.close()
    ended: list[Future[Any]] = [*working, *waiting]
    for each in ended:
        assert isinstance(each.exception(), CannotDecode)
    with pytest.raises(CannotDecode):
        decoders.run(os.getpid)
    assert not any(map(lives, pids))
    decoders.close()


PARENT = """
import os, sys, threading
from pathlib import Path
from dicom_node.dicom.decoding import Decoders
from test_decoding import hang, meet
folder, decoders = Path(sys.argv[1]), Decoders()
threading.Thread(target=decoders.run, args=(meet, folder / "one", folder / "other")).start()
decoders.run(meet, folder / "other", folder / "one")
decoders.run(hang, folder / "hangs")
"""


def test_parent_is_killed(tmp_path: Path) -> None:
    """Neither an idle process is left nor one that hangs."""
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": places}) as parent:
        pids = {pid_of(tmp_path / sign) for sign in ("one", "other", "hangs")}
        assert len(pids) == 2 and all(map(lives, pids))
        parent.kill()
    wait_until(lambda: not any(map(lives, pids)), 20, "the processes end")
