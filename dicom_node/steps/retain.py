"""Retain: keeps the archive within its size. The oldest finished studies go first, undelivered ones never."""

from collections.abc import Sequence

import structlog

from dicom_node.archive import Archive
from dicom_node.derived import removal
from dicom_node.tables import instances
from dicom_node.tables.database import Database

BYTES_PER_GB = 1e9
log = structlog.get_logger()


def retain(database: Database, archive: Archive, keep_gb: float, destinations: Sequence[str] = ()) -> int:
    """Remove finished studies until the archive fits; how many were removed.

    What waits for one of the `destinations` stays; what waits for one that is no longer configured does not count.
    """
    excess = archive.size_bytes() - keep_gb * BYTES_PER_GB
    removed = 0
    with database.read() as tx:
        candidates = instances.oldest_studies(tx) if excess > 0 else []
    for study_uid in candidates:
        if excess <= 0:
            break
        with database.write() as tx:
            together = removal.leaving_with(tx, study_uid)
            if not all(removal.is_finished(tx, each, destinations) for each in together):
                continue
            for each in together:
                excess -= archive.size_bytes(each)
                archive.set_aside(each)
                removal.forget_study(tx, each)
        archive.clear_set_aside()
        removed += len(together)
        log.info("removed a finished study to keep the archive within its size", study_uid=study_uid)
    if excess > 0:
        log.warning("the archive is over its size and nothing more is finished and delivered", excess_gb=excess / 1e9)
    return removed
