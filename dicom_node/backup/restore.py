"""Puts a backup into a data folder on which no node runs; what was there before is kept aside.

Everything is unpacked and checked beside its place first: a backup that is not whole changes nothing. Images that are
in the folder stay, since their files never change: those that the backup's rows know are found again, later ones are
entered when the node starts. The database comes last.
"""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from dicom_node.backup.content import DATABASE, FOLDERS, MANIFEST, SETTINGS, Hashed, Manifest, read_manifest
from dicom_node.durable import make_folder, sync_folder
from dicom_node.errors import CommandError
from dicom_node.tables.schema import migrations

FORMER = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "results", "models")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: the backup, where the former state is (None where there was none), how many images are missing."""

    manifest: Manifest
    aside: Path | None
    settings: Path | None
    images_missing: int


def restore_backup(file: Path, data: Path, now: datetime) -> Restored:
    """Put a backup in the place of what is in the data folder. CommandError, and nothing changed, where it is damaged.

    Nothing may run on the folder meanwhile.
    """
    with _draft_in(data) as draft:
        try:
            manifest = _unpack(file, draft)
        except (tarfile.TarError, EOFError) as error:
            raise CommandError(f"the backup {file} is damaged: {error}") from None
        except OSError as error:
            raise CommandError(f"the backup {file} cannot be restored: {error.strerror or error}") from None
        _check(file, draft, manifest)
        aside = _set_aside(data, data / f"before-restore-{now:%Y%m%dT%H%M%SZ}")
        for name in ("results", "models"):
            if (draft / name).exists():
                (draft / name).rename(data / name)
        _put_images(draft, data)
        settings = _keep_settings(draft, data)
        (draft / DATABASE).rename(data / DATABASE)
        sync_folder(data)
    return Restored(manifest, aside, settings, _missing_images(data))


def _unpack(file: Path, draft: Path) -> Manifest:
    """All files of a backup into a folder, each compared with the manifest's SHA-256."""
    found: dict[str, str] = {}
    manifest: Manifest | None = None
    with tarfile.open(file, "r:") as tar:
        for member in tar:
            source = tar.extractfile(member) if member.isfile() else None
            if source is None or not _is_ours(member.name):
                raise CommandError(f"{file} is no backup of triage-node: it holds {member.name!r}")
            if member.name == MANIFEST:
                manifest = read_manifest(source.read())
                break
            found[member.name] = _copy(Hashed(source), draft / member.name)
    if manifest is None:
        raise CommandError(f"the backup {file} is damaged: it ends too soon")
    if wrong := [name for name in manifest.files.keys() | found.keys() if manifest.files.get(name) != found.get(name)]:
        raise CommandError(f"the backup {file} is damaged: {sorted(wrong)[0]} is not as it was")
    return manifest


def _is_ours(name: str) -> bool:
    """Whether a member may be written: one of the files that a backup has, and never outside the folder."""
    parts = PurePosixPath(name).parts
    return name in (DATABASE, MANIFEST) or (len(parts) > 1 and parts[0] in FOLDERS and ".." not in parts)


def _copy(source: Hashed, target: Path) -> str:
    make_folder(target.parent)
    with target.open("xb") as file:
        while data := source.read(CHUNK_BYTES):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return source.hexdigest()


def _check(file: Path, draft: Path, manifest: Manifest) -> None:
    """Whether this version can use the database; and forget in it who lived when it was copied."""
    known = {each.name for each in migrations._migrations}
    if later := [name for name in manifest.migrations if name not in known]:
        raise CommandError(f"the backup {file} was made by a later version ({manifest.version}; it knows {later[0]})")
    try:
        with closing(sqlite3.connect(draft / DATABASE)) as database:
            database.execute("DELETE FROM beats")
            database.execute("DELETE FROM node WHERE key IN ('dicom_port', 'web_port')")
            database.commit()
    except sqlite3.Error as error:
        raise CommandError(f"the backup {file} is damaged: its database cannot be used ({error})") from None


def _set_aside(data: Path, aside: Path) -> Path | None:
    former = [data / name for name in FORMER if (data / name).exists()]
    if not former:
        return None
    make_folder(aside)
    for path in former:
        path.rename(aside / path.name)
    sync_folder(data)
    return aside


def _put_images(draft: Path, data: Path) -> None:
    for path in sorted((draft / "instances").rglob("*.dcm")):
        place = data / path.relative_to(draft)
        make_folder(place.parent)
        path.replace(place)
        sync_folder(place.parent)


def _keep_settings(draft: Path, data: Path) -> Path | None:
    """The settings as they were: only shown, since this node's own settings say where it is."""
    if not (draft / SETTINGS).is_dir():
        return None
    place = data / "settings-of-backup"
    shutil.rmtree(place, ignore_errors=True)
    (draft / SETTINGS).rename(place)
    return place


def _missing_images(data: Path) -> int:
    with closing(sqlite3.connect(data / DATABASE)) as database:
        return sum(not (data / path).exists() for (path,) in database.execute("SELECT path FROM instances"))


@contextmanager
def _draft_in(data: Path) -> Iterator[Path]:
    """A folder to unpack into, on the same disk; it and what killed restores have left are gone afterwards."""
    draft = data / f".restoring-{os.getpid()}"
    try:
        make_folder(draft)
        yield draft
    finally:
        for left in data.glob(".restoring-*"):
            shutil.rmtree(left, ignore_errors=True)
