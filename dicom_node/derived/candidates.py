"""The series of a study that may answer a question: which analysis stands, and who is asked next when it fails."""

from dataclasses import replace
from datetime import datetime

from dicom_node.entities import NOT_ANALYSED, Choice, ChoiceKind, Job, JobState, SeriesState
from dicom_node.tables import instances, jobs
from dicom_node.tables.database import Transaction

UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.DONE)


LAST = -1_000_000


def ask_for_picture(tx: Transaction, choice: Choice, now: datetime) -> None:
    """Queue the picture that says why; one that waits for the same study already is superseded."""
    jobs.queue(tx, replace(choice, pipeline=NOT_ANALYSED), priority=LAST, now=now)


def standing_job(tx: Transaction, choice: Choice) -> Job | None:
    """The study's newest analysis by this pipeline that is done or under way."""
    found = [job for job in jobs.of_study(tx, choice.study_uid) if job.pipeline == choice.pipeline]
    return next((job for job in reversed(found) if job.state in UNFINISHED), None)


def reconsider(tx: Transaction, study_uid: str) -> None:
    """The series that was chosen turned out not to be analysable: let the ones that were not needed be routed again."""
    for choice in jobs.choices_of_study(tx, study_uid):
        series = instances.get_series(tx, choice.series_uid)
        if choice.kind is ChoiceKind.NOT_NEEDED and series is not None and series.state is SeriesState.ROUTED:
            instances.move(tx, series, SeriesState.COMPLETE)
