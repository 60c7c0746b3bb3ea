"""How the page says things: names, ages, times and what a study's row means. Pure functions of rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dicom_node import headlines
from dicom_node.derived.priors import Prior
from dicom_node.derived.same_patient import Obstacle
from dicom_node.entities import (
    Choice,
    Decision,
    DeliveryState,
    FindingRow,
    ItemState,
    JobState,
    Patient,
    Study,
    Urgency,
)
from dicom_node.tables.views.overview import WorklistRow
from dicom_node.tables.worklist import Standing, WorklistItem, possible_kinds
from inference.findings import VOLUME_RANGE, chance_text, place_text, prevalence_text, volume_text
from reports.change import elapsed_text
from reports.differential import NOT_TOLD, most_likely
from reports.vocabulary.terms import vocabulary_of


@dataclass(frozen=True, slots=True)
class Sign:
    """The mark of a row: `kind` picks colour and shape, `label` says the same in words, `note` what follows from it."""

    kind: str
    label: str
    note: str


NOT_A_CLEARANCE = "Not a clearance: read as usual."
CLOCKS_DIFFER = timedelta(minutes=2)
UNITS = {"D": "d", "W": "wk", "M": "mo", "Y": "y"}  # Age String (PS3.5 6.2)
STATES = {
    ItemState.WAITING: "No result yet",
    ItemState.UNREAD: "Unread",
    ItemState.OPENED: "Opened",
    ItemState.ACKNOWLEDGED: "Acknowledged",
    ItemState.READ: "Read",
}
NOT_COMPARED = {
    Obstacle.PATIENT_ID: "the patient ID is a placeholder",
    Obstacle.ISSUER: "only one of them says who issued the patient ID",
    Obstacle.NO_BIRTH_DATE: "the birth date is missing",
    Obstacle.BIRTH_DATE: "the birth date is a placeholder or no date",
    Obstacle.NO_SEX: "the sex is missing",
    Obstacle.OTHER_BIRTH_DATE: "the birth dates differ",
    Obstacle.OTHER_SEX: "the sexes differ",
    Obstacle.OTHER_NAME: "the names differ",
}


JOB_STATES = {
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "running now",
    JobState.DONE: "finished",
    JobState.DECLINED: "not analysable",
    JobState.FAILED: "failed",
    JobState.SUPERSEDED: "not needed any more",
}
DELIVERY_STATES = {
    DeliveryState.WAITING: "on its way",
    DeliveryState.SENT: "stored",
    DeliveryState.FAILED: "not delivered",
    DeliveryState.WITHDRAWN: "not sent: replaced or corrected",
}
KINDS = {"SEG": "Segmentation", "SR": "Report", "SC": "Picture", "KO": "Key images"}


def sign(row: WorklistRow) -> Sign:
    """What a row is, at a glance. A negative has no tick: it must not look like an all-clear."""
    item = row.item
    standings = {part.standing for part in item.parts if part.urgency is item.urgency}
    if item.urgency is Urgency.HIGH:
        lowered = Standing.LOWERED in standings and Standing.POSITIVE not in standings
        label = "Growth" if item.grown else "Please look" if lowered else "Suspected"
        return Sign("suspected", label, NOT_A_CLEARANCE if lowered else "")
    if item.missed_by:
        return Sign("suspected", "Reported", "")
    if item.urgency is Urgency.LOW:
        return Sign("negative", "Not urgent" if Standing.POSITIVE in standings else "Not suspected", NOT_A_CLEARANCE)
    if item.state is ItemState.WAITING:
        return Sign("waiting", "In progress", progress(row))
    if Standing.FAILED in standings:
        return Sign("failed", "Failed", nothing_looked_for(item))
    return Sign("declined", "Not analysed", nothing_looked_for(item))


def progress(row: WorklistRow) -> str:
    """How far a study without a result has come; empty where nothing can be said."""
    if row.analysing:
        return "being analysed now"
    if any(part.standing is Standing.QUEUED for part in row.item.parts):
        return f"{row.ahead} before it" if row.ahead else "next to be analysed"
    if not row.images:
        return ""
    of_all = f" of {row.expected}" if row.expected >= row.images else ""
    return f"{row.images}{of_all} image{'' if row.images == 1 and not of_all else 's'} so far"


def nothing_looked_for(item: WorklistItem) -> str:
    """What must be said of a study that lacks a result."""
    nouns = dict.fromkeys(vocabulary_of(part.question).noun for part in item.parts if not part.has_result)
    return f"No {' or '.join(nouns) or 'finding'} was looked for: read as usual."


def alarm(row: WorklistRow) -> str:
    """What a notification of a suspected study begins with: the question that is urgent in it."""
    urgent = (part for part in row.item.parts if part.urgency is row.item.urgency)
    return next((vocabulary_of(part.question).positive for part in urgent), "Suspected")


def news(row: WorklistRow) -> str:
    """What is new of a suspected study: its finding, or who reports what no result suspected."""
    return finding(row) if row.item.urgency is Urgency.HIGH else missed(row.item)


def state(row: WorklistRow) -> str:
    """Where the study stands with its readers, and with whom where a name was given."""
    acted = row.item.acted_at is not None and row.item.reader
    return f"{STATES[row.item.state]} by {row.item.reader}" if acted else STATES[row.item.state]


def missed(item: WorklistItem) -> str:
    """Who reports what no result suspected; empty where nobody does."""
    nouns = dict.fromkeys(vocabulary_of(part.question).noun for part in item.parts)
    return f"{item.missed_by} reports a missed {' or '.join(nouns)}." if item.missed_by else ""


def finding(row: WorklistRow) -> str:
    """The row's words without what it says apart: "Suspected", and the probability."""
    return "; ".join(line.words for line in headlines.lines(row.item))


def patient_name(whose: Study | Patient) -> str:
    """PS3.5 6.2.1 person name as people write it: "DOE, Jane Mary"; the first component group that says something."""
    group = next((group for group in whose.patient_name.split("=") if group.strip("^ ")), "")
    family, *others = [part.strip() for part in group.split("^")]
    given = " ".join(part for part in others[:2] if part)
    return ", ".join(part for part in (family, given) if part) or "No name"


def identity_note(decision: Decision) -> str:
    """What follows where patients contradict each other under one Study Instance UID."""
    match decision:
        case Decision.APART:
            return "Another patient's images came under the same Study Instance UID: they are kept apart."
        case Decision.ONE:
            return "The images name different patients: IT says that they are of one person."
        case _:
            return "Images of different patients came under one Study Instance UID: nothing is sent until IT decides."


def age_and_sex(study: Study) -> str:
    """E.g. "63 y F", the age on the day of the study; empty where neither is known."""
    return " ".join(part for part in (_age(study), study.sex.upper()[:1]) if part)


def _age(study: Study) -> str:
    stated = re.fullmatch(r"0*(\d{1,3})([DWMY])", study.age)
    if stated:
        return f"{stated[1]} {UNITS[stated[2]]}"
    born, at = _date(study.birth_date), _date(study.study_date) or datetime.now(UTC).date()
    if born is None or born > at:
        return ""
    years = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
    if years >= 2:
        return f"{years} y"
    days = (at - born).days
    return f"{int(days / 30.44)} mo" if days >= 61 else f"{days} d"


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def day(text: str) -> str:
    """A DICOM date as ISO 8601; what is no date stays as it is."""
    found = _date(text)
    return found.isoformat() if found else text


def duration(seconds: float) -> str:
    """A length of time, no more exact than it is useful: "45 s", "12 min", "1 h 05 min", "2 d 3 h"."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60 % 60, whole // 3600
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def since(moment: datetime, now: datetime) -> str:
    """How long ago a moment is."""
    return duration((now - moment) / timedelta(seconds=1))


def clock_time(moment: datetime) -> str:
    """A moment on the node's clock, which is that of scanners and PACS; the day, too, where it is not today."""
    here = moment.astimezone()
    return f"{here:%H:%M}" if here.date() == datetime.now().date() else f"{here:%Y-%m-%d %H:%M}"


def to_the_second(moment: datetime) -> str:
    """A moment on the node's clock in full."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def zone() -> str:
    """The zone of the node's clock now: "CET (UTC+1)", "UTC"."""
    here = datetime.now().astimezone()
    minutes = round((here.utcoffset() or timedelta()) / timedelta(minutes=1))
    hours, rest = divmod(abs(minutes), 60)
    offset = f"UTC{'+' if minutes > 0 else '-'}{hours}{f':{rest:02d}' if rest else ''}" if minutes else "UTC"
    name = here.tzname() or ""
    return f"{name} ({offset})" if name.isalpha() and name != offset else offset


def minutes_ahead() -> int:
    """How far the node's clock is ahead of UTC, for the page's script."""
    return round((datetime.now().astimezone().utcoffset() or timedelta()) / timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class ScanTime:
    """When a study was scanned, in words; `ago` where it makes sense to say how long ago that was."""

    words: str
    ago: datetime | None = None


def scanned(row: WorklistRow, now: datetime) -> ScanTime:
    """By the images' own time, in this machine's zone; what is missing or cannot be is said."""
    at = row.item.scanned_at
    if at is None:
        date_alone = day(row.study.study_date)
        return ScanTime(f"scanned {date_alone}, time not stated" if date_alone else "scan time not stated")
    here = at.astimezone()
    if at - now > CLOCKS_DIFFER:
        return ScanTime(f"scan time {here:%Y-%m-%d %H:%M} lies in the future")
    today = here.date() == now.astimezone().date()
    return ScanTime(f"scanned {here:%H:%M}" if today else f"scanned {here:%Y-%m-%d %H:%M}", at)


def prior(each: Prior) -> str:
    """When an earlier study was scanned, and how long before the later one."""
    at, elapsed = each.row.item.scanned_at, each.elapsed
    when = f"{at.astimezone():%Y-%m-%d %H:%M}" if at else day(each.row.study.study_date)
    return f"{when}, {elapsed_text(elapsed)} earlier" if elapsed is not None else when


def volume(finding: FindingRow) -> str:
    """A finding's volume with its range, or a dash where there is none."""
    return volume_text(finding.volume_ml, finding.low_ml, finding.high_ml) if finding.volume_ml > 0 else "–"


def volume_note(findings: Sequence[FindingRow]) -> str:
    """What the ranges of volumes are; empty where there are none."""
    return VOLUME_RANGE if any(finding.low_ml is not None for finding in findings) else ""


def choice_reason(choice: Choice) -> str:
    """Why it was decided so for a series."""
    if choice.instead:
        return "Another series of this study suits as well or better and is analysed."
    return choice.reason


def likely(findings: Sequence[FindingRow], question: str) -> str:
    """Which kinds a finding is most likely of, where none is stated; empty where they are."""
    said = most_likely(possible_kinds(findings), vocabulary_of(question))
    return f"{said[0].upper()}{said[1:]}. {NOT_TOLD}" if said else ""


def place(finding: FindingRow) -> str:
    """Where a finding lies; empty where nothing is known."""
    return place_text(finding.side, finding.region)


FILTERS: dict[str, Callable[..., Any]] = {
    "sign": sign,
    "lines": headlines.lines,
    "headline": headlines.headline,
    "vocabulary": vocabulary_of,
    "alarm": alarm,
    "state": state,
    "job_state": JOB_STATES.__getitem__,
    "delivery_state": DELIVERY_STATES.__getitem__,
    "kind_of_object": lambda kind: KINDS.get(kind, kind),
    "scanned": scanned,
    "prior": prior,
    "not_compared": NOT_COMPARED.__getitem__,
    "news": news,
    "missed": missed,
    "patient_name": patient_name,
    "identity_note": identity_note,
    "age_and_sex": age_and_sex,
    "day": day,
    "duration": duration,
    "since": since,
    "clock_time": clock_time,
    "to_the_second": to_the_second,
    "chance": chance_text,
    "assumed": prevalence_text,
    "volume": volume,
    "volume_note": volume_note,
    "likely": likely,
    "place": place,
}
