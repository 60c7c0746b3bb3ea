"""A sender that writes its PDUs by hand (PS3.8 9.3), so that it can write them wrongly, slowly or in any pieces."""

import socket
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
CT = ((str(CTImageStorage), (str(ExplicitVRLittleEndian),)),)
Contexts = Sequence[tuple[str, Sequence[str]]]


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU, of whatever length it says."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    """A variable item of a request."""
    return struct.pack(">BxH", kind, len(body)) + body


def request(contexts: Contexts = CT, called: str = "TRIAGE", calling: str = "CT1", further: bytes = b"") -> bytes:
    """An A-ASSOCIATE-RQ; its contexts are numbered 1, 3, 5, ...; `further` goes into the user information."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += item(0x10, APPLICATION_CONTEXT)
    for number, (sop_class, syntaxes) in enumerate(contexts):
        inside = item(0x30, sop_class.encode()) + b"".join(item(0x40, each.encode()) for each in syntaxes)
        body += item(0x20, bytes([(2 * number + 1) % 256, 0, 0, 0]) + inside)
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4") + further)
    return pdu(ASSOCIATE_RQ, body)


def value(data: bytes, command: bool, last: bool, context: int = 1) -> bytes:
    """A presentation data value."""
    return struct.pack(">LBB", len(data) + 2, context, command | last << 1) + data


def command(**elements: int | str) -> bytes:
    """A command set from its elements by number ("e0100"); numbers are US, texts UI."""
    body = b""
    for name, content in sorted(elements.items()):
        encoded = content.to_bytes(2, "little") if isinstance(content, int) else content.encode()
        encoded += b"\0" * (len(encoded) % 2)
        body += struct.pack("<HHL", 0, int(name[1:], 16), len(encoded)) + encoded
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def store_request(sop_uid: str, sop_class: str = str(CTImageStorage), message: int = 1, data: bool = True) -> bytes:
    """The command set of a C-STORE request."""
    kind = 0x0000 if data else 0x0101
    return command(e0002=sop_class, e0100=0x0001, e0110=message, e0700=0, e0800=kind, e1000=sop_uid)


class Wire:
    """One connection to a node."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> "Wire":
        """Send each piece by itself."""
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def associate(self, contexts: Contexts = CT) -> "Wire":
        """Have an association."""
        kind, _ = self.send(request(contexts)).read()
        assert kind == ASSOCIATE_AC
        return self

    def read(self) -> tuple[int, bytes]:
        """The next PDU; (0, b"") when the node has closed the connection."""
        head = self._take(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._take(length)

    def status(self) -> int:
        """The status of the response that comes next."""
        kind, body = self.read()
        assert kind == P_DATA, f"PDU {kind} instead of a response"
        at = body.index(b"\x00\x00\x00\x09\x02\x00\x00\x00")
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def store(self, sop_uid: str, data: bytes) -> int:
        """C-STORE in one piece each."""
        self.send(pdu(P_DATA, value(store_request(sop_uid), command=True, last=True)))
        self.send(pdu(P_DATA, value(data, command=False, last=True)))
        return self.status()

    def release(self) -> int:
        """Ask for the release; the kind of the answer."""
        return self.send(pdu(RELEASE_RQ, bytes(4))).read()[0]

    def aborted(self) -> tuple[int, int] | None:
        """Source and reason of an A-ABORT that comes next; None when the node just closes the connection."""
        kind, body = self.read()
        if kind == 0:
            return None
        assert kind == ABORT, f"PDU {kind} instead of an abort"
        return body[2], body[3]

    def is_closed(self) -> bool:
        """Whether the node has closed the connection, after whatever it still says."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            try:
                piece = self.socket.recv(count - len(taken))
            except ConnectionResetError:
                break
            if not piece:
                break
            taken += piece
        return taken


def fragments(content: bytes, cuts: Iterable[int], is_command: bool) -> list[bytes]:
    """A command or data set cut at these places, as presentation data values of which the last says so."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(content)}), len(content)]
    pieces = [content[one:other] for one, other in pairwise(places)]
    return [value(piece, is_command, number == len(pieces) - 1) for number, piece in enumerate(pieces)]
