"""A data set is described once: everything that its rows say, and nothing that it does not say itself."""

import pytest
from ct_slices import ct_slice, garble

from dicom_node.dicom.headers import Described, describe
from dicom_node.entities import Equipment, Study
from dicom_node.errors import CannotUnderstand
from inference.input.geometry import SliceGeometry

pytestmark = pytest.mark.filterwarnings("ignore:The value length:UserWarning")  # pydicom's, about what is no UID
NOTHING = Study("1.2.1", "", "", "", "", "", "", "")


def test_a_bare_slice() -> None:
    """What is absent is empty."""
    assert describe(ct_slice(2)) == Described(
        study=NOTHING,
        series_uid="1.2.2",
        sop_uid="1.2.3.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        equipment=Equipment("", "", ""),
        geometry=(SliceGeometry((-10.0, -20.0, 10.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 5.0, 3),),
    )


def test_patient_study_and_equipment() -> None:
    """Several values of an element are one text, and what is garbled is empty."""
    found = describe(
        ct_slice(
            0,
            PatientID="ID1",
            PatientName="DOE^Jane",
            PatientBirthDate="19560312",
            PatientSex="F",
            PatientAge="070Y",
            AccessionNumber="ACC1",
            StudyDescription="CT head",
            StudyDate="20261120",
            Manufacturer="ACME",
            ManufacturerModelName=["One", "Two"],
            StationName="CT1",
        )
    )
    assert found.study == Study("1.2.1", "ID1", "DOE^Jane", "19560312", "F", "ACC1", "CT head", "20261120", "070Y")
    assert found.equipment == Equipment("ACME", "One\\Two", "CT1")
    assert describe(garble(ct_slice(0), "ImagePositionPatient", "DS", b"a\\b\\c ")).geometry == ()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("uid", [None, "", "../../etc", "1." * 40 + "1"])
def test_a_uid_without_the_form_of_one(keyword: str, uid: str | None) -> None:
    """Nothing is made of it: it would name a folder."""
    with pytest.raises(CannotUnderstand, match="not a UID"):
        describe(ct_slice(0, **{keyword: uid}))
