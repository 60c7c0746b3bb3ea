"""C-ECHO and C-FIND user (PS3.4 Annexes A and C), and how an association with a peer comes about; one for each call.

DCMTK and Orthanc write a response in two small pieces; without re-armed TCP_QUICKACK every C-STORE on such a peer
stalls for the delayed acknowledgement (about 44 ms).
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ

from dicom_node import clock
from dicom_node.errors import NothingAccepted, PeerError
from dicom_node.settings import Peer

VERIFICATION = UID("1.2.840.10008.1.1")
STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MAXIMUM_PDU_BYTES = 131072
PENDING = (0xFF00, 0xFF01)
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
CONNECT_S = 10.0  # at most, however long a peer may take for its answers
ASSOCIATE_S = 30.0
ABORT_S = 1.0  # for the A-ABORT to reach a peer that may read no more
ASK_S = 10.0  # for the answer to a C-ECHO or C-FIND: whoever asks has something else to do without it


@dataclass(frozen=True, slots=True)
class Key:
    """What an object is found by at instance level (PS3.4 C.6.2.1)."""

    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(slots=True)
class _Course:
    """What was seen of one association: whether the connection stood, and whether the peer sent an A-ABORT."""

    connected: bool = False
    aborted: bool = False

    def opened(self, event: Any) -> None:
        """The connection stands."""
        self.connected = True
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def received(self, event: Any) -> None:
        """A PDU has come."""
        self.aborted = self.aborted or isinstance(event.pdu, A_ABORT_RQ)


def echo(peer: Peer, ae_title: str, timeout_s: float) -> None:
    """C-ECHO; returns when the peer answered, PeerError otherwise."""
    with associated(peer, ae_title, min(timeout_s, ASK_S), [build_context(VERIFICATION)]) as association:
        answer = association.send_c_echo()
        if "Status" not in answer:
            raise PeerError(f"{peer.name} did not answer the C-ECHO ({where(peer)})")
        if answer.Status != 0x0000:
            raise PeerError(f"{peer.name} answered the C-ECHO with 0x{answer.Status:04X} ({where(peer)})")


def count_instances(peer: Peer, ae_title: str, timeout_s: float, study_uid: str, series_uid: str) -> int | None:
    """Number of Series Related Instances (0020,1209) that the peer holds; None when it does not say."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study_uid, series_uid
    identifier.NumberOfSeriesRelatedInstances = None
    found: int | None = None
    with associated(peer, ae_title, min(timeout_s, ASK_S), [_find_context()]) as association:
        for match in _matches(association, identifier):
            with suppress(ValueError, TypeError):  # absent, empty or nonsense
                found = int(match.get("NumberOfSeriesRelatedInstances"))
    return found


def find_instances(peer: Peer, ae_title: str, timeout_s: float, keys: Sequence[Key]) -> frozenset[str]:
    """Which of these objects the peer says that it holds, by their SOP Instance UIDs."""
    found: set[str] = set()
    with associated(peer, ae_title, min(timeout_s, ASK_S), [_find_context()]) as association:
        for key in keys:
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "IMAGE"
            identifier.StudyInstanceUID, identifier.SeriesInstanceUID = key.study_uid, key.series_uid
            identifier.SOPInstanceUID = key.sop_uid
            if association.is_established:
                found |= {str(match.get("SOPInstanceUID", "")) for match in _matches(association, identifier)}
    return frozenset(found & {key.sop_uid for key in keys})


@contextmanager
def associated(peer: Peer, ae_title: str, timeout_s: float, contexts: list[Any]) -> Iterator[Association]:
    """An association while the body runs, released at its end. PeerError, which says why, when none comes about."""
    association = associate(peer, ae_title, timeout_s, contexts)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def associate(peer: Peer, ae_title: str, timeout_s: float, contexts: list[Any]) -> Association:
    """An association, each answer on which is waited for so long. PeerError, which says why, when none comes about."""
    if peer.host is None or peer.port is None:
        raise PeerError(f"{peer.name} has no address: give it host and port in the settings")
    entity = AE(ae_title=ae_title)
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.connection_timeout, entity.acse_timeout = min(timeout_s, CONNECT_S), min(timeout_s, ASSOCIATE_S)
    entity.dimse_timeout, entity.network_timeout = timeout_s, None  # an object may take long to be made ready
    course, began = _Course(), clock.monotonic()
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=MAXIMUM_PDU_BYTES,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, course.opened),
                (evt.EVT_DATA_RECV, _quick_ack),
                (evt.EVT_PDU_RECV, course.received),
                (evt.EVT_ABORTED, _end_soon),
            ],
        )
    except (socket.gaierror, UnicodeError):
        raise PeerError(f"the name of {peer.name} cannot be resolved ({where(peer)})") from None
    if association.is_established:
        return association
    raise _failure(peer, ae_title, association, course, clock.monotonic() - began)


def refused_contexts(association: Association) -> tuple[tuple[str, int], ...]:
    """Abstract syntax and result (PS3.8 Table 9-18) of each presentation context that was not accepted."""
    return tuple((str(each.abstract_syntax), each.result or 0) for each in association.rejected_contexts)


def where(peer: Peer) -> str:
    """The peer's AE title and address."""
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


def _failure(peer: Peer, ae_title: str, association: Association, course: _Course, took_s: float) -> PeerError:
    """Why no association came about."""
    answer, place = association.acceptor.primitive, where(peer)
    if association.is_rejected:
        lasting = "transient" if answer and answer.result == 2 else "permanent"
        reason = f"{answer.reason_str} ({lasting})" if answer else "no reason given"
        return PeerError(f"{peer.name} rejected the association from {ae_title}: {reason} ({place})")
    if answer is not None:
        return NothingAccepted(f"{peer.name} accepts nothing that is offered ({place})", refused_contexts(association))
    if not course.connected:
        return PeerError(f"{peer.name} cannot be reached: {_why_unreachable(peer, association, took_s)} ({place})")
    if course.aborted:
        return PeerError(f"{peer.name} aborted the association before it stood ({place})")
    if took_s >= (limit_s := association.acse_timeout or ASSOCIATE_S):
        return PeerError(f"{peer.name} did not answer the association request within {limit_s:g} s ({place})")
    return PeerError(f"{peer.name} closed the connection without an answer ({place})")


def _why_unreachable(peer: Peer, association: Association, took_s: float) -> str:
    """Why a connection failed. The operating system is asked again: pynetdicom only logs what it said."""
    limit_s = association.connection_timeout or CONNECT_S
    if took_s >= limit_s:
        return f"no connection within {limit_s:g} s"
    try:
        socket.create_connection((peer.host, peer.port), limit_s).close()
    except ConnectionRefusedError:
        return "the connection was refused, nothing listens there"
    except TimeoutError:
        return f"no connection within {limit_s:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "the connection failed"


def _find_context() -> Any:
    return build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED))


def _matches(association: Association, identifier: Dataset) -> Iterator[Dataset]:
    """What the peer answers to a C-FIND; nothing where it refuses."""
    for status, match in association.send_c_find(identifier, STUDY_ROOT_FIND):
        if status.get("Status") in PENDING and match is not None:
            yield match


def _end_soon(event: Any) -> None:
    """Shut the connection of an aborted association, once there was time for the A-ABORT to go out.

    pynetdicom waits without end for a thread of its own, which may be blocked on a peer that no longer reads or writes.
    """
    connection = event.assoc.dul.socket.socket
    if connection is not None:
        ending = threading.Timer(ABORT_S, _shut, [connection])
        ending.daemon = True
        ending.start()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _quick_ack(event: Any) -> None:
    if hasattr(socket, "TCP_QUICKACK"):
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
