"""Whatever a command meets, it ends with one line and an exit code, and never with a traceback."""

import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from peers import own_port
from series import core, head, write

from dicom_node.commands import listing
from dicom_node.commands.frame import plain
from dicom_node.commands.main import main
from dicom_node.tables.database import open_database

READING = ["worklist", "worklist --json", "jobs", "jobs --json", "feedback", "feedback --csv", "identity list"]
CHANGING = ["retry A1", "retry D1", "identity apart 1.2", "identity one 1.2", "models remove site-model"]
ASKING = ["echo", "submit scan"]  # the database says at which port the node listens
MODELS = ["models list", "models points", "models use built-in", "config check"]
PRINTING = ["--help", "--version", "config show", "config check", "worklist", "jobs --json", "models list"]
PEERS = {
    "unknown": ('host = "no.such.host.invalid"\nport = 104', "cannot be resolved"),
    "odd": ('host = "a host"\nport = 104', "cannot be resolved"),
    "long": (f'host = "{"a" * 70}.example"\nport = 104', "cannot be resolved"),
    "empty label": ('host = "pacs..example"\nport = 104', "cannot be resolved"),
    "silent": ("", "has no address"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where commands are typed: settings, an image, no database."""
    monkeypatch.chdir(tmp_path)
    peers = "".join(f'[[peer]]\nname = "{name}"\nae_title = "X"\n{text}\n' for name, (text, _) in PEERS.items())
    closed = f'[[peer]]\nname = "closed"\nae_title = "X"\nhost = "127.0.0.1"\nport = {own_port()}\n'
    (tmp_path / "triage-node.toml").write_text(f'[node]\ndata = "data"\nport = 0\n[web]\nport = 0\n{peers}{closed}')
    write(head(1), tmp_path / "scan")
    return tmp_path


def run(*arguments: str) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, arguments)


def error_of(result: Result, code: int = 1) -> str:
    """The one line that a command ended with."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    lines = result.output.strip().splitlines()
    assert lines[-1].startswith("Error: ") and "Traceback" not in result.output, result.output
    return lines[-1]


# -- the database


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all, it only lies there" * 100)


def cut(path: Path) -> None:
    core(path.parent)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path: Path) -> None:
    core(path.parent)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def a_folder(path: Path) -> None:
    path.mkdir()


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (other TEXT)")
        connection.execute("CREATE TABLE _sqlite_migrations (other TEXT)")
    connection.close()


@pytest.mark.parametrize("make", [garbage, cut, overwritten, a_folder, of_another_program])
@pytest.mark.parametrize("command", [*READING, *CHANGING, *ASKING, *MODELS])
def test_a_database_that_is_none_is_named(site: Path, command: str, make: Callable[[Path], None]) -> None:
    """And what to do where that is known."""
    (site / "data").mkdir()
    make(site / "data" / "node.sqlite")
    line = error_of(run(*command.split()))
    assert str(site / "data" / "node.sqlite") in line
    if make in (garbage, overwritten):
        assert "damaged" in line


@pytest.mark.parametrize("command", [*READING, *CHANGING, *ASKING])
def test_without_a_database_it_says_what_starts_one(site: Path, command: str) -> None:
    line = error_of(run(*command.split()))
    known = "no model 'site-model' is installed" if command.startswith("models") else "no node's database"
    assert known in line


@pytest.mark.parametrize("command", [*READING, *CHANGING, *ASKING, *MODELS])
def test_a_database_that_somebody_holds_is_named(site: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, which is none here."""
    open_database(site / "data" / "node.sqlite")
    holder = sqlite3.connect(site / "data" / "node.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, **options | {"timeout": 0}))
    line = error_of(run(*command.split()))
    holder.close()
    assert str(site / "data" / "node.sqlite") in line and "another program holds it" in line


@pytest.mark.parametrize("command", [*READING, *ASKING, *MODELS])
def test_a_data_folder_that_is_a_file_is_named(site: Path, command: str) -> None:
    (site / "data").write_text("a file")
    if command in ("models list", "models points"):  # the built-in model needs no folder
        assert run(*command.split()).exit_code == 0
    else:
        assert str(site / "data") in error_of(run(*command.split()))


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a user who may do nothing."""
    for each in (folder, *folder.parents[:3]):
        each.chmod(0o755)
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*setpriv, sys.executable, "-m", "dicom_node", *arguments]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a command as another user")
@pytest.mark.parametrize("closed", ["database", "folder", "read-only"])
@pytest.mark.parametrize("command", ["jobs", "worklist", "retry A1", "models list", "config check", "echo"])
def test_another_user_gets_one_line(site: Path, command: str, closed: str) -> None:
    """Who runs the node may; others are told."""
    core(site / "data")
    for path in (site / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (site / "data").chmod(0o700 if closed == "folder" else 0o755)
    if closed == "database":
        (site / "data" / "node.sqlite").chmod(0o600)
    done = as_nobody(site, *command.split())
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    assert str(site / "data") in lines[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a command as another user")
def test_settings_and_images_that_may_not_be_read_are_named(site: Path) -> None:
    (site / "triage-node.toml").chmod(0)
    done = as_nobody(site, "config", "show")
    assert done.returncode == 2 and "triage-node.toml" in done.stderr and "Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- peers


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_whose_address_is_none_is_one_line(site: Path, peer: str) -> None:
    """Also where the name cannot be a host's at all."""
    line = error_of(run("echo", peer))
    assert PEERS[peer][1] in line and peer in line


def test_a_peer_that_does_not_listen_is_one_line(site: Path) -> None:
    assert "cannot be reached: the connection was refused" in error_of(run("echo", "closed"))
    assert "no peer is called 'nobody'" in error_of(run("echo", "nobody"), code=2)


# -- settings, folders, ports


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("/proc/triage-node", "No such file or directory"),
        ("/sys/triage-node", "Operation not permitted|Permission denied|Read-only"),
        ("scan/0000.dcm", "is a file"),
        ("scan/0000.dcm/below", "Not a directory"),
        ("d" * 300, "File name too long"),
        ("/proc/self", "cannot be written to"),
    ],
)
def test_config_check_names_a_folder_that_cannot_be_written(site: Path, data: str, named: str) -> None:
    (site / "triage-node.toml").write_text(f'[node]\ndata = "{data}"\n')
    line = error_of(run("config", "check"))
    assert line.startswith("Error: node.data: ") and data in line
    assert any(each in line for each in named.split("|"))


@pytest.mark.parametrize("rules", ["none.toml", "scan", "scan/0000.dcm", "/proc/self/mem"])
@pytest.mark.parametrize("command", ["config check", "models list", "analyse scan --out out"])
def test_rules_that_cannot_be_read_are_named(site: Path, command: str, rules: str) -> None:
    (site / "triage-node.toml").write_text(f'[route]\nrules = "{rules}"\n')
    assert rules in error_of(run(*command.split()), code=2)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[node", b"node = 3", b"\0"])
def test_settings_that_are_none_are_named(site: Path, content: bytes) -> None:
    (site / "triage-node.toml").write_bytes(content)
    assert "triage-node.toml" in error_of(run("config", "check"), code=2)


def test_config_check_says_which_port_is_in_use(site: Path) -> None:
    """A node may be running: that is no fault."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (site / "triage-node.toml").write_text(
            f'[node]\nhost = "127.0.0.1"\nport = {port}\n[web]\nhost = "192.0.2.1"\nport = 9\n'
        )
        told = run("config", "check")
    assert told.exit_code == 0
    assert f"note: the DICOM port {port} is in use" in told.output
    assert "note: the web port 9 cannot be opened on 192.0.2.1" in told.output


def test_config_check_names_the_model(site: Path) -> None:
    """By its card, and loaded where that is asked."""
    assert "model: haemorrhage haemorrhage" in run("config", "check").output
    assert "model: haemorrhage haemorrhage" in run("config", "check", "--load").output


@pytest.mark.parametrize("out", ["/proc/results", "scan/0000.dcm/results"])
def test_analyse_names_a_folder_that_cannot_be_made(site: Path, out: str) -> None:
    (site / "triage-node.toml").write_text("[report]\npicture_for_not_analysed = true\n")
    assert out in error_of(run("analyse", "scan", "--out", out))


def test_the_viewer_names_a_folder_that_cannot_be_made(site: Path) -> None:
    (site / "triage-node.toml").write_text('[node]\ndata = "/proc/triage-node"\n')
    assert "/proc/triage-node/viewer" in error_of(run("viewer", "install", "--from", "scan/0000.dcm"))


# -- the output


@pytest.fixture
def full() -> Iterator[Any]:
    """A disk without room."""
    with Path("/dev/full").open("w") as file:
        yield file


def typed(folder: Path, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    whole = [sys.executable, "-m", "dicom_node", *command.split()]
    return subprocess.run(whole, stderr=subprocess.PIPE, text=True, cwd=folder, timeout=60, check=False, **options)


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_behind_the_output_is_one_line(site: Path, command: str, buffered: str, full: Any) -> None:
    """Whether it is noticed in writing or when the buffer is emptied."""
    core(site / "data")
    done = typed(site, command, stdout=full, env=os.environ | {"PYTHONUNBUFFERED": buffered})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("Error: ") and os.strerror(errno.ENOSPC) in done.stderr


@pytest.mark.parametrize("command", PRINTING)
def test_a_reader_who_goes_away_is_no_error(site: Path, command: str) -> None:
    """As with `| head`."""
    core(site / "data")
    read, write_end = os.pipe()
    os.close(read)
    done = typed(site, command, stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", PRINTING)
def test_without_any_output_there_is_no_traceback(site: Path, command: str) -> None:
    core(site / "data")
    done = typed(site, command, preexec_fn=lambda: os.close(1))
    assert "Traceback" not in done.stderr and done.returncode in (0, 1)


def test_a_terminal_that_lacks_a_letter_is_no_error(site: Path) -> None:
    """Names are in any script."""
    made = core(site / "data")
    made.receive(head(1, PatientID="Ł-山田", SpecificCharacterSet="ISO_IR 192"))
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = typed(site, "worklist", stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0 and r"\u0141-\u5c71\u7530" in done.stdout, done.stderr


# -- what nobody foresaw


@pytest.mark.parametrize("error", [KeyError("flag"), RecursionError("deep"), MemoryError(), AssertionError("no\nway")])
def test_what_nobody_foresaw_is_one_line_that_names_its_traceback(
    site: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    core(site / "data")
    monkeypatch.setattr(listing, "jobs", fail)
    monkeypatch.setenv("TMPDIR", str(site))
    monkeypatch.setattr("tempfile.tempdir", None)
    line = error_of(run("jobs"))
    assert type(error).__name__ in line
    (details,) = site.glob("triage-node-error-*.txt")
    assert str(details) in line and "in fail" in details.read_text() and details.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("TRIAGE_NODE_TRACEBACK", "1")
    assert run("jobs").exception is error


def test_a_process_tells_its_log(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started again and again, and would fill the folder of temporary files."""

    def fail(*_: object) -> None:
        raise KeyError("flag")

    monkeypatch.setattr("dicom_node.processes.worker.run_worker", fail)
    monkeypatch.setenv("TMPDIR", str(site))
    monkeypatch.setattr("tempfile.tempdir", None)
    told = run("worker").output.splitlines()
    line = json.loads(told[0])
    assert len(told) == 2 and "KeyError" in line["error"] and line["where"]
    assert told[1] == "Error: unexpected KeyError: 'flag' (its traceback is in the log above)"
    assert not list(site.glob("triage-node-error-*.txt"))


@pytest.mark.parametrize(("text", "line"), [("a\nb", r"a\nb"), ("\x1b[1m", r"\x1b[1m"), ("ü 山", "ü 山"), ("'", "'")])
def test_a_line_is_one_line(text: str, line: str) -> None:
    assert plain(text) == line
