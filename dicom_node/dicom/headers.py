"""What a data set says of its patient, study, series, equipment and frames (PS3.3), without pixels."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.dicom.checks import UNREADABLE, checked_uid, say_uid
from dicom_node.dicom.moments import moment_of
from dicom_node.dicom.part10 import LARGEST_HEADER_BYTES, LONGEST_VALUE_BYTES
from dicom_node.entities import Equipment, Incoming, Patient, Study
from dicom_node.errors import CannotUnderstand, NotAsNegotiated
from inference.input import elements
from inference.input.geometry import SliceGeometry, slice_geometry
from inference.input.reading import read_dicom


@dataclass(frozen=True, slots=True)
class Described:
    """A data set in the words of the tables: its rows are written from nothing else. What is absent is empty.

    `scanned_at` is in UTC, None where no time is stated.
    """

    study: Study
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    equipment: Equipment
    geometry: tuple[SliceGeometry, ...]
    scanned_at: datetime | None = None


def read_header(path: Path) -> Dataset:
    """The data set of a Part 10 file without its pixels. CannotUnderstand when it is no DICOM, or too large.

    Long values stay in the file, and what is read is bounded: a header is never larger than a machine can hold, nor
    what a deflated data set becomes.
    """
    try:
        found = read_dicom(
            path, stop_before_pixels=True, whole=True, defer_size=LONGEST_VALUE_BYTES, most_bytes=LARGEST_HEADER_BYTES
        )
    except UNREADABLE as error:
        raise CannotUnderstand(f"the data set cannot be read: {elements.say_unreadable(error)}") from error
    if not len(found):  # pydicom drops every element of a data set that ends within one
        raise CannotUnderstand("the data set cannot be read: it ends too soon")
    return found


def check_negotiated(dataset: Dataset, incoming: Incoming) -> None:
    """NotAsNegotiated when the data set is another class or instance than the request says."""
    for keyword, announced in (("SOPClassUID", incoming.sop_class_uid), ("SOPInstanceUID", incoming.sop_uid)):
        found = text_of(dataset, keyword)
        if found != announced:
            raise NotAsNegotiated(f"{keyword} is {say_uid(found)}, announced was {say_uid(announced)}")


def describe(dataset: Dataset) -> Described:
    """All that is kept of a data set; its file meta information names its transfer syntax.

    CannotUnderstand when it lacks one of its four UIDs or one has not the form of a UID; nothing else is required.
    """
    return Described(
        study=_study(dataset),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        sop_uid=_uid(dataset, "SOPInstanceUID"),
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        modality=text_of(dataset, "Modality"),
        equipment=_equipment(dataset),
        geometry=slice_geometry(dataset),
        scanned_at=moment_of(dataset)[0],
    )


def text_of(dataset: Dataset, keyword: str) -> str:
    """The element as one text, several values with backslashes between them; '' when it is absent or garbled."""
    found = elements.value(dataset, keyword)
    return "\\".join(map(str, found)) if isinstance(found, MultiValue) else str(found or "").strip()


def _study(dataset: Dataset) -> Study:
    return Study(
        study_uid=_uid(dataset, "StudyInstanceUID"),
        accession=text_of(dataset, "AccessionNumber"),
        description=text_of(dataset, "StudyDescription"),
        study_date=text_of(dataset, "StudyDate"),
        age=text_of(dataset, "PatientAge"),
        **asdict(patient_of(dataset)),
    )


def patient_of(dataset: Dataset) -> Patient:
    """Whose image a data set says it is."""
    return Patient(
        patient_id=text_of(dataset, "PatientID"),
        issuer=_issuer(dataset),
        patient_name=text_of(dataset, "PatientName"),
        birth_date=text_of(dataset, "PatientBirthDate"),
        sex=text_of(dataset, "PatientSex"),
    )


def _issuer(dataset: Dataset) -> str:
    """The local name space and the universal entity that a Patient ID is from."""
    qualifiers = next(iter(elements.items(dataset, "IssuerOfPatientIDQualifiersSequence")), Dataset())
    named = (elements.text(dataset, "IssuerOfPatientID"), elements.text(qualifiers, "UniversalEntityID"))
    return "\\".join(part for part in named if part)


def _equipment(dataset: Dataset) -> Equipment:
    return Equipment(
        manufacturer=text_of(dataset, "Manufacturer"),
        model=text_of(dataset, "ManufacturerModelName"),
        station=text_of(dataset, "StationName"),
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    return checked_uid(text_of(dataset, keyword))
