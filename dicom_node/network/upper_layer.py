"""pynetdicom's side of one association, without its threads: it negotiates, answers, and knows the states of PS3.8 9.2.

Its own upper layer looks for work a thousand times a second, reads without a deadline and believes every length.
Here what is sent leaves at once, in the thread that sends, and what was read is handed in.
"""

import queue
import socket
import struct
import threading
from typing import Any

from pynetdicom import AE, _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node.network.messages import Request
from dicom_node.network.pdus import ASSOCIATE_RQ, RELEASE_RQ, UNEXPECTED_PDU, ProtocolError

_config.LOG_HANDLER_LEVEL = "none"  # it would write out every PDU
ITEMS_BEGIN, CONTEXT_ITEM = 68, 0x20  # of an A-ASSOCIATE-RQ (PS3.8 Tables 9-11 and 9-13)
MOST_CONTEXTS = 128  # odd numbers of one byte
LAST_COMMAND, LAST_DATA = b"\x03", b"\x02"  # the control header of a fragment (PS3.8 E.2)


class _UpperLayer(DULServiceProvider):
    """The state machine, moved on by whoever has something for it."""

    def __init__(self, association: Association, timeout_s: float) -> None:
        super().__init__(association)
        self._turn, self._timeout_s = threading.RLock(), timeout_s

    def send_pdu(self, primitive: Any) -> None:
        """Send what the primitive stands for."""
        with self._turn:
            assert self.socket is not None
            if self.socket.socket is not None:
                self.socket.socket.settimeout(self._timeout_s)
            super().send_pdu(primitive)
            self._process_recv_primitive()
            self.settle()

    def hand_in(self, pdu: bytes) -> None:
        """Let the state machine have a PDU that was read."""
        with self._turn:
            decoded, event = self._decode_pdu(bytearray(pdu))
            self._recv_pdu.put(decoded)
            self.event_queue.put(event)
            self.settle()

    def settle(self) -> None:
        """Do what is due."""
        while True:
            try:
                event = self.event_queue.get(block=False)
            except queue.Empty:
                return
            self.state_machine.do_action(event)


class Provider:
    """One accepted connection as pynetdicom sees it; it raises whatever it meets in a PDU that makes no sense."""

    def __init__(self, entity: AE, connection: socket.socket, timeout_s: float, largest_pdu_bytes: int) -> None:
        self.accepted: dict[int, str] = {}  # presentation context ID -> transfer syntax
        self.largest_pdu_bytes = 0  # that the other side takes; 0: no limit
        self._association = association = Association(entity, MODE_ACCEPTOR)
        self._layer = association.dul = _UpperLayer(association, timeout_s)
        association.set_socket(AssociationSocket(association, client_socket=connection))
        association.acceptor.maximum_length = largest_pdu_bytes
        association.acceptor.ae_title = entity.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        association.acceptor.implementation_class_uid = entity.implementation_class_uid
        association.acceptor.implementation_version_name = entity.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(connection.getpeername())
        self._layer.settle()

    def take_request(self, body: bytes) -> A_ASSOCIATE | None:
        """Let pynetdicom read an A-ASSOCIATE-RQ; None where it has refused it by itself (PS3.8 9.3.2, its version)."""
        if _number_of_contexts(body) > MOST_CONTEXTS:
            raise ProtocolError(f"more than {MOST_CONTEXTS} presentation contexts")
        self._hand_in(ASSOCIATE_RQ, body)
        primitive = self._layer.receive_pdu()
        if not isinstance(primitive, A_ASSOCIATE):
            return None
        self._association.requestor.primitive = primitive
        return primitive

    def negotiate(self, supported: list[PresentationContext]) -> None:
        """Answer the request with A-ASSOCIATE-AC, accepting what is supported of it."""
        self._association.acceptor.supported_contexts = supported
        self._association.acse.negotiate_association()
        contexts = self._association.accepted_contexts
        self.accepted = {each.context_id or 0: str(each.transfer_syntax[0]) for each in contexts}
        self.largest_pdu_bytes = self._association.requestor.maximum_length or 0

    def refused_names(self) -> tuple[str, ...]:
        """The SOP classes of the contexts that were not accepted, by name."""
        refused = self._association.rejected_contexts
        return tuple(sorted({str(each.abstract_syntax.name) for each in refused if each.abstract_syntax}))

    def reject(self, result: int, source: int, diagnostic: int) -> None:
        """Answer the request with A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
        self._association.acse.send_reject(result, source, diagnostic)

    def release(self, body: bytes) -> None:
        """Answer an A-RELEASE-RQ."""
        self._hand_in(RELEASE_RQ, body)
        if not self._association.acse.is_release_requested():
            raise ProtocolError("a release at the wrong time", UNEXPECTED_PDU)
        self._association.acse.send_release(is_response=True)

    def serve(self, request: Request, data_set: bytes | None) -> None:
        """Let pynetdicom's service classes answer a request."""
        values: list[Any] = [[request.context_id, LAST_COMMAND + request.encoded]]  # lists, whatever its types say
        if data_set is not None:
            values.append([request.context_id, LAST_DATA + data_set])
        primitive = P_DATA()
        primitive.presentation_data_value_list = values
        self._association.dimse.receive_primitive(primitive)
        context_id, message = self._association.dimse.get_msg(block=False)
        if message is not None and context_id is not None:
            self._association._serve_request(message, context_id)
        if self._association.is_aborted or not self._association.is_established:
            raise ProtocolError("a request that could not be served")

    def _hand_in(self, kind: int, body: bytes) -> None:
        self._layer.hand_in(struct.pack(">BxL", kind, len(body)) + body)


def _number_of_contexts(body: bytes) -> int:
    """How many presentation contexts a request proposes, before anything is made of them."""
    found, at = 0, ITEMS_BEGIN
    while at + 4 <= len(body):
        found += body[at] == CONTEXT_ITEM
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    return found
