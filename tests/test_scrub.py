"""Stored files that are gone, empty, cut or changed are found, shown, and forgotten once they are whole again."""

import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from series import Core, core, head, uids
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from test_web import text_of

from dicom_node import analysis, clock
from dicom_node.commands.main import main
from dicom_node.dicom.part10 import data_chunks
from dicom_node.entities import Damage
from dicom_node.steps import scrub as step
from dicom_node.steps.retain import retain
from dicom_node.steps.scrub import Interrupted, Pace, named_files, recheck, scrub, scrub_slowly
from dicom_node.tables import damages, results
from dicom_node.tables.database import Database
from dicom_node.tables.views.files import NamedFile
from dicom_node.web.app import build_app
from reports.context import Kind, ReportObject


def flipped(path: Path) -> None:
    """One bit in the middle."""
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def in_another_syntax(path: Path) -> None:
    """The file meta information names another transfer syntax of the same length."""
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1))


DAMAGES: list[tuple[Callable[[Path], object], Damage]] = [
    (Path.unlink, Damage.GONE),
    (lambda path: path.write_bytes(b""), Damage.EMPTY),
    (lambda path: path.write_bytes(path.read_bytes()[:-100]), Damage.CUT),
    (lambda path: path.write_bytes(path.read_bytes()[:140]), Damage.CUT),
    (flipped, Damage.CHANGED),
    (in_another_syntax, Damage.CHANGED),
    (lambda path: path.write_bytes(path.read_bytes() + b"\0\0"), Damage.CHANGED),
    (lambda path: path.write_bytes(bytes(path.stat().st_size)), Damage.CHANGED),
]


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with ten images and one result."""
    made = core(tmp_path / "data")
    images = head(10)
    made.receive(images)
    add_result(made, images[0])
    (tmp_path / "site.toml").write_text(f'[node]\ndata = "{tmp_path / "data"}"\nport = 0\n')
    return made


def add_result(node: Core, image: Dataset, keep: bool = True) -> Path:
    """A result object in the archive; `keep`: with its hash, as now, or without, as in former versions."""
    study_uid, _, _ = uids(image)
    path = node.archive.result_path(study_uid, "haemorrhage", 1, "SC")
    written = analysis.part10_bytes(image)
    node.archive.put(path, written)
    made = analysis.result_object(ReportObject(Kind.SC, image), path, written)
    with node.database.write() as tx:
        results.add_object(tx, study_uid, "haemorrhage", 1, made, clock.utc_now())
        if not keep:
            tx.run("UPDATE results SET sha256 = ''")
    return path


def known(node: Core) -> dict[Path, Damage]:
    """What stands as damaged."""
    with node.database.read() as tx:
        return {each.path: each.damage for each in damages.every(tx)}


def test_nothing_is_damaged(node: Core) -> None:
    """And nothing is said."""
    with capture_logs() as lines:
        done = scrub(node.database)
    assert (done.files, done.damaged, done.whole, lines) == (11, (), True, [])


def test_every_damage_is_found_logged_once_and_forgotten(node: Core) -> None:
    """Images, and a result; what is put right, from a backup or by a re-send, is whole again."""
    whole = {path: path.read_bytes() for path in node.files()}
    expected = {}
    for path, (harm, damage) in zip(node.files(), DAMAGES, strict=False):
        harm(path)
        expected[path] = damage
    (result,) = (node.archive.root / "results").rglob("*.dcm")
    whole[result] = result.read_bytes()
    flipped(result)
    expected[result] = Damage.CHANGED
    with capture_logs() as lines:
        assert {each.path: each.damage for each in scrub(node.database).damaged} == expected == known(node)
        scrub(node.database)
    assert [each["event"] for each in lines] == ["a stored file is damaged"] * len(expected)
    assert {each["study_uid"] for each in lines} == {uids(head(1)[0])[0]}
    for path in expected:
        path.write_bytes(whole[path])
    with capture_logs() as lines:
        recheck(node.database)
    assert known(node) == {} and {each["event"] for each in lines} == {"a stored file is whole again"}


def test_a_resend_of_a_file_that_is_gone_repairs_it(node: Core) -> None:
    """The notice goes by itself."""
    path = node.files()[3]
    path.unlink()
    scrub(node.database)
    assert known(node) == {path: Damage.GONE}
    node.receive(head(10))
    recheck(node.database)
    assert path.exists() and known(node) == {} and not scrub(node.database).damaged


def test_disk_error_is_damage_and_a_fault_of_this_process_is_not(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector is the file's; too many open files are not."""
    code = errno.EIO
    bad = node.files()[2]

    def read(path: Path, syntax: str = "") -> object:
        if path == bad:
            raise OSError(code, "Input/output error")
        return data_chunks(path, syntax)

    monkeypatch.setattr(step, "data_chunks", read)
    assert [each.damage for each in scrub(node.database).damaged] == [Damage.UNREADABLE]
    with node.database.write() as tx:
        damages.forget(tx, bad)
    code = errno.EMFILE
    with capture_logs() as lines:
        scrub_slowly(node.database, 1e6, threading.Event())
    assert known(node) == {} and [each["event"] for each in lines] == ["the stored files cannot be looked through"]


def test_result_of_a_former_version_is_taken_as_it_is_and_watched_from_then_on(tmp_path: Path) -> None:
    """No hash was kept: it must be readable and the right object; its hash is kept now."""
    node = core(tmp_path / "data")
    image = head(1)[0]
    node.receive([image])
    path = add_result(node, image, keep=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:150])
    assert [each.damage for each in scrub(node.database).damaged] == [Damage.CHANGED]
    path.write_bytes(whole)
    assert not scrub(node.database).damaged
    flipped(path)
    assert [each.damage for each in scrub(node.database).damaged] == [Damage.CHANGED]


def test_an_interrupted_pass_goes_on_where_it_was(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts every day still look at every file."""
    monkeypatch.setattr(step, "AT_ONCE", 3)
    looked: list[Path] = []

    def until(most: int) -> None:
        read = 0

        def pace(size: int) -> None:
            nonlocal read
            read += size == 1  # once a file
            if read > most:
                raise Interrupted

        def look(database: Database, file: NamedFile, pace: Pace) -> None:
            pace(1)
            looked.append(file.path)

        monkeypatch.setattr(step, "check", look)
        assert scrub(node.database, pace, resume=True).whole is (most > 11)

    until(5)
    until(4)
    until(99)
    assert set(looked) == {file.path for file in named_files(node.database, resume=False)}
    assert len(looked) < 11 + 3 + 3


def test_it_ends_with_the_process(node: Core) -> None:
    """However slow it is."""
    stopping = threading.Event()
    thread = threading.Thread(target=scrub_slowly, args=(node.database, 1e-6, stopping))
    thread.start()
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_study_that_leaves_takes_its_damages_along(node: Core) -> None:
    """Retention removes it like any other."""
    node.files()[0].unlink()
    scrub(node.database)
    with node.database.write() as tx:
        tx.run("UPDATE series SET state = 'routed'")
    assert retain(node.database, node.archive, 0.0) == 1
    assert known(node) == {} and scrub(node.database).files == 0


def test_a_disk_that_is_not_there_is_said_once(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a line for every file of the archive."""
    monkeypatch.setattr(step, "MOST_FOUND", 4)
    for path in node.files():
        path.unlink()
    with capture_logs() as lines:
        assert not scrub(node.database).whole
    assert len(lines) == 5 and "look at the disk" in lines[-1]["event"]


def test_command(node: Core, tmp_path: Path) -> None:
    """What is damaged, and an exit code for scripts."""
    site = ["--config", str(tmp_path / "site.toml"), "scrub"]
    told = CliRunner().invoke(main, site)
    assert told.exit_code == 0 and "files looked through: 11; none is damaged" in told.output
    flipped(node.files()[0])
    told = CliRunner().invoke(main, [*site, "--json"])
    (entry,) = json.loads(told.stdout)
    assert told.exit_code == 1 and (entry["damage"], entry["path"]) == ("changed", str(node.files()[0]))
    assert "1 of 11 stored files are damaged" in CliRunner().invoke(main, site).output


def test_pages_show_it(node: Core) -> None:
    """On the status page with its study, and on the study's own page."""
    flipped(node.files()[0])
    scrub(node.database)
    study_uid = uids(head(1)[0])[0]
    with TestClient(build_app(node.database, node.archive, node.settings), base_url="http://localhost") as client:
        status = client.get("/status").text
        assert "Stored files that are damaged: 1." in text_of(status) and f'href="/studies/{study_uid}"' in status
        assert "was changed" in text_of(status)
        assert "Stored files of this study that are damaged: 1." in text_of(client.get(f"/studies/{study_uid}").text)
