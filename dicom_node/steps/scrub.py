"""Scrub: reads all stored files again, slowly, and says which are gone, empty, cut, changed or unreadable.

What counts is the SHA-256 of the data set as it was stored, and an image's transfer syntax. The node repairs nothing by
itself: an image that is sent again is stored anew, and the notice goes. Where a pass was interrupted the next goes on.
"""

import errno
import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from dicom_node import clock
from dicom_node.dicom.part10 import data_chunks, read_header
from dicom_node.entities import Damage
from dicom_node.errors import CannotUnderstand, DamagedFile, Gone
from dicom_node.tables import damages, processes, results
from dicom_node.tables.damages import Damaged
from dicom_node.tables.database import Database
from dicom_node.tables.views import files
from dicom_node.tables.views.files import NamedFile

AT_ONCE = 100
MOST_FOUND = 200  # new ones in a pass: then it is no file but the disk
BYTES_PER_MB = 1e6
PLACE = "scrub_place"  # where the pass stands, among what processes publish
IMAGES, OBJECTS = "images", "objects"
OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # nothing is wrong with the file
Pace = Callable[[int], None]  # told how many bytes were read
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """How many files were looked at, and which are damaged; `whole`: the pass came to its end."""

    files: int
    damaged: tuple[Damaged, ...]
    whole: bool


class Interrupted(Exception):
    """The process ends."""


def scrub_slowly(database: Database, mb_per_s: float, stopping: threading.Event) -> None:
    """One pass at a low pace, from where the last was interrupted. Faults of the disk or the database are logged."""

    def pace(read: int) -> None:
        if stopping.wait(read / (mb_per_s * BYTES_PER_MB)):
            raise Interrupted

    try:
        done = scrub(database, pace, resume=True)
    except (sqlite3.Error, OSError) as error:
        log.error("the stored files cannot be looked through", error=str(error))
        return
    if done.whole:
        log.info("all stored files were looked through", files=done.files, damaged=len(done.damaged))


def scrub(database: Database, pace: Pace = lambda read: None, resume: bool = False) -> Scrubbed:
    """Look through all stored files; record and log which are damaged, and which are whole again."""
    count, found = 0, []
    try:
        for file in named_files(database, resume):
            count += 1
            if (damaged := check(database, file, pace)) is not None:
                found.append(damaged)
            if len(found) == MOST_FOUND:
                log.error("many stored files are damaged: look at the disk", damaged=len(found), looked_at=count)
                return Scrubbed(count, tuple(found), whole=False)
    except Interrupted:
        return Scrubbed(count, tuple(found), whole=False)
    return Scrubbed(count, tuple(found), whole=True)


def recheck(database: Database) -> None:
    """Look again at what is known to be damaged: it may have been sent again. Faults are logged."""
    try:
        with database.read() as tx:
            if not damages.number(tx):
                return
        with database.write() as tx:
            damages.forget_unnamed(tx)
            known = files.damaged(tx, MOST_FOUND)
        for file in known:
            check(database, file)
    except (sqlite3.Error, OSError) as error:
        log.error("the damaged files cannot be looked at again", error=str(error))


def named_files(database: Database, resume: bool) -> Iterator[NamedFile]:
    """Every file that a row names, images first; `resume`: from where the last pass that did so has come to."""
    with database.read() as tx:
        part, _, after = ((resume and processes.published(tx, PLACE)) or f"{IMAGES} ").partition(" ")
    while True:
        with database.read() as tx:
            batch = (files.images_after if part == IMAGES else files.objects_after)(tx, after, AT_ONCE)
        yield from batch
        if batch:
            after = str(batch[-1].path) if part == IMAGES else batch[-1].sop_uid
        elif part == IMAGES:
            part, after = OBJECTS, ""
        else:
            break
        if resume:
            with database.write() as tx:
                processes.publish(tx, PLACE, f"{part} {after}")
    if resume:
        with database.write() as tx:
            processes.unpublish(tx, PLACE)


def check(database: Database, file: NamedFile, pace: Pace = lambda read: None) -> Damaged | None:
    """Look at one file, and record and log what is new of it; None where it is whole, or no row names it any more."""
    digest, damage = examine(file, pace)
    with database.read() as tx:
        known = damages.is_known(tx, file.path)
    if damage is None:
        if known:
            with database.write() as tx:
                damages.forget(tx, file.path)
            log.info("a stored file is whole again", path=str(file.path), study_uid=file.study_uid)
        if not file.sha256:
            with database.write() as tx:
                results.keep_sha256(tx, file.sop_uid, digest)
        return None
    damaged = Damaged(file.path, file.study_uid, file.sop_uid, file.kind, damage, clock.utc_now())
    with database.write() as tx:
        is_new = damages.put(tx, damaged)
        named = damages.is_known(tx, file.path)
    if is_new:
        log.error(
            "a stored file is damaged",
            path=str(file.path),
            damage=damage,
            kind=file.kind,
            study_uid=file.study_uid,
            sop_uid=file.sop_uid,
        )
    return damaged if named else None


def examine(file: NamedFile, pace: Pace) -> tuple[str, Damage | None]:
    """The SHA-256 of a file's data set, and what is wrong with it. OSError where the fault is not the file's."""
    digest = hashlib.sha256()
    try:
        size = file.path.stat().st_size
        pace(1)
        if size == 0:
            return "", Damage.EMPTY
        if size < file.bytes:
            return "", Damage.CUT
        for chunk in data_chunks(file.path, file.transfer_syntax_uid):
            digest.update(chunk)
            pace(len(chunk))
        intact = digest.hexdigest() == file.sha256 if file.sha256 else is_of(file)
        return digest.hexdigest(), None if intact else Damage.CHANGED
    except (FileNotFoundError, NotADirectoryError, Gone):
        return "", Damage.GONE
    except (CannotUnderstand, DamagedFile):
        return "", Damage.CHANGED
    except OSError as error:
        if error.errno in OUR_OWN:
            raise
        return "", Damage.UNREADABLE


def is_of(file: NamedFile) -> bool:
    """Whether a file can be read to its pixels and is the object that its row says: no hash of it was kept."""
    return str(read_header(file.path).dataset.get("SOPInstanceUID", "")) == file.sop_uid
