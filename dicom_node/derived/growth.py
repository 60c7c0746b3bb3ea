"""Growth: the change of volumes since the patient's last analysed scan, derived from the rows that stand.

The same patient is the same Patient ID from the same issuer (PS3.3 C.7.1.1) with no contradiction in name or birth
date. Earlier is what was acquired earlier, not what came earlier; times are those of PS3.3 C.12.1.1.8 (Timezone Offset
From UTC), and where that is not stated, of this machine's zone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from pydicom.dataset import Dataset

from dicom_node.dicom.headers import issuer_of
from dicom_node.dicom.names import names_differ
from dicom_node.entities import Analysis, FindingRow, Scan
from dicom_node.tables import results, scans
from dicom_node.tables.database import Transaction
from inference.change import Growth, Volume
from inference.input import elements
from inference.pipelines.registry import question_of
from reports.change import sentences
from reports.vocabulary.terms import vocabulary_of

OTHER_ZONES = timedelta(hours=26)  # how far two local times may be apart: UTC-12 to UTC+14
TIMES = (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime"), ("StudyDate", "StudyTime"))
DATE_TIME = re.compile(
    r"(\d{8})(\d{4})(\d{2})?(\.\d{1,6})?([+-]\d{4})?"
)  # DT, and DA with TM (PS3.5 6.2), to the minute
log = structlog.get_logger()


def scan_of(headers: Sequence[Dataset], analysis: Analysis) -> Scan:
    """Whose scan a result was measured in and when it was taken, as the analysed images say."""
    first = headers[0]
    at, stated = acquired_at(headers)
    return Scan(
        study_uid=analysis.study_uid,
        question=analysis.question,
        version=analysis.version,
        patient_id=elements.text(first, "PatientID"),
        issuer=issuer_of(first),
        patient_name=elements.text(first, "PatientName"),
        birth_date=elements.text(first, "PatientBirthDate"),
        acquired_at=at,
        zone_stated=stated,
    )


def acquired_at(headers: Sequence[Dataset]) -> tuple[datetime | None, bool]:
    """When the first slice was acquired, in UTC, and whether the zone was stated; a date alone is no moment."""
    found = [moment for moment in map(moment_of, headers) if moment[0] is not None]
    return min(found, key=lambda moment: moment[0] or datetime.max.replace(tzinfo=UTC), default=(None, False))


def moment_of(header: Dataset) -> tuple[datetime | None, bool]:
    """One image's acquisition, else content, else study date and time, in UTC; whether the zone was stated."""
    written = [elements.text(header, "AcquisitionDateTime")]
    written += ["".join(elements.text(header, keyword) for keyword in pair) for pair in TIMES]
    zone = elements.text(header, "TimezoneOffsetFromUTC")
    for text in written:
        parts = DATE_TIME.fullmatch(text.replace(":", ""))
        moment = _read(f"{parts[1]}{parts[2]}{parts[3] or '00'}{parts[4] or '.0'}", parts[5] or zone) if parts else None
        if moment is not None:
            return moment
    return None, False


def _read(digits: str, offset: str) -> tuple[datetime, bool] | None:
    """A moment in UTC; the offset counts where it is one, otherwise this machine's zone."""
    try:
        zone = elements.zone_of(offset)
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S.%f").replace(tzinfo=zone)
        return moment.astimezone(UTC), zone is not None
    except (ValueError, OverflowError):
        return None


def contradiction(one: Scan, other: Scan) -> bool:
    """Whether name or birth date speak against one patient; what is absent in either speaks for nothing."""
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return True
    groups = zip(one.patient_name.split("="), other.patient_name.split("="), strict=False)
    return any(names_differ(mine, theirs) for mine, theirs in groups)


def growth_since_last_scan(tx: Transaction, scan: Scan, analysis: Analysis) -> Growth | None:
    """The change since the last scan before this one; None where no analysed scan is known to be earlier.

    None, too, for a question whose answers are not compared.
    """
    measure = question_of(analysis.question).compare
    if measure is None:
        return None
    before = [other for other in scans.others(tx, scan) if is_earlier(other, scan) and not contradiction(other, scan)]
    for earlier in sorted(before, key=lambda other: (other.acquired_at or datetime.min, other.study_uid), reverse=True):
        known = results.analyses_of_study(tx, earlier.study_uid, analysis.question)
        answers = [each for each in known if each.version == earlier.version]
        if answers and answers[0].pipeline == analysis.pipeline and earlier.acquired_at and scan.acquired_at:
            same = answers[0].model_sha256 == analysis.model_sha256
            return Growth(
                earlier_study_uid=earlier.study_uid,
                earlier_version=earlier.version,
                elapsed=scan.acquired_at - earlier.acquired_at,
                earlier_at=earlier.acquired_at,
                same_model=same,
                changes=measure(volumes(answers[0]), volumes(analysis)) if same else (),
            )
    return None


def is_earlier(one: Scan, other: Scan) -> bool:
    """Whether one was acquired before the other, however wrong an assumed time zone may be."""
    if one.acquired_at is None or other.acquired_at is None:
        return False
    margin = OTHER_ZONES if one.zone_stated != other.zone_stated else timedelta(0)
    return other.acquired_at - one.acquired_at > margin


def volumes(analysis: Analysis) -> dict[str, Volume]:
    """What was drawn, by type: nothing, without any range, in a study or a type that was not suspected."""
    return {each.name: volume(each, analysis.suspected and each.present) for each in analysis.findings}


def volume(finding: FindingRow, drawn: bool) -> Volume:
    """A finding's volume with its range."""
    return Volume(finding.volume_ml, finding.low_ml, finding.high_ml) if drawn else Volume(0.0)


def of_study(tx: Transaction, study_uid: str, question: str) -> Growth | None:
    """What stands for a study now: the question's latest result against the last scan before it."""
    analyses = results.analyses_of_study(tx, study_uid, question)
    return of_result(tx, analyses[-1] if analyses else None)


def of_result(tx: Transaction, latest: Analysis | None) -> Growth | None:
    """The same for who holds the question's latest result already; None without one."""
    scan = scans.latest(tx, latest.study_uid, latest.question) if latest else None
    if latest is None or scan is None or scan.version != latest.version:
        return None
    return growth_since_last_scan(tx, scan, latest)


def later_scans(tx: Transaction, scan: Scan) -> list[Scan]:
    """The patient's analysed scans that were acquired after this one."""
    others = scans.others(tx, scan)
    return [other for other in others if is_earlier(scan, other) and not contradiction(scan, other)]


def as_reported(question: str, growth: Growth | None) -> str:
    """What a report says of a comparison: when this changes, the report is out of date."""
    return "\n".join(sentences(growth, vocabulary_of(question)))


@dataclass(frozen=True, slots=True)
class ShownChange:
    """What a study's page says of the last scan: plain sentences, and the earlier study while it is stored here."""

    sentences: tuple[str, ...]
    earlier_study_uid: str | None
    grown: bool


def comparison(tx: Transaction, study_uid: str, question: str) -> ShownChange:
    """What stands now; what the report said, where the earlier scan has left the archive since."""
    found, scan = of_study(tx, study_uid, question), scans.latest(tx, study_uid, question)
    if found is None:
        return ShownChange(tuple(scan.compared.splitlines()) if scan else (), None, False)
    return ShownChange(tuple(sentences(found, vocabulary_of(question))), found.earlier_study_uid, found.grown)


def log_contradictions(tx: Transaction, scan: Scan) -> None:
    """Say in the log where a Patient ID stands for what look like two people."""
    for other in scans.others(tx, scan):
        if contradiction(scan, other):
            log.warning(
                "not compared: the same Patient ID and issuer, but name or birth date contradict",
                study_uid=scan.study_uid,
                other_study_uid=other.study_uid,
            )
