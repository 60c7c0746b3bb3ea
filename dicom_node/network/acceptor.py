"""One connection from its first byte to its last: the request, then C-STORE in this same thread, at last the release.

C-STORE goes straight from the wire into a file (store.py); every other service goes through pynetdicom. An association
ends in one log line that says who it was, what came, and how it ended.
"""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import structlog

from dicom_node.errors import Refused
from dicom_node.network.contexts import supported
from dicom_node.network.messages import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    RESPONSE,
    MessageReader,
    OtherPdu,
    Request,
    data_pdus,
    response,
)
from dicom_node.network.pdus import (
    ABORT,
    ASSOCIATE_RQ,
    RELEASE_RQ,
    UNEXPECTED_PDU,
    ConnectionEnded,
    PduReader,
    PeerGone,
    PeerSilent,
    ProtocolError,
)
from dicom_node.network.store import Caller, Services, receive_object
from dicom_node.network.upper_layer import Provider

LARGEST_PDU_BYTES = 131072
LINGER_S = 1.0
UNRECOGNISED_OPERATION = 0x0211
SERVED_BY_PYNETDICOM = (C_ECHO_RQ,)
LONGEST_REASON = 300
LARGEST_DATA_SET_BYTES = 1 << 20  # of a request that is no C-STORE
SERVICE_PROVIDER = 2
log = structlog.get_logger()


@dataclass(slots=True)
class Tally:
    """What came over one association."""

    began: float = field(default_factory=monotonic)
    contexts: int = 0
    refused_contexts: tuple[str, ...] = ()
    stored: int = 0
    refused: int = 0


class Acceptor:
    """Serves one connection in the thread that calls `run`; `number` is how others know its association."""

    def __init__(self, connection: socket.socket, address: str, number: int, services: Services) -> None:
        self.number, self.since = number, monotonic()
        self.caller = Caller(address)
        self._socket, self._services, self._limits = connection, services, services.limits
        self._reader = PduReader(connection, services.limits.network_timeout_s)
        self._messages = MessageReader(self._reader, services.limits.network_timeout_s)
        self._tally = Tally()

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come yet."""
        return not self._reader.received

    def run(self) -> None:
        """Serve until the end."""
        try:
            request = self._read_request()
        except ConnectionEnded as error:
            self._say_no_association(error)
        else:
            self._serve(request)
        self._close()

    def interrupt(self) -> None:
        """Let this connection's thread find nothing more to read; it answers what it has in hand. From any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """Close the connection at once, from any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read_request(self) -> bytes:
        """The A-ASSOCIATE-RQ, which has to be whole before the ARTIM time is over."""
        deadline = self.since + self._limits.artim_timeout_s
        kind, length = self._reader.head(deadline)
        if kind != ASSOCIATE_RQ:
            raise ProtocolError(f"PDU 0x{kind:02X} before an association", UNEXPECTED_PDU)
        return self._reader.body(length, int(self._limits.request_mib * (1 << 20)), deadline)

    def _serve(self, request: bytes) -> None:
        ending, in_good_order, established = "released", False, False
        try:
            if established := self._establish(request):
                self._converse()
                in_good_order = True
        except (PeerGone, PeerSilent, ProtocolError) as error:
            ending = self._end_early(error)
        except Exception as error:  # pynetdicom raises whatever it meets in a PDU that makes no sense
            ending = self._end_early(ProtocolError(f"{type(error).__name__}: {error}"))
        if established:
            self._tell_end(in_good_order)
        if established or ending != "released":
            self._say_association(ending)

    def _establish(self, body: bytes) -> bool:
        """Answer the request; whether there is an association now."""
        provider = self._provider = Provider(
            self._services.entity, self._socket, self._limits.network_timeout_s, LARGEST_PDU_BYTES
        )
        primitive = provider.take_request(body)
        if primitive is None:
            return False
        called, calling = primitive.called_ae_title.strip(), primitive.calling_ae_title.strip()
        self.caller = Caller(self.caller.address, calling, called)
        if objection := self._services.admit(self.number, self.caller):
            rejection, reason = objection
            self._services.refused(self.caller, reason)
            provider.reject(*rejection)
            return False
        provider.negotiate(supported(primitive, self._limits.private_storage, self._limits.uncompressed_first))
        self._tally.contexts, refused = len(provider.accepted), provider.refused_names()
        self._tally.refused_contexts = refused
        if not provider.accepted:
            reason = f"nothing that it proposes is served here: {', '.join(refused)}"
            self._services.refused(self.caller, reason[:LONGEST_REASON])
        return True

    def _converse(self) -> None:
        """Serve requests until the release."""
        while True:
            if self._services.stopping.is_set():
                raise ProtocolError("the node stops", 0)
            try:
                found = self._messages.request(monotonic() + self._limits.idle_timeout_s)
            except PeerSilent:
                raise PeerSilent("nothing came for too long") from None
            if isinstance(found, Request):
                self._answer(found)
            elif found.kind == RELEASE_RQ:
                return self._provider.release(found.body)
            else:
                self._take_other(found)

    def _take_other(self, pdu: OtherPdu) -> None:
        if pdu.kind == ABORT:
            raise PeerGone("the other side aborted")
        raise ProtocolError(f"PDU 0x{pdu.kind:02X} within an association", UNEXPECTED_PDU)

    def _answer(self, request: Request) -> None:
        syntax = self._provider.accepted.get(request.context_id)
        if syntax is None:
            raise ProtocolError(f"a message in context {request.context_id}, which is not accepted")
        operation = request.command.number(COMMAND_FIELD)
        if operation & RESPONSE:
            raise ProtocolError("a response to no request")
        if operation == C_STORE_RQ:
            refusal = receive_object(self._messages, request, syntax, self.caller, self.number, self._services)
            self._count(refusal)
            self._send(request, refusal.status if refusal else 0x0000, str(refusal or ""))
            return
        data_set = self._short_data_set(request) if request.command.has_data_set else None
        if operation in SERVED_BY_PYNETDICOM:
            self._provider.serve(request, data_set)
        elif operation != C_CANCEL_RQ:
            self._send(request, UNRECOGNISED_OPERATION, "this node serves C-STORE and C-ECHO")

    def _count(self, refusal: Refused | None) -> None:
        if refusal is None:
            self._tally.stored += 1
            return
        self._tally.refused += 1
        self._services.refused(self.caller, f"object 0x{refusal.status:04X}: {refusal}")

    def _short_data_set(self, request: Request) -> bytes:
        gathered = bytearray()
        for piece in self._messages.data_set(request.context_id):
            gathered += piece
            if len(gathered) > LARGEST_DATA_SET_BYTES:
                raise ProtocolError(f"an identifier of more than {LARGEST_DATA_SET_BYTES} bytes")
        return bytes(gathered)

    def _send(self, request: Request, status: int, comment: str) -> None:
        answer = response(request.command, status, comment)
        try:
            self._socket.settimeout(self._limits.network_timeout_s)
            self._socket.sendall(data_pdus(request.context_id, answer, self._provider.largest_pdu_bytes))
        except TimeoutError:
            raise PeerSilent("the answer was not taken in time") from None
        except OSError as error:
            raise PeerGone(f"the connection broke: {error}") from None

    def _end_early(self, error: ConnectionEnded) -> str:
        """Tell the other side, if it is there, and say why."""
        if self._services.stopping.is_set():
            error = ProtocolError("the node stops", 0)
        if not isinstance(error, PeerGone):
            self._send_abort(error.reason if isinstance(error, ProtocolError) else 0)
        return str(error)

    def _send_abort(self, reason: int) -> None:
        with suppress(OSError):
            self._socket.settimeout(LINGER_S)
            self._socket.sendall(struct.pack(">BxLxxBB", ABORT, 4, SERVICE_PROVIDER, reason))

    def _tell_end(self, in_good_order: bool) -> None:
        try:
            self._services.ended(self.number, in_good_order)
        except Exception as error:
            log.error("the end of an association could not be recorded; its series wait longer", error=str(error))

    def _say_association(self, ending: str) -> None:
        tally = self._tally
        log.info(
            "association",
            calling_aet=self.caller.calling_aet,
            called_aet=self.caller.called_aet,
            address=self.caller.address,
            contexts=tally.contexts,
            refused_contexts=tally.refused_contexts,
            stored=tally.stored,
            refused=tally.refused,
            received_bytes=self._reader.received,
            seconds=round(monotonic() - tally.began, 3),
            ended=ending,
        )

    def _say_no_association(self, error: ConnectionEnded) -> None:
        """A connection that never became an association; a silent one may be a health check or a port scan."""
        if isinstance(error, ProtocolError):
            self._send_abort(error.reason)
            self._services.refused(self.caller, f"no association request: {error}")
        elif not self.is_silent and not self._services.stopping.is_set():
            log.info("a connection ended before its association", address=self.caller.address, reason=str(error))

    def _close(self) -> None:
        """Close after the other side has, or soon: what was said last would be lost with data that nobody has read."""
        with suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_WR)
            until = monotonic() + (0.0 if self._services.stopping.is_set() else LINGER_S)
            while (left := until - monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(1 << 16):
                    break
        self._socket.close()
