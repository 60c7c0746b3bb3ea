"""DIMSE messages as they come off the wire (PS3.7 6.3 and Annex E): a command set, then its data set piece by piece."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from dicom_node.network.pdus import (
    ABORT,
    FRAGMENT_HEAD_BYTES,
    P_DATA,
    UNEXPECTED_PDU,
    Fragment,
    PduReader,
    PeerGone,
    ProtocolError,
)

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ, RESPONSE = 0x0001, 0x0030, 0x0FFF, 0x8000
SOP_CLASS_UID, SOP_UID, REQUESTED_SOP_CLASS_UID = 0x0002, 0x1000, 0x0003  # (0000,eeee)
COMMAND_FIELD, MESSAGE_ID, ANSWERED_ID = 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, ERROR_COMMENT = 0x0800, 0x0900, 0x0902
NO_DATA_SET = 0x0101
LONGEST_COMMAND_BYTES = 1 << 16
LONGEST_COMMENT = 64  # VR LO


@dataclass(frozen=True, slots=True)
class Command:
    """A request's command set: the values of its elements by their number in group 0000."""

    elements: Mapping[int, bytes]

    def number(self, element: int) -> int:
        """A value of VR US; 0 where it is absent."""
        return int.from_bytes(self.elements.get(element, b"")[:2], "little")

    def text(self, element: int) -> str:
        """A UID or title without its padding; '' where it is absent."""
        return self.elements.get(element, b"").decode("latin-1").rstrip("\0 ")

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(DATA_SET_TYPE) != NO_DATA_SET


@dataclass(frozen=True, slots=True)
class Request:
    """A command set, and the presentation context that it came in. `encoded` is as it came."""

    context_id: int
    command: Command
    encoded: bytes


@dataclass(frozen=True, slots=True)
class OtherPdu:
    """A PDU that is not P-DATA-TF."""

    kind: int
    body: bytes


class MessageReader:
    """Takes fragments out of P-DATA-TF PDUs, in whatever pieces a sender has cut its messages.

    One message after the other: a data set must be read to its end before the next request.
    """

    def __init__(self, reader: PduReader, timeout_s: float) -> None:
        self._reader, self._timeout_s = reader, timeout_s
        self._left = 0  # bytes of the present P-DATA-TF PDU

    def request(self, deadline: float) -> Request | OtherPdu:
        """What comes next, which has to begin by then (monotonic seconds)."""
        if not self._left:
            kind, length = self._reader.head(deadline)
            if kind != P_DATA:
                return OtherPdu(kind, self._reader.body(length))
            self._left = length
        fragment = self._fragment(True)
        context_id, encoded = fragment.context_id, self._reader.body(fragment.length, LONGEST_COMMAND_BYTES)
        while not fragment.is_last:
            fragment = self._fragment(True, context_id)
            encoded += self._reader.body(fragment.length, LONGEST_COMMAND_BYTES - len(encoded))
        return Request(context_id, decoded(encoded), encoded)

    def data_set(self, context_id: int) -> Iterator[memoryview]:
        """The data set that follows a request; a piece is valid until the next is asked for."""
        while True:
            fragment = self._fragment(False, context_id)
            yield from self._reader.pieces(fragment.length)
            if fragment.is_last:
                return

    def _fragment(self, is_command: bool, context_id: int | None = None) -> Fragment:
        while not self._left:
            kind, length = self._reader.head(monotonic() + self._timeout_s)
            if kind == ABORT:
                raise PeerGone("the other side aborted within a message")
            if kind != P_DATA:
                raise ProtocolError(f"PDU 0x{kind:02X} within a message", UNEXPECTED_PDU)
            self._left = length
        fragment = self._reader.fragment(self._left)
        self._left -= FRAGMENT_HEAD_BYTES + fragment.length
        if fragment.is_command != is_command or context_id not in (None, fragment.context_id):
            raise ProtocolError("a fragment of another message within a message", UNEXPECTED_PDU)
        return fragment


def decoded(encoded: bytes) -> Command:
    """A command set (Implicit VR Little Endian, PS3.7 6.3.1). ProtocolError when it is none."""
    elements, at = {}, 0
    while at < len(encoded):
        if len(encoded) - at < 8:
            raise ProtocolError("a command set ends within an element")
        group, element, length = struct.unpack_from("<HHL", encoded, at)
        at += 8
        if group != 0 or length > len(encoded) - at:
            raise ProtocolError("a command set holds what is none")
        elements[element] = encoded[at : at + length]
        at += length
    if COMMAND_FIELD not in elements:
        raise ProtocolError("a command set names no command")
    return Command(elements)


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers a request without a data set, of whichever service."""
    said = comment.encode("ascii", "replace").replace(b"\\", b"/")[:LONGEST_COMMENT]
    elements = {
        SOP_CLASS_UID: request.elements.get(SOP_CLASS_UID) or request.elements.get(REQUESTED_SOP_CLASS_UID, b""),
        COMMAND_FIELD: _short(request.number(COMMAND_FIELD) | RESPONSE),
        ANSWERED_ID: _short(request.number(MESSAGE_ID)),
        DATA_SET_TYPE: _short(NO_DATA_SET),
        STATUS: _short(status),
        **({ERROR_COMMENT: said + b" " * (len(said) % 2)} if said else {}),
        SOP_UID: request.elements.get(SOP_UID, b""),
    }
    body = b"".join(_element(number, value) for number, value in elements.items() if value)
    return _element(0x0000, len(body).to_bytes(4, "little")) + body


def data_pdus(context_id: int, command: bytes, largest: int) -> bytes:
    """A command set as P-DATA-TF PDUs, of which none is longer than the peer allows (0: no limit; PS3.8 D.1)."""
    room = max(16, (largest or len(command) + FRAGMENT_HEAD_BYTES) - FRAGMENT_HEAD_BYTES)
    pieces = [command[at : at + room] for at in range(0, len(command), room)]
    return b"".join(
        struct.pack(">BxLLBB", P_DATA, len(piece) + 6, len(piece) + 2, context_id, 3 if piece is pieces[-1] else 1)
        + piece
        for piece in pieces
    )


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def _short(value: int) -> bytes:
    return value.to_bytes(2, "little")
