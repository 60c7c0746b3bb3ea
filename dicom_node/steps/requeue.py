"""Requeue: frees jobs whose worker has died, so that another takes them."""

import structlog

from dicom_node import clock
from dicom_node.derived import candidates, flag
from dicom_node.entities import JobKind, JobState
from dicom_node.settings import Analyse
from dicom_node.tables import jobs
from dicom_node.tables.database import Database

log = structlog.get_logger()


def expire_leases(database: Database, settings: Analyse, now: float) -> int:
    """Queue jobs again whose lease has run out, or leave them failed; how many there were."""
    with database.read() as tx:
        if not jobs.any_expired(tx, now):
            return 0
    with database.write() as tx:
        expired = jobs.expire(tx, now, settings.attempts)
        for job in expired:
            if job.state is JobState.FAILED and job.kind is not JobKind.PREVIEW:
                candidates.reconsider(tx, job.study_uid, job.question)
            flag.refresh(tx, job.study_uid, clock.utc_now())
    for job in expired:
        log.warning("a worker stopped during an analysis", job=job.job_id, attempts=job.attempts, now=str(job.state))
    return len(expired)
