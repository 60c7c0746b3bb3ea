"""The small pictures that the list plays: which series of a study they show, and when they are made.

They show the series of the question's latest result, or else the best of those that were not analysed. They are asked
for in the transaction that commits the result or the reason why there is none, and made when nothing else is to do.
"""

from dataclasses import dataclass
from datetime import datetime

from dicom_node.derived.candidates import LAST, analyses_of
from dicom_node.entities import UNDER_WAY, Choice, ChoiceKind, JobState
from dicom_node.tables import instances, jobs, results, worklist
from dicom_node.tables.database import Transaction

AFTER_ALL_ELSE = 2 * LAST
WAITED_FOR = AFTER_ALL_ELSE + 1  # a reader has asked: before other small pictures


@dataclass(frozen=True, slots=True)
class Subject:
    """What the small pictures of a study show: a series as it now is, and the result on it (`version` 0: none)."""

    study_uid: str
    question: str
    version: int
    series_uid: str
    revision: int


def subject_of(tx: Transaction, study_uid: str, question: str) -> Subject | None:
    """What there is to show; None while there is neither a result nor a reason why there is none."""
    latest = max(results.analyses_of_study(tx, study_uid, question), key=lambda each: each.version, default=None)
    if latest is not None:
        series = instances.get_series(tx, study_uid, latest.series_uid)
        return Subject(study_uid, question, latest.version, series.series_uid, series.revision) if series else None
    if any(job.state in UNDER_WAY for job in analyses_of(tx, study_uid) if job.question == question):
        return None
    failed = {each.series_uid for each in analyses_of(tx, study_uid) if each.state is JobState.FAILED}
    shown = [
        choice
        for choice in jobs.choices_of_study(tx, study_uid)
        if choice.question == question and (choice.kind is ChoiceKind.DECLINED or choice.series_uid in failed)
    ]
    best = min(shown, key=lambda each: (each.rank, -images(tx, each)), default=None)
    return Subject(study_uid, question, 0, best.series_uid, best.revision) if best else None


def images(tx: Transaction, choice: Choice) -> int:
    """How many images a series has."""
    return len(instances.of_series(tx, choice.study_uid, choice.series_uid))


def ask(tx: Transaction, study_uid: str, question: str, now: datetime) -> None:
    """Let the small pictures be made of what stands now; of studies that are on the list only."""
    item, subject = worklist.get(tx, study_uid), subject_of(tx, study_uid, question)
    if item is not None and item.listed and subject is not None:
        queue(tx, subject, AFTER_ALL_ELSE, now)


def ask_now(tx: Transaction, study_uid: str, question: str, now: datetime) -> bool:
    """A reader waits for the small pictures; False where there is nothing to show, or they could not be made."""
    subject, known = subject_of(tx, study_uid, question), jobs.last_preview(tx, study_uid, question)
    if subject is None:
        return False
    same = known is not None and (known.series_uid, known.revision) == (subject.series_uid, subject.revision)
    if known is not None and same and known.state in (JobState.RUNNING, JobState.DECLINED, JobState.FAILED):
        return known.state is JobState.RUNNING
    queue(tx, subject, WAITED_FOR, now)
    return True


def queue(tx: Transaction, subject: Subject, priority: int, now: datetime) -> None:
    """A job for the small pictures of a series."""
    jobs.queue_preview(tx, subject.study_uid, subject.question, subject.series_uid, subject.revision, priority, now)
