"""The process of the page."""

import resource
from functools import partial

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.dicom.decoding import Decoders
from dicom_node.processes.life import BEAT_EVERY_S, Life
from dicom_node.processes.node import note_refusal
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.steps.receive import Receiver
from dicom_node.tables import processes
from dicom_node.tables.database import open_database
from inference.input.bounds import set_bounds


def run_web(settings: Settings, supervisor: int | None = None) -> None:
    """The page, until told to end."""
    import uvicorn

    from dicom_node.web.app import build_app
    from dicom_node.web.connections import server_config
    from dicom_node.web.dicomweb.context import Storing

    database, archive = open_database(settings.database_path), Archive(settings.node.data)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # each connection is one
    set_bounds(settings.decoder.bounds)
    decoders = Decoders(limit_s=settings.decoder.time_s, memory_bytes=settings.decoder.memory_bytes)
    archive.clear_incoming()
    life, ticker = Life(database, "web", supervisor), clock.Ticker()
    lists = partial(settings.worklist.lists, may_take=load_rules(settings.routes_path).may_take)
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
        host=settings.web.host,
        port=settings.web.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    def beat() -> None:
        life.check_supervisor()
        if life.ending.is_set():
            server.should_exit = True
        elif server.started and not server.should_exit:
            port = server.servers[0].sockets[0].getsockname()[1]
            with database.write() as tx:
                processes.publish(tx, "web_port", str(port))
            life.promise()

    ticker.every(BEAT_EVERY_S, beat, "beat")
    server.run()
    decoders.close()
    ticker.stop()
    life.finish()
