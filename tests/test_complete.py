"""When a series counts as whole: released and gap-free, long quiet, or as many images as the sender says."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from peers import own_port, wait_until
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from series import Core, answering, associate, core, core_in_memory, ct, head, listening, push, read_all

from dicom_node.clock import monotonic
from dicom_node.entities import SeriesState
from dicom_node.processes.node import count_at_sender
from dicom_node.steps.complete import ask_senders, complete_due
from dicom_node.tables import instances

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.fixture
def node() -> Iterator[Core]:
    """A node's core with the default waits: 2 s after a release, 15 s otherwise."""
    with core_in_memory() as made:
        yield made


def completed_after(node: Core, dataset: Dataset, quiet_s: float) -> bool:
    """Whether the series of this data set is complete when nothing has come for so long."""
    complete_due(node.database, node.settings.complete, node.series(dataset).last_at + quiet_s)
    return node.series(dataset).state is SeriesState.COMPLETE


def test_released_whole_head_waits_shortly(node: Core) -> None:
    """2 s, not less."""
    node.receive(head())
    assert not completed_after(node, ct(0), 1.9)
    assert completed_after(node, ct(0), 2.0)


def test_aborted_association_waits_for_the_second_try(node: Core) -> None:
    """Who breaks off has more to send, however whole it looks; a release ends the waiting."""
    node.receive(head(), released=False)
    assert not completed_after(node, ct(0), 59.9)
    assert completed_after(node, ct(0), 60.0)
    node.receive(head(20, study=2), released=False)
    node.receive(head(24, study=2))
    assert completed_after(node, ct(0, study=2), 2.0)


def test_a_second_try_that_sends_the_same_again_is_not_overtaken(node: Core) -> None:
    """While its association is open, the series waits: what was here before is sent first."""
    node.receive(head(20), released=False)
    for dataset in head(20):
        node.take(dataset, association=5)
    sweep = partial(complete_due, node.database, node.settings.complete, is_sending=node.receiver.is_sending)
    last_at = node.series(ct(0)).last_at
    assert sweep(last_at + 90.0) == 0
    node.receiver.ended(5, False)
    assert sweep(last_at + 90.0) == 1


def test_associations_that_a_restart_broke_off(node: Core) -> None:
    """Nobody released them: their senders are given the same time."""
    for dataset in head():
        node.take(dataset, association=5)
    node.receive(head(study=2))
    with node.database.write() as tx:
        instances.mark_all_aborted(tx)
    assert not completed_after(node, ct(0), 59.9)
    assert completed_after(node, ct(0), 60.0)
    assert completed_after(node, ct(0, study=2), 2.0)


def test_open_association_waits_long(node: Core) -> None:
    """No release yet."""
    for dataset in head():
        node.take(dataset, association=5)
    assert not completed_after(node, ct(0), 14.9)
    assert completed_after(node, ct(0), 15.0)


@pytest.mark.parametrize(
    "stranger",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"ImagePositionPatient": None},
        {"ImagePositionPatient": [-16.0, -16.0, 60.0]},
    ],
)
def test_a_stranger_does_not_hold_up_a_whole_head(node: Core, stranger: dict[str, Any]) -> None:
    """A scout, a screen save, a copy of a slice."""
    node.receive([*head(), ct(40, InstanceNumber=900, **stranger)])
    assert not completed_after(node, ct(0), 1.9)
    assert completed_after(node, ct(0), 2.0)


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (head(omit=[11]), "a missing Instance Number"),
        (head(omit=[5, 6, 7]), "three missing"),
        (head(15), "covers 75 mm only"),
        ([ct(0)], "one image"),
        ([ct(i, ImagePositionPatient=None) for i in range(24)], "no positions"),
        ([ct(i, ImagePositionPatient=[0, 0, 5 * (i // 2)]) for i in range(48)], "positions twice"),
        ([*head(), *(ct(30 + i, ImagePositionPatient=[0, 0, 5 * i]) for i in range(9))], "a part of a second set"),
        ([*head(omit=[11]), ct(40, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])], "a scout, and a missing slice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_whole_stack_waits_long(node: Core, images: list[Dataset], why: str) -> None:
    """Released, but images may be missing."""
    node.receive(images)
    assert not completed_after(node, images[0], 14.9), why
    assert completed_after(node, images[0], 15.0), why


def test_real_uneven_head_waits_shortly(node: Core, shared: Path) -> None:
    """The everyday GE head, tilted, with distances of 4.00, 1.08 and 7.00 mm, has no gap."""
    images = read_all(shared / "dicom" / "gantry_tilt_head")
    node.receive(images)
    assert completed_after(node, images[0], 2.0)


def test_real_series_with_gaps_waits_long(node: Core, shared: Path) -> None:
    """Slices are missing in `sliceincrement`, whatever it covers."""
    images = read_all(shared / "dicom" / "geometry" / "sliceincrement")
    node.receive(images)
    wanted = node.settings.complete.model_copy(update={"stack_at_least_mm": 0.0})
    last_at = node.series(images[0]).last_at
    assert complete_due(node.database, wanted, last_at + 14.9) == 0
    assert complete_due(node.database, wanted, last_at + 15.0) == 1


def test_waits_are_settings(tmp_path: Path) -> None:
    """All three of them."""
    own = {"quiet_after_release_s": 0.5, "stack_at_least_mm": 50.0, "quiet_s": 3.0}
    node = core(tmp_path / "data", complete=own)
    node.receive(head(12))
    assert completed_after(node, ct(0), 0.5)
    node.receive(head(3, study=2))
    assert not completed_after(node, ct(0, study=2), 2.9)
    assert completed_after(node, ct(0, study=2), 3.0)


def test_late_slice_reopens_and_waits_long(node: Core) -> None:
    """The sender's release proved nothing the first time."""
    node.receive(head(24))
    assert completed_after(node, ct(0), 2.0)
    node.receive([ct(24)])
    series = node.series(ct(0))
    assert (series.state, series.reopened, series.released, series.revision) == (SeriesState.RECEIVING, True, True, 2)
    assert not completed_after(node, ct(0), 29.9)
    assert completed_after(node, ct(0), 30.0)


def test_a_slow_sender_is_given_longer_each_time(node: Core) -> None:
    """One image every 20 s for a quarter of an hour: few results, not one for each image."""
    completed, now = 0, 0.0
    for index in range(45):
        node.take(ct(index), association=5)
        with node.database.write() as tx:
            tx.run("UPDATE series SET last_at = :now", now=now)
        completed += complete_due(node.database, node.settings.complete, now + 19.9)
        now += 20.0
    assert completed == 1
    assert not completed_after(node, ct(0), 29.9)
    assert completed_after(node, ct(0), 30.0)


def test_image_that_comes_during_the_sweep_holds_the_series_back(node: Core) -> None:
    """What was read before the image came does not move the series on."""
    node.receive(head())
    before = node.series(ct(0))
    node.receive([ct(24)])
    with node.database.write() as tx:
        assert not instances.move(tx, before, SeriesState.COMPLETE)


@contextmanager
def pacs(answer: Any, syntax: str = ExplicitVRLittleEndian) -> Iterator[tuple[int, list[Dataset]]]:
    """A query provider that answers C-FIND; its port, and what it was asked. `answer` makes the matches."""
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        for match in answer(event.identifier):
            yield 0xFF00, match

    entity = AE(ae_title="PACS")
    entity.add_supported_context(FIND, syntax)
    with answering(entity, [(evt.EVT_C_FIND, find)]) as port:
        yield port, asked


def counted(value: Any) -> Any:
    """Answers with this number of instances."""

    def answer(identifier: Dataset) -> list[Dataset]:
        match = Dataset()
        match.QueryRetrieveLevel = "SERIES"
        match.StudyInstanceUID, match.SeriesInstanceUID = identifier.StudyInstanceUID, identifier.SeriesInstanceUID
        match.add_new("NumberOfSeriesRelatedInstances", "IS" if value != "many" else "LO", value)
        return [match]

    return answer


def querying(folder: Path, port: int, **complete: object) -> Core:
    """A node that may ask the peer PACS."""
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "query": True}
    return core(folder, peer=[peer], complete=complete, deliver={"timeout_s": 2.0})


def ask(node: Core, quiet_s: float = 1.0) -> int:
    """One sweep of questions, when nothing has come for so long."""
    count = partial(count_at_sender, node.settings)
    return ask_senders(node.database, count, node.settings.complete, monotonic() + quiet_s)


def test_expected_number_completes_early(tmp_path: Path) -> None:
    """As many as the PACS says are here, twice, and an abort after them: no need to wait, gaps or not."""
    with pacs(counted(5)) as (port, asked):
        node = querying(tmp_path / "data", port)
        node.receive(head(6, omit=[3]), released=False, calling_aet="PACS")
        assert ask(node) == 1 and ask(node, 2.0) == 0
        assert not completed_after(node, ct(0), 14.9)
        assert ask(node, 5.0) == 1 and ask(node, 60.0) == 0
        assert len(asked) == 2
        assert asked[0].SeriesInstanceUID == ct(0).SeriesInstanceUID
    assert node.series(ct(0)).expected == 5
    assert completed_after(node, ct(0), 5.0)


def test_count_in_mid_transfer_is_not_believed(tmp_path: Path) -> None:
    """A PACS that forwards while it receives tells what it has so far, pauses with its association open, goes on."""
    here = [24]
    with pacs(lambda identifier: counted(here[0])(identifier)) as (port, _):
        node = querying(tmp_path / "data", port)
        with listening(node) as server:
            images = head(34)
            association = associate(server.port, [(str(ct(0).SOPClassUID), ExplicitVRLittleEndian)], "PACS")
            for dataset in images[:24]:
                association.send_c_store(dataset)
            assert ask(node) == 1 and ask(node, 5.0) == 1
            assert node.series(ct(0)).expected == 24 and node.series(ct(0)).counted == 2
            sending = partial(complete_due, node.database, node.settings.complete, is_sending=node.receiver.is_sending)
            assert sending(node.series(ct(0)).last_at + 14.9) == 0
            here[0] = 34
            for dataset in images[24:]:
                association.send_c_store(dataset)
            association.release()
            wait_until(lambda: node.series(ct(0)).released, 10, "the association is over")
            assert ask(node) == 1 and ask(node, 5.0) == 1
            assert sending(node.series(ct(0)).last_at + 0.6) == 1


def test_one_association_for_each_image(tmp_path: Path) -> None:
    """Nothing is open in a pause: the count is believed only when it stands still."""
    here = [24]
    with pacs(lambda identifier: counted(here[0])(identifier)) as (port, _):
        node = querying(tmp_path / "data", port, stack_at_least_mm=150.0)
        for dataset in head(24):
            node.receive([dataset], calling_aet="PACS")
        assert ask(node) == 1
        assert not completed_after(node, ct(0), 4.0)
        here[0] = 30
        assert ask(node, 5.0) == 1
        assert not completed_after(node, ct(0), 14.9)


def test_expected_number_keeps_a_gap_free_stack_waiting(tmp_path: Path) -> None:
    """The PACS has more: the short wait does not count, the long one does. Images that come are counted anew."""
    with pacs(counted("30"), "1.2.840.10008.1.2") as (port, _):
        node = querying(tmp_path / "data", port)
        node.receive(head(24), calling_aet="PACS")
        ask(node)
        assert not completed_after(node, ct(0), 14.9)
        node.receive([ct(index) for index in range(24, 30)], calling_aet="PACS")
        assert node.series(ct(0)).expected is None
        assert ask(node) == 1 and ask(node, 5.0) == 1
    assert completed_after(node, ct(0), 0.6)


@pytest.mark.parametrize("answer", [lambda _: [], lambda _: [Dataset()], counted(None), counted("many")])
def test_peer_that_does_not_say(tmp_path: Path, answer: Any) -> None:
    """No match, or a match without the number, or nonsense: the ordinary waits apply, and others are still asked."""
    with pacs(answer) as (port, asked):
        node = querying(tmp_path / "data", port)
        node.receive(head(), calling_aet="PACS")
        node.receive(head(study=2), calling_aet="PACS")
        while ask(node):
            pass
        assert len(asked) == 2
    assert node.series(ct(0)).expected is None
    assert completed_after(node, ct(0), 2.0)


def test_only_senders_that_may_be_asked_are_asked(tmp_path: Path) -> None:
    """A scanner is no query peer; and `count_at_sender = false` asks nobody."""
    with pacs(counted(5)) as (port, asked):
        node = querying(tmp_path / "one", port)
        node.receive(head(), calling_aet="CT1")
        ask(node)
        silent = querying(tmp_path / "two", port, count_at_sender=False)
        silent.receive(head(), calling_aet="PACS")
        assert ask(silent) == 0
        assert asked == []


def test_dead_query_peer_holds_up_nobody(tmp_path: Path) -> None:
    """While the question hangs, other series are completed; then the ordinary waits apply."""
    node = querying(tmp_path / "data", own_port())
    node.receive(head(), calling_aet="PACS")
    node.receive(head(study=2), calling_aet="CT1")
    begun, go_on = threading.Event(), threading.Event()

    def hanging(*_: str) -> None:
        begun.set()
        assert go_on.wait(20)

    asking = threading.Thread(
        target=ask_senders, args=(node.database, hanging, node.settings.complete, monotonic() + 1), daemon=True
    )
    asking.start()
    assert begun.wait(20)
    assert completed_after(node, ct(0, study=2), 2.0)
    assert completed_after(node, ct(0), 15.0)
    go_on.set()
    asking.join(20)
    node.receive(head(study=3), calling_aet="PACS")
    assert ask(node) == 1
    assert node.series(ct(0, study=3)).expected is None
    assert completed_after(node, ct(0, study=3), 2.0)


def test_over_the_wire(node: Core) -> None:
    """The scanner's release is what starts the short wait."""
    with listening(node) as server:
        push(server.port, head(), release=True)
        wait_until(lambda: completed_after(node, ct(0), 2.0), 10, "complete after the short wait")
        push(server.port, head(study=2), release=False)
        assert not completed_after(node, ct(0, study=2), 14.9)


def test_files_that_vanish_do_not_stop_the_sweep(node: Core) -> None:
    """Completion looks at rows only."""
    node.receive(head())
    shutil.rmtree(node.archive.root / "instances")
    assert completed_after(node, ct(0), 2.0)
