"""The `serve` command: supervises the processes and says where the page is as soon as it answers."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress

import structlog

from dicom_node import clock
from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.faults import Teller, fault_of
from dicom_node.processes.life import Life, only_one, take_folder
from dicom_node.processes.running import page_at
from dicom_node.processes.supervisor import Supervisor
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.tables import processes
from dicom_node.tables.database import open_database

PROCESSES = ("node", "worker", "web")
LOOK_EVERY_S = 0.25
log = structlog.get_logger()


def serve(settings: Settings, options: list[str], say: Callable[[str], object]) -> None:
    """Run node, worker and web until SIGTERM or Ctrl-C; `options` are the command line options the processes get.

    Whether the database can be used is the processes' business: they wait for it.
    """
    take_folder(settings)
    load_rules(settings.routes_path)
    with only_one(settings.node.data, "serve"):
        life = Life(open_database(settings.database_path, at_once=False), "serve")
        life.end_on_signals()
        log.info("started", pid=os.getpid())
        tidy(settings)
        supervisor, teller = Supervisor(settings.node.data, PROCESSES, options), Teller()
        announced = False
        try:
            while not life.ending.is_set():
                supervisor.look(clock.monotonic())
                teller.tell(supervisor.troubles())
                life.ending.wait(LOOK_EVERY_S)
                announced = announced or announce(settings, supervisor, say)
        finally:
            supervisor.stop()
            log.info("ended", pid=os.getpid())


def tidy(settings: Settings) -> None:
    """Check the rules against the models, and forget what the last run has said; put off where it cannot be done."""
    database = open_database(settings.database_path, at_once=False)
    try:
        with database.write(patience_s=1.0) as tx:
            load_rules(settings.routes_path).check_pipelines(questions_of_pipelines(tx))
            processes.unpublish(tx, "dicom_port", "web_port")
            processes.forget_beats(tx)
    except (sqlite3.Error, OSError) as error:
        if fault_of(error, settings.database_path) is None:
            raise


def announce(settings: Settings, supervisor: Supervisor, say: Callable[[str], object]) -> bool:
    """Say where the node is, once its page answers; whether it does."""
    known = supervisor.signs()
    web, node = known.get("web"), known.get("node")
    address = page_at(settings, web.port) if web and web.port else None
    if address is None:
        return False
    with suppress(OSError):  # nobody listens, or the disk that it goes to is full
        say(f"AE title {settings.node.ae_title}, DICOM port {(node.port if node else None) or 'not open yet'}")
        say(f"worklist: {address}")
    return True
