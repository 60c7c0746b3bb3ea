"""What every result object shares: what it is made from, its UIDs and numbers, and the patient it belongs to.

A result belongs to the patient, study and accession of its source (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), in a series of its
own (C.7.3.1), and names the algorithm as contributing equipment (IHE AI Results; PS3.3 C.12.1).
"""

import re
import unicodedata
import uuid
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from highdicom import ContributingEquipment
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import DT

from inference.elements import UNREADABLE, text, zone_of
from inference.findings import ModelIdentity, Result
from inference.growth import Growth
from inference.stack import SliceStack
from reports import codes

# The namespace of every UID made here (RFC 9562 version 5, written as PS3.5 B.2 has it).
_NAMESPACE = uuid.UUID("8f1f3e0c-54a2-5f0e-9a37-0d6c1c6f6f51")
_PRODUCT = "triage-node"

TYPE_2 = (
    "StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName PatientName PatientID PatientBirthDate "
    "PatientSex"
)
_OPTIONAL = (
    "IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID PatientBirthTime OtherPatientIDsSequence "
    "OtherPatientNames EthnicGroup PatientComments QualityControlSubject PatientIdentityRemoved DeidentificationMethod "
    "DeidentificationMethodCodeSequence StudyDescription ProcedureCodeSequence IssuerOfAccessionNumberSequence "
    "ReferencedStudySequence PhysiciansOfRecord NameOfPhysiciansReadingStudy ConsultingPhysicianName RequestingService "
    "PatientAge PatientSize PatientWeight AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence Occupation "
    "AdditionalPatientHistory AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription "
    "ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID "
    "ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ClinicalTrialTimePointID "
    "LongitudinalTemporalInformationModified TimezoneOffsetFromUTC"
)


class Kind(StrEnum):
    """The four objects a result is made of."""

    SEG = "SEG"
    SR = "SR"
    SC = "SC"
    KO = "KO"


_SERIES_NUMBER = {Kind.SC: 9101, Kind.SR: 9102, Kind.SEG: 9103, Kind.KO: 9104}
_SERIES_DESCRIPTION = {
    Kind.SC: "result picture (research only)",
    Kind.SR: "report (research only)",
    Kind.SEG: "segmentation (research only)",
    Kind.KO: "key images (research only)",
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """An object of the previous version, which the new one supersedes."""

    kind: Kind
    sop_class_uid: str
    sop_uid: str
    series_uid: str
    made_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class ReportContext:
    """What the objects of one result are made from.

    `sources` are the headers of the series' instances in any order (one data set where it is multi-frame); slice i of
    the stack is frame `stack.frames[i]` of the source `stack.sop_uids[i]`. `now` is timezone-aware and is written in
    the zone it carries, or in the source's own where that states one. `version` counts from 1 and becomes the Instance
    Number; `replaces` are the objects of the version before. `growth` is the change since the patient's last scan,
    whose own report is `earlier_report`.
    """

    sources: tuple[Dataset, ...]
    stack: SliceStack
    result: Result
    now: datetime
    version: int
    replaces: tuple[Replaced, ...] = ()
    growth: Growth | None = None
    earlier_report: Replaced | None = None


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a site chooses.

    Empty frames stay in the segmentation unless asked otherwise: some viewers place the frames of a sparse one on the
    wrong slices, which is worse than the 33 kB that an empty frame costs.
    """

    kinds: tuple[Kind, ...] = (Kind.SEG, Kind.SR, Kind.SC, Kind.KO)
    picture_for_negative: bool = False
    picture_for_not_analysed: bool = False
    omit_empty_frames: bool = False
    manufacturer: str = _PRODUCT
    institution: str = ""
    device_serial_number: str = "1"


@dataclass(frozen=True, slots=True, eq=False)
class ReportObject:
    """One finished object, Explicit VR Little Endian, ready for `dcmwrite(..., enforce_file_format=True)`."""

    kind: Kind
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object this is: its UIDs and numbers, who made it and when."""

    kind: Kind
    pipeline: str
    series_uid: str
    sop_uid: str
    version: int
    now: datetime
    model: ModelIdentity | None

    @property
    def series_number(self) -> int:
        return _SERIES_NUMBER[self.kind]

    @property
    def series_description(self) -> str:
        """The same for every version, as all objects of a series must agree."""
        return plain(f"AI {self.pipeline} {_SERIES_DESCRIPTION[self.kind]}")[:64]

    @property
    def model_name(self) -> str:
        return plain(self.model.name)[:64] if self.model else _PRODUCT

    @property
    def software_versions(self) -> list[str]:
        """The program's version, then the model's."""
        model = [plain(f"{self.model.name} {self.model.version}")[:64]] if self.model else []
        return [f"{_PRODUCT} {program_version()}", *model]


def result_series_uid(study_uid: str, pipeline: str, kind: Kind) -> str:
    """The series that all versions of one kind of result of a study go to; always the same for the same study."""
    return hashed_uid("series", study_uid, pipeline, kind)


def result_sop_uid(
    study_uid: str, pipeline: str, kind: Kind, version: int, source_series_uid: str, model_sha256: str = ""
) -> str:
    """The same for a job that is done again, so that nothing is doubled; another one for another model or series."""
    return hashed_uid("instance", study_uid, pipeline, kind, str(version), source_series_uid, model_sha256)


def hashed_uid(*what: str) -> str:
    """A UID that follows from what it names."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(what)).int}"


def identify(kind: Kind, context: ReportContext) -> Identity:
    """The identity of one object of this result."""
    stack, result = context.stack, context.result
    return Identity(
        kind=kind,
        pipeline=result.pipeline,
        series_uid=result_series_uid(stack.study_uid, result.pipeline, kind),
        sop_uid=result_sop_uid(
            stack.study_uid, result.pipeline, kind, context.version, stack.series_uid, result.model.sha256
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
        return version(_PRODUCT)
    except PackageNotFoundError:
        return "unknown"


def finish(made: Dataset, source: Dataset, who: Identity, options: ReportOptions) -> Dataset:
    """Give a new object the patient and study of its source and the marks of its maker; returns a plain data set."""
    result = Dataset()
    result.update(made)
    result.preamble, result.file_meta = b"\0" * 128, made.file_meta
    _inherit(result, source)
    result.InstanceCreationDate = result.ContentDate = f"{who.now:%Y%m%d}"
    result.InstanceCreationTime = result.ContentTime = f"{who.now:%H%M%S}"
    result.Manufacturer = plain(options.manufacturer)[:64]
    result.ManufacturerModelName = who.model_name
    result.SoftwareVersions = who.software_versions
    result.DeviceSerialNumber = options.device_serial_number
    if options.institution:
        result.InstitutionName = options.institution
    result.ContributingEquipmentSequence = [*_acquisition_equipment(source), _algorithm_equipment(who, options)]
    return result


def _inherit(result: Dataset, source: Dataset) -> None:
    """Copy patient and study as sent; an optional element that is empty is left out, as some may not be empty."""
    for keyword in ("SpecificCharacterSet", *TYPE_2.split(), *_OPTIONAL.split()):
        sent = _element(source, keyword)
        if sent is not None:
            result[sent.tag] = deepcopy(sent)
        elif keyword in TYPE_2.split():
            setattr(result, keyword, None)
        else:
            result.pop(Tag(keyword), None)
    _mend_age(result)
    if not (result.get("DeidentificationMethod") or result.get("DeidentificationMethodCodeSequence")):
        # May not stand without its method (Type 1C), and some senders leave that empty.
        result.pop(Tag("PatientIdentityRemoved"), None)
    result.StudyInstanceUID = source.StudyInstanceUID


def _mend_age(result: Dataset) -> None:
    """Write an age such as "0Y", which anonymisers leave behind, as the Age String that is meant (PS3.5 6.2)."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", text(result, "PatientAge").upper())
    if stated:
        result.PatientAge = f"{int(stated[1]):03d}{stated[2]}"


def _element(source: Dataset, keyword: str) -> DataElement | None:
    """The element, or None where it is absent, empty or cannot be read."""
    try:
        return source[keyword] if keyword in source and not source[keyword].is_empty else None
    except UNREADABLE:
        return None


def _acquisition_equipment(source: Dataset) -> Sequence[ContributingEquipment]:
    """The scanner, where the source names it."""
    manufacturer = text(source, "Manufacturer")
    if not manufacturer:
        return ()
    item = ContributingEquipment(
        manufacturer=manufacturer[:64],
        purpose_of_reference=codes.ACQUISITION_EQUIPMENT,
        manufacturer_model_name=text(source, "ManufacturerModelName")[:64] or None,
        contribution_description="Acquisition equipment of the source images",
    )
    return (item,)


def _algorithm_equipment(who: Identity, options: ReportOptions) -> ContributingEquipment:
    return ContributingEquipment(
        manufacturer=plain(options.manufacturer)[:64],
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer_model_name=who.model_name,
        software_versions=who.software_versions,
        contribution_datetime=DT(who.now.replace(microsecond=0)),
        contribution_description="Analysed the source images; research software, not for diagnostic use",
    )
