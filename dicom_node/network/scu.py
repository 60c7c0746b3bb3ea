"""C-ECHO and C-FIND user (PS3.4 Annexes A and C), and how an association with a peer comes about; one for each call.

DCMTK and Orthanc write a response in two small pieces; without re-armed TCP_QUICKACK every C-STORE on such a peer
stalls for the delayed acknowledgement (about 44 ms).
"""

import socket
from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from dicom_node.errors import PeerError
from dicom_node.settings import Peer

VERIFICATION = UID("1.2.840.10008.1.1")
STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MAXIMUM_PDU_BYTES = 131072
PENDING = (0xFF00, 0xFF01)
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def echo(peer: Peer, ae_title: str, timeout_s: float) -> None:
    """C-ECHO; returns when the peer answered, PeerError otherwise."""
    association = associate(peer, ae_title, timeout_s, [build_context(VERIFICATION)])
    try:
        answer = association.send_c_echo()
        if answer.get("Status") != 0x0000:
            raise PeerError(f"{peer.name} did not answer the C-ECHO ({_where(peer)})")
    finally:
        if association.is_established:
            association.release()


def count_instances(peer: Peer, ae_title: str, timeout_s: float, study_uid: str, series_uid: str) -> int | None:
    """Number of Series Related Instances (0020,1209) that the peer holds; None when it does not say."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = study_uid, series_uid
    identifier.NumberOfSeriesRelatedInstances = None
    association = associate(peer, ae_title, timeout_s, [build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED))])
    found: int | None = None
    try:
        for status, match in association.send_c_find(identifier, STUDY_ROOT_FIND):
            if status.get("Status") in PENDING and match is not None:
                with suppress(ValueError, TypeError):  # absent, empty or nonsense
                    found = int(match.get("NumberOfSeriesRelatedInstances"))
    finally:
        if association.is_established:
            association.release()
    return found


def associate(peer: Peer, ae_title: str, timeout_s: float, contexts: list[Any]) -> Association:
    if peer.host is None or peer.port is None:
        raise PeerError(f"{peer.name} has no address: give it host and port in the settings")
    entity = AE(ae_title=ae_title)
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=MAXIMUM_PDU_BYTES,
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay), (evt.EVT_DATA_RECV, _quick_ack)],
        )
    except (OSError, UnicodeError) as error:  # the name of the host is not known, or is none
        reason = getattr(error, "strerror", None) or "no such name"
        raise PeerError(f"{peer.name} cannot be reached ({_where(peer)}): {reason}") from None
    if association.is_established:
        return association
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer else "no reason given"
        raise PeerError(f"{peer.name} rejected the association from {ae_title}: {reason} ({_where(peer)})")
    if association.is_aborted and association.acceptor.primitive is not None:
        raise PeerError(f"{peer.name} accepts none of these objects ({_where(peer)})")
    raise PeerError(f"{peer.name} cannot be reached ({_where(peer)})")


def _where(peer: Peer) -> str:
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


def _no_delay(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _quick_ack(event: Any) -> None:
    if hasattr(socket, "TCP_QUICKACK"):
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
