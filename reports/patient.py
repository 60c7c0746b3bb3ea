"""What every result object shares: what it is made from, its UIDs and numbers, and the patient it belongs to.

A result belongs to the patient, study and accession of its source (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), in a series of its
own (C.7.3.1), and names the algorithm as contributing equipment (IHE AI Results; PS3.3 C.12.1).
"""

import re
from collections.abc import Sequence

from highdicom import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import DT

from inference.input.elements import text
from reports import codes
from reports.as_sent import element_as_sent, keep_as_sent
from reports.context import ReportOptions
from reports.identity import Identity, plain

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


def finish(made: Dataset, source: Dataset, who: Identity, options: ReportOptions) -> Dataset:
    """Give a new object the patient and study of its source and the marks of its maker; returns a plain data set."""
    result = Dataset()
    result.update(made)
    result.preamble, result.file_meta = b"\0" * 128, made.file_meta
    _inherit(result, source)
    result.InstanceCreationDate = result.ContentDate = result.SeriesDate = f"{who.now:%Y%m%d}"
    result.InstanceCreationTime = result.ContentTime = result.SeriesTime = f"{who.now:%H%M%S}"
    result.Manufacturer = plain(options.manufacturer)[:64]
    result.ManufacturerModelName = who.model_name
    result.SoftwareVersions = who.software_versions
    result.DeviceSerialNumber = options.device_serial_number
    if options.institution:
        result.InstitutionName = options.institution
    result.ContributingEquipmentSequence = [*_acquisition_equipment(source), _algorithm_equipment(who, options)]
    keep_as_sent(result)
    return result


def _inherit(result: Dataset, source: Dataset) -> None:
    """Copy patient and study as sent; an optional element that is empty is left out, as some may not be empty."""
    for keyword in ("SpecificCharacterSet", *TYPE_2.split(), *_OPTIONAL.split()):
        sent = element_as_sent(source, keyword)
        if sent is not None:
            result[sent.tag] = sent
        elif keyword in TYPE_2.split():
            setattr(result, keyword, None)
        else:
            result.pop(Tag(keyword), None)
    _mend_age(result)
    if "DeidentificationMethod" not in result and "DeidentificationMethodCodeSequence" not in result:
        # May not stand without its method (Type 1C), and some senders leave that empty.
        result.pop(Tag("PatientIdentityRemoved"), None)
    result.StudyInstanceUID = source.StudyInstanceUID


def _mend_age(result: Dataset) -> None:
    """Write an age such as "0Y", which anonymisers leave behind, as the Age String that is meant (PS3.5 6.2)."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", text(result, "PatientAge").upper())
    if stated:
        result.PatientAge = f"{int(stated[1]):03d}{stated[2]}"


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
