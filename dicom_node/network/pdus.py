"""The reader of PDUs (PS3.8 9.3): blocks on a socket, with a deadline for every read and a bound for every length.

Values that may be long are handed on piece by piece and never gathered here. Plain and TLS sockets are read alike.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from dicom_node.errors import TriageNodeError

ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 0x01, 0x04, 0x05, 0x07
KINDS = range(0x01, 0x08)
HEAD_BYTES, FRAGMENT_HEAD_BYTES = 6, 6
BUFFER_BYTES = 1 << 18
PIECE_BYTES = 1 << 14  # so much at least has to come within one deadline
SHORT_BYTES = 1 << 16  # of every PDU that is neither a request nor data
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0x01, 0x02, 0x06  # PS3.8 Table 9-26


class ConnectionEnded(TriageNodeError):
    """Nothing more can be read."""


class PeerGone(ConnectionEnded):
    """The other side has closed the connection, or it broke."""


class PeerSilent(ConnectionEnded):
    """A deadline has passed."""


class ProtocolError(ConnectionEnded):
    """What came is not what PS3.8 and PS3.7 allow; `reason` is that of the A-ABORT PDU (PS3.8 Table 9-26)."""

    def __init__(self, text: str, reason: int = INVALID_PARAMETER) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fragment:
    """The head of a presentation data value (PS3.8 9.3.5.1, E.2); its `length` bytes follow on the wire."""

    context_id: int
    is_command: bool
    is_last: bool
    length: int


class PduReader:
    """Reads one connection. `timeout_s` is for each piece of a PDU that has begun.

    Every method raises PeerGone, PeerSilent or ProtocolError.
    """

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._socket, self._timeout_s = connection, timeout_s
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0
        self.received = 0  # bytes since the connection stands

    def head(self, deadline: float) -> tuple[int, int]:
        """Kind and length of the next PDU, whose first byte has to come by then (monotonic seconds)."""
        self._fill(1, deadline)
        if (kind := self._view[self._start]) not in KINDS:
            raise ProtocolError(f"no DICOM: the first byte is 0x{kind:02X}", UNRECOGNISED_PDU)
        kind, length = struct.unpack(">BxL", self._take(HEAD_BYTES, min(deadline, self._soon())))
        return kind, length

    def body(self, length: int, most: int = SHORT_BYTES, deadline: float | None = None) -> bytes:
        """The value of a PDU or of a fragment of a command, which may have `most` bytes."""
        if length > most:
            raise ProtocolError(f"a length of {length} bytes where {most} are allowed")
        gathered = bytearray()
        for piece in self.pieces(length, deadline):
            gathered += piece
        return bytes(gathered)

    def fragment(self, left: int) -> Fragment:
        """The head of the next fragment of a P-DATA-TF PDU that has `left` bytes left."""
        if left < FRAGMENT_HEAD_BYTES:
            raise ProtocolError("a P-DATA-TF PDU ends within the head of a fragment")
        length, context_id, control = struct.unpack(">LBB", self._take(FRAGMENT_HEAD_BYTES, self._soon()))
        if not 2 <= length <= left - 4:
            raise ProtocolError(f"a fragment of {length} bytes in a P-DATA-TF PDU with {left - 4}")
        return Fragment(context_id, bool(control & 1), bool(control & 2), length - 2)

    def pieces(self, length: int, deadline: float | None = None) -> Iterator[memoryview]:
        """The next bytes, as they come; a piece is valid until the next is asked for. No deadline: one a piece."""
        while length:
            if self._start == self._end:
                self._fill(min(length, PIECE_BYTES), deadline or self._soon())
            piece = self._view[self._start : min(self._end, self._start + length)]
            self._start += len(piece)
            length -= len(piece)
            yield piece

    def _take(self, count: int, deadline: float) -> memoryview:
        self._fill(count, deadline)
        taken = self._view[self._start : self._start + count]
        self._start += count
        return taken

    def _fill(self, count: int, deadline: float) -> None:
        """Have at least so many bytes."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > BUFFER_BYTES:
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        while self._end - self._start < count:
            self._end += self._receive(deadline)

    def _receive(self, deadline: float) -> int:
        if (left := deadline - monotonic()) <= 0:
            raise PeerSilent("nothing more came in time")
        try:
            self._socket.settimeout(left)
            got = self._socket.recv_into(self._view[self._end :])
        except TimeoutError:
            raise PeerSilent("nothing more came in time") from None
        except (OSError, ValueError) as error:  # ValueError: a TLS socket that was closed meanwhile
            raise PeerGone(f"the connection broke: {error}") from None
        if not got:
            raise PeerGone("the other side closed the connection")
        self.received += got
        return got

    def _soon(self) -> float:
        return monotonic() + self._timeout_s
