"""The node on the wire: whoever is slow, silent, wrong or without measure costs itself and nobody else."""

import os
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import needs, wait_until
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import AE, build_context, evt
from series import Core, answering, associate, core, core_in_memory, ct, data_of, encoded, listening, push, write
from wire import (
    ABORT,
    ASSOCIATE_AC,
    CT,
    P_DATA,
    RELEASE_RP,
    Wire,
    command,
    fragments,
    item,
    pdu,
    request,
    store_request,
    value,
)

from dicom_node.network.contexts import is_accepted
from dicom_node.network.messages import MessageReader, Request
from dicom_node.network.pdus import PduReader, PeerSilent
from dicom_node.tables import processes

SERVICE_PROVIDER = 2
FAST = {"artim_timeout_s": 1.0, "network_timeout_s": 1.0, "idle_timeout_s": 30.0}
SOP = str(ct(0).SOPInstanceUID)


def refusals(node: Core) -> list[str]:
    """The reasons of all refusals, newest first."""
    with node.database.read() as tx:
        return [each.reason for each in processes.refusals(tx, 50)]


def resident_mib() -> float:
    """How much memory this process, and the node within it, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def incoming_files(node: Core) -> list[Path]:
    """What lies in incoming/."""
    return list((node.settings.node.data / "incoming").iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with the default limits."""
    return core(tmp_path / "data")


@pytest.fixture
def hasty(tmp_path: Path) -> Core:
    """A node whose deadlines are a second, with room for two associations."""
    return core(tmp_path / "data", network=FAST, node={"max_associations": 2})


def test_nobody_is_locked_out_by_those_who_say_nothing(node: Core, tmp_path: Path) -> None:
    """40 bare connections, 33 half requests, a port scan and a PDU of 4 GiB: storescu stores within two seconds."""
    (file,) = write([ct(0)], tmp_path / "scan")
    storescu = [needs("storescu"), "-aec", "TRIAGE", "127.0.0.1"]
    with listening(node) as server, ExitStack() as held:
        for _ in range(40):
            held.enter_context(Wire(server.port))
        for _ in range(33):
            held.enter_context(Wire(server.port)).send(request()[:60])
        held.enter_context(Wire(server.port)).send(pdu(1, b"", 0xFFFFFFFF))
        for _ in range(100):
            Wire(server.port).socket.close()
        environment = os.environ | {"TCP_NODELAY": "1"}
        subprocess.run([*storescu, str(server.port), str(file)], check=True, timeout=2, env=environment)
    assert len(node.files()) == 1


def test_association_comes_through_a_flood_from_its_own_address(node: Core) -> None:
    """The oldest silent connection makes room, never one that is an association or a request that is on its way."""
    with listening(node) as server, ExitStack() as held:
        first = held.enter_context(Wire(server.port)).associate()
        half = held.enter_context(Wire(server.port)).send(request()[:30])
        for _ in range(3 * node.settings.network.connections_per_address):
            held.enter_context(Wire(server.port))
        assert half.send(request()[30:]).read()[0] == ASSOCIATE_AC
        assert first.store(SOP, encoded(ct(0))) == 0x0000
        assert (first.release(), half.release()) == (RELEASE_RP, RELEASE_RP)


@pytest.mark.parametrize("sent", [b"", request()[:1], request()[:5], request()[:70]], ids=["0", "1", "5", "70"])
def test_request_that_does_not_come_ends_after_artim(hasty: Core, sent: bytes) -> None:
    """Silence at any place of the request."""
    with listening(hasty) as server, Wire(server.port).send(sent) as wire:
        assert wire.is_closed()


def test_request_byte_by_byte_ends_after_artim(hasty: Core) -> None:
    """The time is that of the whole request: a byte now and then does not prolong it."""
    with listening(hasty) as server, Wire(server.port) as wire:
        began = time.monotonic()
        with pytest.raises(OSError):
            for byte in request():
                wire.send(bytes([byte]))
                threading.Event().wait(0.1)
        assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "sent",
    [
        pdu(P_DATA, value(store_request(SOP), True, True))[:3],
        pdu(P_DATA, value(store_request(SOP), True, True))[:9],
        pdu(P_DATA, value(store_request(SOP), True, True))[:40],
        pdu(P_DATA, value(store_request(SOP)[:20], True, False)),
        pdu(P_DATA, value(store_request(SOP), True, True)),
        pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(P_DATA, value(encoded(ct(0))[:900], False, False)),
        pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(P_DATA, value(encoded(ct(0)), False, True))[:5000],
    ],
    ids=["head", "fragment's head", "command", "commands", "no data", "data", "within data"],
)
def test_sender_that_falls_silent_within_a_message_is_aborted(hasty: Core, sent: bytes) -> None:
    """A cable was pulled, anywhere: the place is free again, nothing is left, and the peer is told if it still is."""
    with listening(hasty) as server:
        for _ in range(hasty.settings.node.max_associations):
            with Wire(server.port).associate().send(sent) as wire:
                assert wire.aborted() == (SERVICE_PROVIDER, 0)
        assert push(server.port, [ct(1)]) == [0x0000]
    assert incoming_files(hasty) == []


def test_object_in_drops_ends_after_the_network_timeout(hasty: Core) -> None:
    """A byte now and then within a data set is no progress."""
    with listening(hasty) as server, Wire(server.port).associate() as wire:
        wire.send(pdu(P_DATA, value(store_request(SOP), True, True)), pdu(P_DATA, b"\0\x10\0\0\1\0", 1 << 20))
        with pytest.raises(OSError):
            for _ in range(100):
                wire.send(b"\0")
                threading.Event().wait(0.1)
    assert incoming_files(hasty) == []


def test_idle_association_stays_open_and_ends_at_last(tmp_path: Path) -> None:
    """Scanners keep one for hours: between messages it is the idle time that counts, not the network's."""
    node = core(tmp_path / "data", network=FAST | {"network_timeout_s": 0.3, "idle_timeout_s": 2.0})
    with listening(node) as server, Wire(server.port).associate() as wire:
        threading.Event().wait(1.0)
        assert wire.store(SOP, encoded(ct(0))) == 0x0000
        assert wire.aborted() == (SERVICE_PROVIDER, 0)


@pytest.mark.parametrize(
    "sent",
    [
        pdu(1, b"", 0xFFFFFFFF),
        pdu(1, bytes(100), 2 << 20),
        pdu(1, b"", 0),
        pdu(1, bytes(68)),
        pdu(1, b"\0\2" + request()[8:]),
        pdu(2, request()[6:]),
        pdu(P_DATA, bytes(12)),
        pdu(5, bytes(4)),
        pdu(7, bytes(4)),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\0" * 5000,
        request([("1.2.840.10008.5.1.4.1.1.2", [])]),
        request([]),
        request([("not a uid", ["neither"])]),
        request(further=item(0x54, b"\xff\xff")),
        request([(f"1.2.{number}", ["1.2.840.10008.1.2"]) for number in range(10000)])[:-1000],
        request([(f"1.2.{number}", ["1.2.840.10008.1.2"]) for number in range(129)]),
    ],
)
def test_what_is_no_request_ends_at_once(node: Core, sent: bytes) -> None:
    """Refused, aborted or closed, with little memory, and the next one is served."""
    with listening(node) as server:
        before = resident_mib()
        with Wire(server.port).send(sent) as wire:
            wire.socket.shutdown(1)
            assert wire.is_closed()
        assert resident_mib() < before + 64
        assert push(server.port, [ct(0)]) == [0x0000]


@pytest.mark.parametrize(
    "sent",
    [
        pdu(1, request()[6:]),
        pdu(2, bytes(68)),
        pdu(9, bytes(4)),
        pdu(RELEASE_RP, bytes(4)),
        pdu(5, bytes(100), 1 << 31),
        pdu(P_DATA, bytes(5)),
        pdu(P_DATA, value(b"", True, True)[:4] + b"\xff" * 8),
        pdu(P_DATA, b"\xff\xff\xff\xff\1\3" + bytes(20)),
        pdu(P_DATA, value(encoded(ct(0)), False, True)),
        pdu(P_DATA, value(store_request(SOP), True, True, context=77)),
        pdu(P_DATA, value(bytes(70000), True, False)),
        pdu(P_DATA, value(b"\xff" * 40, True, True)),
        pdu(P_DATA, value(b"\0\0\0\0\xff\xff\xff\x7f" + bytes(4), True, True)),
        pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(P_DATA, value(b"", False, True, context=3)),
        pdu(P_DATA, value(store_request(SOP), True, True)) * 2,
        pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(5, bytes(4)),
        pdu(P_DATA, value(command(e0100=0x8001, e0120=1, e0800=0x0101, e0900=0), True, True)),
    ],
)
def test_what_breaks_the_protocol_is_aborted(node: Core, sent: bytes) -> None:
    """By the service provider, and nothing of it stays."""
    with listening(node) as server:
        with Wire(server.port).associate().send(sent) as wire:
            abort = wire.aborted()
            assert abort is not None and abort[0] == SERVICE_PROVIDER
        assert push(server.port, [ct(0)]) == [0x0000]
    assert incoming_files(node) == []


def test_command_set_without_end(node: Core) -> None:
    """Fragment after fragment that is never the last."""
    with listening(node) as server, Wire(server.port).associate() as wire, pytest.raises(OSError):
        while True:
            wire.send(pdu(P_DATA, value(bytes(4000), True, False)))


def test_object_that_is_too_large(tmp_path: Path) -> None:
    """0xA700 when it has been read, without room for it; the next object of the association is stored."""
    node = core(tmp_path / "data", network={"object_gib": 100_000 / 2**30})
    large = ct(1, Rows=400, Columns=400, PixelData=bytes(320_000))
    with listening(node) as server:
        assert push(server.port, [ct(0), large, ct(2)]) == [0x0000, 0xA700, 0x0000]
        with Wire(server.port).associate() as wire, pytest.raises(OSError):
            wire.send(pdu(P_DATA, value(store_request(SOP), True, True)))
            while True:
                wire.send(pdu(P_DATA, value(bytes(4000), False, False)))
    assert "larger than" in refusals(node)[0]
    assert incoming_files(node) == [] and len(node.files()) == 2


def test_large_object_takes_no_memory(node: Core) -> None:
    """300 MB go to the disk as they come."""
    piece = value(bytes(1 << 20), False, False)
    head = encoded(ct(0, PixelData=b"\0\0"))[:-10]  # without its last element's VR, length and value
    head += b"OW\0\0" + (300 << 20).to_bytes(4, "little")
    with listening(node) as server, Wire(server.port, 60).associate() as wire:
        before = resident_mib()
        wire.send(pdu(P_DATA, value(store_request(SOP), True, True)), pdu(P_DATA, value(head, False, False)))
        for _ in range(300):
            wire.send(pdu(P_DATA, piece))
        wire.send(pdu(P_DATA, value(b"", False, True)))
        assert wire.status() == 0x0000
        assert resident_mib() < before + 40
    assert node.files()[0].stat().st_size > 300 << 20


cuts = st.lists(st.integers(1, 9000), max_size=40)


@pytest.fixture(scope="module")
def stored() -> Iterator[tuple[Core, int]]:
    """A node that listens while a property is tried."""
    with core_in_memory() as node, listening(node) as server:
        yield node, server.port


@given(command_cuts=cuts, data_cuts=cuts, values_a_pdu=st.integers(1, 9), pieces=st.integers(1, 5000))
@settings(max_examples=60)
def test_bytes_are_the_same_in_whatever_pieces(
    stored: tuple[Core, int], command_cuts: list[int], data_cuts: list[int], values_a_pdu: int, pieces: int
) -> None:
    """Any fragments, any number of them in a PDU, any pieces on the wire, two messages in one PDU."""
    node, port = stored
    data = encoded(ct(0))
    values = fragments(store_request(SOP), command_cuts, True) + fragments(data, data_cuts, False)
    wanted = b"".join(
        pdu(P_DATA, b"".join(values[at : at + values_a_pdu])) for at in range(0, len(values), values_a_pdu)
    )
    for path in node.files():
        path.unlink()
    with node.database.write() as tx:
        tx.run("DELETE FROM instances")
    with Wire(port).associate() as wire:
        wire.send(*(wanted[at : at + pieces] for at in range(0, len(wanted), pieces)))
        assert wire.status() == 0x0000
        assert wire.release() == RELEASE_RP
    (path,) = node.files()
    assert data_of(path.read_bytes()) == data


def test_two_messages_in_one_pdu(node: Core) -> None:
    """The second begins where the first ends."""
    both = b"".join(
        value(store_request(str(each.SOPInstanceUID)), True, True) + value(encoded(each), False, True)
        for each in (ct(0), ct(1))
    )
    with listening(node) as server, Wire(server.port).associate().send(pdu(P_DATA, both)) as wire:
        assert (wire.status(), wire.status()) == (0x0000, 0x0000)


def test_same_bytes_as_by_the_public_interface(node: Core, tmp_path: Path) -> None:
    """What pynetdicom's own provider would have been given, for one sender and both providers."""
    given_bytes: list[bytes] = []
    entity = AE()
    entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])

    def keep(event: Any) -> int:
        given_bytes.append(event.request.DataSet.getvalue())
        return 0x0000

    with answering(entity, [(evt.EVT_C_STORE, keep)]) as port, listening(node) as server:
        for each in (port, server.port):
            assert push(each, [ct(0), ct(1)]) == [0x0000, 0x0000]
    assert sorted(data_of(path.read_bytes()) for path in node.files()) == sorted(given_bytes)


@given(garbage=st.binary(max_size=300), at=st.integers(0, 250), established=st.booleans())
@settings(max_examples=80)
def test_garbage_never_stops_the_node(stored: tuple[Core, int], garbage: bytes, at: int, established: bool) -> None:
    """Whatever is overwritten in a request or a message; the next sender is served."""
    _, port = stored
    message = pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(P_DATA, value(encoded(ct(0))[:200], False, True))
    proper = message if established else request()
    with Wire(port) as wire:
        if established:
            wire.associate()
        wire.send(proper[:at] + garbage + proper[at + len(garbage) :])
        wire.socket.shutdown(1)
        assert wire.is_closed()
    with Wire(port).associate() as wire:
        assert wire.release() == RELEASE_RP


def test_peer_that_takes_tiny_pdus(node: Core) -> None:
    """The response is cut as the peer wants it (PS3.8 D.1)."""
    small = request().replace(item(0x51, (16384).to_bytes(4, "big")), item(0x51, (60).to_bytes(4, "big")))
    with listening(node) as server, Wire(server.port).send(small) as wire:
        assert wire.read()[0] == ASSOCIATE_AC
        wire.send(pdu(P_DATA, value(store_request(SOP), True, True)), pdu(P_DATA, value(encoded(ct(0)), False, True)))
        answer, last = b"", False
        while not last:
            kind, body = wire.read()
            assert kind == P_DATA and len(body) <= 60
            answer, last = answer + body[6:], bool(body[5] & 2)
        assert answer.endswith(SOP.encode() + b"\0" * (len(SOP) % 2))


def test_operation_that_is_not_served(node: Core) -> None:
    """C-FIND in a storage context is answered with 0x0211, and C-STORE goes on."""
    find = command(e0002=CT[0][0], e0100=0x0020, e0110=5, e0700=0, e0800=0)
    with listening(node) as server, Wire(server.port).associate() as wire:
        wire.send(pdu(P_DATA, value(find, True, True) + value(bytes(300), False, True)))
        assert wire.status() == 0x0211
        assert wire.store(SOP, encoded(ct(0))) == 0x0000
        wire.send(pdu(P_DATA, value(store_request(SOP, data=False), True, True)))
        assert wire.status() == 0xC000


def test_echo_is_answered_again_and_again(node: Core) -> None:
    """Between objects, too; by pynetdicom's own service."""
    with listening(node) as server:
        association = associate(server.port, [("1.2.840.10008.1.1", ImplicitVRLittleEndian), (*CT[0][:1], *CT[0][1])])
        for index in range(3):
            assert association.send_c_echo().Status == 0x0000
            assert association.send_c_store(ct(index)).Status == 0x0000
        association.release()


def contexts_of(port: int, wanted: list[tuple[str, list[str]]]) -> dict[str, str]:
    """What a node accepts of these contexts: SOP class -> transfer syntax."""
    entity = AE(ae_title="CT1")
    proposed = [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in wanted]
    association = entity.associate("127.0.0.1", port, contexts=proposed, ae_title="TRIAGE")
    assert association.is_established
    found = {str(each.abstract_syntax): str(each.transfer_syntax[0]) for each in association.accepted_contexts}
    association.release()
    return found


@pytest.mark.parametrize("first, expected", [(True, ImplicitVRLittleEndian), (False, JPEGLosslessSV1)])
def test_uncompressed_first(tmp_path: Path, first: bool, expected: str) -> None:
    """Of several transfer syntaxes in a context, or as the sender prefers where the site wants that."""
    node = core(tmp_path / "data", network={"uncompressed_first": first})
    with listening(node) as server:
        found = contexts_of(server.port, [(CTImageStorage, [JPEGLosslessSV1, ImplicitVRLittleEndian])])
    assert found == {CTImageStorage: expected}


def test_dcmtk_with_combined_contexts(node: Core, tmp_path: Path) -> None:
    """storescu +C -xs has uncompressed files and proposes JPEG Lossless beside them in one context."""
    (file,) = write([ct(0)], tmp_path / "scan")
    with listening(node) as server:
        sent = [needs("storescu"), "+C", "-xs", "-aec", "TRIAGE", "127.0.0.1", str(server.port), str(file)]
        subprocess.run(sent, check=True, timeout=20, env=os.environ | {"TCP_NODELAY": "1"})
    assert len(node.files()) == 1


@pytest.mark.parametrize(
    "sop_class, accepted",
    [
        ("1.2.840.10008.1.1", True),
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("1.2.840.10008.5.1.4.1.1.2.1", True),
        ("1.2.840.10008.5.1.4.1.1.88.33", True),
        ("1.2.840.10008.5.1.4.1.1.66.7", True),
        ("1.2.840.10008.5.1.4.1.1.5", True),  # retired
        ("1.2.840.10008.5.1.4.1.1.999.1", True),  # newer than any list
        ("1.2.840.10008.5.1.4.34.7", True),
        ("1.3.12.2.1107.5.9.1", True),
        ("1.2.840.113619.4.27", True),
        ("1.2.840.1136190.4.27", False),  # no prefix of a UID's number
        ("1.2.3.4.5", False),
        ("1.2.840.10008.5.1.4.31", False),  # worklist
        ("1.2.840.10008.5.1.4.1.2.2.1", False),  # query
        ("1.2.840.10008.5.1.4.1.2.2.2", False),
        ("1.2.840.10008.5.1.4.1.1.200.4", False),
        ("1.2.840.10008.5.1.4.1.1.201.2", False),
        ("1.2.840.10008.1.20.1", False),  # storage commitment
        ("1.2.840.10008.5.1.1.9", False),  # print
        ("1.2.840.10008.3.1.2.3.3", False),  # MPPS
        ("1.2.840.10008.5.1.4.34.6.1", False),  # UPS
        ("1.2.840.10008.5.1.4.38.1", False),  # hanging protocols have no patient
        ("1.2.840.10008.5.1.4.39.1", False),
        ("1.2.840.10008.1.3.10", False),
        ("", False),
    ],
)
def test_which_classes_are_accepted(node: Core, sop_class: str, accepted: bool) -> None:
    """Storage and what is served."""
    assert is_accepted(sop_class, node.settings.network.private_storage) is accepted


def test_private_classes_by_the_site_and_by_declaration(tmp_path: Path) -> None:
    """A site may let all in; a sender may declare a class as storage (PS3.7 D.3.3.6)."""
    private = [("1.2.3.4.5", ["1.2.840.10008.1.2"])]
    uids = [each.encode() for each in ("1.2.3.4.5", "1.2.840.10008.4.2")]
    inside = b"".join(len(each).to_bytes(2, "big") + each for each in uids) + b"\0\0"
    for number, (roots, further, result) in enumerate(
        [([], b"", 3), (["*"], b"", 0), (["1.2.3."], b"", 0), ([], item(0x57, inside), 0)]
    ):
        node = core(tmp_path / str(number), network={"private_storage": roots})
        with listening(node) as server, Wire(server.port).send(request(private, further=further)) as wire:
            kind, body = wire.read()
            assert kind == ASSOCIATE_AC
            at = body.index(b"\x21\0")
            assert body[at + 6] == result, (roots, further)


def test_query_from_dcmtk_is_refused_as_a_context(node: Core) -> None:
    """findscu -W finds no context, and IT can read why."""
    with listening(node) as server:
        find = [needs("findscu"), "-W", "-k", "PatientName", "-aec", "TRIAGE", "127.0.0.1", str(server.port)]
        asked = subprocess.run(find, capture_output=True, text=True, timeout=20)
    assert "No presentation context" in asked.stderr or "No Acceptable Presentation" in asked.stderr
    assert "Modality Worklist" in refusals(node)[0]


@pytest.mark.parametrize("damage", ["emptied", "cut", "changed", "gone", "another header"])
def test_damaged_file_is_repaired_by_a_resend(node: Core, damage: str) -> None:
    """What is acknowledged lies in the archive, also when the same bytes were there once."""
    node.receive([ct(0)])
    (path,) = node.files()
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        spoilt = {"emptied": b"", "cut": whole[:-100], "changed": whole[:-1] + b"\x55", "another header": whole[200:]}
        path.write_bytes(spoilt[damage])
    node.receive([ct(0)])
    assert node.files() == [path] and path.read_bytes() == whole
    assert node.number("SELECT count(*) FROM instances") == 1
    assert node.series(ct(0)).state == "receiving"  # nothing was said of it yet
    assert incoming_files(node) == []


def test_stop_answers_what_is_in_hand_and_aborts_the_rest(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle associations, half requests and half messages: A-ABORT by the provider, within five seconds."""
    begun, go_on = threading.Event(), threading.Event()
    store = node.receiver.store

    def slow(incoming: Any) -> None:
        begun.set()
        assert go_on.wait(20)
        store(incoming)

    monkeypatch.setattr(node.receiver, "store", slow)
    with ExitStack() as held, listening(node) as server:
        bare = held.enter_context(Wire(server.port))
        idle = held.enter_context(Wire(server.port)).associate()
        half = held.enter_context(Wire(server.port)).associate()
        half.send(pdu(P_DATA, value(store_request(SOP), True, True)), pdu(P_DATA, value(b"\0" * 50, False, False)))
        busy = held.enter_context(Wire(server.port)).associate()
        busy.send(pdu(P_DATA, value(store_request(SOP), True, True)), pdu(P_DATA, value(encoded(ct(0)), False, True)))
        assert begun.wait(20)
        began = time.monotonic()
        closing = threading.Thread(target=server.close)
        closing.start()
        assert idle.aborted() == half.aborted() == (SERVICE_PROVIDER, 0)
        go_on.set()
        assert busy.status() == 0x0000
        assert busy.aborted() == (SERVICE_PROVIDER, 0)
        assert bare.is_closed()
        closing.join(20)
        assert time.monotonic() - began < 5
        monkeypatch.setattr(server, "close", lambda: None)
    assert len(node.files()) == 1 and incoming_files(node) == []


def test_out_of_file_handles(node: Core) -> None:
    """Connections that cannot be accepted wait, and are served when there are handles again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listening(node) as server, ExitStack() as held:
        push(server.port, [ct(0)])
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, limits[1]))
        try:
            with pytest.raises(OSError):
                while True:
                    held.enter_context(Wire(server.port))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert push(server.port, [ct(1)]) == [0x0000]


def test_out_of_threads(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for which there is no thread is closed, and the next one is served."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith("connection"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with listening(node) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with Wire(server.port) as wire:
                assert wire.is_closed()
        assert push(server.port, [ct(0)]) == [0x0000]


def test_association_is_one_line_in_the_log(node: Core) -> None:
    """Who, from where, what came, and how it ended."""
    with structlog.testing.capture_logs() as lines, listening(node) as server:
        assert push(server.port, [ct(0), ct(1)]) == [0x0000, 0x0000]
        push(server.port, [ct(2)], release=False)
        wait_until(lambda: sum(line["event"] == "association" for line in lines) == 2, 10, "both are logged")
    first, second = (line for line in lines if line["event"] == "association")
    assert (first["calling_aet"], first["address"], first["stored"]) == ("CT1", "127.0.0.1", 2)
    assert (first["ended"], first["contexts"], first["refused"]) == ("released", 1, 0)
    assert second["ended"] == "the other side aborted" and first["received_bytes"] > 16000


def test_foreign_protocol_is_told_to_it(node: Core) -> None:
    """A browser or a TLS client on the DICOM port."""
    with listening(node) as server, Wire(server.port).send(b"GET / HTTP/1.1\r\n\r\n") as wire:
        assert wire.read()[0] == ABORT
        wait_until(lambda: refusals(node), 10, "the refusal is kept")
    assert "no DICOM" in refusals(node)[0]


def test_keep_alive_finds_a_sender_that_is_gone(node: Core) -> None:
    """The kernel's own timer of each connection: a pulled cable says nothing."""
    with listening(node) as server, Wire(server.port).associate() as wire:
        ours, theirs = f":{server.port:04X}", f":{wire.socket.getsockname()[1]:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (timer,) = [line[5] for line in lines if line[1].endswith(ours) and line[2].endswith(theirs)]
        assert timer.startswith("02:")


def test_reader_takes_tls_sockets(tmp_path: Path) -> None:
    """Deadlines, bounds and pieces are the same, whatever a TLS record holds."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [needs("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(certificate, key)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    message = pdu(P_DATA, value(store_request(SOP), True, True)) + pdu(P_DATA, value(bytes(200_000), False, True))

    def send(end: socket.socket) -> None:
        with client.wrap_socket(end) as secured:
            for at in range(0, len(message), 30_000):
                secured.sendall(message[at : at + 30_000])
            done.wait(20)

    ours, theirs = socket.socketpair()
    done, sender = threading.Event(), threading.Thread(target=send, args=(theirs,))
    sender.start()
    with server.wrap_socket(ours, server_side=True) as secured:
        messages = MessageReader(PduReader(secured, 1.0), 1.0)
        found = messages.request(time.monotonic() + 20)
        assert isinstance(found, Request) and found.command.text(0x1000) == SOP
        assert b"".join(map(bytes, messages.data_set(1))) == bytes(200_000)
        with pytest.raises(PeerSilent):
            messages.request(time.monotonic() + 0.2)
        done.set()
    sender.join()
