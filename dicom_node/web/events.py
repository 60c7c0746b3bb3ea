"""Server-sent events: tells open pages that the worklist has changed, or that all is well and nothing has.

One thread looks at the database's `data_version` every half second, on a connection of its own that never writes: the
number changes only for commits of other connections. Signs of life change it too, so the list's own number is compared.
A page that hears nothing for some seconds must think the connection lost: the stream falls silent when looking fails.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from dicom_node import clock
from dicom_node.errors import say_error
from dicom_node.tables.database import Database, Transaction

LOOK_EVERY_S = 0.5
ALIVE_EVERY_S = 3.0
RECONNECT_MS = 1000
log = structlog.get_logger()


class Watcher:
    """Looks for changes and wakes the streams. `content` gives what is shown, in a form that can be compared."""

    def __init__(self, database: Database, content: Callable[[Transaction], int]) -> None:
        self._database, self._content = database, content
        self._seen_version, self._seen_content = -1, -1
        self._changes = 0
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        said = False
        with ThreadPoolExecutor(1, thread_name_prefix="watch") as pool:
            while True:
                try:
                    self._changes += await loop.run_in_executor(pool, self.look)
                except (sqlite3.Error, OSError) as error:
                    if not said:
                        log.warning("the database cannot be read; open pages say so", error=say_error(error))
                    said = True
                else:
                    said = False
                    self._looked.set()
                    self._looked = asyncio.Event()
                await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> bool:
        """Whether what is shown has changed since the last look. Always call it on the same thread."""
        version = self._database.data_version()
        if version == self._seen_version:
            return False
        with self._database.read() as tx:
            content = self._content(tx)
        changed, self._seen_version, self._seen_content = content != self._seen_content, version, content
        return changed

    async def news(self, ending: anyio.Event) -> AsyncIterator[ServerSentEvent]:
        """One event at once, then "changed" for every change and "alive" in between, until the server is `ending`."""
        seen, said_at = -1, 0.0
        while not ending.is_set():
            now = clock.monotonic()
            if self._changes != seen:
                seen, said_at = self._changes, now
                yield ServerSentEvent(event="changed", data=str(seen), retry=RECONNECT_MS)
            elif now - said_at >= ALIVE_EVERY_S:
                said_at = now
                yield ServerSentEvent(event="alive", data=str(seen))
            await self._looked.wait()


async def events(request: Request) -> EventSourceResponse:
    """GET /events."""
    watcher: Watcher = request.app.state.watcher
    ending = anyio.Event()
    return EventSourceResponse(watcher.news(ending), shutdown_event=ending, shutdown_grace_period=2 * LOOK_EVERY_S)
