"""The `serve` command: supervises the processes and says where the page is as soon as it answers."""

from collections.abc import Callable

from dicom_node import clock
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.processes.life import Life, only_one
from dicom_node.processes.running import answering_page, published
from dicom_node.processes.supervisor import Supervisor
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.tables import processes
from dicom_node.tables.database import open_database

PROCESSES = ("node", "worker", "web")
LOOK_EVERY_S = 0.25


def serve(settings: Settings, options: list[str], say: Callable[[str], object]) -> None:
    """Run node, worker and web until SIGTERM or Ctrl-C; `options` are the command line options the processes get."""
    rules = load_rules(settings.routes_path)
    with only_one(settings.node.data, "serve"):
        database = open_database(settings.database_path)
        with database.write() as tx:
            rules.check_pipelines(questions_of_pipelines(tx))
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
                port = published(database, "dicom_port") or "not open yet"
                say(f"AE title {settings.node.ae_title}, DICOM port {port}")
                say(f"worklist: {address}")
                said = True
        supervisor.stop()
