"""C-STORE and C-ECHO provider (PS3.4 Annexes A and B): who may connect, and for how long. Never decodes pixels.

A connection is no association until its request is whole. So long it counts for its address alone, and where one
address has too many of them the oldest silent one is closed: neither a port scan nor a half request keeps a sender out.
"""

import itertools
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from time import monotonic

import structlog
from pynetdicom import AE

from dicom_node.entities import Incoming
from dicom_node.errors import CommandError
from dicom_node.network.acceptor import Acceptor
from dicom_node.network.store import Caller, Rejection, Services
from dicom_node.settings import Settings
from dicom_node.spool import Spool

BACKLOG = 128
STOP_S = 2.5  # for all associations to end when the server closes
CALLED_AET_UNKNOWN: Rejection = (1, 1, 7)  # PS3.8 Table 9-21: permanent, by the service user
CALLING_AET_UNKNOWN: Rejection = (1, 1, 3)
LOCAL_LIMIT_EXCEEDED: Rejection = (2, 3, 2)  # transient, by the service provider
KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}  # seconds, seconds, probes
log = structlog.get_logger()


class StorageServer:
    """Listens for associations until `close`.

    `spool` gives a place for an object that comes in, `store` returns nothing when it is durable, or raises `Refused`;
    `ended` is told that an association is over and whether it was released in good order; `refused` is told (calling,
    called, address, reason).
    """

    def __init__(
        self,
        settings: Settings,
        spool: Callable[[int], Spool],
        store: Callable[[Incoming], None],
        ended: Callable[[int, bool], None],
        refused: Callable[[str, str, str, str], None],
    ) -> None:
        self._settings, self._stopping = settings, threading.Event()
        self._services = Services(
            entity=AE(ae_title=settings.node.ae_title),
            limits=settings.network,
            admit=self._admit,
            spool=lambda: spool(settings.network.object_bytes),
            store=store,
            ended=ended,
            refused=lambda caller, reason: refused(caller.calling_aet, caller.called_aet, caller.address, reason),
            stopping=self._stopping,
        )
        self._lock, self._numbers = threading.Lock(), itertools.count(1)
        self._bare: dict[int, Acceptor] = {}
        self._open: set[int] = set()
        self._threads: dict[int, tuple[Acceptor, threading.Thread]] = {}
        self._socket = _listen(settings.node.host, settings.node.port)
        self.port = int(self._socket.getsockname()[1])
        self._listener = threading.Thread(target=self._accept_all, name="listener", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Stop listening and end open associations: an object in hand is answered, then A-ABORT is sent."""
        self._stopping.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._socket.close()
        with self._lock:
            threads = list(self._threads.values())
        for acceptor, _ in threads:
            acceptor.interrupt()
        until = monotonic() + STOP_S
        for acceptor, thread in threads:
            thread.join(max(0.0, until - monotonic()))
            acceptor.cut()

    def _accept_all(self) -> None:
        while not self._stopping.is_set():
            connection = None
            try:
                connection, address = self._socket.accept()
                self._begin(connection, str(address[0]))
            except (OSError, RuntimeError) as error:  # out of file handles, or of threads
                if connection is not None:
                    connection.close()
                if not self._stopping.is_set():
                    log.error("a connection cannot be accepted", error=str(error))
                    self._close_oldest(lambda each: True)
                    self._stopping.wait(0.1)

    def _begin(self, connection: socket.socket, address: str) -> None:
        """Serve a connection in a thread of its own, after making room for it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        with self._lock:
            here = sum(each.caller.address == address for each in self._bare.values())
        if here >= self._settings.network.connections_per_address:
            self._close_oldest(lambda each: each.caller.address == address)
        acceptor = Acceptor(connection, address, next(self._numbers), self._services)
        thread = threading.Thread(target=self._run, args=(acceptor,), name=f"connection {acceptor.number}", daemon=True)
        with self._lock:
            self._bare[acceptor.number] = acceptor
            self._threads[acceptor.number] = acceptor, thread
        try:
            thread.start()
        except RuntimeError:
            self._forget(acceptor)
            raise

    def _run(self, acceptor: Acceptor) -> None:
        try:
            acceptor.run()
        finally:
            self._forget(acceptor)

    def _forget(self, acceptor: Acceptor) -> None:
        with self._lock:
            self._bare.pop(acceptor.number, None)
            self._open.discard(acceptor.number)
            del self._threads[acceptor.number]

    def _close_oldest(self, choose: Callable[[Acceptor], bool]) -> None:
        """Close one that is no association yet, first of those that have said nothing, and of these the oldest."""
        with self._lock:
            found = [each for each in self._bare.values() if choose(each)]
            if not found:
                return
            oldest = min(found, key=lambda each: (not each.is_silent, each.since))
            del self._bare[oldest.number]
        oldest.cut()

    def _admit(self, number: int, caller: Caller) -> tuple[Rejection, str] | None:
        """Let a connection be an association from now on, or say why not."""
        if objection := self._objection(caller):
            return objection
        most = self._settings.node.max_associations
        with self._lock:
            if len(self._open) >= most:
                return LOCAL_LIMIT_EXCEEDED, f"more than {most} associations at once"
            self._bare.pop(number, None)
            self._open.add(number)
        return None

    def _objection(self, caller: Caller) -> tuple[Rejection, str] | None:
        access, node = self._settings.access, self._settings.node
        if not (access.any_called or caller.called_aet in (node.ae_title, *access.called_aets)):
            return CALLED_AET_UNKNOWN, f"called AE title {caller.called_aet!r}; this node is {node.ae_title!r}"
        if access.any_caller or (access.any_caller_on_loopback and is_loopback(caller.address)):
            return None
        if caller.calling_aet not in {peer.ae_title for peer in self._settings.peer}:
            return CALLING_AET_UNKNOWN, f"calling AE title {caller.calling_aet!r} is no configured peer"
        return None


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. CommandError says why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's loopback."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
