"""Backup and restore by the real commands: nothing is lost, a damaged backup changes nothing, any folder will do."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from peers import wait_until
from series import ct, head, uids
from test_faults import Node, running, small_disk

SETTINGS = "[complete]\nquiet_s = 0.5\n[report]\npicture_for_not_analysed = true\n"
MODELS = Path(__file__).parent / "second_question"


def command(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on a node's settings."""
    line = [sys.executable, "-m", "dicom_node", "--config", str(node.site), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def done(node: Node, *arguments: str) -> str:
    """What a command that succeeds prints."""
    found = command(node, *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout


def refused(node: Node, *arguments: str) -> str:
    """The one line of a command that fails."""
    found = command(node, *arguments)
    assert found.returncode == 1 and found.stderr.startswith("Error: ") and found.stderr.count("\n") == 1, found.stderr
    return found.stderr


def new_node(folder: Path) -> Node:
    """A node whose series are complete soon, and which makes an object of what is not analysed."""
    node = Node(folder)
    node.site.write_text(node.site.read_text() + SETTINGS)
    return node


def state(node: Node) -> dict[str, Any]:
    """What a site would miss: the list, the jobs, and every file that rows speak of."""
    entries = json.loads(done(node, "worklist", "--json"))
    with closing(sqlite3.connect(node.data / "node.sqlite")) as database:
        paths = [row[0] for row in database.execute("SELECT path FROM instances UNION SELECT path FROM results")]
        feedback = database.execute("SELECT count(*) FROM feedback").fetchall()
    files = {path: (node.data / path).read_bytes() for path in paths}
    return {"list": entries, "files": files, "feedback": feedback, "jobs": json.loads(done(node, "jobs", "--json"))}


class Saved:
    """A node that has worked and was backed up while it ran, with and without its images."""

    def __init__(self, folder: Path) -> None:
        self.node = new_node(folder)
        self.whole, self.small = folder / "whole.tar", folder / "small.tar"
        scan = folder / "scan"
        scan.mkdir()
        for number, each in enumerate(head()):
            each.save_as(scan / f"{number}.dcm", enforce_file_format=True)
        with running(self.node) as node:
            node.wait_well()
            done(node, "submit", str(scan))
            wait_until(lambda: self.results(), 60, "a picture says why nothing was analysed")
            self.refused = refused(node, "restore", str(self.site_file()))
            self.said = done(node, "backup", str(self.whole))
            done(node, "backup", str(self.small), "--no-images")
            self.state = state(node)
            node.sent = 100
            assert node.store() == 0x0000

    def results(self) -> int:
        """How many objects the node has made."""
        with closing(sqlite3.connect(self.node.data / "node.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM results").fetchone()[0])

    def site_file(self) -> Path:
        """Any file."""
        return self.node.site


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """One for all tests; they restore into folders of their own."""
    return Saved(tmp_path_factory.mktemp("saved"))


def test_restore_into_another_folder(saved: Saved, tmp_path: Path) -> None:
    """Everything is there, and what starts on it finds rows and files agreeing."""
    node = new_node(tmp_path)
    told = done(node, "restore", str(saved.whole))
    assert f"restored to {node.data}" in told and "what was there before" not in told
    assert (node.data / "settings-of-backup" / "triage-node.toml").read_text() == saved.node.site.read_text()
    assert state(node) == saved.state
    with running(node):
        node.wait_well()
        study, series, instance = uids(ct(0))
        address = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        assert node.get(address).status_code == 200
    assert node.events("files and rows differed") == []
    assert state(node)["files"] == saved.state["files"]


def test_restore_over_what_is_there(saved: Saved, tmp_path: Path) -> None:
    """The damaged database is put aside, images that came after the backup are entered again."""
    node = new_node(tmp_path)
    shutil.copytree(saved.node.data, node.data)
    (node.data / "node.sqlite").write_bytes(b"damaged")
    told = done(node, "restore", str(saved.small))
    (aside,) = node.data.glob("before-restore-*")
    assert f"what was there before: {aside}" in told
    assert (aside / "node.sqlite").read_bytes() == b"damaged" and (aside / "results").is_dir()
    assert state(node) == saved.state
    with running(node):
        node.wait_well()
    (line,) = node.events("files and rows differed")
    assert (line["files_adopted"], line["rows_dropped"]) == (1, 0)
    assert {path.stat().st_mode & 0o077 for path in node.data.rglob("*")} == {0}


def test_restore_without_images_into_an_empty_folder(saved: Saved, tmp_path: Path) -> None:
    """It says what will be missing; the node starts, and its list holds only what is there."""
    node = new_node(tmp_path)
    found = command(node, "restore", str(saved.small))
    assert found.returncode == 0 and "24 images are not here" in found.stderr
    with running(node):
        node.wait_well()
    assert state(node)["list"] == []


def test_restore_is_refused_while_a_node_runs(saved: Saved, tmp_path: Path) -> None:
    """Be it the whole node or a process that was started alone."""
    assert "a node runs on the folder" in saved.refused and "stop it first" in saved.refused
    node = new_node(tmp_path)
    line = [sys.executable, "-m", "dicom_node", "--config", str(node.site), "web"]
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "web" in node.signs(), 60, "the page lives")
        assert "(web): stop it first" in refused(node, "restore", str(saved.whole))
    finally:
        process.terminate()
        process.wait(20)


def flipped(data: bytes) -> bytes:
    """One bit of an image is another."""
    place = data.index(b"instances/") + 4096
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[: data.index(b"manifest.json") // 512 * 512],
    "one bit": flipped,
    "empty": lambda data: b"",
    "no tar": lambda data: b"PK\3\4" + bytes(5000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_backup_changes_nothing(saved: Saved, tmp_path: Path, damage: str) -> None:
    """One line says that it is damaged."""
    node = new_node(tmp_path)
    node.data.mkdir()
    (node.data / "node.sqlite").write_bytes(b"the former one")
    file = tmp_path / "damaged.tar"
    file.write_bytes(DAMAGES[damage](saved.whole.read_bytes()))
    assert str(file) in refused(node, "restore", str(file))
    left = sorted(path.name for path in node.data.iterdir())
    assert left == ["node.lock", "node.sqlite", "serve.lock"]
    assert (node.data / "node.sqlite").read_bytes() == b"the former one"


@pytest.mark.parametrize("name", ["../outside", "instances/../../outside", "/etc/outside", "viewer/index.html"])
def test_backup_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    """A tar file from elsewhere writes nothing but a node's own files."""
    node = new_node(tmp_path)
    file, member = tmp_path / "evil.tar", tarfile.TarInfo(name)
    with tarfile.open(file, "w") as tar:
        tar.addfile(member)
    assert "is no backup of triage-node" in refused(node, "restore", str(file))


def test_backup_of_a_damaged_database_fails(saved: Saved, tmp_path: Path) -> None:
    """The last good backup is not replaced by it, and is what the line names."""
    node = new_node(tmp_path)
    done(node, "restore", str(saved.whole))
    file = tmp_path / "backup.tar"
    done(node, "backup", str(file))
    before = file.read_bytes()
    database = (node.data / "node.sqlite").read_bytes()
    (node.data / "node.sqlite").write_bytes(database[:8192] + b"\xff" * (len(database) - 8192))
    for arguments in (("backup", str(file)), ("jobs",)):
        line = refused(node, *arguments)
        assert f"the database is damaged: {node.data}/node.sqlite" in line and f"triage-node restore {file}" in line
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob(".backup*")) == []


def test_backup_leaves_other_files_alone(saved: Saved, tmp_path: Path) -> None:
    """Only a backup is replaced by a backup, and nothing is left where it cannot be written."""
    node = new_node(tmp_path)
    done(node, "restore", str(saved.small))
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    assert "is there and is no backup" in refused(node, "backup", str(letter))
    assert letter.read_text() == "Dear colleague"
    assert "cannot be written" in refused(node, "backup", str(tmp_path / "nowhere" / "backup.tar"))
    with small_disk(tmp_path / "small", mebibytes=1) as disk:
        (disk / "filling").write_bytes(bytes(1000 << 10))
        assert "cannot be written: the disk is full" in refused(node, "backup", str(disk / "backup.tar"))
        assert [path.name for path in disk.iterdir()] == ["filling"]


def test_backup_of_a_node_that_has_not_run(tmp_path: Path) -> None:
    """One line."""
    assert "there is no node's database" in refused(new_node(tmp_path), "backup", str(tmp_path / "backup.tar"))
