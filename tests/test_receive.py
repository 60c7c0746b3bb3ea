"""What is answered with Success is on disk as it was sent; what cannot be stored says why and leaves nothing behind."""

import os
import random
import resource
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from peers import needs, wait_until
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from series import DECODERS, Core, associate, core, ct, data_of, encoded, head, listening, push, uids, write

from dicom_node.clock import utc_now
from dicom_node.dicom.same_image import same_image
from dicom_node.entities import SeriesState
from dicom_node.errors import CannotUnderstand, NotAsNegotiated, Refused
from dicom_node.steps.receive import reconcile
from dicom_node.tables import instances, processes, worklist

PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"
LOCAL_LIMIT_EXCEEDED, REJECTED_TRANSIENT = 2, 2
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about what these tests garble


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node's receiving side."""
    return core(tmp_path / "data")


def syntax_files(shared: Path) -> list[Path]:
    """The CT slice in all its transfer syntaxes."""
    return sorted((shared / "dicom" / "syntaxes").glob("CTImage.dcm_*"))


def refusals(node: Core) -> list[str]:
    """The reasons of all refusals, newest first."""
    with node.database.read() as tx:
        return [each.reason for each in processes.refusals(tx, 50)]


def outside_archive(node: Core) -> list[Path]:
    """Files in the node's folder, and beside it, that are not the database's or the archive's."""
    root = node.settings.node.data
    found = [path for path in root.parent.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    return [path for path in found if not path.name.startswith("node.sqlite")]


def test_bytes_are_stored_as_sent_in_every_syntax(node: Core, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the 15 syntaxes, sent in its own; compressed ones are not touched."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the client sends the file's bytes as they are
    files = syntax_files(shared)
    syntaxes = [str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID) for path in files]
    assert len(set(syntaxes)) == 15
    with listening(node) as server:
        for path, syntax in zip(files, syntaxes, strict=True):
            association = associate(server.port, [(CTImageStorage, syntax)])
            assert association.send_c_store(path).Status == 0x0000
            association.release()
            with node.database.read() as tx:
                stored = instances.versions(tx, *uids(dcmread(path, stop_before_pixels=True)))[-1]
            assert stored.transfer_syntax_uid == syntax
            assert data_of(stored.path.read_bytes()) == data_of(path.read_bytes())
            meta = dcmread(stored.path, stop_before_pixels=True).file_meta
            assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle) == (syntax, "CT1")
    assert len(node.files()) == node.number("SELECT count(*) FROM instances") == 15


def test_dcmtk_sends_every_syntax(node: Core, shared: Path, tmp_path: Path) -> None:
    """A peer that is no Python library gets Success for compressed images, and echo works."""
    with listening(node) as server:
        echo = [needs("echoscu"), "-aec", "TRIAGE", "127.0.0.1", str(server.port)]
        assert subprocess.run(echo, capture_output=True).returncode == 0
        for option, name in (("-xs", "SV1"), ("-xr", "RLE"), ("-xt", "JPEGLSLossless"), ("-xd", "Deflated")):
            (file,) = [path for path in syntax_files(shared) if name in path.name]
            command = [needs("storescu"), "-aec", "TRIAGE", option, "127.0.0.1", str(server.port), str(file)]
            sent = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TCP_NODELAY": "1"})
            assert sent.returncode == 0, sent.stderr
            expected = dcmread(file)
            with node.database.read() as tx:
                stored = instances.versions(tx, *uids(expected))[-1]
            assert stored.transfer_syntax_uid == expected.file_meta.TransferSyntaxUID
            assert dcmread(stored.path).PixelData == expected.PixelData


def test_private_class_is_accepted(node: Core) -> None:
    """A refused context could fail the scanner's whole send job."""
    private = ct(0, SOPClassUID=PRIVATE_CLASS, Modality="OT")
    del private.PixelData
    with listening(node) as server:
        assert push(server.port, [private, ct(1)]) == [0x0000, 0x0000]
    assert len(node.files()) == 2


@pytest.mark.parametrize("uid", ["../../etc/passwd", "ID_123", "1.2.", "", "1.2/3", "1" * 65, "١.٢"])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_what_is_no_uid_is_refused(node: Core, keyword: str, uid: str) -> None:
    """0xC000, and nothing is written anywhere."""
    dataset = ct(0)
    wrong = f"{uid}\0" if len(uid) % 2 else uid
    right = element_bytes(keyword, padded(str(dataset[keyword].value)))
    raw = encoded(dataset).replace(right, element_bytes(keyword, wrong.encode("utf-8")))
    announced = uid if keyword == "SOPInstanceUID" else str(dataset.SOPInstanceUID)
    with pytest.raises(CannotUnderstand) as caught:
        node.take(dataset, raw, sop_uid=announced)
    assert caught.value.status == 0xC000
    assert node.files() == [] and outside_archive(node) == []
    assert node.number("SELECT count(*) FROM studies") == 0


def padded(uid: str) -> bytes:
    """A UID as Explicit VR Little Endian writes it."""
    return uid.encode() + b"\0" * (len(uid) % 2)


def element_bytes(keyword: str, value: bytes) -> bytes:
    """A UI element in Explicit VR Little Endian."""
    tag = {"StudyInstanceUID": (0x20, 0x0D), "SeriesInstanceUID": (0x20, 0x0E), "SOPInstanceUID": (0x08, 0x18)}[keyword]
    even = value + b"\0" * (len(value) % 2)
    return bytes([tag[0], 0, tag[1], 0]) + b"UI" + len(even).to_bytes(2, "little") + even


def test_path_in_a_uid_over_the_wire(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real association that announces a path as SOP Instance UID."""
    with listening(node) as server:
        dataset = ct(0)
        dataset.SOPInstanceUID = "../../etc/passwd"
        dataset.SeriesInstanceUID = "../up"
        assert push(server.port, [dataset]) == [0xC000]
        assert push(server.port, [ct(0)]) == [0x0000]
    assert len(node.files()) == 1 and outside_archive(node) == []
    assert "0xC000" in refusals(node)[0]


@pytest.mark.parametrize("field", ["sop_class_uid", "sop_uid"])
def test_other_than_announced_is_refused(node: Core, field: str) -> None:
    """0xA900 when the data set is another class or instance than the request says."""
    changed: dict[str, Any] = {field: "1.2.3.4"}
    with pytest.raises(NotAsNegotiated) as caught:
        node.take(ct(0), **changed)
    assert caught.value.status == 0xA900
    assert node.files() == []


def test_garbled_data_sets_are_refused_not_retried_forever(node: Core) -> None:
    """Whatever is cut short or turned over is stored or refused for good (0xA900, 0xC000), never with 0xA7xx."""
    chance = random.Random(3)
    whole = encoded(ct(0))[:-8000]
    for number in range(300):
        raw = bytearray(whole[: chance.randrange(10, len(whole))] if number % 3 == 0 else whole)
        for _ in range(chance.randrange(1, 12)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        syntax = chance.choice([ExplicitVRLittleEndian, ImplicitVRLittleEndian, "1.2.840.10008.1.2.1.99"])
        try:
            node.take(ct(0), data=bytes(raw), transfer_syntax_uid=str(syntax))
        except Refused as refused:
            assert refused.status in (0xA900, 0xC000)
    reconcile(node.database, node.archive, DECODERS, utc_now())
    assert len(node.files()) == node.number("SELECT count(*) FROM instances")


def test_unreadable_elements_do_not_stop_a_restart(node: Core) -> None:
    """A broken element outside the pixels (here Modality with two bytes as a number) is stored or refused for good."""
    raw = encoded(ct(0)).replace(b"\x08\x00\x60\x00CS\x02\x00CT", b"\x08\x00\x60\x00FD\x02\x00CT")
    for index, data in enumerate((raw, None)):
        try:
            node.take(ct(index), data)
        except Refused as refused:
            assert refused.status == 0xC000
    assert reconcile(node.database, node.archive, DECODERS, utc_now()) == (0, 0)
    assert len(node.files()) == node.number("SELECT count(*) FROM instances") >= 1


def rejection(association: Association) -> A_ASSOCIATE:
    """What the node answered to the request."""
    answer = association.acceptor.primitive
    assert isinstance(answer, A_ASSOCIATE)
    return answer


def test_unknown_called_title_is_rejected(node: Core) -> None:
    """Reason 7 (PS3.8 Table 9-21), and IT can see it."""
    with listening(node) as server:
        association = associate(server.port, [(CTImageStorage, ExplicitVRLittleEndian)], called="SOMEBODY")
        assert association.is_rejected
        assert rejection(association).diagnostic == 7
        wait_until(lambda: refusals(node), 10, "the refusal is recorded")
        assert len(refusals(node)) == 1 and "SOMEBODY" in refusals(node)[0]


def test_unknown_caller_is_rejected_unless_configured(tmp_path: Path) -> None:
    """Reason 3; a configured peer's AE title may send."""
    peers = [{"name": "ct", "ae_title": "CT9"}]
    node = core(tmp_path / "data", access={"any_caller_on_loopback": False}, peer=peers)
    contexts = [(CTImageStorage, ExplicitVRLittleEndian)]
    with listening(node) as server:
        stranger = associate(server.port, contexts, calling="STRANGER")
        assert stranger.is_rejected and rejection(stranger).diagnostic == 3
        wait_until(lambda: refusals(node), 10, "the refusal is recorded")
        assert "STRANGER" in refusals(node)[0]
        known = associate(server.port, contexts, calling="CT9")
        assert known.is_established
        known.release()
        assert len(refusals(node)) == 1


@pytest.mark.parametrize(
    ("access", "called"), [({"called_aets": ["OTHER"]}, "OTHER"), ({"any_called": True}, "WHATEVER"), ({}, "TRIAGE")]
)
def test_called_titles_that_are_answered(tmp_path: Path, access: dict[str, object], called: str) -> None:
    """As configured."""
    with listening(core(tmp_path / "data", access=access)) as server:
        association = associate(server.port, [(CTImageStorage, ExplicitVRLittleEndian)], called=called)
        assert association.is_established
        association.release()


def test_too_many_associations_are_told_to_come_later(tmp_path: Path) -> None:
    """A transient rejection, recorded once, and room again after a release."""
    node = core(tmp_path / "data", node={"max_associations": 1})
    contexts = [(CTImageStorage, ExplicitVRLittleEndian)]
    with listening(node) as server:
        first = associate(server.port, contexts)
        second = associate(server.port, contexts)
        assert second.is_rejected
        assert rejection(second).result == REJECTED_TRANSIENT
        assert rejection(second).diagnostic == LOCAL_LIMIT_EXCEEDED
        wait_until(lambda: refusals(node), 10, "the refusal is recorded")
        assert len(refusals(node)) == 1 and "1 association" in refusals(node)[0]
        first.release()

        def again() -> bool:
            third = associate(server.port, contexts)
            if third.is_established:
                third.release()
            return bool(third.is_released)

        wait_until(again, 20, "room for an association")


def test_same_bytes_from_two_associations_at_once(node: Core) -> None:
    """Scanner and PACS push the same series: one row and one file each, both get Success."""
    series = head(8)
    answers: list[list[int | None]] = []
    with listening(node) as server:
        senders = [
            threading.Thread(target=lambda name=name: answers.append(push(server.port, series, calling=name)))
            for name in ("CT1", "PACS", "CT1")
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert answers == [[0x0000] * 8] * 3
    assert node.number("SELECT count(*) FROM instances") == len(node.files()) == 8
    assert list((node.settings.node.data / "incoming").iterdir()) == []


def test_release_is_never_taken_for_an_abort(node: Core) -> None:
    """However quickly the sender closes the connection, each released series waits only the short time."""
    studies = range(1, 25)
    with listening(node) as server:
        senders = [
            threading.Thread(target=lambda mine=studies[i::4]: [push(server.port, [ct(0, study=s)]) for s in mine])
            for i in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_until(
            lambda: node.number("SELECT count(*) FROM series WHERE released") == len(studies), 10, "all are released"
        )


def test_resend_in_a_new_association_releases_what_an_abort_left(node: Core) -> None:
    """The sender broke off, sends the same bytes again and releases: the series need not wait long."""
    series = head(3)
    with listening(node) as server:
        push(server.port, series, release=False)
        assert not node.series(series[0]).released
        push(server.port, series)
        wait_until(lambda: node.series(series[0]).released, 10, "the series is released")
    assert node.series(series[0]).revision == 1


def test_series_is_released_by_the_last_of_its_associations(node: Core) -> None:
    """One sender is done, the other still sends."""
    node.take(ct(0), association=100)
    node.take(ct(1), association=200)
    node.receiver.ended(100, True)
    assert not node.series(ct(0)).released
    node.receiver.ended(200, True)
    assert node.series(ct(0)).released


def routed(node: Core, dataset: Dataset) -> None:
    """As if the series had been completed and routed."""
    with node.database.write() as tx:
        series = instances.get_series(tx, *uids(dataset)[:2])
        assert series is not None
        assert instances.move(tx, series, SeriesState.ROUTED)


def test_other_demographics_are_a_new_version(node: Core) -> None:
    """Coerced by the PACS: the row follows, the series is not analysed again, both files stay."""
    node.receive(head(3))
    routed(node, ct(0))
    before = node.series(ct(0))
    node.receive(head(3, PatientName="Right^Name", PatientID="HOSP-1", AccessionNumber="ACC9"), calling_aet="PACS")
    assert node.series(ct(0)) == before
    with node.database.read() as tx:
        study = instances.get_study(tx, str(ct(0).StudyInstanceUID))
        assert study is not None
        assert (study.patient_name, study.patient_id, study.accession) == ("Right^Name", "HOSP-1", "ACC9")
        assert [each.version for each in instances.versions(tx, *uids(ct(0)))] == [1, 2]
        assert {each.version for each in instances.of_series(tx, before.study_uid, before.series_uid)} == {2}
    assert len(node.files()) == 6


def test_other_syntax_with_the_same_pixels_changes_nothing(node: Core, shared: Path) -> None:
    """A PACS compresses without loss; the study is not analysed again."""
    by_syntax = {str(ds.file_meta.TransferSyntaxUID): ds for ds in map(dcmread, syntax_files(shared))}
    first = by_syntax[ExplicitVRLittleEndian]
    node.receive([first])
    routed(node, first)
    before = node.series(first)
    for syntax in (ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless):
        same = by_syntax[str(syntax)]
        same.SOPInstanceUID = same.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
        same.SeriesInstanceUID, same.StudyInstanceUID = first.SeriesInstanceUID, first.StudyInstanceUID
        node.receive([same], calling_aet="PACS")
        assert node.series(first) == before, syntax
    assert len(node.files()) == node.number("SELECT count(*) FROM instances") == 4


@pytest.mark.parametrize(
    "change", [{"shade": 1}, {"ImagePositionPatient": [-16.0, -16.0, 1.5]}, {"RescaleIntercept": -1024}]
)
def test_changed_pixels_or_geometry_reopen(node: Core, change: dict[str, Any]) -> None:
    """The revision grows and the earlier file is kept."""
    node.receive(head(3))
    routed(node, ct(0))
    earlier = node.files()
    node.receive([ct(0, **change)])
    series = node.series(ct(0))
    assert (series.state, series.revision, series.reopened) == (SeriesState.RECEIVING, 2, True)
    assert set(earlier) < set(node.files()) and len(node.files()) == 4
    with node.database.read() as tx:
        current = {each.sop_uid: each.version for each in instances.of_series(tx, series.study_uid, series.series_uid)}
    assert sorted(current.values()) == [1, 1, 2]


def test_same_image_cannot_be_told_without_pixels(tmp_path: Path) -> None:
    """Images that cannot be decoded count as different."""
    broken = ct(0)
    broken.PixelData = broken.PixelData[:100]
    one, other = write([ct(0), broken], tmp_path)
    assert same_image(one, one, DECODERS) and not same_image(one, other, DECODERS)


def test_own_results_and_reports_do_not_enter_the_list(node: Core) -> None:
    """A structured report of somebody else is kept, but the reader's list is for images."""
    report = ct(0, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    del report.PixelData
    node.receive([report])
    with node.database.read() as tx:
        assert worklist.get(tx, str(report.StudyInstanceUID)) is None


def test_reconcile_after_a_crash(node: Core) -> None:
    """A file without a row is adopted, a row without a file goes, what was being written is cleared away."""
    node.receive(head(4))
    orphan, lost = node.files()[0], node.files()[1]
    with node.database.write() as tx:
        tx.run("DELETE FROM instances WHERE path = :path", path=str(orphan))
    lost.unlink()
    left = node.settings.node.data / "incoming" / "half"
    left.write_bytes(b"DIC")
    node.archive.clear_incoming()
    assert reconcile(node.database, node.archive, DECODERS, utc_now()) == (1, 1)
    assert not left.exists()
    assert reconcile(node.database, node.archive, DECODERS, utc_now()) == (0, 0)
    with node.database.read() as tx:
        paths = {each.path for each in instances.of_series(tx, *uids(ct(0))[:2])}
    assert paths == set(node.files()) and orphan in paths and len(paths) == 3


def test_reconcile_lets_the_version_before_be_current(node: Core) -> None:
    """The file of a newer version is gone: the earlier one stands again and the series re-opens."""
    node.receive([ct(0), ct(1)])
    (first,) = [path for path in node.files() if path.name.startswith(f"{ct(0).SOPInstanceUID}.")]
    node.receive([ct(0, shade=9)])
    routed(node, ct(0))
    (newer,) = [p for p in node.files() if p.name.startswith(f"{ct(0).SOPInstanceUID}.") and p != first]
    newer.unlink()
    assert reconcile(node.database, node.archive, DECODERS, utc_now()) == (0, 1)
    with node.database.read() as tx:
        assert first in {each.path for each in instances.of_series(tx, *uids(ct(0))[:2])}
    assert node.series(ct(0)).state is SeriesState.RECEIVING


def test_reconcile_restores_a_lost_database(node: Core, tmp_path: Path) -> None:
    """All rows come back from the files, the newest version last."""
    node.receive(head(3))
    node.receive([ct(0, shade=3)])
    node.receive([ct(0, shade=5)])
    with node.database.read() as tx:
        expected = [each.sha256 for each in instances.versions(tx, *uids(ct(0)))]
    for path in (tmp_path / "data").glob("node.sqlite*"):
        path.unlink()
    again = core(tmp_path / "data")
    assert reconcile(again.database, again.archive, DECODERS, utc_now()) == (5, 0)
    with again.database.read() as tx:
        assert [each.sha256 for each in instances.versions(tx, *uids(ct(0)))] == expected
    assert again.series(ct(0)).calling_aet == "CT1"


def test_connections_are_not_left_open(node: Core) -> None:
    """Every association has a thread and so a database connection of its own; they must not add up."""

    def open_files() -> int:
        links = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        return sum("node.sqlite" in link for link in links)

    with listening(node) as server:
        push(server.port, [ct(0)])
        before = open_files()
        for study in range(2, 22):
            push(server.port, [ct(0, study=study)])
        wait_until(lambda: open_files() <= before + 6, 20, "connections of ended associations are closed")


@pytest.fixture(params=["a full file system", "a limit on file sizes"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Core, Callable[[bool], None]]]:
    """A node, and a switch that makes its disk full or free again.

    A small file system needs the right to mount; where that is missing only the limit on file sizes stands for it.
    """
    mounted, place = False, tmp_path / "disk"
    place.mkdir()
    if request.param == "a full file system" and os.geteuid() == 0:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    node, ballast = core(place / "data"), place / "ballast"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(full: bool) -> None:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000 if full else unlimited[0], unlimited[1]))
        elif full:
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(512)):
                    pass
        else:
            ballast.unlink()

    try:
        yield node, switch
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk(full_disk: tuple[Core, Callable[[bool], None]]) -> None:
    """0xA700, nothing half-written, strangers still kept out, and the node works again when there is space."""
    node, switch = full_disk
    large = ct(0, Rows=800, Columns=800, PixelData=bytes(2 * 800 * 800))
    with listening(node) as server:
        assert push(server.port, [ct(1)]) == [0x0000]
        switch(True)
        try:
            assert push(server.port, [large, large]) == [0xA700, 0xA700]
            stranger = associate(server.port, [(CTImageStorage, ExplicitVRLittleEndian)], called="SOMEBODY")
            assert stranger.is_rejected
        finally:
            switch(False)
        assert list((node.settings.node.data / "incoming").iterdir()) == []
        assert len(node.files()) == node.number("SELECT count(*) FROM instances") == 1
        assert push(server.port, [large, ct(2)]) == [0x0000, 0x0000]
    assert len(node.files()) == node.number("SELECT count(*) FROM instances") == 3
    assert reconcile(node.database, node.archive, DECODERS, utc_now()) == (0, 0)


def test_database_on_a_full_disk_rolls_back_and_works_again(full_disk: tuple[Core, Callable[[bool], None]]) -> None:
    """A transaction that cannot be committed leaves nothing behind, not even itself."""
    node, switch = full_disk
    refusal = processes.Refusal(utc_now(), "CT1", "TRIAGE", "127.0.0.1", "x" * 1_500_000)
    switch(True)
    try:
        for _ in range(2):
            with pytest.raises(sqlite3.Error), node.database.write() as tx:
                processes.refuse(tx, refusal)
    finally:
        switch(False)
    assert refusals(node) == []
    node.receive([ct(0)])
    assert node.number("SELECT count(*) FROM instances") == 1
