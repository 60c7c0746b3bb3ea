"""Growth: the change of volumes since the patient's last analysed scan, derived from the rows that stand.

Who is the same patient: same_patient.py. Earlier is what was acquired earlier, not what came earlier (dicom/moments).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import structlog
from pydicom.dataset import Dataset

from dicom_node.derived.same_patient import Obstacle, is_placeholder, obstacle
from dicom_node.dicom.headers import patient_of
from dicom_node.dicom.moments import moment_of
from dicom_node.entities import Analysis, FindingRow, Scan
from dicom_node.tables import results, scans
from dicom_node.tables.database import Transaction
from inference.change import Growth, Volume
from inference.pipelines.registry import question_of
from reports.change import sentences
from reports.vocabulary.terms import vocabulary_of

OTHER_ZONES = timedelta(hours=26)  # how far two local times may be apart: UTC-12 to UTC+14
log = structlog.get_logger()


def scan_of(headers: Sequence[Dataset], analysis: Analysis) -> Scan:
    """Whose scan a result was measured in and when it was taken, as the analysed images say."""
    at, stated = acquired_at(headers)
    return Scan(
        study_uid=analysis.study_uid,
        question=analysis.question,
        version=analysis.version,
        acquired_at=at,
        zone_stated=stated,
        **asdict(patient_of(headers[0])),
    )


def acquired_at(headers: Sequence[Dataset]) -> tuple[datetime | None, bool]:
    """When the first slice was acquired, in UTC, and whether the zone was stated; a date alone is no moment."""
    found = [moment for moment in map(moment_of, headers) if moment[0] is not None]
    return min(found, key=lambda moment: moment[0] or datetime.max.replace(tzinfo=UTC), default=(None, False))


def why_not_compared(one: Scan, other: Scan) -> Obstacle | None:
    """Why two scans under the same Patient ID are not compared; None where they are one person's."""
    return obstacle(one, other) or (Obstacle.ISSUER if one.issuer != other.issuer else None)


def same_patients(tx: Transaction, scan: Scan) -> list[Scan]:
    """The analysed scans of other studies of this person; none where the Patient ID stands for nobody."""
    if is_placeholder(scan.patient_id):
        return []
    return [other for other in scans.others(tx, scan) if why_not_compared(scan, other) is None]


def not_compared(tx: Transaction, scan: Scan) -> tuple[Obstacle, ...]:
    """Why earlier scans under the same Patient ID are not compared with this one, each reason once."""
    if is_placeholder(scan.patient_id):
        return (Obstacle.PATIENT_ID,) if scans.has_earlier(tx, scan) else ()
    reasons = [why_not_compared(scan, other) for other in scans.others(tx, scan) if is_earlier(other, scan)]
    return tuple(dict.fromkeys(reason for reason in reasons if reason is not None))


def growth_since_last_scan(tx: Transaction, scan: Scan, analysis: Analysis) -> Growth | None:
    """The change since the last scan before this one; None where no analysed scan is known to be earlier.

    None, too, for a question whose answers are not compared.
    """
    measure = question_of(analysis.question).compare
    if measure is None:
        return None
    before = [other for other in same_patients(tx, scan) if is_earlier(other, scan)]
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
    """A finding's volume with what is known of its error."""
    return Volume(finding.volume_ml, finding.low_ml, finding.high_ml, finding.repeat_sd) if drawn else Volume(0.0)


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
    return [other for other in same_patients(tx, scan) if is_earlier(scan, other)]


def as_reported(question: str, growth: Growth | None) -> str:
    """What a report says of a comparison: when this changes, the report is out of date."""
    return "\n".join(sentences(growth, vocabulary_of(question)))


@dataclass(frozen=True, slots=True)
class ShownChange:
    """What a study's page says of the last scan: plain sentences, and the earlier study while it is stored here.

    `not_compared`: why earlier studies under the same Patient ID were not.
    """

    sentences: tuple[str, ...]
    earlier_study_uid: str | None
    grown: bool
    not_compared: tuple[Obstacle, ...] = ()


def comparison(tx: Transaction, study_uid: str, question: str) -> ShownChange:
    """What stands now; what the report said, where the earlier scan has left the archive since."""
    found, scan = of_study(tx, study_uid, question), scans.latest(tx, study_uid, question)
    obstacles = not_compared(tx, scan) if scan and question_of(question).compare else ()
    if found is None:
        reported = scan.compared.splitlines() if scan and not obstacles else ()
        return ShownChange(tuple(reported), None, False, obstacles)
    said = tuple(sentences(found, vocabulary_of(question)))
    return ShownChange(said, found.earlier_study_uid, found.grown, obstacles)


def log_not_compared(tx: Transaction, scan: Scan) -> None:
    """Say in the log where one Patient ID stands for what look like two people, or may do so."""
    if is_placeholder(scan.patient_id):
        log.info("not compared with other studies: the Patient ID is a placeholder", study_uid=scan.study_uid)
        return
    why = ((why_not_compared(scan, other), other.study_uid) for other in scans.others(tx, scan))
    met = [(reason, other) for reason, other in why if reason is not None]
    for reason, count in Counter(reason for reason, _ in met).items():
        said = "the patients contradict each other" if reason.contradicts else "it is not known that the patient is one"
        log.warning(
            f"not compared: the same Patient ID, but {said}",
            reason=str(reason),
            study_uid=scan.study_uid,
            other_study_uid=next(other for why, other in met if why is reason),
            studies=count,
        )
