"""The `serve` command: supervises the processes and says where the page is as soon as it answers."""

import urllib.error
import urllib.request
from collections.abc import Callable

from dicom_node import clock
from dicom_node.life import Life, only_one
from dicom_node.settings import Settings
from dicom_node.steps.rules import load_rules
from dicom_node.supervisor import Supervisor
from dicom_node.tables import models, processes
from dicom_node.tables.database import Database, open_database

PROCESSES = ("node", "worker", "web")
LOOK_EVERY_S = 0.25
ANYWHERE = ("0.0.0.0", "::", "")


def serve(settings: Settings, options: list[str], say: Callable[[str], object]) -> None:
    """Run node, worker and web until SIGTERM or Ctrl-C; `options` are the command line options the processes get."""
    rules = load_rules(settings.routes_path)
    with only_one(settings.node.data, "serve"):
        database = open_database(settings.database_path)
        with database.write() as tx:
            rules.check_pipelines(models.pipelines(tx))
            processes.unpublish(tx, "dicom_port", "web_port")
            processes.forget_beats(tx)
        life = Life(database, "serve")
        life.end_on_signals()
        supervisor = Supervisor(database, PROCESSES, options)
        said = False
        while not life.ending.is_set():
            supervisor.look(clock.monotonic())
            life.ending.wait(LOOK_EVERY_S)
            if not said and (address := answering_page(settings, database)):
                port = _published(database, "dicom_port") or "not open yet"
                say(f"AE title {settings.node.ae_title}, DICOM port {port}")
                say(f"worklist: {address}")
                said = True
        supervisor.stop()


def answering_page(settings: Settings, database: Database) -> str | None:
    """The address of the worklist page, once it answers."""
    port = _published(database, "web_port")
    if port is None:
        return None
    host = "127.0.0.1" if settings.web.host in ANYWHERE else settings.web.host
    address = f"http://{host}:{port}/"
    try:
        with urllib.request.urlopen(address, timeout=2):
            return address
    except (urllib.error.URLError, OSError):
        return None


def _published(database: Database, key: str) -> str | None:
    with database.read() as tx:
        return processes.published(tx, key)
