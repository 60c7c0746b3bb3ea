"""What a backup is: one tar file, whose last member, the manifest, names every other one with its SHA-256.

In it are the database, the models that the site has installed, the objects that the node has made, the images if they
are wanted, and the site's settings and rules. Names are those within the data folder, so that it fits any folder.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Protocol

from dicom_node.errors import CommandError

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "node.sqlite"
SETTINGS = "settings"
FOLDERS = ("instances", "results", "models", SETTINGS)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup. `missing` are files that rows speak of and that were not there; `files` have a SHA-256."""

    format: int
    version: str
    made_at: str
    images: bool
    migrations: tuple[str, ...]
    missing: tuple[str, ...]
    files: Mapping[str, str]


def manifest_bytes(manifest: Manifest) -> bytes:
    """As it is stored."""
    return json.dumps(asdict(manifest), indent=1).encode()


def read_manifest(data: bytes) -> Manifest:
    """From how it is stored. CommandError where it is none, or of a later format."""
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            raise CommandError(f"the backup is of format {told['format']}; this version reads format {FORMAT}")
        told |= {name: tuple(told[name]) for name in ("migrations", "missing")}
        return Manifest(**told)
    except (ValueError, KeyError, TypeError):
        raise CommandError("the backup is damaged: its manifest cannot be read") from None


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""


class Hashed:
    """Reads a file and knows the SHA-256 of what was read."""

    def __init__(self, file: Readable | IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        """Of all that was read."""
        return self._hash.hexdigest()
