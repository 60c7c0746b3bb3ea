"""Receive: one C-STORE request becomes a file and a row, both durable before Success is answered (PS3.4 Annex B).

The same bytes again change nothing. Other bytes under the same SOP Instance UID are kept as a new version; only if
pixels or geometry differ does the series re-open, otherwise (another syntax, coerced names) just the rows follow.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived import flag, removal
from dicom_node.dicom.checks import checked_uid
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.headers import Described, check_negotiated, describe, read_header
from dicom_node.dicom.part10 import part10_header
from dicom_node.dicom.same_image import NOT_IMAGES, same_image
from dicom_node.entities import Incoming, Instance
from dicom_node.errors import Refused
from dicom_node.tables import instances, quality, results
from dicom_node.tables.database import Database

Lists = Callable[[str], bool]  # whether a series of this modality puts its study on the reader's list
log = structlog.get_logger()


def lists_everything(modality: str) -> bool:
    """Every study is on the list."""
    return True


class Receiver:
    """Takes requests from any number of associations at once."""

    def __init__(
        self, database: Database, archive: Archive, decoders: Decoders, lists: Lists = lists_everything
    ) -> None:
        self._database, self._archive, self._decoders, self._lists = database, archive, decoders, lists
        self._lock = threading.Lock()
        self._open: dict[int, set[str]] = defaultdict(set)  # association -> series it has sent

    def store(self, incoming: Incoming) -> None:
        """Make the object durable. `Refused` with the status for the sender when it cannot be stored."""
        header = part10_header(
            incoming.sop_class_uid, checked_uid(incoming.sop_uid), incoming.transfer_syntax_uid, incoming.calling_aet
        )
        dataset = read_header(header + incoming.data)
        check_negotiated(dataset, incoming)
        described = describe(dataset)
        with self._lock:
            self._open[incoming.association].add(described.series_uid)
        digest = hashlib.sha256(incoming.data).hexdigest()
        path = self._archive.instance_path(described.study.study_uid, described.series_uid, described.sop_uid, digest)
        with self._database.read() as tx:
            known = instances.versions(tx, described.sop_uid)
        if any(version.sha256 == digest and version.path.exists() for version in known):
            return
        self._archive.put(path, header, incoming.data)
        file = StoredFile(path, digest, incoming.calling_aet, incoming.called_aet, clock.utc_now())
        record(self._database, self._decoders, described, file, self._lists)

    def ended(self, association: int, in_good_order: bool) -> None:
        """An association is over; series that no other one is sending are released."""
        with self._lock:
            series_uids = self._open.pop(association, set())
            others = set().union(*self._open.values()) if self._open else set()
        if in_good_order and (finished := series_uids - others):
            with self._database.write() as tx:
                for series_uid in finished:
                    instances.mark_released(tx, series_uid)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is durable in the archive: the SHA-256 of its data set as sent, who sent it to whom, and when."""

    path: Path
    sha256: str
    calling_aet: str
    called_aet: str
    received_at: datetime


def record(
    database: Database, decoders: Decoders, described: Described, file: StoredFile, lists: Lists = lists_everything
) -> None:
    """Write the rows of a stored file, in one transaction. Nothing changes when these bytes are known already."""
    study_uid, sop_uid = described.study.study_uid, described.sop_uid
    with database.read() as tx:
        known = instances.versions(tx, sop_uid)
    changed = not known or not same_image(known[-1].path, file.path, decoders)
    with database.write() as tx:
        if (standing := instances.versions(tx, sop_uid)) != known:  # another association was quicker with this image
            changed, known = True, standing
        if any(version.sha256 == file.sha256 for version in known):
            return
        instance = instance_of(described, file, len(known) + 1)
        own = results.is_own(tx, sop_uid)
        if not own or instances.get_study(tx, study_uid) is None:
            instances.put_study(tx, described.study)
        if changed:
            instances.touch_series(tx, instance, clock.monotonic())
        instances.add_instance(tx, instance, described.geometry)
        quality.note_equipment(tx, described.series_uid, study_uid, described.equipment)
        if changed and not own and described.modality not in NOT_IMAGES:
            wanted = lists(described.modality)
            flag.note_arrival(tx, study_uid, file.received_at, described.scanned_at, wanted)
    if known and changed:
        log.warning(
            "other pixels or geometry under a known SOP Instance UID", sop_uid=sop_uid, version=instance.version
        )


def instance_of(described: Described, file: StoredFile, version: int) -> Instance:
    """The row of a stored file."""
    return Instance(
        sop_uid=described.sop_uid,
        version=version,
        study_uid=described.study.study_uid,
        series_uid=described.series_uid,
        sop_class_uid=described.sop_class_uid,
        transfer_syntax_uid=described.transfer_syntax_uid,
        modality=described.modality,
        path=file.path,
        bytes=file.path.stat().st_size,
        sha256=file.sha256,
        received_at=file.received_at,
        calling_aet=file.calling_aet,
        called_aet=file.called_aet,
    )


def reconcile(
    database: Database, archive: Archive, decoders: Decoders, now: datetime, lists: Lists = lists_everything
) -> tuple[int, int]:
    """At start-up: files without rows get them, rows without files go. Returns how many of each there were."""
    with database.read() as tx:
        rows = instances.all_paths(tx)
    files = set(archive.stored())
    adopted = 0
    for path in sorted(files - rows, key=lambda path: path.stat().st_mtime_ns):  # versions in the order they came
        try:
            dataset = read_header(path.read_bytes())
            digest, sender = path.name.split(".")[-2], str(dataset.file_meta.get("SourceApplicationEntityTitle", ""))
            record(database, decoders, describe(dataset), StoredFile(path, digest, sender, "", now), lists)
            adopted += 1
        except Refused as error:
            log.error("a file in the archive cannot be read and is left alone", path=str(path), error=str(error))
    lost = rows - files
    for path in lost:
        log.error("the file of an instance is gone", path=str(path))
    with database.write() as tx:
        for study_uid in {instances.forget_file(tx, path, clock.monotonic()) for path in lost}:
            if study_uid and not instances.of_study(tx, study_uid):
                removal.forget_study(tx, study_uid)
    return adopted, len(lost)
