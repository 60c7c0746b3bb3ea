"""Slow and silent HTTP connections: they cost nobody else anything, and who reads slowly goes on reading."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
from peers import wait_until
from series import Core, core, ct, head
from web_support import Node, serving

SOON_S = 5.0  # on a busy machine


@contextmanager
def served(node: Core) -> Iterator[tuple[str, int]]:
    """The page; its address."""
    with serving(Node(node.database, node.archive, node.settings)) as (url, _):
        yield "127.0.0.1", int(url.rpartition(":")[2])


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def get(place: tuple[str, int], path: str = "/") -> int:
    """A request of somebody else; it has to be answered soon."""
    return httpx2.get(f"http://{place[0]}:{place[1]}{path}", timeout=SOON_S).status_code


def start(place: tuple[str, int], text: bytes = b"") -> socket.socket:
    """A connection on which so much was sent."""
    connection = socket.create_connection(place, timeout=20)
    connection.sendall(text)
    return connection


SLOW_POST = b"POST /reader HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 4000\r\n\r\nna"


def test_three_hundred_silent_connections_and_a_slow_post(tmp_path: Path) -> None:
    """The page answers meanwhile; the oldest silent ones have made room, a stream that is read has not."""
    with served(core(tmp_path / "data")) as place, ExitStack() as stack:
        stream = stack.enter_context(start(place, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert b"200 OK" in stream.recv(1000)
        slow = stack.enter_context(start(place, SLOW_POST))
        silent = [stack.enter_context(start(place, b"GET / HT"[: number % 8])) for number in range(300)]
        assert get(place) == 200
        wait_until(lambda: is_closed(silent[0]), 10, "the oldest has made room")
        assert not is_closed(silent[-1]) and not is_closed(slow)
        stream.setblocking(True)
        assert any(b"event: alive" in each for each in iter(lambda: stream.recv(1000), b""))


def test_many_streams_of_one_address(tmp_path: Path) -> None:
    """Where all are busy it is the newest that has to wait."""
    node = core(tmp_path / "data", web={"connections_per_address": 8})
    with served(node) as place, ExitStack() as stack:
        streams = [
            stack.enter_context(start(place, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")) for _ in range(8)
        ]
        assert all(b"200 OK" in each.recv(1000) for each in streams)
        new = stack.enter_context(start(place))
        wait_until(lambda: is_closed(new), 10, "the new one is closed")
        streams.pop().close()
        wait_until(lambda: len(answered(place)) > 0, 10, "there is room again")


def answered(place: tuple[str, int]) -> bytes:
    """What a request is answered with; nothing where the connection is refused."""
    try:
        with start(place, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n") as connection:
            return connection.recv(100)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: loc",
        SLOW_POST,
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n\r\n5\r\n--b\r\n\r\n',
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
    ],
)
def test_what_does_not_go_on_is_ended(tmp_path: Path, text: bytes) -> None:
    """A head that does not come, a body that comes by single bytes, a second request that is never finished."""
    node = core(tmp_path / "data", web={"request_time_s": 1.5})
    with served(node) as place, start(place, text) as connection:
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.2):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            connection.settimeout(20)
            with pytest.raises((ConnectionResetError, StopIteration)):
                while connection.recv(1000):
                    pass
                raise StopIteration
        finally:
            over.set()
            dripping.join()
        assert get(place) == 200


def test_who_reads_slowly_gets_everything(tmp_path: Path) -> None:
    """A download that takes longer than a request may; and a body that is large but comes."""
    node = core(tmp_path / "data", web={"request_time_s": 1.0})
    node.receive(head(24))
    study = ct(0).StudyInstanceUID
    with served(node) as place:
        request = f"GET /dicom-web/studies/{study} HTTP/1.0\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(place)
            reader.sendall(request)
            begin, over = reader.recv(100), threading.Event()
            over.wait(3.5)
            reader.settimeout(20)
            rest = b"".join(iter(lambda: reader.recv(65536), b""))
        assert begin.startswith(b"HTTP/1.1 200") and rest.rstrip().endswith(b"--") and len(rest) > 24 * 8192
