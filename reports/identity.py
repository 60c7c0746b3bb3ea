"""Which object a result object is: its UIDs, its numbers, its makers (PS3.3 C.7.3.1; UIDs after PS3.5 B.2)."""

import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TypedDict

from pydicom.dataset import Dataset

from inference.findings import ModelIdentity
from inference.input.elements import text, zone_of
from reports.context import PRODUCT, Kind, ReportContext
from reports.vocabulary.terms import vocabulary_of

# The namespace of every UID made here (RFC 9562 version 5, written as PS3.5 B.2 has it).
_NAMESPACE = uuid.UUID("8f1f3e0c-54a2-5f0e-9a37-0d6c1c6f6f51")
_FIRST_SERIES = 9100  # of the first question; each further one begins ten later
_SERIES_PLACE = {Kind.SC: 1, Kind.SR: 2, Kind.SEG: 3, Kind.KO: 4}
_NOUN = {
    Kind.SC: "Picture",
    Kind.SR: "Report",
    Kind.SEG: "Segmentation",
    Kind.KO: "Key images",
}


class SeriesArguments(TypedDict):
    """What every constructor of highdicom is told of the series and of the object's place in it."""

    series_instance_uid: str
    series_number: int
    sop_instance_uid: str
    instance_number: int
    series_description: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object this is: its UIDs and numbers, who made it and when."""

    kind: Kind
    question: str
    series_uid: str
    sop_uid: str
    version: int
    now: datetime
    model: ModelIdentity | None

    @property
    def series_number(self) -> int:
        return _FIRST_SERIES + 10 * vocabulary_of(self.question).number + _SERIES_PLACE[self.kind]

    @property
    def series_description(self) -> str:
        """What it is, the noun first, since viewers cut it; of a later version also that it replaces the one before."""
        again = f" {self.version} (replaces {self.version - 1})" if self.version > 1 else ""
        return plain(f"{_NOUN[self.kind]}{again}: AI {self.question.replace('_', ' ')} (research only)")[:64]

    @property
    def in_series(self) -> SeriesArguments:
        """This object in its series, as highdicom's constructors take it."""
        return SeriesArguments(
            series_instance_uid=self.series_uid,
            series_number=self.series_number,
            sop_instance_uid=self.sop_uid,
            instance_number=self.version,
            series_description=self.series_description,
        )

    @property
    def model_name(self) -> str:
        return plain(self.model.name)[:64] if self.model else PRODUCT

    @property
    def software_versions(self) -> list[str]:
        """The program's version, then the model's."""
        model = [plain(f"{self.model.name} {self.model.version}")[:64]] if self.model else []
        return [f"{PRODUCT} {program_version()}", *model]


def result_series_uid(study_uid: str, question: str, kind: Kind, version: int) -> str:
    """The series of one kind of answer to a question; a later version has its own, which says what it replaces."""
    return hashed_uid("series", study_uid, question, kind, *([str(version)] if version > 1 else []))


def result_sop_uid(
    study_uid: str, question: str, kind: Kind, version: int, source_series_uid: str, model_sha256: str = ""
) -> str:
    """The same for a job that is done again, so that nothing is doubled; another one for another model or series."""
    return hashed_uid("instance", study_uid, question, kind, str(version), source_series_uid, model_sha256)


def hashed_uid(*what: str) -> str:
    """A UID that follows from what it names."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(what)).int}"


def identify(kind: Kind, context: ReportContext) -> Identity:
    """The identity of one object of this result."""
    stack, result = context.stack, context.result
    study_uid = context.kept_as or stack.study_uid
    return Identity(
        kind=kind,
        question=result.question,
        series_uid=result_series_uid(study_uid, result.question, kind, context.version),
        sop_uid=result_sop_uid(
            study_uid, result.question, kind, context.version, stack.series_uid, result.model.sha256
        ),
        version=context.version,
        now=written_time(context.now, context.sources[0]),
        model=result.model,
    )


def written_time(now: datetime, source: Dataset) -> datetime:
    """`now` on the source's clock where the source says which that is, as it holds for all times of an object."""
    zone = zone_of(text(source, "TimezoneOffsetFromUTC"))
    return now.astimezone(zone) if zone else now


def plain(words: str) -> str:
    """The words in ASCII, which every character set of a source can write."""
    folded = unicodedata.normalize("NFKD", words.replace("–", "-").replace("—", "-"))
    return "".join(each for each in folded if not unicodedata.combining(each)).encode("ascii", "replace").decode()


def program_version() -> str:
    """The version of this program, as installed."""
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "unknown"
