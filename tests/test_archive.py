"""Files are whole or not there, lie where their checked UIDs say, and go at one stroke."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from series import ct, data_of, encoded, write

from dicom_node.archive import Archive
from dicom_node.dicom.checks import checked_uid
from dicom_node.dicom.folders import find_dicom
from dicom_node.dicom.part10 import is_intact, part10_header
from dicom_node.errors import CannotUnderstand

STUDY, SERIES, SOP = "1.2.3", "1.2.3.4", "1.2.3.4.5"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return Archive(tmp_path)


@given(st.text(max_size=70))
def test_whatever_passes_is_safe_in_a_path(text: str) -> None:
    """No text that passes has anything but digits and dots, and none is a way up."""
    try:
        uid = checked_uid(text)
    except CannotUnderstand:
        return
    assert set(uid) <= set("0123456789.") and ".." not in uid and uid.strip(".") == uid and len(uid) <= 64


@given(st.from_regex(r"\A[012]\.[1-9][0-9]{0,8}(\.[1-9][0-9]{0,8}){0,4}\Z"))
def test_uids_pass(uid: str) -> None:
    """Also padded as they are on the wire."""
    assert checked_uid(uid) == uid == checked_uid(f"{uid}\0")


@pytest.mark.parametrize("uid", [None, "", ".", "..", "1..2", "1.", ".1", "1.2\n", "1 2", "1/2", "1\\2", "²", "9" * 65])
def test_what_is_no_uid_does_not_pass(uid: str | None) -> None:
    """Whatever it is."""
    with pytest.raises(CannotUnderstand):
        checked_uid(uid)


@pytest.mark.parametrize("place", range(3))
def test_no_path_without_a_check(archive: Archive, place: int) -> None:
    """Each of the three UIDs of a path is checked."""
    study, series, sop = (uid if i != place else "../../etc" for i, uid in enumerate((STUDY, SERIES, SOP)))
    with pytest.raises(CannotUnderstand):
        archive.instance_path(study, series, sop, "ab")
    with pytest.raises(CannotUnderstand):
        archive.result_path("../up", "q", 1, "SR")
    with pytest.raises(CannotUnderstand):
        archive.set_aside("..")


def test_put_replaces_whole_files(archive: Archive) -> None:
    """A reader sees the old or the new file, never a part of one."""
    path, sizes = archive.instance_path(STUDY, SERIES, SOP, "ab"), set()
    archive.put(path, b"a" * 1_000_000)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            sizes.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for size in (1_000_000, 2_000_000) * 10:
        archive.put(path, b"a" * (size // 2), b"b" * (size // 2))
    done.set()
    reader.join()
    assert sizes <= {1_000_000, 2_000_000}
    assert not list((archive.root / "incoming").iterdir())


def test_put_that_fails_leaves_nothing(archive: Archive) -> None:
    """The place is taken by a folder: an error, and no temporary file."""
    path = archive.instance_path(STUDY, SERIES, SOP, "ab")
    path.mkdir(parents=True)
    with pytest.raises(OSError):
        archive.put(path, b"abc")
    assert not list((archive.root / "incoming").iterdir())


def test_new_folders_are_made_durable(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not lose the folder that a new file lies in: every folder with a new entry is synced."""
    synced: list[Path] = []
    monkeypatch.setattr("dicom_node.archive.sync_folder", synced.append)
    monkeypatch.setattr("dicom_node.durable.sync_folder", synced.append)
    path = archive.instance_path(STUDY, SERIES, SOP, "ab")
    archive.put(path, b"abc")
    assert {path.parent, path.parent.parent, archive.root / "instances"} <= set(synced)


def test_start_clears_only_what_the_dead_left(archive: Archive) -> None:
    """A worker that goes on writing while the node starts again loses nothing."""
    script = (
        "import sys; from pathlib import Path; from dicom_node.archive import Archive\n"
        f"archive = Archive(Path({str(archive.root)!r})); print('ready', flush=True)\n"
        "for n in range(150): archive.put(archive.result_path('1.2', 'q', n, 'SEG'), b'x' * 200_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stderr is not None
        writer.stdout.readline()
        while writer.poll() is None:
            archive.clear_incoming()
        assert writer.returncode == 0, writer.stderr.read()
    assert len(list((archive.root / "results").rglob("seg.dcm"))) == 150
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (archive.root / "incoming" / f"{dead.pid}.half").write_bytes(b"x")
    archive.clear_incoming()
    assert not list((archive.root / "incoming").iterdir())


def test_header_before_the_bytes_as_sent(tmp_path: Path) -> None:
    """The file meta information is what pydicom reads, and the data set follows byte by byte."""
    dataset = ct(0)
    header = part10_header(str(dataset.SOPClassUID), "1.2.33", "1.2.840.10008.1.2.1", "CT1")
    path = tmp_path / "x.dcm"
    path.write_bytes(header + encoded(dataset))
    read = dcmread(path)
    assert (read.file_meta.MediaStorageSOPInstanceUID, read.file_meta.SourceApplicationEntityTitle) == ("1.2.33", "CT1")
    assert read.file_meta.FileMetaInformationGroupLength == len(header) - 144
    assert read.PixelData == dataset.PixelData
    assert data_of(path.read_bytes()) == encoded(dataset)


def test_set_aside_takes_a_study_and_no_other(archive: Archive) -> None:
    """Images and results, at one stroke each."""
    for study in (STUDY, "1.2.33"):
        archive.put(archive.instance_path(study, SERIES, SOP, "ab"), b"image")
        archive.put(archive.result_path(study, "q", 1, "SR"), b"result")
    assert archive.size_bytes() == 2 * len(b"imageresult")
    archive.set_aside(STUDY)
    assert archive.size_bytes() == len(b"imageresult")
    archive.set_aside(STUDY)
    archive.clear_set_aside()
    assert not list((archive.root / "removed").iterdir())


def test_find_dicom_knows_files_by_their_prefix(tmp_path: Path) -> None:
    """Whatever their names; other files are left out."""
    (path,) = write([ct(0)], tmp_path / "deep" / "folder")
    named = path.rename(path.with_name("IM000001"))
    (tmp_path / "notes.dcm").write_text("no image")
    (tmp_path / "empty").touch()
    assert find_dicom(tmp_path) == [named]
    assert find_dicom(named) == [named]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut in the preamble": lambda whole: whole[:100],
    "cut in the file meta information": lambda whole: whole[:200],
    "cut in the data set": lambda whole: whole[:-1],
    "longer": lambda whole: whole + b"\0",
    "a bit flipped in the pixels": lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
    "another prefix": lambda whole: whole[:128] + b"DICN" + whole[132:],
    "a length in the file meta information": lambda whole: whole[:152] + b"\xff\xff" + whole[154:],
    "zeros": lambda whole: bytes(len(whole)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_not_intact(archive: Archive, damage: str) -> None:
    """Whatever happened to it, wherever in the file; with the right bytes again it is."""
    data = encoded(ct(0, PixelData=bytes(600_000)))  # more than is read at once
    digest = hashlib.sha256(data).hexdigest()
    path = archive.instance_path(STUDY, SERIES, SOP, digest)
    assert not is_intact(path, digest)
    archive.put(path, part10_header("1.2.840.10008.5.1.4.1.1.2", SOP, "1.2.840.10008.1.2.1", "CT1"), data)
    whole = path.read_bytes()
    assert is_intact(path, digest) and is_intact(path, digest, "1.2.840.10008.1.2.1")
    assert not is_intact(path, digest, "1.2.840.10008.1.2")
    path.write_bytes(DAMAGES[damage](whole))
    assert not is_intact(path, digest)
    path.write_bytes(whole)
    assert is_intact(path, digest)
