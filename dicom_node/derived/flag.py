"""Flag: what the reader's list says of a study, derived from the rows that stand there.

Called inside the transaction that changes those rows, so the list never lags behind. Each question says its part; the
study has the highest urgency of its parts. A flag is raised at once; it is lowered only by a reader: a later result
that no longer suspects says so and stays on top until acknowledged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.derived import growth, quality
from dicom_node.derived.candidates import analyses_of
from dicom_node.entities import UNDER_WAY, Analysis, Choice, ChoiceKind, ItemState, Job, JobState, Urgency
from dicom_node.tables import feedback, instances, jobs, results, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.worklist import (
    CERTAIN_FROM,
    LARGE_ML,
    Part,
    Standing,
    Tier,
    WorklistItem,
    possible_kinds,
    present_findings,
)
from inference.change import Growth
from inference.findings import Band
from inference.pipelines.registry import QUESTIONS, question_of
from reports.vocabulary.terms import vocabulary_of

UNSEEN = (ItemState.UNREAD, ItemState.OPENED)
IN_PROGRESS = (Standing.RECEIVING, Standing.QUEUED)
BY_URGENCY = (Urgency.HIGH, Urgency.MEDIUM, Urgency.LOW)


@dataclass(frozen=True, slots=True)
class Known:
    """What the tables say of one question about a study; `receiving`: images may still come."""

    question: str
    analyses: tuple[Analysis, ...]
    jobs: tuple[Job, ...]
    choices: tuple[Choice, ...]
    growth: Growth | None
    receiving: bool

    @property
    def was_asked(self) -> bool:
        """Whether a series was ever sent to a pipeline for it."""
        return bool(self.analyses or self.jobs)


def note_arrival(
    tx: Transaction, study_uid: str, now: datetime, scanned_at: datetime | None = None, wanted: bool = True
) -> None:
    """An image of the study has come: it waits from now on, on the list where such images are wanted there."""
    item = worklist.get(tx, study_uid)
    if item is None:
        item = WorklistItem(study_uid, Urgency.MEDIUM, ItemState.WAITING, now, now, listed=False)
    scanned = min((each for each in (item.scanned_at, scanned_at) if each is not None), default=None)
    worklist.put(tx, replace(item, waiting_since=now, scanned_at=scanned, listed=item.listed or wanted))


def refresh(tx: Transaction, study_uid: str, now: datetime) -> None:
    """Bring the study's row up to what its series, jobs and results say now."""
    item = worklist.get(tx, study_uid)
    if item is None:
        return
    questions = gather(tx, study_uid)
    before = {part.question: part for part in item.parts}
    parts = [part_of(known, before.get(known.question), item.state) for known in questions]
    worklist.put(tx, with_parts(item, parts, before, now))
    for part in parts:
        if item.listed and part.standing not in IN_PROGRESS:
            quality.note_outcome(tx, study_uid, part.question)


def note_missed(tx: Transaction, study_uid: str) -> None:
    """A reader reports what no result suspected, or takes that back: the study's row moves for everyone.

    What was acknowledged or read before such a report is unread again.
    """
    item = worklist.get(tx, study_uid)
    if item is None:
        return
    reports = feedback.missed(tx, study_uid)
    readers = list(dict.fromkeys(each.reader for each in reports))
    told = ", ".join(readers)
    if told == item.missed_by:
        return
    is_new = any(each not in item.missed_by.split(", ") for each in readers)
    back = is_new and item.state in (ItemState.ACKNOWLEDGED, ItemState.READ)
    changed = replace(
        item,
        missed_by=told,
        missed_at=max((each.given_at for each in reports), default=None),
        tier=Tier.LARGE if told else tier_of(item.parts),
        state=ItemState.UNREAD if back else item.state,
        acted_at=None if back else item.acted_at,
    )
    worklist.put(tx, changed)


def gather(tx: Transaction, study_uid: str) -> list[Known]:
    """What is known of each question that speaks of this study.

    A question for which every series was declined by a rule is left out where another one was asked: nobody wanted it
    answered for such a study.
    """
    analyses, asked = results.analyses_of_study(tx, study_uid), analyses_of(tx, study_uid)
    choices = jobs.choices_of_study(tx, study_uid)
    receiving = instances.is_receiving(tx, study_uid)
    names = (
        {each.question for each in analyses} | {each.question for each in asked} | {each.question for each in choices}
    )
    found = [
        Known(
            question,
            tuple(each for each in analyses if each.question == question),
            tuple(each for each in asked if each.question == question),
            tuple(each for each in choices if each.question == question),
            growth.of_result(tx, next((each for each in reversed(analyses) if each.question == question), None)),
            receiving,
        )
        for question in sorted(names, key=in_order)
    ]
    return [known for known in found if known.was_asked] or found


def in_order(question: str) -> tuple[int, str]:
    """The order in which questions are shown: that of the registry."""
    return (QUESTIONS.index(question) if question in QUESTIONS else len(QUESTIONS), question)


def part_of(known: Known, before: Part | None, state: ItemState) -> Part:
    """What one question says now."""
    return with_result(known, before, state) if known.analyses else without_result(known)


def with_result(known: Known, before: Part | None, state: ItemState) -> Part:
    """The part of a question that was answered. The same result and the same comparison seen again change nothing."""
    latest, earlier = known.analyses[-1], known.analyses[:-1]
    again = before is not None and before.version == latest.version
    high = before is not None and before.urgency is Urgency.HIGH
    urgency = Urgency.HIGH if latest.suspected and question_of(known.question).urgent else Urgency.LOW
    if before is not None and (again or (high and earlier and state in UNSEEN)):
        urgency = before.urgency
    grown = known.growth is not None and known.growth.grown
    raised_by = max((each.version for each in earlier if each.suspected), default=0)
    standing = Standing.POSITIVE if latest.suspected else Standing.NEGATIVE
    return Part(
        question=known.question,
        standing=Standing.LOWERED if urgency is Urgency.HIGH and not latest.suspected else standing,
        urgency=urgency,
        version=latest.version,
        probability=latest.probability,
        findings=present_findings(latest.findings) if latest.suspected else (),
        raised_by=raised_by,
        incomplete=latest.incomplete,
        growth=known.growth,
        growth_lowered=before is not None and before.grown and not grown and state in UNSEEN,
        band=latest.band,
        kinds=possible_kinds(latest.findings) if latest.suspected else (),
    )


def without_result(known: Known) -> Part:
    """The part of a question that no pipeline has answered yet."""
    failed = [job for job in known.jobs if job.state is JobState.FAILED]
    declined = [choice for choice in known.choices if choice.kind is ChoiceKind.DECLINED]
    part = Part(known.question, Standing.RECEIVING, Urgency.MEDIUM)
    if any(job.state in UNDER_WAY for job in known.jobs):
        return replace(part, standing=Standing.QUEUED)
    if failed:
        part = replace(part, standing=Standing.FAILED, reason=failed[-1].error or "", job_id=failed[-1].job_id)
    elif declined:
        part = replace(part, standing=Standing.NOT_ANALYSED, reason=declined[0].reason)
    return replace(part, standing=Standing.RECEIVING) if known.receiving else part


def with_parts(item: WorklistItem, parts: list[Part], before: dict[str, Part], now: datetime) -> WorklistItem:
    """The study's row with what its questions say: unread again where there is news that nobody has seen."""
    spoken = [part for part in parts if part.standing not in IN_PROGRESS]
    urgency = next((each for each in BY_URGENCY if any(part.urgency is each for part in spoken)), Urgency.MEDIUM)
    raised = any(is_raised(part, before.get(part.question), item) for part in parts)
    if not spoken:
        state = ItemState.WAITING
    elif raised or any(is_news(part, before.get(part.question), item) for part in spoken):
        state = ItemState.UNREAD
    else:
        state = item.state
    return replace(
        item,
        parts=tuple(parts),
        urgency=urgency,
        state=state,
        acted_at=item.acted_at if state is item.state and state is not ItemState.WAITING else None,
        flagged_at=now if raised else item.flagged_at,
        version=sum(part.version for part in parts),
        grown=any(part.grown for part in parts),
        tier=Tier.LARGE if item.missed_by else tier_of(parts),
        headline="",
    )


def tier_of(parts: Sequence[Part]) -> Tier:
    """How much the urgent questions suspect. What only an earlier result suspected is not less certain for that."""
    urgent = [part for part in parts if part.urgency is Urgency.HIGH]
    if any(volume_of(part) >= LARGE_ML for part in urgent):
        return Tier.LARGE
    lowered = any(part.standing is Standing.LOWERED for part in urgent)
    certain = any(part.band == Band.HIGH or (part.probability or 0) >= CERTAIN_FROM for part in urgent)
    return Tier.MORE_CERTAIN if certain or lowered else Tier.LESS_CERTAIN


def volume_of(part: Part) -> float:
    """All that is drawn, whether it is given as one, by types, or both."""
    whole = vocabulary_of(part.question).whole
    types = sum(each.volume_ml for each in part.findings if each.name != whole)
    return max([types, *(each.volume_ml for each in part.findings if each.name == whole)])


def is_raised(part: Part, before: Part | None, item: WorklistItem) -> bool:
    """Whether the question now suspects what it did not before, or has found growth."""
    if part.urgency is not Urgency.HIGH:
        return False
    found_growth = part.growth is not None and part.growth.grown
    again = before is not None and before.urgency is Urgency.HIGH and item.flagged_at is not None
    return not again or (found_growth and before is not None and not before.grown)


def is_news(part: Part, before: Part | None, item: WorklistItem) -> bool:
    """Whether a reader who has not acknowledged the study has not seen this yet.

    Any reason why not analysed counts, if it was not said already while more images came.
    """
    if item.state is ItemState.WAITING:
        return True
    if part.has_result:
        again = before is not None and before.version == part.version
        return not again and item.state not in (ItemState.ACKNOWLEDGED, ItemState.READ)
    return before is None or (before.reason, before.job_id) != (part.reason, part.job_id)
