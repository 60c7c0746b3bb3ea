"""Removal: when a study may leave the archive, and everything that leaves with it."""

from collections.abc import Sequence

from dicom_node.entities import UNDER_WAY
from dicom_node.tables import contradictions, damages, deliveries, instances, jobs, quality, results, scans, worklist
from dicom_node.tables.database import Transaction


def is_finished(tx: Transaction, study_uid: str, destinations: Sequence[str]) -> bool:
    """Whether nothing is under way for the study and every destination has its results."""
    if instances.is_receiving(tx, study_uid) or any(job.state in UNDER_WAY for job in jobs.of_study(tx, study_uid)):
        return False
    return deliveries.waiting(tx, study_uid, destinations) == 0


def leaving_with(tx: Transaction, study_uid: str) -> list[str]:
    """The studies whose files lie in one folder: all under the same Study Instance UID; none once they have left."""
    study = instances.get_study(tx, study_uid)
    return [each.study_uid for each in instances.studies_as_sent(tx, study.sent_uid)] if study else []


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop every row of a study; with the last under its Study Instance UID what contradicted there."""
    study = instances.get_study(tx, study_uid)
    if study and instances.studies_as_sent(tx, study.sent_uid) == [study]:
        contradictions.forget(tx, study.sent_uid)
    for table in (deliveries, damages, scans, results, jobs, worklist, quality, instances):
        table.forget_study(tx, study_uid)
