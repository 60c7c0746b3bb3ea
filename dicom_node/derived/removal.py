"""Removal: when a study may leave the archive, and everything that leaves with it."""

from collections.abc import Sequence

from dicom_node.entities import JobState, SeriesState
from dicom_node.tables import deliveries, instances, jobs, quality, results, scans, worklist
from dicom_node.tables.database import Transaction


def is_finished(tx: Transaction, study_uid: str, destinations: Sequence[str]) -> bool:
    """Whether nothing is under way for the study and every destination has its results."""
    under_way = any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in jobs.of_study(tx, study_uid))
    receiving = any(s.state is not SeriesState.ROUTED for s in instances.series_of_study(tx, study_uid))
    return not under_way and not receiving and deliveries.waiting(tx, study_uid, destinations) == 0


def forget_study(tx: Transaction, study_uid: str) -> None:
    """Drop every row of a study."""
    for table in (deliveries, scans, results, jobs, worklist, quality, instances):
        table.forget_study(tx, study_uid)
