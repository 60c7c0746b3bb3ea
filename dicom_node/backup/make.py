"""Makes a backup of a data folder while its node runs.

The database is copied first, as it is at one moment (SQLite's backup), and then the files that this copy speaks of:
they never change once they are there. The backup takes its name only when all of it is on the disk.
"""

import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from sqlite_utils import Database as SqliteDatabase

from dicom_node.backup.content import DATABASE, FORMAT, MANIFEST, SETTINGS, Hashed, Manifest, manifest_bytes
from dicom_node.durable import sync_folder
from dicom_node.errors import CommandError
from dicom_node.faults import LAST_BACKUP, SAID, Fault, fault_of
from dicom_node.tables.schema import migrations
from dicom_node.tables.sqlite_file import check_whole

LOCK_S = 30.0


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made."""

    files: int
    bytes: int
    missing: int


def make_backup(data: Path, target: Path, site_files: Sequence[Path], images: bool, now: datetime) -> Made:
    """Write the backup of a data folder to `target`; one that is there is replaced, anything else is not.

    CommandError where it cannot be written, sqlite3.Error where the database is damaged.
    """
    if not target.parent.is_dir():
        raise CommandError(f"the backup {target} cannot be written: there is no folder {target.parent}")
    if target.exists() and not is_backup(target):
        raise CommandError(f"{target} is there and is no backup: it is left alone")
    draft, copy = (target.with_name(f".{target.name}.{os.getpid()}{end}") for end in ("", ".sqlite"))
    try:
        with _removed(draft, copy):
            applied = copy_database(data / DATABASE, copy)
            names = [*_files_of(copy, images), *_files_of_models(data, copy)]
            manifest = _write(draft, data, copy, names, site_files, (images, applied, now))
            draft.replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise CommandError(f"the backup {target} cannot be written: {error.strerror or error}") from None
    except sqlite3.OperationalError as error:
        fault = fault_of(error, copy)
        if fault not in (Fault.DISK_FULL, Fault.READ_ONLY, Fault.NO_ACCESS):
            raise
        raise CommandError(f"the backup {target} cannot be written: {SAID[fault]}") from None
    note_last(data, target)
    return Made(len(manifest.files), target.stat().st_size, len(manifest.missing))


def copy_database(source: Path, target: Path) -> tuple[str, ...]:
    """Copy the database as it is now into one file of its own, whole and up to date; the migrations in it."""
    check_whole(source)
    address = f"{source.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=LOCK_S)) as node, closing(sqlite3.connect(target)) as copy:
        node.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        if (found := copy.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            error = sqlite3.DatabaseError(str(found[0]))
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        made = SqliteDatabase(copy)
        migrations.apply(made)
        copy.commit()
        return tuple(each.name for each in migrations.applied(made))


def is_backup(path: Path) -> bool:
    """Whether a file is a backup of ours, be it a damaged one."""
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
        return first is not None and first.name == DATABASE
    except (tarfile.TarError, OSError):
        return False


def note_last(data: Path, target: Path) -> None:
    """Let the node name this backup when its database is damaged one day; no matter where that cannot be written."""
    try:
        (data / LAST_BACKUP).write_text(f"{target.absolute()}\n")
    except OSError:
        return


def _files_of(copy: Path, images: bool) -> Iterator[str]:
    sql = "SELECT path FROM results UNION SELECT path FROM deliveries"
    with closing(sqlite3.connect(copy)) as database:
        for (path,) in database.execute(f"{sql} UNION SELECT path FROM instances" if images else sql):
            yield path


def _files_of_models(data: Path, copy: Path) -> Iterator[str]:
    with closing(sqlite3.connect(copy)) as database:
        for (model_id,) in database.execute("SELECT model_id FROM models ORDER BY model_id"):
            for path in sorted((data / "models" / model_id).rglob("*")):
                if path.is_file():
                    yield str(path.relative_to(data))


def _write(
    draft: Path,
    data: Path,
    copy: Path,
    names: Sequence[str],
    site_files: Sequence[Path],
    about: tuple[bool, tuple[str, ...], datetime],
) -> Manifest:
    images, applied, now = about
    members = [(DATABASE, copy), *((name, data / name) for name in names)]
    members += [(f"{SETTINGS}/{path.name}", path) for path in site_files]
    files, missing = {}, []
    with draft.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, path in members:
                try:
                    files[name] = _add(tar, name, path)
                except FileNotFoundError:  # removed to make room since the database was copied
                    missing.append(name)
            manifest = Manifest(
                FORMAT, version("triage-node"), now.isoformat(timespec="seconds"), images, applied, (*missing,), files
            )
            text = manifest_bytes(manifest)
            tar.addfile(_member(MANIFEST, len(text), now.timestamp()), io.BytesIO(text))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    """Append a file; its SHA-256."""
    with path.open("rb") as file:
        found, hashed = os.fstat(file.fileno()), Hashed(file)
        tar.addfile(_member(name, found.st_size, found.st_mtime), hashed)
        return hashed.hexdigest()


def _member(name: str, size: int, changed_at: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(changed_at), 0o600
    return member


@contextmanager
def _removed(*paths: Path) -> Iterator[None]:
    """Files in the making, gone afterwards, whatever happens."""
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
