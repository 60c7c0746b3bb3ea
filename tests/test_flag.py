"""What the reader's list says, whatever happens to a study in whatever order: the promises of the flag.

A flag is raised at once and lowered only by a reader; what a reader has acknowledged calls again only for news; a study
that was not analysed says why; it waits only while nothing is known.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series import Core, core_in_memory

from dicom_node.derived import flag
from dicom_node.entities import (
    Analysis,
    Choice,
    ChoiceKind,
    FindingRow,
    Instance,
    ItemState,
    JobKind,
    JobState,
    Scan,
    SeriesState,
    Study,
    Urgency,
)
from dicom_node.headlines import headline
from dicom_node.tables import instances, jobs, results, scans, worklist
from dicom_node.tables.database import Transaction
from dicom_node.tables.worklist import Part, WorklistItem
from inference.pipelines.registry import question_of

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
GREW_ML, SAME_ML, NOW_ML = 10.0, 20.0, 20.0
REASONS = ("Contrast was given.", "Slices are missing.")
SEEN = (ItemState.ACKNOWLEDGED, ItemState.READ)
ACTS = {
    "open": ItemState.OPENED,
    "acknowledge": ItemState.ACKNOWLEDGED,
    "read": ItemState.READ,
    "put back": ItemState.UNREAD,
}
Event = tuple[Any, ...]  # a method of Story, and what it is given
numbers = itertools.count(1)


@dataclass(slots=True)
class Story:
    """One study, to which things happen; every one of them is what a step or a reader does, in the tables alone."""

    tx: Transaction
    questions: tuple[str, ...]
    number: int
    all_urgent: bool
    clock: int = 0
    by_reader: bool = False  # what happened last
    is_fresh: bool = False  # the list has been brought up to what happened last

    @property
    def uid(self) -> str:
        return f"1.2.{self.number}"

    @property
    def now(self) -> datetime:
        return NOON + timedelta(minutes=self.clock)

    def is_urgent(self, question: str) -> bool:
        return self.all_urgent or question_of(question).urgent

    def row(self) -> WorklistItem:
        found = worklist.get(self.tx, self.uid)
        assert found is not None
        return found

    def arrive(self, series: int, own: bool = False) -> None:
        """An image of a series; one of the node's own objects coming back is no news for the list."""
        instance = Instance(
            "1.3", 1, self.uid, f"{self.uid}.{series}", "1.4", "1.5", "CT", Path("/x"), 1, "", NOON, "CT", "NODE"
        )
        instances.put_study(self.tx, Study(self.uid, self.uid, "", "", "", "", "", ""))
        instances.touch_series(self.tx, instance, self.clock)
        if not own:
            flag.note_arrival(self.tx, self.uid, self.now)

    def route(self, kinds: tuple[ChoiceKind, ...], reason: str) -> None:
        """The router decides for the next series, question by question."""
        waiting = [each for each in instances.series_of_study(self.tx, self.uid) if each.state != SeriesState.ROUTED]
        for series in waiting[:1]:
            assert instances.move(self.tx, series, SeriesState.ROUTED)
            for question, kind in zip(self.questions, kinds, strict=False):
                choice = Choice(
                    series.series_uid, self.uid, question, series.revision, kind, "rule", reason, question, 10
                )
                jobs.put_choice(self.tx, choice)
                if kind is ChoiceKind.ANALYSE:
                    jobs.queue(self.tx, JobKind.ANALYSE, choice, 0, NOON)
            self.refresh()

    def work(self, outcome: str) -> None:
        """A worker runs the next job."""
        job = jobs.claim(self.tx, "w", 0.0, 15.0)
        if job is None:
            return
        if outcome in ("suspected", "negative"):
            self.answer(job.question, outcome == "suspected")
            jobs.finish(self.tx, job, "w", JobState.DONE)
        elif outcome == "declined":
            jobs.finish(self.tx, job, "w", JobState.DECLINED, "No head.")
            for choice in jobs.choices_of_study(self.tx, self.uid):
                if (choice.series_uid, choice.question) == (job.series_uid, job.question):
                    jobs.put_choice(self.tx, replace(choice, kind=ChoiceKind.DECLINED, reason="No head."))
        else:
            jobs.put_back(self.tx, job, "w", "out of memory", 0.0, limit=1 if outcome == "failed" else 99)
        self.refresh()

    def answer(self, question: str, suspected: bool, study_uid: str = "", ml: float = NOW_ML) -> None:
        """A result with its scan; that of an earlier study of the patient was scanned an hour before."""
        uid = study_uid or self.uid
        version = results.next_version(self.tx, uid, question)
        finding = FindingRow("intraparenchymal", "274100004", 0.9, suspected, ml * suspected, 0.9 * ml, 1.1 * ml)
        at = NOON - timedelta(hours=1) if study_uid else NOON
        analysis = Analysis(
            uid, question, version, f"{uid}.1", question, suspected, 0.9 if suspected else 0.1, 0.5, (finding,), "m",
            "1", "ab", (), 1.0, self.now,
        )  # fmt: skip
        results.add_analysis(self.tx, analysis)
        scans.add(self.tx, Scan(uid, question, version, self.uid, "", "", "", at, True))

    def earlier(self, ml: float) -> None:
        """The patient's earlier scan is analysed, or analysed again."""
        instances.put_study(self.tx, Study(f"{self.uid}.0", self.uid, "", "", "", "", "", ""))
        self.answer(self.questions[0], True, f"{self.uid}.0", ml)
        self.refresh()

    def earlier_goes(self) -> None:
        scans.forget_study(self.tx, f"{self.uid}.0")
        self.refresh()

    def retry(self) -> None:
        failed = [job for job in jobs.of_study(self.tx, self.uid) if job.state is JobState.FAILED]
        if failed:
            jobs.revive(self.tx, failed[-1].job_id)
        self.refresh()

    def again(self, question: str) -> None:
        """The analysis is queued once more, since its report is out of date."""
        jobs.again(self.tx, self.uid, question, 0)

    def read(self, act: str) -> None:
        """What a reader does."""
        self.by_reader = True
        if act == "put back":
            worklist.put_back(self.tx, self.uid)
        else:
            acts = {"open": worklist.opened, "acknowledge": worklist.acknowledge, "read": worklist.mark_read}
            acts[act](self.tx, self.uid, self.now, "Dr A")

    def refresh(self) -> None:
        self.is_fresh = True
        flag.refresh(self.tx, self.uid, self.now)


def possible(story: Story) -> list[Event]:
    """What may happen next; what brings news stands there more often."""
    waiting = any(each.state != SeriesState.ROUTED for each in instances.series_of_study(story.tx, story.uid))
    analyses = jobs.of_study(story.tx, story.uid)
    kinds = itertools.product(
        (ChoiceKind.ANALYSE, ChoiceKind.DECLINED, ChoiceKind.IGNORED), repeat=len(story.questions)
    )
    found: list[Event] = [(Story.arrive, series, own) for series in (1, 2, 3) for own in (False, True)]
    found += [(Story.route, kind, reason) for kind in kinds for reason in REASONS if waiting]
    if any(job.state is JobState.QUEUED for job in analyses):
        found += [(Story.work, outcome) for outcome in ("suspected", "negative", "declined", "failed", "tried")] * 4
    if any(job.state is JobState.FAILED for job in analyses):
        found += [(Story.retry,)] * 2
    if any(job.state is JobState.DONE for job in analyses):
        found += [(Story.again, question) for question in story.questions] * 2
    found += [(Story.earlier, GREW_ML), (Story.earlier, SAME_ML), (Story.earlier_goes,), (Story.refresh,)]
    state = story.row().state
    return found + [(Story.read, act) for act, others in ACTS.items() if state in worklist.MAY_ACT_FROM[others]] * 4


def raised_at_once(story: Story, before: WorklistItem, after: WorklistItem) -> None:
    for question in story.questions:
        answers = results.analyses_of_study(story.tx, story.uid, question)
        earlier = before.part(question)
        is_new = bool(answers) and (earlier is None or answers[-1].version > earlier.version)
        if is_new and answers[-1].suspected and story.is_urgent(question):
            assert after.urgency is Urgency.HIGH
            if earlier is None or earlier.urgency is not Urgency.HIGH:
                assert (after.state, after.flagged_at) == (ItemState.UNREAD, story.now)
    suspected = [
        each for each in results.analyses_of_study(story.tx, story.uid)
        if each.suspected and story.is_urgent(each.question)
    ]  # fmt: skip
    assert (after.flagged_at is not None) == bool(suspected)


def lowered_only_by_a_reader(before: WorklistItem, after: WorklistItem) -> None:
    if before.state not in SEEN:
        assert after.urgency is Urgency.HIGH or before.urgency is not Urgency.HIGH
        assert after.grown or not before.grown


def calls_again_only_for_news(before: WorklistItem, after: WorklistItem) -> None:
    """What nobody has said before: a suspicion, growth, or a reason why there is no answer."""
    if before.state not in SEEN or after.state is before.state:
        return
    if after.state is ItemState.WAITING:
        assert not before.version
        return
    assert after.state is ItemState.UNREAD
    assert any(is_news(part, before.part(part.question)) for part in after.parts)


def is_news(part: Part, before: Part | None) -> bool:
    if not part.has_result:
        return before is None or (part.reason, part.job_id) != (before.reason, before.job_id)
    if part.urgency is not Urgency.HIGH:
        return False
    return before is None or before.urgency is not Urgency.HIGH or (part.grown and not before.grown)


def waits_only_while_nothing_is_known(story: Story, after: WorklistItem) -> None:
    """And what is known is said: the reason of every question that has no answer."""
    receiving = any(each.state != SeriesState.ROUTED for each in instances.series_of_study(story.tx, story.uid))
    under_way = [each.question for each in jobs.of_study(story.tx, story.uid) if each.state in ("queued", "running")]
    known = [part for part in after.parts if part.has_result]
    for part in after.parts:
        if not (part.has_result or receiving or part.question in under_way) and reasons(story, part.question):
            known.append(part)
            assert any(reason in headline(after) for reason in reasons(story, part.question))
    assert bool(known) == (after.state is not ItemState.WAITING)
    assert all(part.question not in under_way or part.has_result or not part.reason for part in after.parts)
    if not any(part.has_result for part in after.parts):
        assert (after.urgency, after.version, after.flagged_at) == (Urgency.MEDIUM, 0, None)


def reasons(story: Story, question: str) -> list[str]:
    """Why the question has no answer, as the tables have it."""
    failed = [each.error or "" for each in jobs.of_study(story.tx, story.uid)
              if each.question == question and each.state is JobState.FAILED]  # fmt: skip
    choices = jobs.choices_of_study(story.tx, story.uid)
    return failed or [each.reason for each in choices if each.question == question and each.kind == "declined"]


@pytest.fixture(scope="module")
def node() -> Iterator[Core]:
    with core_in_memory() as made:
        yield made


@pytest.mark.usefixtures("second_question")
@pytest.mark.parametrize(
    ("questions", "urgent"),
    [(("haemorrhage",), False), (("haemorrhage", "skull_present"), False), (("haemorrhage", "skull_present"), True)],
    ids=["one question", "a quiet one beside it", "two urgent ones"],
)
def test_the_promises_hold_whatever_happens(
    node: Core, monkeypatch: pytest.MonkeyPatch, questions: tuple[str, ...], urgent: bool
) -> None:
    if urgent:  # the second, too
        monkeypatch.setattr(flag, "question_of", lambda name: replace(question_of(name), urgent=True))

    @settings(max_examples=200)
    @given(st.data(), st.integers(1, 40))
    def tell(data: st.DataObject, length: int) -> None:
        with node.database.write() as tx:
            story = Story(tx, questions, next(numbers), urgent)
            story.arrive(1)
            for _ in range(length):
                act, *details = data.draw(st.sampled_from(possible(story)))
                story.clock, story.by_reader, story.is_fresh = story.clock + 1, False, False
                before = story.row()
                act(story, *details)
                check(story, before)
            tx.run("UPDATE jobs SET state = 'superseded'")

    tell()


def check(story: Story, before: WorklistItem) -> None:
    """Every promise, after one more thing has happened; looking at the study again changes nothing."""
    after = story.row()
    if story.by_reader:
        assert replace(before, state=after.state, reader=after.reader, acted_at=after.acted_at) == replace(
            after, acknowledged_at=before.acknowledged_at
        )
    elif story.is_fresh:
        raised_at_once(story, before, after)
        lowered_only_by_a_reader(before, after)
        calls_again_only_for_news(before, after)
        waits_only_while_nothing_is_known(story, after)
        flag.refresh(story.tx, story.uid, story.now + timedelta(seconds=30))
        assert story.row() == after
