"""Destinations that take little, answer late or not at all, or have an object already: what arrives, what is said."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from outbox_support import destination_at, empty, make_due, queue, queue_files, rows, stalling, storescp, taking
from peers import own_port, running_orthanc
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config
from pynetdicom.dimse import DIMSEServiceProvider
from reports_support import ct_series, reports, suspected_context
from series import Core, answering, core, ct, read_all
from structlog.testing import capture_logs
from test_files import part10

from dicom_node import clock
from dicom_node.commands.listing import retry
from dicom_node.derived import removal
from dicom_node.entities import DeliveryState, SendProblem
from dicom_node.network import scu
from dicom_node.outbox import dicom

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
LITTLE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
SENT, WAITING, FAILED = DeliveryState.SENT, DeliveryState.WAITING, DeliveryState.FAILED


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node that gives a destination half a second for each answer."""
    return core(tmp_path / "data", deliver={"timeout_s": 1.0})


@pytest.fixture(autouse=True)
def strict_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The destinations are in this process, where the node's own receiver lets pynetdicom take every SOP class."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


@pytest.fixture(scope="module")
def results() -> list[Dataset]:
    """SEG, SR, SC and KO of one study."""
    return list(reports(suspected_context(ct_series(8))).values())


def in_syntax(syntax: UID, index: int) -> bytes:
    """A CT slice as a file in this transfer syntax."""
    dataset = ct(index)
    if syntax == JPEG2000Lossless:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    if syntax in (JPEG2000Lossless, DeflatedExplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = syntax
        buffer = BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        return buffer.getvalue()
    return part10(dataset, syntax)


def queue_syntaxes(node: Core, *syntaxes: UID) -> list[Dataset]:
    """Slices in these transfer syntaxes in the outbox; as they were before."""
    folder = node.archive.root / "made"
    folder.mkdir()
    paths = []
    for index, syntax in enumerate(syntaxes):
        paths.append(folder / f"{index}.dcm")
        paths[-1].write_bytes(in_syntax(syntax, index))
    datasets = [ct(index) for index in range(len(syntaxes))]
    queue_files(node, datasets, paths)
    return datasets


def same(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets say the same; in Implicit VR pixels are OW (PS3.5 A.1)."""
    first, second = one.to_json_dict(), other.to_json_dict()
    for each in (first, second):
        each.get("7FE00010", {})["vr"] = "OW"
    return first == second


def test_results_reach_a_destination_that_takes_implicit_vr_alone(
    node: Core, results: list[Dataset], tmp_path: Path
) -> None:
    """All kinds, under their own UIDs, with everything that is in them."""
    made = [dcmread(path) for path in queue(node, results)]
    with storescp(tmp_path / "pacs", "+xi") as port:
        assert {row.state for row in empty(node, port)} == {SENT}
    arrived = {str(each.SOPInstanceUID): each for each in read_all(tmp_path / "pacs")}
    assert len(arrived) == 4
    for each in made:
        found = arrived[str(each.SOPInstanceUID)]
        assert found.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert same(found, each)


FORMS = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
)


@pytest.mark.parametrize("takes", [(ImplicitVRLittleEndian,), (ExplicitVRLittleEndian,), LITTLE], ids=len)
def test_whatever_the_file_is_in_the_destination_gets_what_it_takes(node: Core, takes: tuple[UID, ...]) -> None:
    """Compressed, deflated and big endian files are transcoded: pixels and UIDs stay."""
    sent = queue_syntaxes(node, *FORMS)
    with taking({CT_IMAGE: takes}) as pacs:
        assert {row.state for row in empty(node, pacs.port)} == {SENT}
    assert [uid for uid, _ in pacs.objects] == [str(each.SOPInstanceUID) for each in sent]
    assert {syntax for _, syntax in pacs.objects} <= set(takes)
    for found, each in zip(pacs.datasets, sent, strict=True):
        assert (found.pixel_array == each.pixel_array).all()
        assert found.PatientName == each.PatientName and found.ImagePositionPatient == each.ImagePositionPatient


def test_a_destination_that_takes_the_files_own_syntax_gets_it_as_it_is(node: Core) -> None:
    """Nothing is decompressed without need."""
    queue_syntaxes(node, *FORMS)
    with taking({CT_IMAGE: FORMS}) as pacs:
        empty(node, pacs.port)
    assert [syntax for _, syntax in pacs.objects] == list(FORMS)


def test_compressed_files_reach_dcmtk_that_takes_implicit_vr_alone(node: Core, tmp_path: Path) -> None:
    """By a decoder in a process of its own."""
    sent = queue_syntaxes(node, RLELossless, JPEG2000Lossless)
    with storescp(tmp_path / "pacs", "+xi") as port:
        assert {row.state for row in empty(node, port)} == {SENT}
    assert [(each.pixel_array == sent[i].pixel_array).all() for i, each in enumerate(read_all(tmp_path / "pacs"))]


def test_pixels_that_cannot_be_decompressed_fail_alone_and_say_why(node: Core) -> None:
    """The others of the study arrive; after a few tries it stands as failed."""
    queue_syntaxes(node, RLELossless, RLELossless, ExplicitVRLittleEndian)
    path = rows(node)[0].path
    whole = dcmread(path)
    whole.PixelData = whole.PixelData[:40] + b"\xff" * (len(whole.PixelData) - 40)
    whole.save_as(path)
    with taking({CT_IMAGE: LITTLE}) as pacs:
        assert [row.state for row in empty(node, pacs.port)] == [WAITING, SENT, SENT]
        for _ in range(10):
            make_due(node)
            empty(node, pacs.port)
    (row, *_) = rows(node)
    assert row.state is FAILED and row.attempts == 6 and "pixels" in str(row.error).lower()


def test_a_destination_that_takes_big_endian_alone_is_told_in_words(node: Core, results: list[Dataset]) -> None:
    """It knows the class, and none of the transfer syntaxes."""
    queue(node, results[:1])
    with taking({str(results[0].SOPClassUID): [ExplicitVRBigEndian], CT_IMAGE: LITTLE}) as pacs:
        (row,) = empty(node, pacs.port)
    assert row.state is FAILED and row.problem is SendProblem.NO_SYNTAX
    assert "Big Endian" in str(row.error) and pacs.objects == []


def test_more_kinds_than_one_association_has_contexts(node: Core) -> None:
    """Then there are several; every object arrives."""
    classes = [str(each.abstract_syntax) for each in AllStoragePresentationContexts[:70]]
    queue(node, [ct(index, SOPClassUID=sop_class) for index, sop_class in enumerate(classes)])
    with taking(dict.fromkeys(classes, LITTLE)) as pacs:
        assert {row.state for row in empty(node, pacs.port)} == {SENT}
    assert len(set(pacs.uids)) == 70 and pacs.associations == 2


def test_seg_is_not_taken_and_the_rest_arrives(node: Core, results: list[Dataset], tmp_path: Path) -> None:
    """The segmentation stands as failed at once and says so; when the destination learns it, `retry` sends it."""
    seg, *others = results
    queue(node, results)
    kinds = dict.fromkeys([str(each.SOPClassUID) for each in others], LITTLE)
    with taking(kinds) as pacs, capture_logs() as lines:
        states = [(row.state, row.attempts) for row in empty(node, pacs.port)]
    assert states == [(FAILED, 1), (SENT, 1), (SENT, 1), (SENT, 1)]
    assert pacs.uids == [str(each.SOPInstanceUID) for each in others]
    said = "the destination does not take SEG (no presentation context)"
    row = rows(node)[0]
    assert row.error == said and row.problem is SendProblem.NOT_TAKEN
    assert [(each["kind"], each.get("reason")) for each in lines if each["event"] == "not delivered"] == [("SEG", said)]
    assert [each["kind"] for each in lines if each["event"] == "delivered"] == ["SR", "SC", "KO"]
    retry(node.settings, f"D{row.delivery_id}")
    with taking(kinds | {str(seg.SOPClassUID): LITTLE}) as pacs:
        assert empty(node, pacs.port)[0].state is SENT
    assert pacs.uids == [str(seg.SOPInstanceUID)]


def test_nothing_of_a_study_is_taken(node: Core, results: list[Dataset]) -> None:
    """The association is accepted without any context: the same is said of each, and no study stays for it."""
    queue(node, results)
    with taking({CT_IMAGE: LITTLE}) as pacs:
        found = empty(node, pacs.port)
    assert {(row.state, row.problem) for row in found} == {(FAILED, SendProblem.NOT_TAKEN)}
    with node.database.read() as tx:
        assert removal.is_finished(tx, found[0].study_uid, ["pacs"])


def with_statuses(statuses: Sequence[int]) -> Callable[[Any], int]:
    """Slice after slice is given one of these statuses, whenever it comes."""
    return lambda event: statuses[int(event.request.AffectedSOPInstanceUID.rpartition(".")[2]) - 1]


def test_stored_with_a_remark(node: Core) -> None:
    """A duplicate is there, and so is what was stored with a warning."""
    statuses = [0x0111, 0xB000, 0xB006, 0xB007, 0xB123, 0x0107, 0x0116]
    queue(node, [ct(index) for index in range(len(statuses))])
    with taking({CT_IMAGE: LITTLE}, with_statuses(statuses)) as pacs:
        found = empty(node, pacs.port)
    for row, status in zip(found, statuses, strict=True):
        assert row.state is SENT and f"0x{status:04X}" in str(row.error)


def test_refused_for_what_it_is_stands_as_failed_after_a_few_tries(node: Core) -> None:
    """Six in all, with waits that soon are long, and not a hundred."""
    statuses = [0x0122, 0x0117, 0xA900, 0xA9FF, 0xC000, 0xC123]
    queue(node, [ct(index) for index in range(len(statuses))])
    waits = []
    with taking({CT_IMAGE: LITTLE}, with_statuses(statuses)) as pacs:
        for _ in range(8):
            before = clock.monotonic()
            found = empty(node, pacs.port)
            waits.append(found[0].next_at - before)
            make_due(node)
    assert len(pacs.objects) == 6 * len(statuses)
    for row, status in zip(found, statuses, strict=True):
        assert row.state is FAILED and f"0x{status:04X}" in str(row.error)
    assert waits[2] > 2 * 8 * 8 * 0.74 and max(waits) <= 900 * 1.25 + 5


def test_refused_for_now_is_tried_for_long(node: Core) -> None:
    """Whatever speaks of the moment, or is not known."""
    statuses = [0xA700, 0xA7FF, 0x0110, 0x0213, 0x0124, 0xFE00, 0x0999]
    queue(node, [ct(index) for index in range(len(statuses))])
    with taking({CT_IMAGE: LITTLE}, with_statuses(statuses)) as pacs:
        for attempt in range(1, 13):
            assert {(row.state, row.attempts) for row in empty(node, pacs.port)} == {(WAITING, attempt)}
            make_due(node)
        statuses[:] = [0x0000] * len(statuses)
        assert {row.state for row in empty(node, pacs.port)} == {SENT}


def late(gave_up: threading.Event) -> Callable[[Any], int]:
    """The first answer comes only after the sender has given up."""
    first = threading.Event()

    def answer(event: Any) -> int:
        if not first.is_set():
            first.set()
            assert gave_up.wait(30)
        return 0x0000

    return answer


def test_an_answer_after_the_time_out_costs_one_more_sending(node: Core) -> None:
    """The object came and nobody knows: it is sent once more, under the same UID, and waited for longer."""
    queue(node, [ct(0)])
    gave_up = threading.Event()
    with taking({CT_IMAGE: LITTLE}, late(gave_up)) as pacs:
        (row,) = empty(node, pacs.port)
        assert (row.state, row.problem, row.unanswered) == (WAITING, SendProblem.UNANSWERED, 1)
        assert "no answer within" in str(row.error)
        gave_up.set()
        make_due(node)
        assert empty(node, pacs.port)[0].state is SENT
    assert pacs.uids == [str(ct(0).SOPInstanceUID)] * 2


def test_a_destination_that_always_needs_longer_than_the_time_out(node: Core) -> None:
    """The second attempt waits long enough: it comes twice at most."""
    queue(node, [ct(0)])
    ended = threading.Event()
    with taking({CT_IMAGE: LITTLE}, lambda event: int(ended.wait(0.8)) * 0) as pacs:
        while rows(node)[0].state is WAITING:
            empty(node, pacs.port)
            make_due(node)
    assert rows(node)[0].state is SENT and len(pacs.objects) <= 2


def test_time_out_by_destination(node: Core) -> None:
    """A slow one may have its own; nothing is sent twice."""
    queue(node, [ct(0)])
    ended = threading.Event()
    with taking({CT_IMAGE: LITTLE}, lambda event: int(ended.wait(0.8)) * 0) as pacs:
        assert empty(node, pacs.port, timeout_s=20.0)[0].state is SENT
    assert len(pacs.objects) == 1


@pytest.mark.parametrize("options", [("--abort-after",), ("--abort-during",)])
def test_a_destination_that_aborts_before_its_answer(node: Core, tmp_path: Path, options: tuple[str, ...]) -> None:
    """It may have the object; that it sends no answer is said, and it comes again."""
    queue(node, [ct(0)])
    with storescp(tmp_path / "pacs", *options) as port:
        (row,) = empty(node, port)
    assert (row.state, row.problem, row.unanswered) == (WAITING, SendProblem.UNANSWERED, 1)
    assert "ended the association" in str(row.error)


def test_before_a_resend_the_destination_is_asked(node: Core, tmp_path: Path) -> None:
    """Orthanc has one of two: that one is not sent again, the other is."""
    queue(node, [ct(0), ct(1)])
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        with taking({CT_IMAGE: LITTLE}, lambda event: event.assoc.abort() or 0xC000) as rude:
            empty(node, rude.port)
        make_due(node)
        assert {row.unanswered for row in rows(node)} == {1}
        elsewhere = core(tmp_path / "elsewhere")
        queue(elsewhere, [ct(0)])
        empty(elsewhere, orthanc.dicom_port)
        with capture_logs() as lines:
            assert {row.state for row in empty(node, orthanc.dicom_port, query=True)} == {SENT}
        assert orthanc.count() == 2
    assert "found there" in str(rows(node)[0].error) and rows(node)[1].error is None
    assert [each.get("answer") for each in lines if each["event"] == "delivered"] == ["found by C-FIND", ""]


def nobody(event: Any) -> Iterator[tuple[int, None]]:
    """A C-FIND that fails."""
    yield 0xC001, None


@pytest.mark.parametrize("asked", [True, False])
def test_a_destination_that_cannot_say_is_sent_the_object_again(node: Core, asked: bool) -> None:
    """It refuses the question, or takes no questions at all."""
    queue(node, [ct(0)])
    gave_up = threading.Event()
    with taking({CT_IMAGE: LITTLE}, late(gave_up), held=nobody if asked else None) as pacs:
        empty(node, pacs.port, query=True)
        gave_up.set()
        make_due(node)
        assert empty(node, pacs.port, query=True)[0].state is SENT
    assert len(pacs.objects) == 2


def test_withdrawn_while_it_is_sent_is_not_sent_again(node: Core) -> None:
    """A newer result took its place during an attempt that failed."""
    queue(node, [ct(0)])

    def answer(event: Any) -> int:
        with node.database.write() as tx:
            tx.run("UPDATE deliveries SET state = 'withdrawn'")
        return 0xA700

    with taking({CT_IMAGE: LITTLE}, answer) as pacs:
        (row,) = empty(node, pacs.port)
    assert row.state is DeliveryState.WITHDRAWN


def full_backlog() -> Iterator[int]:
    """A port that lets no further connection in, and refuses none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        with socket.create_connection(address), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(address)
            yield address[1]


def answers_with(pdu: bytes) -> Callable[[], Iterator[int]]:
    """A port where each connection gets these bytes for its first PDU, and is closed."""

    def serve() -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:

            def run() -> None:
                try:
                    while True:
                        connection, _ = server.accept()
                        with connection:
                            connection.recv(65536)
                            connection.sendall(pdu)
                            connection.shutdown(socket.SHUT_WR)
                            while connection.recv(65536):  # what is not read resets the connection
                                pass
                except OSError:
                    return

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            yield server.getsockname()[1]
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    return serve


def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def rejecting() -> Iterator[int]:
    """A provider that knows only one calling AE title."""
    strict = AE(ae_title="PACS")
    strict.require_calling_aet = ["SOMEBODY"]
    strict.add_supported_context(CT_IMAGE)
    with answering(strict) as port:
        yield port


def refusing() -> Iterator[int]:
    """A port where nothing listens."""
    yield own_port()


ABORT = struct.pack(">BxLxxBB", 7, 4, 2, 1)
CONGESTED = struct.pack(">BxLxBBB", 3, 4, 2, 3, 1)


@pytest.mark.parametrize(
    "peer, said",
    [
        (refusing, "the connection was refused"),
        (full_backlog, "no connection within 1 s"),
        (silent, "did not answer the association request within 1 s"),
        (rejecting, "rejected the association from TRIAGE: Calling AE title not recognised (permanent)"),
        (answers_with(CONGESTED), "rejected the association from TRIAGE: Temporary congestion (transient)"),
        (answers_with(ABORT), "aborted the association before it stood"),
        (answers_with(b""), "closed the connection without an answer"),
    ],
)
def test_why_no_association_comes_about(node: Core, peer: Callable[[], Iterator[int]], said: str) -> None:
    """In plain words, with the address, in the row."""
    queue(node, [ct(0)])
    for port in peer():
        (row,) = empty(node, port)
        assert said in str(row.error) and f"127.0.0.1:{port}" in str(row.error)
        assert (row.state, row.problem) == (WAITING, SendProblem.UNREACHABLE)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example"])
def test_a_name_that_does_not_resolve(node: Core, host: str) -> None:
    """No traceback, and the name is said."""
    peer = destination_at(104).model_copy(update={"host": host})
    with pytest.raises(Exception, match="cannot be resolved") as raised:
        scu.echo(peer, "TRIAGE", 1.0)
    assert host in str(raised.value)


def test_one_log_line_for_each_delivery(node: Core) -> None:
    """Stored, refused and not reached: with the destination's answer, and whether it comes again."""
    queue(node, [ct(0), ct(1), ct(2)])
    answers = iter([0x0000, 0xA700, 0xB007])
    with taking({CT_IMAGE: LITTLE}, lambda event: next(answers)) as pacs, capture_logs() as lines:
        empty(node, pacs.port)
    told = [(each["event"], each["delivery"], each["status"], each["destination"]) for each in lines]
    assert told == [
        ("delivered", "D1", "0x0000", "pacs"),
        ("not delivered", "D2", "0xA700", "pacs"),
        ("delivered", "D3", "0xB007", "pacs"),
    ]
    assert lines[1]["reason"] == "refused with 0xA700 (out of resources)" and lines[1]["failed"] is False
    make_due(node)
    with capture_logs() as lines:
        empty(node, own_port())
    assert [(each["event"], each["delivery"], each["attempt"]) for each in lines] == [("not delivered", "D2", 2)]


@pytest.mark.parametrize(
    ("forwarded", "state", "said"),
    [
        ([2], WAITING, "did not answer the association request"),
        ([None], WAITING, "no answer within"),  # stops reading within the object
        ([None, 3], WAITING, "no answer within"),
        ([None, None], SENT, "None"),  # never answers the release
    ],
)
def test_a_destination_that_stalls_anywhere_holds_nothing_for_long(
    node: Core, monkeypatch: pytest.MonkeyPatch, forwarded: list[int | None], state: DeliveryState, said: str
) -> None:
    """Within an answer or an object: what is sent is given up after the time-out, and comes again."""
    monkeypatch.setattr(dicom, "SLOWEST_BYTES_PER_S", 1e9)
    monkeypatch.setattr(scu, "ABORT_S", 0.1)
    large: dict[str, Any] = {"Rows": 2048, "Columns": 2048, "PixelData": bytes(2 * 2048 * 2048)}
    queue(node, [ct(0, **(large if forwarded == [None] else {}))])
    with taking({CT_IMAGE: LITTLE}) as pacs, stalling(pacs.port, forwarded) as port:
        sending = threading.Thread(target=empty, args=(node, port), daemon=True)
        sending.start()
        sending.join(20)
        assert not sending.is_alive()
    (row,) = rows(node)
    assert row.state is state and said in str(row.error)


def test_an_answer_that_is_lost_on_this_side_is_asked_for_again(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom may lose a response under load: the object is sent again under its UID, and nothing has failed."""
    queue(node, [ct(0), ct(1)])
    receive, lost = DIMSEServiceProvider.get_msg, threading.Event()

    def receive_or_lose(self: DIMSEServiceProvider, block: bool = False) -> Any:
        found = receive(self, block)
        if not block or lost.is_set():
            return found
        lost.set()
        return None, None

    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", receive_or_lose)
    with taking({CT_IMAGE: LITTLE}) as pacs:
        assert [(row.state, row.attempts) for row in empty(node, pacs.port)] == [(WAITING, 1), (SENT, 1)]
        make_due(node)
        assert {row.state for row in empty(node, pacs.port)} == {SENT}
    assert pacs.uids == [str(ct(index).SOPInstanceUID) for index in (0, 1, 0)]
