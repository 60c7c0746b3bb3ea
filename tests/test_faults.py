"""Full, read-only, locked, damaged: the whole node as processes stays up, says why, and goes on by itself."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from peers import Served, needs, own_port, wait_until
from series import ct
from test_supervisor import alive

from dicom_node import signs
from dicom_node.outbox.dicom import send
from dicom_node.settings import Peer

SETTINGS = "[analyse]\nlease_s = 2.0\n"
NEEDED = {"node", "worker", "web"}
FULL_S = 40.0


class Node(Served):
    """A served node whose state is asked as people do: by C-STORE, over HTTP and in its log."""

    def __init__(self, folder: Path) -> None:
        self.web_port = own_port()
        super().__init__(folder, "")
        text = self.site.read_text().replace("[web]\nport = 0", f"[web]\nport = {self.web_port}")
        self.site.write_text(text + SETTINGS)
        self.sent = 0

    def signs(self) -> dict[str, int]:
        """The process IDs of those that live, from their signs."""
        return {sign.process: sign.pid for sign in signs.read(self.data) if alive(sign.pid)}

    def get(self, path: str) -> httpx2.Response:
        """A page."""
        return httpx2.get(f"http://127.0.0.1:{self.web_port}{path}", timeout=20)

    def health(self) -> dict[str, Any]:
        """What /health says; nothing while it does not answer."""
        with suppress(httpx2.TransportError):
            found: dict[str, Any] = self.get("/health").json()
            return found
        return {}

    def listens(self) -> bool:
        """Whether its DICOM port is open."""
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def store(self, number: int | None = None) -> int | None:
        """Send one image, a new one where none is named; the status that is answered."""
        wait_until(self.listens, 20, "the DICOM port is open")
        self.sent += number is None
        path = self.folder / "image.dcm"
        ct(self.sent if number is None else number).save_as(path, enforce_file_format=True)
        peer = Peer(name="node", ae_title="TRIAGE", host="127.0.0.1", port=self.port)
        (answer,) = send([path], peer, "CT1", 60.0)
        return answer.status

    def wait_fault(self, *faults: str) -> None:
        """Until /health tells of these faults."""
        wait_until(lambda: set(self.health().get("faults", "?")) == set(faults), FULL_S, f"/health says {faults}")

    def wait_well(self) -> None:
        """Until all processes live and no fault lasts."""
        wait_until(lambda: self.health().get("healthy") is True, FULL_S, "the node is well")

    def failed_jobs(self) -> list[str]:
        """What the failed analyses say."""
        with closing(sqlite3.connect(self.data / "node.sqlite")) as database:
            return [row[0] for row in database.execute("SELECT error FROM jobs WHERE state = 'failed'")]

    def events(self, word: str = "") -> list[dict[str, Any]]:
        """The log's events that hold a word; every line but serve's two own ones is JSON."""
        lines = (self.folder / "serve.log").read_text().splitlines()
        told = [line for line in lines if not line.startswith(("AE title ", "worklist: "))]
        return [event for event in map(json.loads, told) if word in event["event"]]


@contextmanager
def running(node: Node) -> Iterator[Node]:
    """Start it; at the end it stops within 5 s, unless it has ended already."""
    node.start()
    assert node.process is not None
    try:
        yield node
    finally:
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(30)
        left = [pid for pid in node.signs().values() if alive(pid)]
        assert left == []


@contextmanager
def small_disk(folder: Path, mebibytes: int = 8) -> Iterator[Path]:
    """A disk of its own at this folder, in memory."""
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    folder.mkdir(parents=True)
    subprocess.run([needs("mount"), "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is free; the file that does."""
    filling = disk / "filling"
    with suppress(OSError), filling.open("wb", buffering=0) as file:
        while file.write(b"\0" * (1 << 16)):
            pass
    return filling


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program holds the database's lock."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def one_line_each(node: Node, text: str, times: int = 1) -> None:
    """So often it began and ended, each in one line, and nothing was logged as an error of the program."""
    wait_until(lambda: len(node.events(f"over: {text}")) >= times, 20, f"the log says that it is over: {text}")
    assert len(node.events(text)) == 2 * times
    assert node.events("nobody expected") == node.events("will run again") == node.events("is started again") == []


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small disk of the node that the tests share."""
    with small_disk(tmp_path_factory.mktemp("node") / "data") as folder:
        yield folder


@pytest.fixture(scope="module")
def node(disk: Path) -> Iterator[Node]:
    """One whole node for all faults of a disk that come and go while it runs."""
    with running(Node(disk.parent)) as node:
        node.wait_well()
        yield node


def test_full_disk_and_back(node: Node, disk: Path) -> None:
    """0xA700 while it lasts, said on every page, in one line of the log; then everything goes on, with no restart."""
    before = node.signs()
    assert node.store() == 0x0000
    filling = fill(disk)
    node.wait_fault("disk_full")
    assert [node.store() for _ in range(3)] == [0xA700] * 3
    for page in ("/", "/status"):
        answer = node.get(page)
        assert answer.status_code == 200 and "The disk is full" in answer.text
    assert node.get("/health").status_code == 503
    filling.unlink()
    node.wait_well()
    assert node.store() == 0x0000
    assert node.signs() == before
    one_line_each(node, "the disk is full")


def test_locked_database_and_back(node: Node, disk: Path) -> None:
    """Images are refused, not lost; the page is still shown, and the lock is named."""
    before = node.signs()
    with locked(disk / "node.sqlite"):
        node.wait_fault("locked")
        assert node.store() == 0xA700
        answer = node.get("/")
        assert answer.status_code == 200 and "The database is locked by another program" in answer.text
        assert node.signs() == before
    node.wait_well()
    assert node.store(node.sent) == 0x0000
    one_line_each(node, "the database is locked")


def test_folder_turns_read_only_and_back(node: Node, disk: Path) -> None:
    """What is written is refused as long as it cannot be."""
    before = node.signs()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(disk / "incoming")], check=True)
    try:
        assert node.store() == 0xA700
    finally:
        subprocess.run(["umount", str(disk / "incoming")], check=True)
    assert node.store(node.sent) == 0x0000 and node.signs() == before


def test_stopped_processes_are_replaced(node: Node, disk: Path) -> None:
    """SIGSTOP: they neither end nor answer, and one may hold the database. They are killed, and others take over."""
    before = node.signs()
    with locked(disk / "node.sqlite"):
        for pid in before.values():
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: not any(map(alive, before.values())), FULL_S, "they are killed")
        wait_until(lambda: node.signs().keys() == NEEDED, FULL_S, "others run")
    node.wait_well()
    assert node.process is not None and node.process.poll() is None
    assert node.store() == 0x0000


def test_database_damaged_while_it_runs(node: Node, disk: Path) -> None:
    """Named with what to do; the processes neither spin nor end. Put right by hand, it is taken up."""
    database = disk / "node.sqlite"
    with closing(sqlite3.connect(database)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = database.read_bytes()
    database.write_bytes(b"no database at all " * 4000)
    node.wait_fault("damaged")
    (line,) = wait_until(lambda: node.events("the database is damaged"), 20, "a line says so")
    assert str(database) in line["event"] and "triage-node restore FILE" in line["advice"]
    assert node.store() == 0xA700
    answer = node.get("/")
    assert answer.status_code == 503 and "triage-node restore FILE" in answer.text
    fresh = disk / "fresh"
    fresh.write_bytes(whole)
    for name in ("node.sqlite-wal", "node.sqlite-shm"):
        (disk / name).unlink(missing_ok=True)
    fresh.replace(database)
    node.wait_well()
    assert node.store() == 0x0000


def test_database_removed_while_it_runs(node: Node, disk: Path) -> None:
    """Nothing is written to a file that nobody finds again, and no new one is made in its place."""
    database = disk / "node.sqlite"
    database.rename(disk / "aside")
    node.wait_fault("missing")
    assert node.store() == 0xA700
    assert not database.exists()
    (disk / "aside").rename(database)
    node.wait_well()
    assert node.store() == 0x0000


def begin_and_stop(folder: Path) -> Node:
    """A node that has stored something and was stopped."""
    with running(Node(folder)) as node:
        node.wait_well()
        assert node.store() == 0x0000
    return node


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of such a node; copied by each test."""
    return begin_and_stop(tmp_path_factory.mktemp("used")).data


def another(used: Path, data: Path) -> None:
    """A copy of that folder."""
    shutil.copytree(used, data, dirs_exist_ok=True)


@pytest.mark.parametrize("was_used", [True, False])
def test_starts_on_a_full_disk(used: Path, tmp_path: Path, was_used: bool) -> None:
    """It starts, says so, refuses, and comes up by itself; also where nothing has ever been written."""
    with small_disk(tmp_path / "node" / "data") as disk:
        if was_used:
            another(used, disk)
        filling = fill(disk)
        with running(Node(tmp_path / "node")) as node:
            node.wait_fault("disk_full")
            assert node.store(1) == 0xA700
            assert "disk is full" in node.get("/").text
            filling.unlink()
            node.wait_well()
            wait_until(lambda: node.store(2) == 0x0000, 20, "images are stored")
            one_line_each(node, "the disk is full")


def test_starts_on_a_locked_database(used: Path, tmp_path: Path) -> None:
    """As on a full disk; what is known is shown meanwhile."""
    another(used, tmp_path / "data")
    with locked(tmp_path / "data" / "node.sqlite"), running(Node(tmp_path)) as node:
        node.wait_fault("locked")
        assert node.store(1) == 0xA700
        assert node.get("/").status_code == 200
        with closing(sqlite3.connect(tmp_path / "data" / "node.sqlite")) as other:
            assert other.execute("SELECT count(*) FROM instances").fetchone() == (1,)
    assert node.process is not None and node.process.returncode == 0


def test_starts_on_a_read_only_folder(used: Path, tmp_path: Path) -> None:
    """The folder of a node that ran before, on a disk that was mounted read-only."""
    with small_disk(tmp_path / "data") as disk:
        another(used, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with running(Node(tmp_path)) as node:
            node.wait_fault("read_only")
            assert node.store(1) == 0xA700
            assert "read-only" in node.get("/").text
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            node.wait_well()
            wait_until(lambda: node.store(2) == 0x0000, 20, "images are stored")
            one_line_each(node, "the folder is read-only")


def cut(data: bytes) -> bytes:
    """The second half is gone."""
    return data[: len(data) // 2]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": cut,
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_starts_on_a_damaged_database(used: Path, tmp_path: Path, damage: str) -> None:
    """One line names the file and the command; nothing is overwritten, and no process is started again and again."""
    another(used, tmp_path / "data")
    database = tmp_path / "data" / "node.sqlite"
    database.write_bytes(DAMAGES[damage](database.read_bytes()))
    before = database.read_bytes()
    with running(Node(tmp_path)) as node:
        node.wait_fault("damaged")
        assert node.store(1) == 0xA700
        answer = node.get("/")
        assert answer.status_code == 503 and "triage-node restore" in answer.text
    (line,) = node.events("the database is damaged")
    assert str(database) in line["event"] and "triage-node restore FILE" in line["advice"]
    assert node.events("is started again") == node.events("nobody expected") == []
    assert database.read_bytes() == before


def test_damaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are received, their analysis fails with the reason, the page says so; mended, it is taken up."""
    root, package = Path(__file__).parents[1], tmp_path / "package"
    shutil.copytree(root / "config", package / "config")
    (package / "config" / "models" / "haemorrhage.safetensors").write_bytes(b"\xff" * 1000)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), str(root)]))
    monkeypatch.chdir(package)
    node = Node(tmp_path)
    node.site.write_text(f"{node.site.read_text()}attempts = 1\n[complete]\nquiet_s = 0.5\n")
    with running(node):
        node.wait_fault("model")
        for number in range(24):
            assert node.store(number) == 0x0000
        (job,) = wait_until(node.failed_jobs, FULL_S, "the analysis has failed")
        assert job.startswith("ModelError: the model haemorrhage ") and "not the weights of the card" in job
        assert "A model cannot be used: the model haemorrhage " in node.get("/status").text
        assert str(package) in node.health()["faults"]["model"]
        shutil.copytree(root / "config" / "models", package / "config" / "models", dirs_exist_ok=True)
        node.wait_well()
        one_line_each(node, "a model cannot be used")
