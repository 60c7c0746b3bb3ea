"""The series of a study that may answer a question: which analysis stands, and who is asked next when it fails."""

from datetime import datetime

from dicom_node.entities import UNDER_WAY, Choice, ChoiceKind, Job, JobKind, JobState, SeriesState
from dicom_node.tables import instances, jobs, models
from dicom_node.tables.database import Transaction
from inference.pipelines.registry import QUESTIONS

LAST = -1_000_000


def questions_of_pipelines(tx: Transaction) -> dict[str, str]:
    """The question that each pipeline answers: those of the package, and installed models by their names."""
    return models.questions(tx) | {question: question for question in QUESTIONS}


def ask_for_notice(tx: Transaction, choice: Choice, now: datetime) -> None:
    """Queue what says why there is no result; one that waits for the same question already is superseded."""
    jobs.queue(tx, JobKind.EXPLAIN, choice, priority=LAST, now=now)


def standing_job(tx: Transaction, choice: Choice) -> Job | None:
    """The newest analysis for this question that is done or under way."""
    found = [job for job in analyses_of(tx, choice.study_uid) if job.question == choice.question]
    return next((job for job in reversed(found) if job.state in (*UNDER_WAY, JobState.DONE)), None)


def analyses_of(tx: Transaction, study_uid: str) -> list[Job]:
    """The study's analyses, oldest first, without the pictures that only explain."""
    return [job for job in jobs.of_study(tx, study_uid) if job.kind is JobKind.ANALYSE]


def reconsider(tx: Transaction, study_uid: str, question: str) -> None:
    """The series that was chosen turned out not to be analysable: let the ones that were not needed be routed again."""
    for choice in jobs.choices_of_study(tx, study_uid):
        if choice.question == question and choice.kind is ChoiceKind.NOT_NEEDED:
            series = instances.get_series(tx, study_uid, choice.series_uid)
            if series is not None and series.state is SeriesState.ROUTED:
                instances.move(tx, series, SeriesState.COMPLETE)
