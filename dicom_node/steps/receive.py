"""Receive: one C-STORE request becomes a file and a row, both durable before Success is answered (PS3.4 Annex B).

The same bytes again change nothing. Other bytes under the same SOP Instance UID are kept as a new version; only if
pixels or geometry differ does the series re-open, otherwise (another syntax, coerced names) just the rows follow, and
what was said under a former patient is said again. Images of a further patient under one Study Instance UID are kept
as a study of their own (see derived.identity).
"""

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node import clock
from dicom_node.archive import Archive
from dicom_node.derived import flag, identity, removal
from dicom_node.dicom.decoding import Decoders
from dicom_node.dicom.headers import Described, check_negotiated, describe, read_header
from dicom_node.dicom.part10 import is_intact
from dicom_node.dicom.same_image import NOT_IMAGES, same_image
from dicom_node.entities import Incoming, Instance, Study
from dicom_node.errors import OutOfResources, Refused
from dicom_node.tables import contradictions, instances, quality, results
from dicom_node.tables.database import Database, Transaction

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
        self._open: dict[int, set[tuple[str, str]]] = defaultdict(set)  # association -> study and series it has sent

    def store(self, incoming: Incoming) -> None:
        """Make the object durable. `Refused` with the status for the sender when it cannot be stored."""
        dataset = read_header(incoming.path)
        check_negotiated(dataset, incoming)
        described = describe(dataset)
        sent_uid, series_uid = described.study.study_uid, described.series_uid
        with self._lock:
            self._open[incoming.association].add((sent_uid, series_uid))
        path = self._archive.instance_path(sent_uid, series_uid, described.sop_uid, incoming.sha256)
        file = StoredFile(path, incoming.sha256, incoming.calling_aet, incoming.called_aet, clock.utc_now())
        try:
            with self._database.read() as tx:
                known = instances.versions(tx, sent_uid, series_uid, described.sop_uid)
            if same := next((version for version in known if version.sha256 == file.sha256), None):
                self._repair(same, incoming)
                return
            self._archive.adopt(incoming.path, path)
            for study_uid in record(self._database, self._decoders, described, file, self._lists):
                self._archive.set_aside(study_uid)
        except sqlite3.Error as error:
            raise OutOfResources(f"the database cannot be written: {error}") from error

    def _repair(self, known: Instance, incoming: Incoming) -> None:
        """Write a file again that is not any more what was received. What could not be analysed for that is tried."""
        if is_intact(known.path, known.sha256, known.transfer_syntax_uid):
            return
        self._archive.adopt(incoming.path, known.path)
        log.warning("a damaged file was sent again and is whole", path=str(known.path))
        with self._database.write() as tx:
            analysed = {each.series_uid for each in results.analyses_of_study(tx, known.study_uid)}
            if known.series_uid not in analysed:
                instances.touch_series(tx, known, clock.monotonic())

    def ended(self, association: int, in_good_order: bool) -> None:
        """An association is over; series that no other one is sending are released, or wait for a second try."""
        with self._lock:
            sent = self._open.pop(association, set())
            others = set().union(*self._open.values()) if self._open else set()
        mark = instances.mark_released if in_good_order else instances.mark_aborted
        if finished := sent - others:
            with self._database.write() as tx:
                for sent_uid, series_uid in finished:
                    mark(tx, sent_uid, series_uid)

    def is_sending(self, sent_uid: str, series_uid: str) -> bool:
        """Whether an association is open that has sent images of this series."""
        with self._lock:
            return any((sent_uid, series_uid) in each for each in self._open.values())


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
) -> list[str]:
    """Write the rows of a stored file, in one transaction. Nothing changes when these bytes are known already.

    Returns the studies that are no more, since their images turned out to be another's.
    """
    sent_uid, series_uid, sop_uid = described.study.study_uid, described.series_uid, described.sop_uid
    with database.read() as tx:
        known = instances.versions(tx, sent_uid, series_uid, sop_uid)
    changed = not known or not same_image(known[-1].path, file.path, decoders)
    with database.write() as tx:
        standing = instances.versions(tx, sent_uid, series_uid, sop_uid)
        if standing != known:  # another association was quicker with this image
            changed, known = True, standing
        if any(version.sha256 == file.sha256 for version in known):
            return []
        made_for = results.study_of(tx, sop_uid)
        own = made_for is not None
        study_uid = made_for or study_of(tx, described, known, changed)
        study = replace(described.study, sent_uid=sent_uid, study_uid=study_uid)
        instance = instance_of(described, study.study_uid, file, known)
        before = instances.get_study(tx, study.study_uid)
        if not own or before is None:
            instances.put_study(tx, study)
        if changed:
            instances.touch_series(tx, instance, clock.monotonic())
        instances.add_instance(tx, instance, described.geometry, study.patient)
        quality.note_equipment(tx, series_uid, study.study_uid, described.equipment)
        if changed and not own and described.modality not in NOT_IMAGES:
            wanted = lists(described.modality)
            flag.note_arrival(tx, study.study_uid, file.received_at, described.scanned_at, wanted)
        gone = [] if own else note_patient(tx, study, before, series_uid, changed, file.received_at)
    if known and changed:
        log.warning(
            "other pixels or geometry under a known SOP Instance UID", sop_uid=sop_uid, version=instance.version
        )
    return gone


def study_of(tx: Transaction, described: Described, known: Sequence[Instance], changed: bool) -> str:
    """The study that a stored file belongs to: that of the same pixels, else that of its patient."""
    return identity.study_for(tx, described.study) if changed else known[-1].study_uid


def note_patient(
    tx: Transaction, study: Study, before: Study | None, series_uid: str, changed: bool, now: datetime
) -> list[str]:
    """What follows where the patient is another than the study's was; returns the studies that are no more."""
    if before is not None and before.patient == study.patient and contradictions.get(tx, study.sent_uid) is None:
        return []
    if not changed:
        identity.issue_again(tx, study.study_uid, series_uid)
    return identity.note(tx, study.sent_uid, now)


def instance_of(described: Described, study_uid: str, file: StoredFile, known: Sequence[Instance]) -> Instance:
    """The row of a stored file, the next version of those that its study knows."""
    return Instance(
        sop_uid=described.sop_uid,
        version=1 + max((each.version for each in known if each.study_uid == study_uid), default=0),
        study_uid=study_uid,
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
            dataset = read_header(path)
            digest, sender = path.name.split(".")[-2], str(dataset.file_meta.get("SourceApplicationEntityTitle", ""))
            file = StoredFile(path, digest, sender, "", now)
            for gone in record(database, decoders, describe(dataset), file, lists):
                archive.set_aside(gone)
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
