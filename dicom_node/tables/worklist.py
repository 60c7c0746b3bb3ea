"""The radiologist's list: one row a study, where it stands with its readers, and the order in which studies are read.

Suspected studies that nobody has acknowledged come first: those where something has grown since the last scan, then
the large ones and what a reader reports as missed, then of the others those that wait longer than the ageing cap, then
the more certain and then the less certain ones (`Tier`). Then comes all else that waits longer than the cap, so that
what was missed is not starved by flags (PMC8128725); then what was not analysed, what is in progress and what is not
suspected; last what is acknowledged. Within each by waiting time.
`overdue_first` puts all that is overdue, suspected or not, before the suspected ones that have not grown. The column
`place` (schema.py) holds stage and kind of a row, and indices on it and on `tier` give any page of the list. Studies of
modalities that are not wanted are no part of it: they are among all that is stored only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from dicom_node.entities import FindingRow, ItemState, Urgency
from dicom_node.tables.database import Transaction
from inference.change import Growth

SUSPECTED, NOT_ANALYSED, IN_PROGRESS, NEGATIVE = 0, 1, 2, 3  # kinds
TO_READ, ACKNOWLEDGED, READ, OFF_THE_LIST = 0, 4, 8, 12  # stages; a place is stage + kind
ALARMED_AT = "max(coalesce(flagged_at, ''), coalesce(missed_at, ''))"  # as its index has it
LARGE_ML = 30.0
CERTAIN_FROM = 0.5  # more likely than not
MAY_ACT_FROM = {
    ItemState.OPENED: (ItemState.UNREAD,),
    ItemState.ACKNOWLEDGED: (ItemState.UNREAD, ItemState.OPENED),
    ItemState.READ: (ItemState.ACKNOWLEDGED,),
    ItemState.UNREAD: (ItemState.OPENED, ItemState.ACKNOWLEDGED, ItemState.READ),
}


class Show(StrEnum):
    """Which studies are shown: those to read or acknowledged, some of them, or every study that is stored."""

    TO_READ = "to-read"
    SUSPECTED = "suspected"
    NOT_ANALYSED = "not-analysed"
    MINE = "mine"  # the last to act was this reader; also what is read
    ALL = "all"


KINDS = {Show.SUSPECTED: (SUSPECTED,), Show.NOT_ANALYSED: (NOT_ANALYSED,)}


class Standing(StrEnum):
    """Where one question stands with a study."""

    RECEIVING = "receiving"  # images may still come
    QUEUED = "queued"  # waits for its analysis, or is being analysed
    NOT_ANALYSED = "not_analysed"  # declined, with a reason
    FAILED = "failed"  # the analysis went wrong
    POSITIVE = "positive"  # suspected
    NEGATIVE = "negative"
    LOWERED = "lowered"  # an earlier result suspected what the latest does not; nobody has acknowledged that


class Tier(IntEnum):
    """How much is suspected, for the order of suspected studies."""

    LARGE = 0  # LARGE_ML or more
    MORE_CERTAIN = 1  # of the high band, of CERTAIN_FROM or more, or suspected by an earlier result only
    LESS_CERTAIN = 2


@dataclass(frozen=True, slots=True)
class PartFinding:
    """One finding that is present; its range is None, side and region are empty where they are not known."""

    name: str
    volume_ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    side: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class PartKind:
    """One kind that what is present may be of; `probability` is that of the kind, given that there is something."""

    name: str
    probability: float


def present_findings(findings: Sequence[FindingRow]) -> tuple[PartFinding, ...]:
    """The findings that are present, the largest first."""
    found = [
        PartFinding(each.name, each.volume_ml, each.low_ml, each.high_ml, each.side, each.region)
        for each in findings
        if each.present
    ]
    return tuple(sorted(found, key=lambda each: -each.volume_ml))


def possible_kinds(findings: Sequence[FindingRow]) -> tuple[PartKind, ...]:
    """The kinds that are not stated but possible, in the question's order."""
    return tuple(PartKind(each.name, each.probability) for each in findings if each.differential)


@dataclass(frozen=True, slots=True)
class Part:
    """What one question says of a study, as data; `dicom_node.headlines` makes its words.

    `version` is the number of the result that speaks (0: none), `raised_by` that of the earlier one which suspected.
    `reason` says why there is no result, `job_id` which analysis failed. `growth` is the change since the patient's
    last scan; `growth_lowered` that an earlier comparison found growth and this one does not. `incomplete` says what is
    missing where the result was made of a part. `band` is where the probability lies, empty of an older result; `kinds`
    is the differential of what is present.
    """

    question: str
    standing: Standing
    urgency: Urgency
    version: int = 0
    probability: float | None = None
    findings: tuple[PartFinding, ...] = ()
    raised_by: int = 0
    reason: str = ""
    job_id: int = 0
    growth: Growth | None = None
    growth_lowered: bool = False
    incomplete: str = ""
    band: str = ""
    kinds: tuple[PartKind, ...] = ()

    @property
    def has_result(self) -> bool:
        """Whether the question was answered."""
        return self.standing in (Standing.POSITIVE, Standing.NEGATIVE, Standing.LOWERED)

    @property
    def grown(self) -> bool:
        """Whether this is to be read before all else."""
        return self.growth_lowered or (self.growth is not None and self.growth.grown)


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """A study as the reader sees it: what each question says of it, and where it stands with its readers.

    Times are UTC; `waiting_since` is the arrival of its last image. `version` grows with every result of any question.
    `reader` is the name that whoever brought it to its state had typed, `acted_at` when that was. `headline` is what a
    version of this program before 0.5 wrote of the study, until its next change. `scanned_at` is the earliest time that
    its images state; `listed` is false where none of its modalities is wanted on the list. `missed_by` names the
    readers who report what no result suspected, `missed_at` is when the last of them did.
    """

    study_uid: str
    urgency: Urgency
    state: ItemState
    received_at: datetime
    waiting_since: datetime
    parts: tuple[Part, ...] = ()
    flagged_at: datetime | None = None
    acknowledged_at: datetime | None = None
    version: int = 0
    reader: str = ""
    acted_at: datetime | None = None
    grown: bool = False
    headline: str = ""
    tier: Tier = Tier.LESS_CERTAIN
    scanned_at: datetime | None = None
    listed: bool = True
    missed_by: str = ""
    missed_at: datetime | None = None

    @property
    def alarmed_at(self) -> datetime | None:
        """When it was last suspected, by a result or by a reader."""
        return max((each for each in (self.flagged_at, self.missed_at) if each is not None), default=None)

    def part(self, question: str) -> Part | None:
        """What this question says of the study."""
        return next((part for part in self.parts if part.question == question), None)


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """What the order depends on. What waits longer than `leave_after` is not on the list, read or not."""

    now: datetime
    ageing_cap: timedelta
    leave_after: timedelta
    overdue_first: bool


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """How many studies each filter shows; `unseen` are suspected and not acknowledged."""

    unseen: int
    to_read: int
    suspected: int
    not_analysed: int
    mine: int


def get(tx: Transaction, study_uid: str) -> WorklistItem | None:
    """The study's row, or None."""
    return tx.one(WorklistItem, "SELECT * FROM worklist WHERE study_uid = :uid", uid=study_uid)


def of_studies(tx: Transaction, study_uids: Sequence[str]) -> list[WorklistItem]:
    """The rows of these studies, in this order."""
    wanted = "SELECT w.* FROM json_each(:uids) u JOIN worklist w ON w.study_uid = u.value ORDER BY u.key"
    return tx.all(WorklistItem, wanted, uids=tuple(study_uids))


def put(tx: Transaction, item: WorklistItem) -> None:
    """Insert the study's row or bring it up to date."""
    tx.put("worklist", item, key=("study_uid",), timespec="milliseconds")


def listed(
    tx: Transaction, order: ReadingOrder, limit: int, offset: int = 0, show: Show = Show.TO_READ, reader: str = ""
) -> list[WorklistItem]:
    """One page of the list in reading order."""
    known = {
        "cap": _text(order.now - order.ageing_cap),
        "oldest": _text(order.now - order.leave_after),
        "reader": reader,
    }
    of_reader = "INDEXED BY worklist_of_reader WHERE reader = :reader AND reader <> ''"
    table = f"worklist {of_reader if show is Show.MINE else 'WHERE true'}"
    found: list[str] = []
    for part in _parts(order, show):
        where = f"FROM {table} AND {part} AND waiting_since > :oldest"
        rows = tx.rows(
            f"SELECT study_uid {where} ORDER BY waiting_since, study_uid LIMIT :limit OFFSET :offset",
            **known | {"limit": limit - len(found), "offset": offset},
        )
        found += [row["study_uid"] for row in rows]
        if len(found) == limit:
            break
        if offset:
            offset = max(0, offset - tx.number(f"SELECT count(*) {where}", **known))
    return of_studies(tx, found)


def _parts(order: ReadingOrder, show: Show) -> list[str]:
    """The conditions whose rows, each by waiting time, are the list from top to bottom."""
    kinds = KINDS.get(show, (SUSPECTED, NOT_ANALYSED, IN_PROGRESS, NEGATIVE))
    overdue, fresh = "waiting_since <= :cap", "waiting_since > :cap"
    grown, flagged = "place = 0 AND grown", "place = 0 AND NOT grown"
    large, *others = (f"{flagged} AND tier = {tier}" for tier in Tier)
    in_tiers = [large, f"{flagged} AND tier > {Tier.LARGE} AND {overdue}", *(f"{each} AND {fresh}" for each in others)]
    if show is Show.SUSPECTED:
        parts = [grown, *in_tiers]
    elif show is Show.NOT_ANALYSED:
        parts = ["place = 1"]
    else:
        parts = [grown, *in_tiers, f"place < 4 AND place > 0 AND {overdue}"]
        if order.overdue_first:
            late = f"place < 4 AND {overdue} AND NOT ({grown})"
            parts = [grown, late, *(f"{each} AND {fresh}" for each in (large, *others))]
        parts += [f"place = {kind} AND {fresh}" for kind in kinds[1:]]
    stages = (ACKNOWLEDGED, READ) if show is Show.MINE else (ACKNOWLEDGED,)
    return parts + [f"place = {stage + kind}" for stage in stages for kind in kinds]


def places_of(show: Show) -> tuple[int, ...]:
    """The places of what a filter shows in a search, where read studies count too; none where any will do."""
    if show is Show.TO_READ:
        return tuple(range(READ))
    return tuple(stage + kind for stage in (TO_READ, ACKNOWLEDGED, READ) for kind in KINDS.get(show, ()))


def places_listed(show: Show) -> tuple[int, ...]:
    """The places of what a filter shows on the list: studies that were read are there for their reader alone."""
    if show is Show.MINE:
        return tuple(range(OFF_THE_LIST))
    return tuple(place for place in places_of(show) if place < READ)


def counts(tx: Transaction, order: ReadingOrder, reader: str) -> FilterCounts:
    """How many studies are on the list, and how many of them each filter shows."""
    oldest = _text(order.now - order.leave_after)
    found = tx.rows(
        "SELECT place, count(*) AS n FROM worklist WHERE place < :read AND waiting_since > :oldest GROUP BY place",
        read=READ,
        oldest=oldest,
    )
    by_place = {row["place"]: row["n"] for row in found}
    mine = "SELECT count(*) FROM worklist WHERE reader = :reader AND reader <> '' AND waiting_since > :oldest"
    return FilterCounts(
        unseen=by_place.get(SUSPECTED, 0),
        to_read=sum(by_place.values()),
        suspected=by_place.get(SUSPECTED, 0) + by_place.get(ACKNOWLEDGED + SUSPECTED, 0),
        not_analysed=by_place.get(NOT_ANALYSED, 0) + by_place.get(ACKNOWLEDGED + NOT_ANALYSED, 0),
        mine=tx.number(mine, reader=reader, oldest=oldest),
    )


def unlisted(tx: Transaction) -> int:
    """How many studies are stored and not on the list, as none of their modalities is wanted there."""
    return tx.number("SELECT count(*) FROM worklist WHERE NOT listed")


def last_flagged(tx: Transaction, order: ReadingOrder, limit: int) -> list[WorklistItem]:
    """The studies that are suspected or reported as missed and that nobody has acknowledged, the latest first."""
    return tx.all(
        WorklistItem,
        "SELECT * FROM worklist WHERE place = 0 AND waiting_since > :oldest"
        f" AND {ALARMED_AT} > '' ORDER BY {ALARMED_AT} DESC LIMIT :limit",
        oldest=_text(order.now - order.leave_after),
        limit=limit,
    )


def next_unread(tx: Transaction, order: ReadingOrder, besides: str) -> WorklistItem | None:
    """The first of the list in reading order, besides one, that nobody has opened."""
    for part in _parts(order, Show.TO_READ):
        found = tx.one(
            WorklistItem,
            f"SELECT * FROM worklist WHERE {part} AND state = :unread AND study_uid <> :besides"
            " AND waiting_since > :oldest ORDER BY waiting_since, study_uid LIMIT 1",
            cap=_text(order.now - order.ageing_cap),
            oldest=_text(order.now - order.leave_after),
            unread=ItemState.UNREAD,
            besides=besides,
        )
        if found:
            return found
    return None


def changes(tx: Transaction) -> int:
    """A number that grows with every change of what the list shows."""
    return tx.number("SELECT number FROM changes")


def opened(tx: Transaction, study_uid: str, now: datetime, reader: str = "") -> bool:
    """A reader looks at the study; False when somebody has already."""
    return _act(tx, study_uid, ItemState.OPENED, now, reader)


def acknowledge(tx: Transaction, study_uid: str, now: datetime, reader: str = "") -> bool:
    """A reader has seen the result; False when there is none to see."""
    return _act(tx, study_uid, ItemState.ACKNOWLEDGED, now, reader)


def mark_read(tx: Transaction, study_uid: str, now: datetime, reader: str = "") -> bool:
    """A reader is done with an acknowledged study: it leaves the list."""
    return _act(tx, study_uid, ItemState.READ, now, reader)


def put_back(tx: Transaction, study_uid: str) -> bool:
    """It was a mistake: the study is unread again, and nobody's."""
    return _act(tx, study_uid, ItemState.UNREAD, None, "")


def _act(tx: Transaction, study_uid: str, state: ItemState, now: datetime | None, reader: str) -> bool:
    at_acknowledging = ", acknowledged_at = :now" if state is ItemState.ACKNOWLEDGED else ""
    sql = f"UPDATE worklist SET state = :state, reader = :reader, acted_at = :now{at_acknowledging}"
    before = ", ".join(f"'{each}'" for each in MAY_ACT_FROM[state])
    where = f" WHERE study_uid = :uid AND state IN ({before})"
    return bool(tx.run(sql + where, uid=study_uid, state=state, reader=reader, now=_text(now)))


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop the study's row."""
    tx.run("DELETE FROM worklist WHERE study_uid = :uid", uid=study_uid)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
