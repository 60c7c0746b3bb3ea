"""The analysing process: runs queued jobs until told to end."""

import os
import uuid
from functools import partial
from typing import TYPE_CHECKING

import structlog

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.entities import Job
from dicom_node.processes.life import BEAT_EVERY_S, BEAT_LASTS_S, Life
from dicom_node.routes import Rules, load_rules
from dicom_node.settings import Settings
from dicom_node.tables.database import open_database
from inference.errors import InferenceError

if TYPE_CHECKING:
    from inference.engines.local import Engine

log = structlog.get_logger()


def run_worker(settings: Settings, supervisor: int | None = None) -> None:
    """The analysing side: runs queued jobs until told to end."""
    from dicom_node.models.store import ModelStore, open_engine
    from dicom_node.steps.analyse import analyse_next
    from dicom_node.steps.preview import make_preview
    from reports.build import warm_up

    database, archive = open_database(settings.database_path), Archive(settings.node.data)
    life = Life(database, "worker", supervisor)
    life.end_on_signals()
    life.promise(settings.analyse.timeout_s, "loading the model")
    engine = open_engine(settings, ModelStore(settings.node.data, database).card_for)
    load_models(engine, load_rules(settings.routes_path))
    warm_up(clock.utc_now())
    log.info("ready to analyse", device=str(engine.device))
    owner = f"worker {os.getpid()} {uuid.uuid4().hex[:8]}"
    preview = partial(make_preview, database, archive)

    def begin(job: Job) -> None:
        life.promise(settings.analyse.timeout_s, f"analysing job {job.job_id}")

    next_beat = 0.0
    while not life.ending.is_set():
        life.check_supervisor()
        if clock.monotonic() >= next_beat:
            life.promise(BEAT_LASTS_S, "waiting for work")
            next_beat = clock.monotonic() + BEAT_EVERY_S
        if analyse_next(database, archive, settings, engine, owner, begin, preview):
            next_beat = 0.0
        else:
            life.ending.wait(0.1)
    life.finish()


def load_models(engine: "Engine", rules: Rules) -> None:
    """Load what the rules need. A model that cannot be used is logged, and its jobs fail until it is mended."""
    for pipeline in sorted(rules.pipelines):
        try:
            engine.warm_up([pipeline])
        except InferenceError as error:
            log.error("a model cannot be used", pipeline=pipeline, error=str(error))
