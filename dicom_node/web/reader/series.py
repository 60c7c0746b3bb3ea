"""The series of a study as a reader knows them: number, description, images, and what became of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydicom import dcmread

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.dicom.headers import text_of
from dicom_node.entities import Choice, ChoiceKind, Job, JobKind, JobState
from dicom_node.tables.views.overview import SeriesRow
from dicom_node.web import words
from reports.vocabulary.terms import vocabulary_of

SAID = {
    ChoiceKind.ANALYSE: "Analysed",
    ChoiceKind.NOT_NEEDED: "Not needed",
    ChoiceKind.DECLINED: "Not analysed",
    ChoiceKind.IGNORED: "No images to analyse",
}
SAID_OF_JOB = {
    JobState.QUEUED: "Waiting for its analysis",
    JobState.RUNNING: "Being analysed",
    JobState.DONE: "Analysed",
    JobState.DECLINED: "Not analysed",
    JobState.FAILED: "Analysis failed",
    JobState.SUPERSEDED: "Not needed",
}


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """What became of a series for one question, and why; `question` is its title where there are several."""

    said: str
    why: str
    question: str
    rule: str


@dataclass(frozen=True, slots=True)
class ShownSeries:
    """One line of the table of series; `number` and `description` are empty where its images do not say them."""

    row: SeriesRow
    number: str
    description: str
    outcomes: tuple[SeriesOutcome, ...]


def shown_series(row: SeriesRow, file: Path | None, choices: Sequence[Choice], jobs: Sequence[Job]) -> ShownSeries:
    """A series with the choices and jobs that are about it."""
    number, description = named(file) if file else ("", "")
    asked = [job for job in jobs if job.series_uid == row.series_uid and job.kind is JobKind.ANALYSE]
    outcomes = [outcome(choice, asked, several=len(choices) > 1) for choice in choices]
    return ShownSeries(row, number, description, tuple(outcomes))


def outcome(choice: Choice, jobs: Sequence[Job], several: bool) -> SeriesOutcome:
    """What became of a choice, by the last job that came of it."""
    question = vocabulary_of(choice.question).target.title if several else ""
    job = next((job for job in jobs if job.question == choice.question), None)
    if choice.kind is not ChoiceKind.ANALYSE or job is None:
        why = "" if choice.kind is ChoiceKind.ANALYSE else words.choice_reason(choice)
        return SeriesOutcome(SAID[choice.kind], why, question, choice.rule)
    tried = f" (A{job.job_id}, attempts: {job.attempts})" if job.state is not JobState.DECLINED else ""
    why = f"{job.error}{tried}" if job.error else ""
    return SeriesOutcome(SAID_OF_JOB[job.state], why, question, choice.rule)


@lru_cache(maxsize=2000)
def named(file: Path) -> tuple[str, str]:
    """Series Number and Series Description of an image; a stored file never changes."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesNumber", "SeriesDescription"])
        return text_of(header, "SeriesNumber"), text_of(header, "SeriesDescription")
    except UNREADABLE:
        return "", ""
