"""The page's side of its connections: how many an address may hold, and how long a request may take to come.

uvicorn bounds neither. What is bounded is what a client owes: a request's head, and a body that goes on. A response
takes as long as its reader does: event streams and slow downloads stay open.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node.settings import Web
from dicom_node.web.public import Network, is_within

LOOK_EVERY_S, SETTLE_S, LOG_EVERY_S = 1.0, 0.1, 60.0
ADDRESSES = 8  # how many times the connections of one address there may be in all
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take. A body brings `body_bytes` at least in every `request_time_s`, as a head must come."""

    connections: int
    request_time_s: float
    body_bytes: float
    proxies: tuple[Network, ...]


def server_config(app: Any, web: Web, **options: Any) -> uvicorn.Config:
    """How the page is served: with these bounds, and without belief in any proxy (see public.py)."""
    limits = Limits(
        connections=web.connections_per_address,
        request_time_s=web.request_time_s,
        body_bytes=web.body_kib_per_s * 1024 * web.request_time_s,
        proxies=web.trusted_proxies,
    )
    bounded = type("Bounded", (BoundedConnection,), {"limits": limits})
    return uvicorn.Config(app, http=bounded, ws="none", proxy_headers=False, **options)


class BoundedConnection(H11Protocol):
    """One connection, looked at every second."""

    limits: Limits
    silent_until: ClassVar[dict[str, float]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room where there are too many: the one that has kept silent for longest goes first."""
        super().connection_made(transport)
        self._since, self._owed, self._bytes = self.loop.time(), 2, 0
        self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)
        if len(self.connections) > self.limits.connections * ADDRESSES:
            self._make_room(self._others(), ADDRESSES)
        elif self.client and not is_within(self.client[0], self.limits.proxies):
            self.loop.call_later(SETTLE_S, self._make_room_for_address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look at it no more."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes of a body."""
        self._bytes += len(data)
        super().data_received(data)

    @property
    def owes(self) -> int:
        """2 while a request's head is awaited, 1 while its body is, 0 while it is answered."""
        return {h11.IDLE: 2, h11.SEND_BODY: 1}.get(self.conn.their_state, 0)

    def shutdown(self) -> None:
        """The server ends: a request that has not come yet is not waited for."""
        if self.owes:
            self.transport.abort()
        else:
            super().shutdown()

    def _others(self) -> list["BoundedConnection"]:
        return [each for each in self.connections if isinstance(each, BoundedConnection)]

    def _make_room_for_address(self) -> None:
        """Later than the connection is made, when what others have sent meanwhile is read, too."""
        address = self.client[0] if self.client else ""
        self._make_room([each for each in self._others() if each.client and each.client[0] == address], 1)

    def _make_room(self, known: list["BoundedConnection"], times: int) -> None:
        if self in known and len(known) > self.limits.connections * times:
            silent = [each for each in known if each.owes and each is not self] or [self]
            oldest = max(silent, key=lambda each: (each.owes, -each._since))
            oldest._end("there are too many connections")

    def _look(self) -> None:
        now, owes = self.loop.time(), self.owes
        self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)
        if owes != self._owed or self._is_held_up():
            self._owed, self._since, self._bytes = owes, now, 0
        elif owes and now - self._since > self.limits.request_time_s:
            if owes == 2 or self._bytes < self.limits.body_bytes:
                self._end("a request's head took too long" if owes == 2 else "a request's body came too slowly")
            self._since, self._bytes = now, 0

    def _is_held_up(self) -> bool:
        """Whether it is the node that does not read on."""
        return bool(self.flow.read_paused)

    def _end(self, reason: str) -> None:
        address, now = self.client[0] if self.client else "", self.loop.time()
        if now >= self.silent_until.get(address, 0.0):  # a flood is one line a minute
            self.silent_until.clear()
            self.silent_until[address] = now + LOG_EVERY_S
            log.warning("a connection to the page is closed", address=address, reason=reason)
        self._timer.cancel()
        self.connections.discard(self)
        self.transport.abort()
