"""What a data set says of its patient, study and equipment (PS3.3), without pixels."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node import entities
from dicom_node.dicom.checks import UNREADABLE, checked_uid
from dicom_node.entities import Incoming, Study
from dicom_node.errors import CannotUnderstand, NotAsNegotiated
from inference.input import elements


def read_header(part10: bytes) -> Dataset:
    """The data set without its pixels. CannotUnderstand when it is no DICOM."""
    try:
        return dcmread(BytesIO(part10), stop_before_pixels=True)
    except UNREADABLE as error:
        raise CannotUnderstand(f"the data set cannot be read: {error}") from error


def check_negotiated(dataset: Dataset, incoming: Incoming) -> None:
    """NotAsNegotiated when the data set is another class or instance than the request says."""
    for keyword, announced in (("SOPClassUID", incoming.sop_class_uid), ("SOPInstanceUID", incoming.sop_uid)):
        found = text_of(dataset, keyword)
        if found != announced:
            raise NotAsNegotiated(f"{keyword} is {found!r}, announced was {announced!r}")


def uid_of(dataset: Dataset, keyword: str) -> str:
    """The single UID of an element. CannotUnderstand when it is none."""
    return checked_uid(text_of(dataset, keyword))


def text_of(dataset: Dataset, keyword: str) -> str:
    """The element as one text, several values with backslashes between them; '' when it is absent or garbled."""
    found = elements.value(dataset, keyword)
    return "\\".join(map(str, found)) if isinstance(found, MultiValue) else str(found or "").strip()


def study_of(dataset: Dataset) -> Study:
    """Patient and study attributes of a data set; what is absent is empty."""
    return Study(
        study_uid=uid_of(dataset, "StudyInstanceUID"),
        patient_id=text_of(dataset, "PatientID"),
        patient_name=text_of(dataset, "PatientName"),
        birth_date=text_of(dataset, "PatientBirthDate"),
        sex=text_of(dataset, "PatientSex"),
        accession=text_of(dataset, "AccessionNumber"),
        description=text_of(dataset, "StudyDescription"),
        study_date=text_of(dataset, "StudyDate"),
        age=text_of(dataset, "PatientAge"),
    )


def equipment_of(dataset: Dataset) -> entities.Equipment:
    """What made the images."""
    return entities.Equipment(
        *(text_of(dataset, name) for name in ("Manufacturer", "ManufacturerModelName", "StationName"))
    )
