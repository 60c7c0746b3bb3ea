"""What keeps a process from running is one line, never a traceback. Its files are its user's alone; it ends soon."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from peers import needs, own_port
from test_faults import Node, another, begin_and_stop, locked, running

from dicom_node.log_file import LogFile


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a node that has stored something and was stopped; copied by each test."""
    return begin_and_stop(tmp_path_factory.mktemp("used")).data


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that must end by itself, and for which permissions hold, be it root's."""
    arguments = [sys.executable, "-m", "dicom_node", "--config", str(site), *command]
    if os.geteuid() == 0:
        without = "-dac_override,-dac_read_search,-fowner"
        arguments = [needs("setpriv"), f"--bounding-set={without}", f"--inh-caps={without}", *arguments]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


def settings(folder: Path, data: Path, more: str = "") -> Path:
    """A site's file for a node on loopback."""
    site = folder / "site.toml"
    ports = f'host = "127.0.0.1"\nport = {own_port()}'
    site.write_text(f'[node]\n{ports}\ndata = "{data}"\n[web]\nport = 0\n{more}')
    return site


def said(output: str) -> list[str]:
    """The lines that are not the log's own: these begin with a brace."""
    return [line for line in output.splitlines() if not line.startswith("{")]


@pytest.mark.parametrize("which", ["DICOM", "web"])
def test_port_in_use_ends_serve_with_one_line(tmp_path: Path, which: str) -> None:
    """After a few tries: whoever starts serve hears of it."""
    node = Node(tmp_path)
    port = node.port if which == "DICOM" else node.web_port
    with socket.create_server(("127.0.0.1", port)) as other:
        other.listen()
        found = run(node.site, "serve")
    assert found.returncode == 1
    (line,) = said(found.stderr)
    assert line.startswith(f"Error: {'node' if which == 'DICOM' else 'web'} cannot run: cannot listen on ")
    assert f":{port}: Address already in use" in line
    assert found.stdout == "" or which == "DICOM"
    assert node.signs() == {}


@pytest.mark.parametrize("command", ["serve", "node", "worker", "web"])
@pytest.mark.parametrize("what", ["a file", "below a file", "not permitted"])
def test_data_folder_that_can_never_be_used(tmp_path: Path, command: str, what: str) -> None:
    """It is no folder, or another user's."""
    taken = tmp_path / "taken"
    taken.write_text("")
    data = {"a file": taken, "below a file": taken / "data", "not permitted": tmp_path / "locked" / "data"}[what]
    if what == "not permitted":
        data.mkdir(mode=0o700, parents=True)
    if what == "not permitted" and os.geteuid() == 0:
        os.chown(data, 65534, 65534)
    elif what == "not permitted":
        data.parent.chmod(0o500)
        data.chmod(0o000)
    found = run(settings(tmp_path, data), command)
    assert found.returncode == 1, found.stderr
    (line,) = said(found.stderr)
    assert line.startswith(f"Error: the data folder {data} ")


def test_commands_on_a_database_that_cannot_be_used(used: Path, tmp_path: Path) -> None:
    """Damaged or locked: one line, which names the file and what to do."""
    another(used, tmp_path / "data")
    site = settings(tmp_path, tmp_path / "data")
    database = tmp_path / "data" / "node.sqlite"
    with locked(database):
        found = run(site, "retry", "A1")
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert "the database is locked by another program" in found.stderr
    database.write_bytes(database.read_bytes()[:5000])
    for command in ("jobs", "worklist"):
        found = run(site, command)
        assert (found.returncode, found.stderr.count("\n")) == (1, 1)
        assert f"the database is damaged: {database}" in found.stderr and "triage-node restore" in found.stderr


def test_log_file_is_shared_and_rotated(tmp_path: Path) -> None:
    """All processes write whole lines to it; what is too large is put aside, and only so many are kept."""
    node = Node(tmp_path)
    log = tmp_path / "logs" / "node.log"
    log.parent.mkdir()
    node.site.write_text(f'{node.site.read_text()}[log]\nlevel = "debug"\nfile = "{log}"\nmax_mb = 0.0006\nkeep = 2\n')
    with running(node):
        node.wait_well()
    found = sorted(path.name for path in log.parent.iterdir())
    assert found == ["node.log", "node.log.1", "node.log.2"]
    assert all(path.stat().st_size <= 600 and path.stat().st_mode & 0o777 == 0o600 for path in log.parent.iterdir())
    assert all(line.startswith("{") and line.endswith("}") for line in log.read_text().splitlines())
    assert (tmp_path / "serve.log").read_text().count("{") == 0


def test_unwritable_log_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Said once; the lines go to standard error instead, and to the file as soon as they can."""
    path = tmp_path / "later" / "node.log"
    log = LogFile(path, 1000, 1)
    for line in ("one", "two"):
        log.write(line)
    path.parent.mkdir()
    log.write("three")
    told = capfd.readouterr().err.splitlines()
    assert sorted(told) == sorted(["one", "two", f"the log file {path} cannot be written: No such file or directory"])
    assert path.read_text() == "three\n"


def test_full_standard_error_ends_nothing(used: Path, tmp_path: Path) -> None:
    """Whoever takes the log may have no room left."""
    another(used, tmp_path / "data")
    node = Node(tmp_path)
    command = [sys.executable, "-m", "dicom_node", "--config", str(node.site), "serve"]
    with Path("/dev/full").open("w") as full:
        node.process = subprocess.Popen(command, stdout=full, stderr=full, start_new_session=True)
    node.wait_well()
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(30)


def modes(data: Path) -> set[tuple[str, int]]:
    """What others than its owner may do with anything under the folder."""
    everything = [data, *data.rglob("*")]
    return {(str(path.relative_to(data)), path.stat().st_mode & 0o077) for path in everything} - {
        (str(path.relative_to(data)), 0) for path in everything
    }


def test_files_are_their_owners_alone(used: Path, tmp_path: Path) -> None:
    """Those of a new node, and those that a release before has left for others to read.

    That the folder was moved here makes no difference: rows name files by their place within it.
    """
    assert modes(used) == set()
    another(used, tmp_path / "data")
    for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    old = os.umask(0o022)
    try:
        with running(Node(tmp_path)) as node:
            node.wait_well()
            assert node.store(7) == 0x0000
            assert modes(tmp_path / "data") == set()
    finally:
        os.umask(old)
    assert node.events("files and rows differed") == []
    with closing(sqlite3.connect(tmp_path / "data" / "node.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM instances WHERE path LIKE 'instances/%'").fetchone() == (2,)


def test_end_of_serve_is_soon_and_logged(used: Path, tmp_path: Path) -> None:
    """With a browser's event stream open and a process stopped; each start and end is one line."""
    another(used, tmp_path / "data")
    node = Node(tmp_path)
    node.start()
    node.wait_well()
    stopped = node.signs()["worker"]
    with closing(socket.create_connection(("127.0.0.1", node.web_port))) as browser:
        browser.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert browser.recv(100).startswith(b"HTTP/1.1 200")
        os.kill(stopped, signal.SIGSTOP)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(15)
    assert node.process.returncode == 0 and node.signs() == {}
    for word in ("started", "ended"):
        found = sorted(event["process"] for event in node.events(word) if event["event"] == word)
        assert found == sorted({"started": ["node", "serve", "web", "worker"], "ended": ["node", "serve", "web"]}[word])
    assert [event["child"] for event in node.events("did not end in time")] == ["worker"]


def test_unit_of_systemd_protects_the_node() -> None:
    """What it may write, and what it may do; where systemd is there, it has nothing against the file."""
    unit = Path(__file__).parents[1] / "scripts" / "triage-node.service"
    lines = unit.read_text().splitlines()
    for wanted in ("UMask=0077", "StateDirectoryMode=0700", "ProtectSystem=strict", "NoNewPrivileges=yes"):
        assert wanted in lines
    if program := shutil.which("systemd-analyze"):
        found = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True)
        assert [line for line in found.stderr.splitlines() if "is not executable" not in line] == []
        subprocess.run([program, "security", "--offline=true", "--threshold=25", str(unit)], check=True)
