"""`submit` with whatever lies in a folder: every DICOM file is tried, and each other one is named with its reason."""

import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from series import Core, core, ct, head, listening, write

from dicom_node.commands.submit import submit_files
from dicom_node.dicom.folders import Folder, LeftOut, find_dicom, sort_files
from dicom_node.errors import CommandError
from dicom_node.tables import processes

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Core]:
    """A node that receives; its settings are site.toml beside the data."""
    made = core(tmp_path / "data")
    (tmp_path / "site.toml").write_text(f'[node]\nhost = "127.0.0.1"\nport = 0\ndata = "{tmp_path / "data"}"\n')
    with listening(made) as server:
        with made.database.write() as tx:
            processes.publish(tx, "dicom_port", str(server.port))
        yield made


def submit(folder: Path, path: Path | str, *before: str) -> subprocess.CompletedProcess[str]:
    """The command, as people type it."""
    command = [*before, sys.executable, "-m", "dicom_node", "--config", str(folder / "site.toml"), "submit", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def burn(folder: Path, datasets: Sequence[Dataset]) -> Path:
    """Images as a CD holds them; its DICOMDIR."""
    file_set = FileSet()
    for dataset in datasets:
        file_set.add(dataset)
    file_set.write(folder)
    file_set._stage["t"].cleanup()
    assert (folder / "DICOMDIR").is_file()
    return folder / "DICOMDIR"


def empty(folder: Path) -> None:
    (folder / "odd").touch()


def letter(folder: Path) -> None:
    (folder / "odd").write_text("Dear colleague")


def packed(folder: Path) -> None:
    with zipfile.ZipFile(folder / "odd", "w") as file:
        file.write(folder / "0000.dcm")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "odd")


def socket_file(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        made.bind("odd")
        os.chdir(here)


def device(folder: Path) -> None:
    (folder / "odd").symlink_to("/dev/zero")


def loop(folder: Path) -> None:
    (folder / "odd").symlink_to(folder)


def link_to_nothing(folder: Path) -> None:
    (folder / "odd").symlink_to(folder / "nothing")


def link_to_itself(folder: Path) -> None:
    (folder / "odd").symlink_to(folder / "odd")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, LeftOut.NO_DICOM),
        (letter, LeftOut.NO_DICOM),
        (packed, LeftOut.NO_DICOM),
        (pipe, LeftOut.NO_FILE),
        (socket_file, LeftOut.NO_FILE),
        (device, LeftOut.NO_FILE),
        (loop, LeftOut.READ_ALREADY),
    ],
)
def test_what_is_no_object_is_named_and_the_rest_is_sent(
    tmp_path: Path, node: Core, make: Callable[[Path], None], said: LeftOut
) -> None:
    """Nothing that was meant to be sent is missing, so the command succeeds."""
    write(head(3), tmp_path / "scan")
    make(tmp_path / "scan")
    sent = submit(tmp_path, tmp_path / "scan")
    assert (sent.returncode, sent.stdout) == (0, "3 of 3 objects stored\n")
    assert f"left out, {said}: odd (1 file)" in sent.stderr.splitlines()
    assert len(node.files()) == 3


@pytest.mark.parametrize(
    ("make", "said"), [(link_to_nothing, "a link to nothing"), (link_to_itself, "Too many levels of symbolic links")]
)
def test_what_cannot_be_read_is_named_and_counted(
    tmp_path: Path, node: Core, make: Callable[[Path], None], said: str
) -> None:
    """It may have been an image: the command fails, and has sent the rest."""
    write(head(3), tmp_path / "scan")
    make(tmp_path / "scan")
    sent = submit(tmp_path, tmp_path / "scan")
    assert (sent.returncode, sent.stdout) == (1, "3 of 4 objects stored\n")
    assert f"{tmp_path / 'scan' / 'odd'}: cannot be read: {said}" in sent.stderr.splitlines()
    assert sent.stderr.splitlines()[-1] == "Error: 1 objects were not stored"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a command as another user")
def test_what_may_not_be_read_is_named_and_counted(tmp_path: Path, node: Core) -> None:
    """A file, and a whole folder; root reads everything, so somebody else sends."""
    paths = write(head(4), tmp_path / "scan")
    closed = tmp_path / "scan" / "closed"
    write([ct(9)], closed)
    paths[1].chmod(0)
    closed.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    data = tmp_path / "data"
    for path in (data, *data.iterdir()):
        path.chmod(0o777)
    sent = submit(tmp_path, tmp_path / "scan", *AS_NOBODY)
    assert (sent.returncode, sent.stdout) == (1, "3 of 5 objects stored\n"), sent.stderr
    for path in (paths[1], closed):
        assert f"{path}: cannot be read: Permission denied" in sent.stderr.splitlines()
    assert len(node.files()) == 3


@pytest.mark.parametrize("named", ["the folder", "the index"])
def test_a_dicomdir_is_left_out_and_its_files_are_sent(tmp_path: Path, node: Core, named: str) -> None:
    """As CDs hold it; named by itself it stands for its folder."""
    burn(tmp_path / "cd", head(3))
    sent = submit(tmp_path, tmp_path / "cd" / ("DICOMDIR" if named == "the index" else ""))
    assert (sent.returncode, sent.stdout) == (0, "3 of 3 objects stored\n"), sent.stderr
    assert f"left out, {LeftOut.INDEX}: DICOMDIR (1 file)" in sent.stderr.splitlines()
    assert len(node.files()) == 3


def test_a_dicomdir_is_known_by_what_it_is(tmp_path: Path) -> None:
    """Whatever its name, with and without preamble; an image of that name is an image."""
    index = burn(tmp_path / "cd", [ct(0)])
    content = index.read_bytes()
    index.unlink()
    for name, made in {"dicomdir": content, "index.bak": content, "bare": content[132:]}.items():
        (tmp_path / "cd" / name).write_bytes(made)
    (image,) = write([ct(1)], tmp_path / "cd")
    image.rename(index)
    found = sort_files(tmp_path / "cd")
    assert [path.name for path, why in found.left_out if why is LeftOut.INDEX] == ["bare", "dicomdir", "index.bak"]
    assert index in found.dicom and len(found.dicom) == 2


def test_a_file_that_is_gone_when_its_turn_comes_is_named_and_counted(
    tmp_path: Path, node: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(head(3), tmp_path / "scan")

    def sort_and_lose(path: Path) -> Folder:
        found = sort_files(path)
        paths[1].unlink()
        return found

    monkeypatch.setattr("dicom_node.commands.submit.sort_files", sort_and_lose)
    with pytest.raises(CommandError, match="1 objects were not stored"):
        submit_files(tmp_path / "scan", node.settings, "SUBMIT")
    assert len(node.files()) == 2


def test_linked_folders_are_followed_and_read_once(tmp_path: Path) -> None:
    """A link into the tree, one out of it, and two folders that hold links to each other."""
    inner = write([ct(0)], tmp_path / "a" / "b")
    outer = write([ct(1)], tmp_path / "elsewhere")
    (tmp_path / "a" / "again").symlink_to("b")
    (tmp_path / "a" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "a")
    assert len(find_dicom(tmp_path / "a")) == len([*inner, *outer])
    assert [path.name for path, _ in sort_files(tmp_path / "a").left_out] == ["b", "back"]


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31mred", b"\xff\xfe".decode(errors="surrogateescape")])
def test_a_name_stays_in_its_line(tmp_path: Path, node: Core, name: str) -> None:
    """Whatever stands in it."""
    write(head(2), tmp_path / "scan")
    (tmp_path / "scan" / name).symlink_to("nothing")
    sent = submit(tmp_path, tmp_path / "scan")
    assert (sent.returncode, sent.stdout) == (1, "2 of 3 objects stored\n"), sent.stderr
    lines = sent.stderr.strip().splitlines()
    assert len(lines) == 2 and re.search("cannot be read: a link to nothing$", lines[0]) and "\x1b" not in sent.stderr


@pytest.mark.parametrize("path", ["/dev/null", "pipe"])
def test_a_path_that_is_no_file_is_one_line(tmp_path: Path, node: Core, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    sent = submit(tmp_path, tmp_path / path)
    assert sent.returncode == 1 and "Traceback" not in sent.stderr
    assert sent.stderr.splitlines()[-1].startswith("Error: no DICOM files under ")
