"""The process of the page."""

import resource
import signal
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.dicom.decoding import Decoders
from dicom_node.errors import CommandError
from dicom_node.processes.life import BEAT_EVERY_S, ENDING_S, Life, take_folder, try_again
from dicom_node.processes.node import note_refusal
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.steps.receive import Receiver
from dicom_node.tables.database import open_database
from inference.input.bounds import set_bounds

if TYPE_CHECKING:
    import uvicorn

OPEN_REQUESTS_S = 1  # for answers that are under way at the end


def run_web(settings: Settings, supervisor: int | None = None) -> None:
    """The page, until told to end. It answers while the database cannot be used, too."""
    import uvicorn

    from dicom_node.web.app import build_app
    from dicom_node.web.connections import server_config
    from dicom_node.web.dicomweb.context import Storing

    take_folder(settings)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # each connection is one
    set_bounds(settings.decoder.bounds)
    database, archive = open_database(settings.database_path, at_once=False), Archive(settings.node.data)
    life = Life(database, "web", supervisor)
    life.end_on_signals()
    ticker = clock.Ticker(life.faults.met)
    lists = partial(settings.worklist.lists, may_take=load_rules(settings.routes_path).may_take)
    decoding = Decoders(limit_s=settings.decoder.time_s, memory_bytes=settings.decoder.memory_bytes)
    with life.lived(), decoding as decoders:
        ticker.every(BEAT_EVERY_S, life.report, "report")
        with suppress(OSError):  # a disk that is full or read-only now
            archive.clear_incoming()
        receiver = Receiver(database, archive, decoders, lists)
        storing = Storing(
            archive.spool,
            receiver.store,
            receiver.ended,
            partial(note_refusal, database),
            settings.node.ae_title,
            settings.network.object_bytes,
        )
        config = server_config(
            build_app(database, archive, settings, storing, decoders),
            settings.web,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=OPEN_REQUESTS_S,
        )
        life.promise(doing="starting")
        place = try_again(lambda: listen(settings.web.host, settings.web.port))
        life.port = place.getsockname()[1]
        run_server(uvicorn.Server(config), place, life)
        ticker.stop(ENDING_S)


def run_server(server: "uvicorn.Server", place: socket.socket, life: Life) -> None:
    """Serve until told to end; in a thread, since uvicorn would take the signals and end the process by them."""
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, name="server", daemon=True)
    thread.start()
    while thread.is_alive() and not life.ending.is_set():
        if server.started:
            life.promise()
        life.ending.wait(BEAT_EVERY_S)
    server.handle_exit(signal.SIGTERM, None)
    thread.join(OPEN_REQUESTS_S + ENDING_S)


def listen(host: str, port: int) -> socket.socket:
    """The socket of the page; CommandError when it cannot be had."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
