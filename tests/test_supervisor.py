"""Three processes that share nothing but files: one that crashes or hangs is started again, the others never notice."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers import wait_until
from series import Core, core

from dicom_node import clock, signs
from dicom_node.errors import CommandError
from dicom_node.processes import supervisor
from dicom_node.processes.life import Life, only_one
from dicom_node.processes.supervisor import CALM_S, LONGEST_WAIT_S, START_S, Supervisor
from dicom_node.signs import Sign
from dicom_node.tables import processes

CHILD = """#!{python}
# Stands for "python -m dicom_node ... NAME": says that it lives, then does what its name says.
import os, signal, sys, time
from pathlib import Path
name, folder = sys.argv[-1], Path({folder!r})
with (folder / name).open("a") as log:
    log.write(f"{{os.getpid()}}\\n")
if name == "crashes":
    sys.exit(3)
if name == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(0.02)
"""


class World:
    """A supervisor over scripted children."""

    def __init__(self, node: Core, folder: Path) -> None:
        self.node, self.folder, self.data = node, folder, node.settings.node.data

    def begin(self, *names: str) -> None:
        """Take over these children."""
        self.supervisor = Supervisor(self.data, names, [])

    def pids(self, name: str) -> list[int]:
        """The process IDs of all starts of a child so far."""
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def started(self, name: str, times: int) -> int:
        """Wait until a child has started so often; the last process ID."""
        wait_until(lambda: len(self.pids(name)) >= times, 20, f"{name} has started {times} times")
        return self.pids(name)[-1]

    def promise(self, name: str, pid: int, until: float) -> None:
        """A child's sign of life."""
        signs.show(self.data, Sign(name, pid, until), now=0.0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Children are a script in place of Python; all are ended afterwards."""
    script = tmp_path / "child"
    script.write_text(CHILD.format(python=sys.executable, folder=str(tmp_path)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    made = World(core(tmp_path / "data"), tmp_path)
    yield made
    made.supervisor.stop()


def alive(pid: int) -> bool:
    """Whether a process lives and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def look_until(world: World, now: float, condition: Callable[[], bool], what: str) -> None:
    """Let the supervisor look, at this time of its clock, until something is so."""

    def look() -> bool:
        world.supervisor.look(now)
        return condition()

    wait_until(look, 20, what)


def test_crash_is_started_again_with_growing_waits(world: World) -> None:
    """0.5, 1, 2, 4 s ... at most 30 s; the other child goes on."""
    world.begin("crashes", "fine")
    now = 1000.0
    world.supervisor.look(now)
    fine = world.started("fine", 1)
    child = world.supervisor._children[0]
    waits = []
    for start in range(1, 10):
        world.started("crashes", start)
        look_until(world, now, lambda: child.process is None, "the crash is seen")
        waits.append(child.start_at - now)
        world.supervisor.look(child.start_at - 0.01)
        assert child.process is None
        now = child.start_at
        world.supervisor.look(now)
    assert waits == [0.5, 1, 2, 4, 8, 16, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]
    assert world.pids("fine") == [fine] and alive(fine)


def test_killed_after_a_calm_time_is_started_at_once(world: World) -> None:
    """It ran well for long; no reason to wait."""
    world.begin("fine")
    world.supervisor.look(1000.0)
    os.kill(world.started("fine", 1), signal.SIGKILL)
    child, later = world.supervisor._children[0], 1000.0 + CALM_S + 1
    world.promise("fine", child.process.pid if child.process else 0, 1e9)
    look_until(world, later, lambda: len(world.pids("fine")) == 2, "it runs again")


def test_hanging_child_is_killed_and_no_other(world: World) -> None:
    """It has not kept its promise; the others have, and one may promise a long silence."""
    world.begin("hangs", "fine", "busy")
    world.supervisor.look(1000.0)
    hangs, fine, busy = (world.started(name, 1) for name in ("hangs", "fine", "busy"))
    for name, pid, until in (("hangs", hangs, 1020.0), ("fine", fine, 1040.0), ("busy", busy, 1300.0)):
        world.promise(name, pid, until)
    world.supervisor.look(1020.0)
    assert all(map(alive, (hangs, fine, busy)))
    child = world.supervisor._children[0]
    look_until(world, 1020.1, lambda: child.process is None, "the hanging one is killed, and that is seen")
    assert not alive(hangs)
    look_until(world, 1022.0, lambda: len(world.pids("hangs")) == 2, "it runs again")
    assert world.pids("fine") == [fine] and world.pids("busy") == [busy]
    assert alive(fine) and alive(busy)


def test_child_that_never_shows_life_is_killed(world: World) -> None:
    """After the time that a slow start may take; an old sign of another process does not count."""
    world.begin("hangs")
    world.promise("hangs", 1, 1e9)
    world.supervisor.look(1000.0)
    pid = world.started("hangs", 1)
    world.supervisor.look(1000.0 + START_S)
    assert alive(pid)
    look_until(world, 1000.1 + START_S, lambda: not alive(pid), "it is killed")


def test_second_worker_does_not_hide_the_first(world: World) -> None:
    """Several workers may run: the signs of one that was started by hand are not taken for another's silence."""
    world.begin("worker")
    world.supervisor.look(1000.0)
    pid = world.started("worker", 1)
    world.promise("worker", pid, 1e9)
    world.promise("worker", os.getpid(), 1e9)
    world.supervisor.look(1001.0 + START_S)
    world.supervisor.look(1002.0 + START_S)
    process = world.supervisor._children[0].process
    assert process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    assert world.pids("worker") == [pid]


def test_stop_ends_all_even_the_stubborn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked first, made to after a while."""
    monkeypatch.setattr(supervisor, "PATIENCE_S", 0.5)
    world.begin("fine", "stubborn")
    world.supervisor.look(1000.0)
    pids = [world.started("fine", 1), world.started("stubborn", 1)]
    world.supervisor.stop()
    assert not any(map(alive, pids))


def test_signs_of_life(world: World) -> None:
    """A promise is kept until the process ends, and copied into the database; a dead one's goes with its time."""
    world.begin()
    gone = subprocess.Popen(["true"])
    gone.wait()
    world.promise("worker", gone.pid, clock.monotonic() - 1)
    life = Life(world.node.database, "worker")
    life.promise(30.0, "waiting for work")
    life.report()
    (sign,) = signs.read(world.data)
    assert (sign.process, sign.pid, sign.doing) == ("worker", os.getpid(), "waiting for work")
    assert 29 < sign.until - clock.monotonic() <= 30
    with world.node.database.read() as tx:
        (copy,) = processes.beats(tx)
    assert (copy.process, copy.pid, copy.doing) == ("worker", os.getpid(), "waiting for work")
    life.finish()
    with world.node.database.read() as tx:
        assert processes.beats(tx) == [] and signs.read(world.data) == []


def test_only_one_of_a_kind_on_a_folder(tmp_path: Path) -> None:
    """A second node on the same folder is told so; a worker is another kind, and the place is free afterwards."""
    with only_one(tmp_path, "node"):
        with pytest.raises(CommandError, match="another node runs"), only_one(tmp_path, "node", patience_s=0.0):
            pass
        with only_one(tmp_path, "serve", patience_s=0.0):
            pass
    with only_one(tmp_path, "node", patience_s=0.0):
        pass
