"""What the writers of result objects are given, and what they give back."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from inference.change import Growth
from inference.findings import Result
from inference.input.stack import SliceStack
from reports.vocabulary.terms import Vocabulary, vocabulary_of

PRODUCT = "triage-node"


class Kind(StrEnum):
    """The four objects a result is made of."""

    SEG = "SEG"
    SR = "SR"
    SC = "SC"
    KO = "KO"


@dataclass(frozen=True, slots=True)
class Replaced:
    """An object of the previous version, which the new one supersedes; or of `study_uid`, which it is compared with."""

    kind: Kind
    sop_class_uid: str
    sop_uid: str
    series_uid: str
    made_at: datetime
    study_uid: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReportContext:
    """What the objects of one result are made from.

    `sources` are the headers of the series' instances in any order (one data set where it is multi-frame); slice i of
    the stack is frame `stack.frames[i]` of the source `stack.sop_uids[i]`. `now` is timezone-aware and is written in
    the zone it carries, or in the source's own where that states one. `version` counts from 1 and becomes the Instance
    Number. `kept_as` is the study's UID where the node keeps it, from which those of the objects follow; empty where
    it is the sources' own. `replaces` are the objects of the version before. `growth` is the change since the patient's
    last scan, whose own report is `earlier_report`.
    """

    sources: tuple[Dataset, ...]
    stack: SliceStack
    result: Result
    now: datetime
    version: int
    replaces: tuple[Replaced, ...] = ()
    growth: Growth | None = None
    earlier_report: Replaced | None = None
    kept_as: str = ""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of the question that was answered."""
        return vocabulary_of(self.result.question)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a site chooses.

    Empty frames stay in the segmentation unless asked otherwise: some viewers place the frames of a sparse one on the
    wrong slices, which is worse than the 33 kB that an empty frame costs.
    """

    kinds: tuple[Kind, ...] = (Kind.SEG, Kind.SR, Kind.SC, Kind.KO)
    picture_for_negative: bool = False
    omit_empty_frames: bool = False
    manufacturer: str = PRODUCT
    institution: str = ""
    device_serial_number: str = "1"


@dataclass(frozen=True, slots=True, eq=False)
class ReportObject:
    """One finished object, Explicit VR Little Endian, ready for `dcmwrite(..., enforce_file_format=True)`."""

    kind: Kind
    dataset: Dataset
