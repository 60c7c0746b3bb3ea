"""The reader's list: its order, and flags that are raised at once and never lowered in silence."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from series import Core, core_in_memory, ct, head

from dicom_node.entities import (
    Analysis,
    Choice,
    ChoiceKind,
    FindingRow,
    ItemState,
    JobState,
    SeriesState,
    Urgency,
    WorklistItem,
)
from dicom_node.steps import flag
from dicom_node.tables import instances, jobs, results, worklist

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CAP, LEAVE = timedelta(minutes=60), timedelta(hours=24)
STUDY, SERIES = str(ct(0).StudyInstanceUID), str(ct(0).SeriesInstanceUID)
HIGH, MEDIUM, LOW = Urgency.HIGH, Urgency.MEDIUM, Urgency.LOW
UNREAD, WAITING, ACKNOWLEDGED, CLOSED = (
    ItemState.UNREAD,
    ItemState.WAITING,
    ItemState.ACKNOWLEDGED,
    ItemState.CLOSED,
)


@pytest.fixture
def node() -> Iterator[Core]:
    """A node that has received one head."""
    with core_in_memory() as made:
        made.receive(head())
        yield made


def fill(node: Core, *rows: tuple[str, Urgency, ItemState, float]) -> None:
    """Worklist rows: name, urgency, state, minutes since the last image."""
    with node.database.write() as tx:
        worklist.forget_study(tx, STUDY)
        for name, urgency, state, minutes in rows:
            instances.put_study(tx, instances.Study(name, "", "", "", "", "", "", ""))
            since = NOON - timedelta(minutes=minutes)
            worklist.put(tx, WorklistItem(name, urgency, "", state, since, since))


def order(node: Core, overdue_first: bool = False, now: datetime = NOON, limit: int = 100) -> list[str]:
    """The names in reading order."""
    with node.database.read() as tx:
        return [item.study_uid for item in worklist.listed(tx, now, CAP, LEAVE, overdue_first, limit)]


def test_suspected_then_overdue_then_by_waiting_time(node: Core) -> None:
    """A missed bleed is not starved by flags, and what was acknowledged gives way."""
    fill(
        node,
        ("quick low", LOW, UNREAD, 5),
        ("suspected new", HIGH, UNREAD, 1),
        ("overdue low", LOW, UNREAD, 60),
        ("seen", HIGH, ACKNOWLEDGED, 30),
        ("suspected old", HIGH, UNREAD, 90),
        ("overdue waiting", MEDIUM, WAITING, 70),
        ("almost overdue", MEDIUM, UNREAD, 59.9),
        ("closed", HIGH, CLOSED, 10),
        ("seen long ago", LOW, ACKNOWLEDGED, 200),
    )
    suspected, overdue = ["suspected old", "suspected new"], ["overdue waiting", "overdue low"]
    rest = ["seen long ago", "almost overdue", "seen", "quick low"]
    assert order(node) == [*suspected, *overdue, *rest]
    assert order(node, overdue_first=True) == ["suspected old", *overdue, "suspected new", *rest]
    assert order(node, limit=3) == [*suspected, "overdue waiting"]


def test_studies_leave_after_a_day_counted_from_the_last_image(node: Core) -> None:
    """Read or not."""
    fill(node, ("old", HIGH, UNREAD, 24 * 60), ("young", LOW, UNREAD, 24 * 60 - 0.1))
    assert order(node) == ["young"]
    assert order(node, now=NOON + timedelta(minutes=1)) == []


def test_acknowledge_and_close(node: Core) -> None:
    """Only what has a result can be acknowledged, only what is acknowledged can be closed; each once."""
    fill(node, ("result", HIGH, UNREAD, 1), ("none yet", MEDIUM, WAITING, 1))
    with node.database.write() as tx:
        assert not worklist.acknowledge(tx, "none yet", NOON)
        assert not worklist.close(tx, "result")
        assert worklist.acknowledge(tx, "result", NOON)
        assert not worklist.acknowledge(tx, "result", NOON)
        item = worklist.get(tx, "result")
        assert item is not None and (item.state, item.acknowledged_at) == (ACKNOWLEDGED, NOON)
        assert worklist.close(tx, "result")
    assert order(node) == ["none yet"]


def answer(node: Core, version: int, suspected: bool, now: datetime = NOON) -> WorklistItem:
    """A further result of the study; the row that follows from it."""
    finding = FindingRow("subdural", "35486000", 0.9, suspected, 12.3)
    small = FindingRow("subarachnoid", "21454007", 0.6, suspected, 0.4)
    probability = 0.91 if suspected else 0.07
    analysis = Analysis(
        study_uid=STUDY,
        version=version,
        series_uid=SERIES,
        pipeline="haemorrhage",
        suspected=suspected,
        probability=probability,
        threshold=0.5,
        findings=(small, finding),
        model_name="m",
        model_version="1",
        model_sha256="0",
        warnings=(),
        seconds=1.0,
        made_at=now,
    )
    with node.database.write() as tx:
        results.add_analysis(tx, analysis)
        flag.refresh(tx, STUDY, now)
    return item(node)


def item(node: Core) -> WorklistItem:
    """The study's row."""
    with node.database.read() as tx:
        found = worklist.get(tx, STUDY)
    assert found is not None
    return found


def acknowledge(node: Core) -> None:
    """A reader has seen it."""
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, STUDY, NOON)


def test_suspected_result_flags_at_once(node: Core) -> None:
    """The largest type first, with its volume."""
    row = answer(node, 1, suspected=True)
    assert (row.urgency, row.state, row.flagged_at, row.version) == (HIGH, UNREAD, NOON, 1)
    assert row.headline == (
        "Suspected intracranial haemorrhage: subdural 12.3 ml, subarachnoid 0.4 ml (probability 0.91)"
    )


def test_negative_result_is_low(node: Core) -> None:
    """And says so; nothing is flagged."""
    row = answer(node, 1, suspected=False)
    assert (row.urgency, row.state, row.flagged_at) == (LOW, UNREAD, None)
    assert row.headline == "No haemorrhage suspected (probability 0.07)"


def test_flag_is_never_lowered_silently(node: Core) -> None:
    """Nobody has looked yet: the study stays on top until somebody does, and each headline names the right results."""
    answer(node, 1, suspected=True)
    second = answer(node, 2, suspected=False, now=NOON + timedelta(minutes=1))
    assert (second.urgency, second.state, second.flagged_at) == (HIGH, UNREAD, NOON)
    assert second.headline == "Result 1 suspected haemorrhage, result 2 does not: please look"
    third = answer(node, 3, suspected=False)
    assert (third.urgency, third.state) == (HIGH, UNREAD)
    assert third.headline == "Result 1 suspected haemorrhage, result 3 does not: please look"


def test_acknowledged_stays_acknowledged_when_nothing_rises(node: Core) -> None:
    """The reader has seen the suspicion; a later negative result does not call again, but the list says both."""
    answer(node, 1, suspected=True)
    acknowledge(node)
    again = answer(node, 2, suspected=True)
    assert (again.urgency, again.state, again.flagged_at) == (HIGH, ACKNOWLEDGED, NOON)
    lower = answer(node, 3, suspected=False)
    assert (lower.urgency, lower.state) == (LOW, ACKNOWLEDGED)
    assert lower.headline == "No haemorrhage suspected (probability 0.07); an earlier result suspected it"


@pytest.mark.parametrize("closed", [False, True])
def test_flag_that_rises_calls_again(node: Core, closed: bool) -> None:
    """A better series shows blood: even a closed study comes back to the top."""
    answer(node, 1, suspected=False)
    acknowledge(node)
    if closed:
        with node.database.write() as tx:
            worklist.close(tx, STUDY)
    later = NOON + timedelta(minutes=5)
    row = answer(node, 2, suspected=True, now=later)
    assert (row.urgency, row.state, row.flagged_at) == (HIGH, UNREAD, later)


def test_same_result_seen_again_changes_nothing(node: Core) -> None:
    """Refreshing is harmless at any time."""
    answer(node, 1, suspected=True)
    acknowledge(node)
    before = item(node)
    with node.database.write() as tx:
        flag.refresh(tx, STUDY, NOON + timedelta(hours=1))
        flag.refresh(tx, "1.2.3.unknown", NOON)
    assert item(node) == before


def test_new_images_keep_the_flag_and_restart_the_waiting_time(node: Core) -> None:
    """While the study is analysed again the suspicion stands."""
    answer(node, 1, suspected=True)
    later = NOON + timedelta(minutes=7)
    with node.database.write() as tx:
        flag.received(tx, STUDY, later)
        flag.refresh(tx, STUDY, later)
    row = item(node)
    assert (row.urgency, row.state, row.waiting_since, row.flagged_at) == (HIGH, UNREAD, later, NOON)


def decide(node: Core, kind: ChoiceKind, reason: str, rank: int = 10, series: int = 1) -> Choice:
    """The router's decision for a series."""
    uid = f"{STUDY}.{series}"
    choice = Choice(uid, STUDY, 1, kind, "rule", reason, "haemorrhage", rank)
    with node.database.write() as tx:
        standing = instances.get_series(tx, uid)
        assert standing is not None
        instances.move(tx, standing, SeriesState.ROUTED)
        jobs.put_choice(tx, choice)
        flag.refresh(tx, STUDY, NOON)
    return choice


def test_what_was_not_analysed_says_why(node: Core) -> None:
    """MEDIUM, with the reason of the best suited series, and only when nothing more is coming."""
    node.receive(head(2, series=2))
    decide(node, ChoiceKind.DECLINED, "Only a localizer (scout) was received.", rank=900, series=2)
    row = item(node)
    assert (row.urgency, row.state) == (MEDIUM, WAITING)
    assert row.headline.startswith("Receiving images") and "localizer" in row.headline
    decide(node, ChoiceKind.DECLINED, "Contrast was given.", rank=400)
    row = item(node)
    assert (row.urgency, row.state, row.headline) == (MEDIUM, UNREAD, "Not analysed: Contrast was given.")
    acknowledge(node)
    with node.database.write() as tx:
        flag.refresh(tx, STUDY, NOON)
    assert item(node).state is ACKNOWLEDGED
    decide(node, ChoiceKind.DECLINED, "Slices are missing.", rank=200)
    assert (item(node).state, item(node).headline) == (UNREAD, "Not analysed: Slices are missing.")


def test_from_queued_to_failed(node: Core) -> None:
    """Waiting while there is hope; then MEDIUM, with the error and the job to retry."""
    choice = decide(node, ChoiceKind.ANALYSE, "head CT")
    with node.database.write() as tx:
        jobs.queue(tx, choice, 0, NOON)
        flag.refresh(tx, STUDY, NOON)
    assert (item(node).headline, item(node).state) == ("Waiting for analysis", WAITING)
    with node.database.write() as tx:
        job = jobs.claim(tx, "w", 0.0, 15.0)
        assert job is not None
        assert jobs.put_back(tx, job, "w", "out of memory", 0.0, limit=1) is JobState.FAILED
        flag.refresh(tx, STUDY, NOON)
    row = item(node)
    assert (row.urgency, row.state) == (MEDIUM, UNREAD)
    assert row.headline == f"Analysis failed: out of memory (job {job.job_id})"


def test_rows_survive_the_table(node: Core) -> None:
    """What is put is what is got, to the millisecond."""
    row = replace(item(node), acknowledged_at=NOON, flagged_at=NOON + timedelta(milliseconds=5), version=3)
    with node.database.write() as tx:
        worklist.put(tx, row)
    got = item(node)
    assert replace(got, received_at=row.received_at, waiting_since=row.waiting_since) == row
    assert abs(got.waiting_since - row.waiting_since) < timedelta(milliseconds=1)
