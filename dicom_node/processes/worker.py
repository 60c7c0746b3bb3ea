"""The analysing process: runs queued jobs until told to end."""

import os
import sqlite3
import uuid
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.entities import Job
from dicom_node.processes.life import BEAT_EVERY_S, BEAT_LASTS_S, ENDING_S, Life, take_folder
from dicom_node.routes import load_rules
from dicom_node.settings import Settings
from dicom_node.tables.database import open_database
from inference.errors import InferenceError
from inference.input.bounds import set_bounds

if TYPE_CHECKING:
    from inference.engines.local import Engine

FAULT_WAIT_S = 1.0
MODELS_EVERY_S = 10.0  # how often it is asked whether the models can be used
log = structlog.get_logger()


def run_worker(settings: Settings, supervisor: int | None = None) -> None:
    """The analysing side: runs queued jobs until told to end."""
    from dicom_node.models.store import ModelStore, open_engine
    from dicom_node.steps.analyse import analyse_next
    from dicom_node.steps.preview import make_preview
    from reports.build import warm_up

    take_folder(settings)
    set_bounds(settings.decoder.bounds)
    database, archive = open_database(settings.database_path, at_once=False), Archive(settings.node.data)
    life = Life(database, "worker", supervisor)
    life.end_on_signals()
    ticker = clock.Ticker(life.faults.met)
    owner = f"worker {os.getpid()} {uuid.uuid4().hex[:8]}"
    preview = partial(make_preview, database, archive)

    def begin(job: Job) -> None:
        life.promise(settings.analyse.timeout_s, f"analysing job {job.job_id}")

    with life.lived():
        life.promise(settings.analyse.timeout_s, "loading the model")
        ticker.every(BEAT_EVERY_S, life.report, "report")
        engine = open_engine(settings, ModelStore(settings.node.data, database).card_for)
        pipelines, look_at = load_rules(settings.routes_path).pipelines, 0.0
        warm_up(clock.utc_now())
        log.info("ready to analyse", device=str(engine.device))
        while not life.ending.is_set():
            try:
                if clock.monotonic() >= look_at:
                    life.promise(settings.analyse.timeout_s, "loading the model")
                    life.faults.note_models(unusable_models(engine, pipelines))
                    look_at = clock.monotonic() + MODELS_EVERY_S
                life.promise(BEAT_LASTS_S, "waiting for work")
                if not analyse_next(database, archive, settings, engine, owner, begin, preview):
                    life.ending.wait(0.1)
            except (sqlite3.Error, OSError) as error:
                if life.faults.met(error) is None:
                    raise
                life.ending.wait(FAULT_WAIT_S)
        ticker.stop(ENDING_S)


def unusable_models(engine: "Engine", pipelines: Iterable[str]) -> list[str]:
    """Load what the rules need; what is wrong with each model that cannot be used: its jobs fail until it is mended."""
    found = []
    for pipeline in sorted(pipelines):
        try:
            engine.warm_up([pipeline])
        except InferenceError as error:
            found.append(str(error))
    return found
