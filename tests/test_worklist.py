"""The reader's list: its order, and flags that are raised at once and never lowered in silence."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from series import Core, core_in_memory, ct, head

from dicom_node.derived import flag
from dicom_node.entities import (
    Analysis,
    Choice,
    ChoiceKind,
    FindingRow,
    ItemState,
    JobKind,
    JobState,
    SeriesState,
    Study,
    Urgency,
)
from dicom_node.headlines import headline
from dicom_node.tables import instances, jobs, results, worklist
from dicom_node.tables.worklist import (
    FilterCounts,
    Part,
    PartFinding,
    ReadingOrder,
    Show,
    Standing,
    Tier,
    WorklistItem,
)

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CAP, LEAVE = timedelta(minutes=60), timedelta(hours=24)
STUDY, SERIES = str(ct(0).StudyInstanceUID), str(ct(0).SeriesInstanceUID)
QUESTION = "haemorrhage"
HIGH, MEDIUM, LOW = Urgency.HIGH, Urgency.MEDIUM, Urgency.LOW
UNREAD, OPENED, WAITING, ACKNOWLEDGED, READ = (
    ItemState.UNREAD,
    ItemState.OPENED,
    ItemState.WAITING,
    ItemState.ACKNOWLEDGED,
    ItemState.READ,
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
            instances.put_study(tx, Study(name, "", "", "", "", "", "", ""))
            since = NOON - timedelta(minutes=minutes)
            worklist.put(tx, WorklistItem(name, urgency, state, since, since))


def order(
    node: Core,
    overdue_first: bool = False,
    now: datetime = NOON,
    limit: int = 100,
    offset: int = 0,
    show: Show = Show.TO_READ,
    reader: str = "",
) -> list[str]:
    """The names in reading order."""
    wanted = ReadingOrder(now, CAP, LEAVE, overdue_first)
    with node.database.read() as tx:
        return [item.study_uid for item in worklist.listed(tx, wanted, limit, offset, show, reader)]


MANY = (
    ("quick low", LOW, UNREAD, 5),
    ("slow low", LOW, OPENED, 55),
    ("suspected new", HIGH, OPENED, 1),
    ("overdue low", LOW, UNREAD, 60),
    ("seen", HIGH, ACKNOWLEDGED, 30),
    ("suspected old", HIGH, UNREAD, 90),
    ("overdue waiting", MEDIUM, WAITING, 70),
    ("not analysed", MEDIUM, UNREAD, 4),
    ("in progress", MEDIUM, WAITING, 20),
    ("read", HIGH, READ, 10),
    ("seen long ago", LOW, ACKNOWLEDGED, 200),
    ("seen, not analysed", MEDIUM, ACKNOWLEDGED, 3),
)
SUSPECTED, OVERDUE = ["suspected old", "suspected new"], ["overdue waiting", "overdue low"]
REST = ["not analysed", "in progress", "slow low", "quick low", "seen", "seen, not analysed", "seen long ago"]


def test_by_urgency_then_waiting_time_with_the_ageing_cap(node: Core) -> None:
    """A missed bleed is not starved by flags; what somebody has opened stays, what is acknowledged gives way."""
    fill(node, *MANY)
    assert order(node) == [*SUSPECTED, *OVERDUE, *REST]
    assert order(node, overdue_first=True) == ["suspected old", *OVERDUE, "suspected new", *REST]


TIERED = (  # minutes, tier
    ("less, fresh", 30, Tier.LESS_CERTAIN),
    ("more, fresh", 20, Tier.MORE_CERTAIN),
    ("large, just come", 1, Tier.LARGE),
    ("less, overdue", 70, Tier.LESS_CERTAIN),
    ("more, overdue", 65, Tier.MORE_CERTAIN),
    ("more, newer", 10, Tier.MORE_CERTAIN),
    ("large, overdue", 80, Tier.LARGE),
    ("grown", 5, Tier.LESS_CERTAIN),
)
IN_TIERS = [
    "grown", "large, overdue", "large, just come", "less, overdue", "more, overdue", "more, fresh", "more, newer",
    "less, fresh",
]  # fmt: skip
LATE_FIRST = [
    "grown", "large, overdue", "less, overdue", "more, overdue", "overdue negative", "large, just come", "more, fresh",
    "more, newer", "less, fresh",
]  # fmt: skip


def fill_tiers(node: Core) -> None:
    """Suspected studies of all tiers, and one that is not suspected and waits long."""
    fill(node, ("overdue negative", LOW, UNREAD, 61))
    with node.database.write() as tx:
        for name, minutes, tier in TIERED:
            instances.put_study(tx, Study(name, "", "", "", "", "", "", ""))
            since = NOON - timedelta(minutes=minutes)
            row = WorklistItem(name, HIGH, UNREAD, since, since, tier=tier, grown=name == "grown")
            worklist.put(tx, row)


def test_suspected_studies_by_growth_size_and_certainty(node: Core) -> None:
    """Nothing suspected is starved by what is more certain: what waits longer than the cap comes before."""
    fill_tiers(node)
    assert order(node) == [*IN_TIERS, "overdue negative"]
    assert order(node, show=Show.SUSPECTED) == IN_TIERS
    assert order(node, overdue_first=True) == LATE_FIRST


@pytest.mark.parametrize("overdue_first", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_pages_of_tiers_put_together_are_the_list(node: Core, overdue_first: bool, size: int) -> None:
    fill_tiers(node)
    pages = [order(node, overdue_first, limit=size, offset=offset) for offset in range(0, 12, size)]
    assert [name for page in pages for name in page] == order(node, overdue_first)


@pytest.mark.parametrize(
    ("urgency", "standing", "probability", "volumes", "tier"),
    [
        (HIGH, Standing.POSITIVE, 0.3, {"subdural": 12.0, "epidural": 18.0}, Tier.LARGE),
        (HIGH, Standing.POSITIVE, 0.3, {"subdural": 29.9}, Tier.LESS_CERTAIN),
        (HIGH, Standing.POSITIVE, 0.5, {"subdural": 1.0}, Tier.MORE_CERTAIN),
        (HIGH, Standing.POSITIVE, 0.49, {}, Tier.LESS_CERTAIN),
        (HIGH, Standing.POSITIVE, 0.3, {"intracranial": 30.0}, Tier.LARGE),
        (HIGH, Standing.POSITIVE, 0.3, {"intracranial": 20.0, "subdural": 20.0}, Tier.LESS_CERTAIN),  # said twice
        (HIGH, Standing.LOWERED, 0.1, {}, Tier.MORE_CERTAIN),
        (LOW, Standing.NEGATIVE, 0.1, {}, Tier.LESS_CERTAIN),
        (LOW, Standing.POSITIVE, 0.9, {"subdural": 90.0}, Tier.LESS_CERTAIN),  # of a question that is not urgent
    ],
)
def test_the_tier_of_a_study(
    urgency: Urgency, standing: Standing, probability: float, volumes: dict[str, float], tier: Tier
) -> None:
    findings = tuple(PartFinding(name, ml) for name, ml in volumes.items())
    assert flag.tier_of([Part(QUESTION, standing, urgency, 1, probability, findings)]) is tier


@pytest.mark.parametrize("show", [Show.TO_READ, Show.SUSPECTED])
@pytest.mark.parametrize("overdue_first", [False, True])
def test_every_part_of_the_order_is_read_from_an_index(node: Core, show: Show, overdue_first: bool) -> None:
    """No part of the list is sorted or scanned as a whole."""
    known = {"cap": "", "oldest": ""}
    for part in worklist._parts(ReadingOrder(NOON, CAP, LEAVE, overdue_first), show):
        with node.database.read() as tx:
            plan = tx.rows(
                f"EXPLAIN QUERY PLAN SELECT study_uid FROM worklist WHERE true AND {part} AND waiting_since > :oldest"
                " ORDER BY waiting_since, study_uid LIMIT 50",
                **known,
            )
        assert all("USING" in row["detail"] and "INDEX" in row["detail"] for row in plan), (part, plan)


@pytest.mark.parametrize("overdue_first", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pages_put_together_are_the_list(node: Core, overdue_first: bool, size: int) -> None:
    """Nothing is left out or shown twice where a page ends within a kind."""
    fill(node, *MANY)
    whole = order(node, overdue_first)
    pages = [order(node, overdue_first, limit=size, offset=offset) for offset in range(0, len(whole) + size, size)]
    assert [name for page in pages for name in page] == whole and pages[-1] == []


def test_filters_and_their_counts(node: Core) -> None:
    """Each in reading order; what is read is on none but the reader's own."""
    fill(node, *MANY)
    with node.database.write() as tx:
        tx.run("UPDATE worklist SET reader = 'Dr A' WHERE study_uid IN ('seen', 'slow low', 'read', 'suspected new')")
        tx.run("UPDATE worklist SET reader = 'Dr B' WHERE study_uid = 'seen long ago'")
        counts = worklist.counts(tx, ReadingOrder(NOON, CAP, LEAVE, False), "Dr A")
    assert order(node, show=Show.SUSPECTED) == [*SUSPECTED, "seen"]
    assert order(node, show=Show.NOT_ANALYSED) == ["not analysed", "seen, not analysed"]
    assert order(node, show=Show.MINE, reader="Dr A") == ["suspected new", "slow low", "seen", "read"]
    assert order(node, show=Show.MINE) == [], "nobody has no studies"
    assert counts == FilterCounts(unseen=2, to_read=11, suspected=3, not_analysed=2, mine=4)


def test_the_latest_flags_come_first_for_the_announcement(node: Core) -> None:
    """Only what nobody has acknowledged."""
    fill(node, *MANY)
    with node.database.write() as tx:
        for name, minutes in (("suspected old", 3), ("suspected new", 1), ("seen", 0), ("quick low", 0)):
            at = (NOON - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
            tx.run("UPDATE worklist SET flagged_at = :at WHERE study_uid = :name", at=at, name=name)
        flagged = worklist.last_flagged(tx, ReadingOrder(NOON, CAP, LEAVE, False), 10)
    assert [item.study_uid for item in flagged] == ["suspected new", "suspected old"]


def test_studies_leave_after_a_day_counted_from_the_last_image(node: Core) -> None:
    """Read or not."""
    fill(node, ("old", HIGH, UNREAD, 24 * 60), ("young", LOW, UNREAD, 24 * 60 - 0.1))
    assert order(node) == ["young"]
    assert order(node, now=NOON + timedelta(minutes=1)) == []


def test_opened_acknowledged_read_and_put_back(node: Core) -> None:
    """Only what has a result can be acted on, only what is acknowledged can be read; each says who and when."""
    fill(node, ("result", HIGH, UNREAD, 1), ("none yet", MEDIUM, WAITING, 1))
    later = NOON + timedelta(minutes=1)

    def stands() -> tuple[ItemState, str, datetime | None]:
        item = worklist.get(tx, "result")
        assert item is not None
        return item.state, item.reader, item.acted_at

    with node.database.write() as tx:
        for act in (worklist.opened, worklist.acknowledge, worklist.mark_read):
            assert not act(tx, "none yet", NOON, "Dr A")
        assert not worklist.put_back(tx, "none yet") and not worklist.put_back(tx, "result")
        assert not worklist.mark_read(tx, "result", NOON, "Dr A")
        assert worklist.opened(tx, "result", NOON, "Dr A") and stands() == (OPENED, "Dr A", NOON)
        assert not worklist.opened(tx, "result", later, "Dr B") and stands() == (OPENED, "Dr A", NOON)
        assert worklist.acknowledge(tx, "result", later, "Dr B") and stands() == (ACKNOWLEDGED, "Dr B", later)
        assert not worklist.acknowledge(tx, "result", NOON, "Dr A")
        assert worklist.mark_read(tx, "result", later) and stands() == (READ, "", later)
        item = worklist.get(tx, "result")
        assert item is not None and item.acknowledged_at == later
    assert order(node) == ["none yet"]
    with node.database.write() as tx:
        assert worklist.put_back(tx, "result") and stands() == (UNREAD, "", None)
    assert order(node) == ["result", "none yet"]


def answer(node: Core, version: int, suspected: bool, now: datetime = NOON) -> WorklistItem:
    """A further result of the study; the row that follows from it."""
    finding = FindingRow("subdural", "35486000", 0.9, suspected, 12.3)
    small = FindingRow("subarachnoid", "21454007", 0.6, suspected, 0.4)
    probability = 0.91 if suspected else 0.07
    analysis = Analysis(
        study_uid=STUDY,
        question=QUESTION,
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
    assert headline(row) == (
        "Suspected intracranial haemorrhage: subdural 12.3 ml, subarachnoid under 1 ml (probability 0.91)"
    )


def test_negative_result_is_low(node: Core) -> None:
    """And says so; nothing is flagged."""
    row = answer(node, 1, suspected=False)
    assert (row.urgency, row.state, row.flagged_at) == (LOW, UNREAD, None)
    assert headline(row) == "No haemorrhage suspected (probability 0.07)"


def test_flag_is_never_lowered_silently(node: Core) -> None:
    """Nobody has looked yet: the study stays on top until somebody does, and each headline names the right results."""
    answer(node, 1, suspected=True)
    second = answer(node, 2, suspected=False, now=NOON + timedelta(minutes=1))
    assert (second.urgency, second.state, second.flagged_at) == (HIGH, UNREAD, NOON)
    assert headline(second) == "Result 1 suspected haemorrhage, result 2 does not: please look"
    third = answer(node, 3, suspected=False)
    assert (third.urgency, third.state) == (HIGH, UNREAD)
    assert headline(third) == "Result 1 suspected haemorrhage, result 3 does not: please look"


def test_acknowledged_stays_acknowledged_when_nothing_rises(node: Core) -> None:
    """The reader has seen the suspicion; a later negative result does not call again, but the list says both."""
    answer(node, 1, suspected=True)
    acknowledge(node)
    again = answer(node, 2, suspected=True)
    assert (again.urgency, again.state, again.flagged_at) == (HIGH, ACKNOWLEDGED, NOON)
    lower = answer(node, 3, suspected=False)
    assert (lower.urgency, lower.state) == (LOW, ACKNOWLEDGED)
    assert headline(lower) == "No haemorrhage suspected (probability 0.07); an earlier result suspected it"


@pytest.mark.parametrize("read", [False, True])
def test_flag_that_rises_calls_again(node: Core, read: bool) -> None:
    """A better series shows blood: even a study that was read comes back to the top."""
    answer(node, 1, suspected=False)
    acknowledge(node)
    if read:
        with node.database.write() as tx:
            worklist.mark_read(tx, STUDY, NOON, "Dr A")
    later = NOON + timedelta(minutes=5)
    row = answer(node, 2, suspected=True, now=later)
    assert (row.urgency, row.state, row.flagged_at, row.acted_at) == (HIGH, UNREAD, later, None)


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
        flag.note_arrival(tx, STUDY, later)
        flag.refresh(tx, STUDY, later)
    row = item(node)
    assert (row.urgency, row.state, row.waiting_since, row.flagged_at) == (HIGH, UNREAD, later, NOON)


def decide(node: Core, kind: ChoiceKind, reason: str, rank: int = 10, series: int = 1) -> Choice:
    """The router's decision for a series."""
    uid = f"{STUDY}.{series}"
    choice = Choice(uid, STUDY, QUESTION, 1, kind, "rule", reason, "haemorrhage", rank)
    with node.database.write() as tx:
        standing = instances.get_series(tx, STUDY, uid)
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
    assert headline(row).startswith("Receiving images") and "localizer" in headline(row)
    decide(node, ChoiceKind.DECLINED, "Contrast was given.", rank=400)
    row = item(node)
    assert (row.urgency, row.state, headline(row)) == (MEDIUM, UNREAD, "Not analysed: Contrast was given.")
    acknowledge(node)
    with node.database.write() as tx:
        flag.refresh(tx, STUDY, NOON)
    assert item(node).state is ACKNOWLEDGED
    decide(node, ChoiceKind.DECLINED, "Slices are missing.", rank=200)
    assert (item(node).state, headline(item(node))) == (UNREAD, "Not analysed: Slices are missing.")


def test_from_queued_to_failed(node: Core) -> None:
    """Waiting while there is hope; then MEDIUM, with the error and the job to retry."""
    choice = decide(node, ChoiceKind.ANALYSE, "head CT")
    with node.database.write() as tx:
        jobs.queue(tx, JobKind.ANALYSE, choice, 0, NOON)
        flag.refresh(tx, STUDY, NOON)
    assert (headline(item(node)), item(node).state) == ("Waiting for analysis", WAITING)
    with node.database.write() as tx:
        job = jobs.claim(tx, "w", 0.0, 15.0)
        assert job is not None
        assert jobs.put_back(tx, job, "w", "out of memory", 0.0, limit=1) is JobState.FAILED
        flag.refresh(tx, STUDY, NOON)
    row = item(node)
    assert (row.urgency, row.state) == (MEDIUM, UNREAD)
    assert headline(row) == f"Analysis failed: out of memory (job {job.job_id})"


def test_rows_survive_the_table(node: Core) -> None:
    """What is put is what is got, to the millisecond."""
    row = replace(item(node), acknowledged_at=NOON, flagged_at=NOON + timedelta(milliseconds=5), version=3)
    with node.database.write() as tx:
        worklist.put(tx, row)
    got = item(node)
    assert replace(got, received_at=row.received_at, waiting_since=row.waiting_since) == row
    assert abs(got.waiting_since - row.waiting_since) < timedelta(milliseconds=1)
