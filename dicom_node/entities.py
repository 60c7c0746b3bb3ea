"""The values that pass between the steps: frozen dataclasses and enums, standard library only."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class SeriesState(StrEnum):
    """Where a series stands before it is analysed."""

    RECEIVING = "receiving"  # images may still come
    COMPLETE = "complete"  # waits for the router
    ROUTED = "routed"  # a choice with its reason stands in the choices table


class ChoiceKind(StrEnum):
    """What the router decided for a series."""

    ANALYSE = "analyse"  # a job was queued
    NOT_NEEDED = "not_needed"  # a series of the same study that suits better is analysed
    DECLINED = "declined"  # cannot be analysed; the reason stands on the worklist
    IGNORED = "ignored"  # no image, or the node's own result coming back


class JobKind(StrEnum):
    """What a job is for."""

    ANALYSE = "analyse"
    EXPLAIN = "explain"  # make the picture that says why a study was not analysed
    PREVIEW = "preview"  # make the small pictures that the list plays; after everything else


class JobState(StrEnum):
    """Where an analysis stands."""

    QUEUED = "queued"
    RUNNING = "running"  # under a lease
    DONE = "done"
    DECLINED = "declined"  # the images turned out not to be analysable
    FAILED = "failed"  # attempts used up; `retry` revives it
    SUPERSEDED = "superseded"  # a better or newer series took its place before it ran


UNDER_WAY = (JobState.QUEUED, JobState.RUNNING)


class DeliveryState(StrEnum):
    """Where an object for a destination stands."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"  # attempts used up; `retry` revives it
    WITHDRAWN = "withdrawn"  # is not sent: a newer result took its place, or its patient was corrected


class SendProblem(StrEnum):
    """Why there is no status of an object from its destination."""

    NONE = ""  # there is one
    NOT_TAKEN = "not taken"  # no presentation context was accepted for its SOP class
    NO_SYNTAX = "no syntax"  # ... only since none of the transfer syntaxes that were offered is known there
    UNREADABLE = "unreadable"  # its file cannot be read, or not be decompressed for the destination
    UNREACHABLE = "unreachable"  # no association came about
    UNANSWERED = "unanswered"  # it was sent and no answer came: it may be there
    NOT_OFFERED = "not offered"  # the association ended before it


NOT_TAKEN = (SendProblem.NOT_TAKEN, SendProblem.NO_SYNTAX)


class Damage(StrEnum):
    """What is wrong with a stored file."""

    GONE = "gone"
    EMPTY = "empty"
    CUT = "cut"
    CHANGED = "changed"
    UNREADABLE = "unreadable"  # the disk gives an error


class Urgency(StrEnum):
    """UPS priorities (PS3.3 C.30.2): suspected, not analysed or failed, not suspected."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class ItemState(StrEnum):
    """A study on the worklist."""

    WAITING = "waiting"  # no result yet
    UNREAD = "unread"
    OPENED = "opened"  # somebody looks at it; it keeps its place
    ACKNOWLEDGED = "acknowledged"  # somebody has taken it; it gives way
    READ = "read"  # done: it leaves the list


@dataclass(frozen=True, slots=True)
class Incoming:
    """One C-STORE request: its data set as sent, behind file meta information, and what was negotiated for it.

    Who stores it takes the file over; `sha256` is that of the data set alone.
    """

    path: Path
    sha256: str
    sop_class_uid: str
    sop_uid: str
    transfer_syntax_uid: str
    calling_aet: str
    called_aet: str
    association: int


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose images they are (PS3.3 C.7.1.1), as one data set says; '' where absent. `issuer` is the Patient ID's."""

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """Patient and study attributes as last sent.

    `study_uid` is the Study Instance UID; of a second patient under the same one it is derived, and `sent_uid` is what
    the images say.
    """

    study_uid: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession: str
    description: str
    study_date: str
    age: str = ""
    issuer: str = ""
    sent_uid: str = ""

    @property
    def patient(self) -> Patient:
        """Whose study it is."""
        return Patient(self.patient_id, self.issuer, self.patient_name, self.birth_date, self.sex)


class Decision(StrEnum):
    """What IT says of patients who contradict each other under one Study Instance UID."""

    NONE = ""  # nothing is sent
    APART = "apart"  # several people, each with own results
    ONE = "one"  # one person


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Patients under one Study Instance UID who cannot be the same person by what their images say."""

    sent_uid: str
    identities: tuple[Patient, ...]
    noted_at: datetime
    decision: Decision = Decision.NONE
    decided_at: datetime | None = None
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance; `version` counts from 1, the highest is the current one.

    `sha256` is of the data set as sent.
    """

    sop_uid: str
    version: int
    study_uid: str
    series_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    path: Path
    bytes: int
    sha256: str
    received_at: datetime
    calling_aet: str
    called_aet: str


@dataclass(frozen=True, slots=True)
class Series:
    """One series.

    `last_at` is in monotonic seconds (see clock.monotonic); `revision` grows with every change of content. `expected`
    is how many images the sender says there are, `counted` how often it has said the same. `aborted`: the last
    association that sent it broke off.
    """

    series_uid: str
    study_uid: str
    modality: str
    calling_aet: str
    called_aet: str
    state: SeriesState
    last_at: float
    released: bool
    reopened: bool
    revision: int
    expected: int | None
    counted: int = 0
    aborted: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided for a series and a question, and why.

    A lower `rank` suits better; `rule` is the rule's name in routes.toml and `reason` what it says. `instead` is the
    series that is analysed in this one's place. `outside`: it was never a series for the question.
    """

    series_uid: str
    study_uid: str
    question: str
    revision: int
    kind: ChoiceKind
    rule: str
    reason: str
    pipeline: str | None = None
    rank: int = 1000
    instead: str = ""
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One analysis of one revision of a series, or pictures of it (`pipeline` is then '')."""

    job_id: int
    kind: JobKind
    study_uid: str
    series_uid: str
    revision: int
    question: str
    pipeline: str
    rank: int
    state: JobState
    attempts: int
    error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One object that the node made; kind is SEG, SR, SC or KO.

    `sha256` is of the data set as written; empty of objects from before it was kept.
    """

    kind: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str
    path: Path
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One of a result's findings as the tables and pages need it.

    95 % of true volumes lie between `low_ml` and `high_ml`; `repeat_sd` is the standard deviation of the logarithm of
    the ratio to a second measurement of the same. None where that was not measured. `side` (left, right, both, midline)
    and `region` are empty where geometry tells none. A `differential` finding is a kind that another finding may be of,
    and never present.
    """

    name: str
    code: str
    probability: float
    present: bool
    volume_ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    repeat_sd: float | None = None
    side: str = ""
    region: str = ""
    differential: bool = False


@dataclass(frozen=True, slots=True)
class Analysis:
    """A pipeline's answer to a question about a study; `version` counts the question's results from 1.

    `incomplete` says why the images were only a part of what they should show; empty where they were not. `band` (low,
    indeterminate, high) is where the probability lies; empty of results from before there were bands. `prevalence` is
    what probabilities and threshold assume; None of older results, and where the model's card does not say its own.
    """

    study_uid: str
    question: str
    version: int
    series_uid: str
    pipeline: str
    suspected: bool
    probability: float
    threshold: float
    findings: tuple[FindingRow, ...]
    model_name: str
    model_version: str
    model_sha256: str
    warnings: tuple[str, ...]
    seconds: float
    made_at: datetime
    incomplete: str = ""
    band: str = ""
    prevalence: float | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """Whose head an analysed result was measured in, and when it was scanned (UTC; None where no time is stated).

    `issuer` is the Patient ID's; `zone_stated` says whether the images name their time zone; `compared` is what the
    result's report says of the patient's earlier scan.
    """

    study_uid: str
    question: str
    version: int
    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    acquired_at: datetime | None
    zone_stated: bool
    compared: str = ""
    sex: str = ""

    @property
    def patient(self) -> Patient:
        """Whose head it is."""
        return Patient(self.patient_id, self.issuer, self.patient_name, self.birth_date, self.sex)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination.

    `next_at` is monotonic seconds; `unanswered` counts the attempts that the destination has not answered.
    """

    delivery_id: int
    study_uid: str
    destination: str
    sop_uid: str
    sop_class_uid: str
    kind: str
    path: Path
    state: DeliveryState
    attempts: int
    next_at: float
    error: str | None
    problem: SendProblem = SendProblem.NONE
    unanswered: int = 0

    @property
    def not_taken(self) -> bool:
        """Whether the destination takes no such object."""
        return self.state is DeliveryState.FAILED and self.problem in NOT_TAKEN


@dataclass(frozen=True, slots=True)
class SendStatus:
    """The answer to one C-STORE; `status` is None where there is none, and `problem` then says why."""

    path: Path
    status: int | None
    detail: str = ""
    problem: SendProblem = SendProblem.NONE


@dataclass(frozen=True, slots=True)
class Equipment:
    """What made a series: Manufacturer, Manufacturer's Model Name and Station Name (PS3.3 C.7.5.1); '' where absent."""

    manufacturer: str
    model: str
    station: str
