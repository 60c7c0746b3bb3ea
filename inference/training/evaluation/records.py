"""What is kept of one evaluated study, one JSON file each: enough for every figure, so that nothing is analysed twice.

A record belongs to one `RunKey`; those of another data set, model or method, of other labels or other code are never
reused. A file is replaced as a whole or not at all, so that a run may be stopped at any moment.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from inference.findings import Band, ModelIdentity
from inference.training.datasets.base import Entry

SCHEMA = 3


class AnswerOutcome(StrEnum):
    """How a study ended; `reason` of its record says why it was not analysed.

    NOT_ANALYSED: these images cannot be analysed. ERROR: files or labels are damaged. FAILED: the analyst broke down.
    """

    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    ERROR = "error"
    FAILED = "analysis_failed"

    @property
    def is_final(self) -> bool:
        """Whether another run would end alike: what was damaged or broke down may have been mended."""
        return self not in (AnswerOutcome.ERROR, AnswerOutcome.FAILED)


@dataclass(frozen=True, slots=True)
class RunKey:
    """What a record was made with. `signature` changes with anything besides the weights that changes an answer;
    `labels` is the digest of the data set's labels, `code` that of the program (`source.py`)."""

    dataset: str
    model: ModelIdentity
    method: str
    signature: str
    labels: str
    code: str
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class SliceTruth:
    """One slice as readers labelled it: any haemorrhage, then the five types; `judged` ones count."""

    judged: bool
    labels: tuple[bool, bool, bool, bool, bool, bool]
    extent_mm: float


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """What readers say of the study; `slices` is None where only the study was read."""

    haemorrhage: bool
    types: tuple[bool | None, ...]
    slices: tuple[SliceTruth, ...] | None
    age_years: float | None

    @property
    def type_indices(self) -> tuple[int, ...]:
        """The types that are there, as places in HaemorrhageType."""
        return tuple(i for i, there in enumerate(self.types) if there)


@dataclass(frozen=True, slots=True)
class StudyAnswer:
    """What the analyst said; tuples of five are in the order of HaemorrhageType, volumes over the whole stack.

    `band` is what the card says of the probability, `range_ml` between which volumes it says that the whole bleed lies;
    None where it says nothing.
    """

    probability: float
    threshold: float
    suspected: bool
    type_probabilities: tuple[float, ...]
    types_present: tuple[bool, ...]
    volumes_ml: tuple[float, ...]
    slice_probabilities: tuple[float, ...]
    slice_threshold: float
    key_slices: tuple[int, ...]
    warnings: tuple[str, ...]
    band: Band | None = None
    range_ml: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Drawn and predicted on the voxels whose truth is known, and on no others."""

    true_voxels: int
    predicted_voxels: int
    shared_voxels: int
    true_ml: float
    predicted_ml: float

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|); nan where both are empty."""
        total = self.true_voxels + self.predicted_voxels
        return 2 * self.shared_voxels / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class Body:
    """A connected body of an outline, all of one type. `named` is the type that most of what is drawn on it has, ''
    where nothing is."""

    kind: str
    volume_ml: float
    named: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """What somebody drew, on the slices with outlined blood alone: the Dice of each, all of them together, and what was
    made of each outlined body."""

    slice_dices: tuple[float, ...]
    outlined: Overlap
    bodies: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """The comparison with readers' outlines. `complete`: they cover the whole stack, so that `any_type.true_ml` is the
    volume of the whole bleed. A type is None where some outline does not say its type. `peak_mm` is how far from the
    outlined blood the network's surest voxel lies, None where that is not known."""

    complete: bool
    slices: int
    any_type: Overlap
    types: tuple[Overlap | None, ...]
    drawing: Drawing
    peak_mm: float | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study: truth and answer, each None where it could not be had. `picture` is a file name beside the record.

    `series_uid` and `series_name` say which series was read, '' where none was or a study has no several.
    """

    study_id: str
    patient_id: str
    outcome: AnswerOutcome
    reason: str = ""
    truth: KnownTruth | None = None
    answer: StudyAnswer | None = None
    outline: Outline | None = None
    read_s: float = 0.0
    analyse_s: float = 0.0
    picture: str | None = None
    series_uid: str = ""
    series_name: str = ""


@dataclass(frozen=True, slots=True)
class JudgedStudy:
    """An analysed study with both its sides."""

    record: StudyRecord
    truth: KnownTruth
    answer: StudyAnswer


def cases_of(records: Sequence[StudyRecord]) -> list[JudgedStudy]:
    """The analysed studies."""
    return [
        JudgedStudy(record, record.truth, record.answer)
        for record in records
        if record.outcome is AnswerOutcome.ANALYSED and record.truth is not None and record.answer is not None
    ]


@dataclass(frozen=True, slots=True)
class _Filed:
    """What a file holds."""

    key: RunKey
    record: StudyRecord


_FILED = TypeAdapter(_Filed)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces the file as a whole: a stop leaves the old content or the new, never a part."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def safe_name(study_id: str) -> str:
    """A file name for any study id, different for different ids."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", study_id)[:100]
    if plain == study_id and not plain.startswith("."):
        return plain
    return f"{plain.lstrip('.')}-{hashlib.sha256(study_id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Folder:
    """The records of one run in `path`."""

    path: Path
    key: RunKey

    def record_path(self, entry: Entry) -> Path:
        """Where the record of a study lies."""
        return self.path / f"{safe_name(entry.study_id)}.json"

    def picture_path(self, entry: Entry) -> Path:
        """Where the picture of a study lies."""
        return self.path / f"{safe_name(entry.study_id)}.png"

    def write(self, entry: Entry, record: StudyRecord) -> None:
        """Files a record."""
        write_whole(self.record_path(entry), _FILED.dump_json(_Filed(self.key, record), indent=1))

    def finished(self, entries: Sequence[Entry]) -> tuple[dict[str, StudyRecord], tuple[str, ...]]:
        """{study id: record} of what need not be done again, and in words why other records are not reused.

        Studies that ended with an error are tried again: their files, or the machine, may have been mended.
        """
        found: dict[str, StudyRecord] = {}
        differences: Counter[str] = Counter()
        for entry in entries:
            filed = self._read(entry)
            if filed is None:
                continue
            difference = _difference(filed.key, self.key)
            if difference:
                differences[difference] += 1
            elif filed.record.outcome.is_final and self._has_picture(filed.record):
                found[entry.study_id] = filed.record
        return found, tuple(
            f"{count} finished studies in {self.path} are not reused: {why}" for why, count in differences.items()
        )

    def _read(self, entry: Entry) -> _Filed | None:
        path = self.record_path(entry)
        try:
            filed = _FILED.validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        same = (filed.record.study_id, filed.record.patient_id) == (entry.study_id, entry.patient_id)
        return filed if same else None

    def _has_picture(self, record: StudyRecord) -> bool:
        return record.picture is None or (self.path / record.picture).exists()


def _difference(old: RunKey, new: RunKey) -> str:
    """Why records of one run are none of the other's, or ''."""
    if old.dataset != new.dataset:
        return f"they are of the data set {old.dataset}, this one is {new.dataset}"
    if old.model != new.model:
        return (
            f"they were made with the model {old.model.name} {old.model.version} ({old.model.sha256[:12]}), "
            f"this one is {new.model.name} {new.model.version} ({new.model.sha256[:12]})"
        )
    if old.labels != new.labels:
        return "the labels have changed since"
    if old.code != new.code:
        return "the program has changed since"
    return "they were made with another method, calibration or threshold" if old != new else ""
