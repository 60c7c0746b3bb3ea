"""The outbox against real peers: what they answer, refuse, or never say."""

import itertools
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from peers import own_port
from pynetdicom import AE, _config, evt
from series import Core, answering, core, ct, write

from dicom_node import clock
from dicom_node.commands.listing import retry
from dicom_node.entities import Delivery, DeliveryState, ResultObject
from dicom_node.errors import CommandError
from dicom_node.outbox import dicom
from dicom_node.settings import Peer
from dicom_node.steps.deliver import deliver_due, due_again
from dicom_node.tables import deliveries

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
OTHER_CLASS = "1.2.840.10008.5.1.4.1.1.4"
folders = itertools.count()


@dataclass
class Pacs:
    """A destination that answers as told: statuses are given in turn, 0x0000 afterwards; an exception breaks off."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    associations: int = 0

    def on_store(self, event: Any) -> int:
        """Note the object, give the next answer."""
        status = self.answers.pop(0) if self.answers else 0x0000
        if status < 0:
            event.assoc.abort()
            return 0xC000
        if status in (0x0000, 0xB000, 0xB007):
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return status

    def on_accepted(self, event: Any) -> None:
        """Count."""
        self.associations += 1


@contextmanager
def pacs(*answers: int) -> Iterator[Pacs]:
    """A destination on a free port."""
    peer = Pacs(answers=list(answers))
    entity = AE(ae_title="PACS")
    entity.add_supported_context(CT_IMAGE)
    handlers: list[Any] = [(evt.EVT_C_STORE, peer.on_store), (evt.EVT_ACCEPTED, peer.on_accepted)]
    with answering(entity, handlers) as peer.port:
        yield peer


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with five attempts, the first wait 2 s, the longest 10 s."""
    return core(
        tmp_path / "data",
        deliver={"attempts": 5, "first_wait_s": 2.0, "longest_wait_s": 10.0, "timeout_s": 1.0},
    )


def put(node: Core, study: int, objects: int = 2, destination: str = "pacs", **elements: Any) -> list[str]:
    """Put a study's objects into the outbox; their UIDs."""
    datasets = [ct(index, study=study, **elements) for index in range(objects)]
    paths = write(datasets, node.archive.root / "made" / str(next(folders)))
    with node.database.write() as tx:
        for dataset, path in zip(datasets, paths, strict=True):
            uid = str(dataset.SOPInstanceUID)
            made = ResultObject("SR", uid, str(dataset.SOPClassUID), str(dataset.SeriesInstanceUID), path)
            deliveries.add(tx, str(dataset.StudyInstanceUID), destination, made)
    return [str(dataset.SOPInstanceUID) for dataset in datasets]


def deliver(node: Core, port: int, destination: str = "pacs", **options: Any) -> int:
    """Send what is due."""
    peer = Peer(name=destination, ae_title="PACS", host="127.0.0.1", port=port, destination=True)
    send = partial(dicom.send, peer=peer, ae_title="TRIAGE", timeout_s=node.settings.deliver.timeout_s)
    return deliver_due(node.database, destination, send, node.settings.deliver, random.Random(1), **options)


def rows(node: Core, study: int = 1) -> list[Delivery]:
    """A study's deliveries."""
    with node.database.read() as tx:
        return deliveries.of_study(tx, str(ct(0, study=study).StudyInstanceUID))


def make_due(node: Core) -> None:
    """As if all waits were over."""
    with node.database.write() as tx:
        tx.run("UPDATE deliveries SET next_at = 0")


def test_one_association_for_each_study(node: Core) -> None:
    """Everything arrives, byte by byte what was made."""
    expected = put(node, 1, objects=4) + put(node, 2, objects=3)
    with pacs() as peer:
        assert deliver(node, peer.port) == 7
        assert deliver(node, peer.port) == 0
    assert sorted(peer.stored) == sorted(expected) and peer.associations == 2
    assert {row.state for row in rows(node, 1) + rows(node, 2)} == {DeliveryState.SENT}


@pytest.mark.parametrize("warning", [0xB000, 0xB007, 0xB006, 0x0107])
def test_warning_is_stored(node: Core, warning: int) -> None:
    """And what the destination said is kept."""
    put(node, 1, objects=1)
    with pacs(warning) as peer:
        assert deliver(node, peer.port) == 1
    (row,) = rows(node)
    assert row.state is DeliveryState.SENT and row.error is not None and f"0x{warning:04X}" in row.error


@pytest.mark.parametrize("refusal", [0xA700, 0xA900, 0xC000, 0x0110, 0x0122])
def test_refusal_is_tried_again_and_does_not_touch_the_others(node: Core, refusal: int) -> None:
    """The second object of three is refused; only that one is sent again."""
    uids = put(node, 1, objects=3)
    with pacs(0x0000, refusal) as peer:
        assert deliver(node, peer.port) == 2
        states = [row.state for row in rows(node)]
        assert states == [DeliveryState.SENT, DeliveryState.WAITING, DeliveryState.SENT]
        assert f"0x{refusal:04X}" in str(rows(node)[1].error)
        assert deliver(node, peer.port) == 0
        make_due(node)
        assert deliver(node, peer.port) == 1
    assert sorted(peer.stored) == sorted(uids)


def test_abort_half_way(node: Core) -> None:
    """What was answered is sent, what was not is tried again."""
    uids = put(node, 1, objects=3)
    with pacs(0x0000, -1) as peer:
        assert deliver(node, peer.port) == 2
        assert [row.attempts for row in rows(node)] == [1, 1, 1]
        assert [bool(row.error) for row in rows(node)] == [False, True, False]
        make_due(node)
        assert deliver(node, peer.port) == 1
    assert sorted(peer.stored) == sorted(uids)


def test_an_object_that_makes_the_peer_abort_does_not_hold_up_the_others(node: Core) -> None:
    """Whatever is behind it goes out in the next association, without an attempt counted."""
    uids = put(node, 1, objects=4)
    with pacs(-1) as peer:
        assert deliver(node, peer.port) == 3
        assert peer.stored == uids[1:] and peer.associations == 2
    assert [(row.state, row.attempts) for row in rows(node)] == [(DeliveryState.WAITING, 1)] + 3 * [
        (DeliveryState.SENT, 1)
    ]


def test_no_answer(node: Core) -> None:
    """A peer that accepts the connection and says nothing: the time-out, then again later."""
    put(node, 1, objects=2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert deliver(node, silent.getsockname()[1]) == 0
    assert [(row.state, row.attempts) for row in rows(node)] == [(DeliveryState.WAITING, 1)] * 2


def test_refused_connection_and_rejected_association_say_where(node: Core) -> None:
    """IT reads which address did not answer."""
    put(node, 1, objects=1)
    port = own_port()
    assert deliver(node, port) == 0
    assert f"127.0.0.1:{port}" in str(rows(node)[0].error)
    make_due(node)
    strict = AE(ae_title="PACS")
    strict.require_calling_aet = ["SOMEBODY"]
    strict.add_supported_context(CT_IMAGE)
    with answering(strict) as answered_at:
        deliver(node, answered_at)
    assert "rejected" in str(rows(node)[0].error)


def test_peer_that_takes_other_kinds_only(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """One kind is refused at the negotiation: the others of the study are stored all the same."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)  # the destination is this process, too
    put(node, 1, objects=1)
    put(node, 1, objects=2, SOPClassUID=OTHER_CLASS)  # the first has a UID that waits already
    with pacs() as peer:
        assert deliver(node, peer.port) == 1
    assert [row.state for row in rows(node)] == [DeliveryState.SENT, DeliveryState.FAILED]
    assert "does not take" in str(rows(node)[1].error)
    put(node, 2, objects=1, SOPClassUID=OTHER_CLASS)
    with pacs() as peer:
        assert deliver(node, peer.port) == 0
    assert rows(node, 2)[0].state is DeliveryState.FAILED and "does not take" in str(rows(node, 2)[0].error)


def test_waits_double_with_jitter_up_to_the_longest(node: Core) -> None:
    """2, 4, 8, 10, 10 ... seconds, each up to a quarter more or less, and not all the same."""
    put(node, 1, objects=1)
    (row,) = rows(node)
    chance = random.Random(2)
    for attempts, wait_s in ((0, 2), (1, 4), (2, 8), (3, 10), (4, 10), (5000, 10)):
        tried = Delivery(**{name: getattr(row, name) for name in Delivery.__slots__} | {"attempts": attempts})
        waits = [due_again(tried, node.settings.deliver, chance) - clock.monotonic() for _ in range(50)]
        assert wait_s * 0.75 - 0.5 <= min(waits) < max(waits) <= wait_s * 1.25 + 0.001
        assert max(waits) - min(waits) > wait_s * 0.2


def test_refused_objects_of_a_study_come_again_in_one_association(node: Core) -> None:
    """However the waits jitter."""
    put(node, 1, objects=4)
    with pacs(0xA700, 0x0000, 0xA700, 0xA700) as peer:
        deliver(node, peer.port)
        assert len({row.next_at for row in rows(node) if row.state is DeliveryState.WAITING}) == 1
        make_due(node)
        assert deliver(node, peer.port) == 3
    assert peer.associations == 2


def test_no_wait_between_attempts_is_no_endless_loop(tmp_path: Path) -> None:
    """A first wait of 0 s: one attempt in each call."""
    node = core(tmp_path / "data", deliver={"first_wait_s": 0.0, "timeout_s": 1.0})
    put(node, 1, objects=1)
    deliver(node, own_port())
    assert rows(node)[0].attempts == 1


def test_failed_at_the_limit_visible_and_revived(node: Core) -> None:
    """Five attempts, then failed; `retry` begins again."""
    put(node, 1, objects=1)
    dead = own_port()
    for attempt in range(1, 6):
        make_due(node)
        deliver(node, dead)
        assert rows(node)[0].attempts == attempt
    assert rows(node)[0].state is DeliveryState.FAILED
    make_due(node)
    with pacs() as peer:
        assert deliver(node, peer.port) == 0
        retry(node.settings, f"D{rows(node)[0].delivery_id}")
        assert deliver(node, peer.port) == 1
    with pytest.raises(CommandError):
        retry(node.settings, f"D{rows(node)[0].delivery_id}")


def test_dead_destination_holds_up_neither_another_nor_another_study(node: Core) -> None:
    """While one destination hangs, the other gets everything; when it lives again, so does it."""
    for destination in ("dead", "pacs"):
        put(node, 1, destination=destination)
        put(node, 2, destination=destination)
    with socket.create_server(("127.0.0.1", 0)) as silent, pacs() as peer:
        hanging = threading.Thread(target=deliver, args=(node, silent.getsockname()[1], "dead"))
        hanging.start()
        assert deliver(node, peer.port) == 4
        assert peer.associations == 2
        hanging.join(30)
    assert {(row.destination, row.state) for row in rows(node)} == {
        ("dead", DeliveryState.WAITING),
        ("pacs", DeliveryState.SENT),
    }
    assert all(row.attempts == 1 for row in rows(node) + rows(node, 2))


def test_study_that_is_refused_does_not_hold_up_a_newer_one(node: Core) -> None:
    """Its objects wait for their next attempt; the next study goes out."""
    put(node, 1)
    with pacs(0xA700, 0xA700) as peer:
        assert deliver(node, peer.port) == 0
        fresh = put(node, 2)
        assert deliver(node, peer.port) == 2
    assert sorted(peer.stored) == sorted(fresh)


@pytest.mark.parametrize("damage", ["gone", "no DICOM", "cut short", "pixels without end"])
@pytest.mark.filterwarnings("ignore:End of file reached")
def test_file_that_cannot_be_read_does_not_hold_up_others(node: Core, damage: str) -> None:
    """It stands with its error; the rest of the study and other studies are delivered."""
    put(node, 1, objects=3)
    put(node, 2)
    path = rows(node)[1].path
    sound = path.read_bytes()
    length = sound.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    endless = sound[:length] + b"\xff\xff\xff\xff" + sound[length + 4 :]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"no DICOM": b"x" * 300, "cut short": sound[:200], "pixels without end": endless}[damage])
    with pacs() as peer:
        assert deliver(node, peer.port) == 4
    assert [row.state for row in rows(node)] == [DeliveryState.SENT, DeliveryState.WAITING, DeliveryState.SENT]
    assert rows(node)[1].error


def test_long_queue_gives_the_clock_back(node: Core) -> None:
    """A call ends in time however many studies wait for a dead peer; the next call goes on."""
    for study in range(1, 4):
        put(node, study, objects=1)
    with pacs() as peer:
        assert [deliver(node, peer.port, busy_s=0.0) for _ in range(4)] == [1, 1, 1, 0]


def test_outbox_holds_an_object_once_for_each_destination(node: Core) -> None:
    """A job that is done again after a crash makes the same objects: nothing is sent twice."""
    put(node, 1)
    put(node, 1)
    put(node, 1, destination="other")
    assert len(rows(node)) == 4
    with pacs() as peer:
        deliver(node, peer.port)
        put(node, 1)
        assert deliver(node, peer.port) == 0
