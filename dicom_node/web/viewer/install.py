"""Puts the OHIF viewer into the node's data folder: the prebuilt files of the npm package `@ohif/app`.

One version is pinned, by its number and by the registry's own hash (Subresource Integrity, SHA-512), so that what runs
in the reader's browser is what was tried here. A package is unpacked into a folder of its own and comes into use by one
rename of a symbolic link: a viewer is always whole, and an older one works until then.
"""

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dicom_node.durable import sync_folder
from dicom_node.errors import CommandError

NPM_TIMEOUT_S = 600.0
CURRENT = "current"
LARGEST_BYTES = 1 << 30
FILES = PurePosixPath("package/dist")
LEFT_OUT = {  # 150 MB for segmenting by click and for microscopy, settings of others, a service worker
    "ort",
    "dicom-microscopy-viewer",
    "app-config.js",
    "google.js",
    "sw.js",
}


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the npm registry and the only content that is accepted for it."""

    name: str
    version: str
    integrity: str

    @property
    def wanted(self) -> str:
        """How npm calls it."""
        return f"{self.name}@{self.version}"


OHIF = Package(
    "@ohif/app",
    "3.13.2",
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
)


def viewer_folder(data: Path) -> Path:
    """Where the files of the viewer in use are, if there is one."""
    return data / "viewer" / CURRENT


def installed_version(data: Path) -> str | None:
    """The version of the viewer in use."""
    folder = viewer_folder(data)
    return folder.resolve().name.partition("+")[0] if (folder / "index.html").is_file() else None


def install_viewer(data: Path, package: Package, given: Path | None, say: Callable[[str], None]) -> None:
    """Fetch the package, or take the `given` .tgz of it, and put it in use. CommandError says what is wrong."""
    home = data.absolute() / "viewer"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=home) as scratch:
            if given is None:
                say(f"npm fetches {package.wanted} (about 50 MB) ...")
            tgz = given or fetch(package, Path(scratch))
            check_integrity(tgz, package)
            fresh = Path(scratch) / "files"
            unpack(tgz, fresh)
            _use(home, fresh.rename(home / f"{package.version}+{uuid.uuid4().hex[:8]}"))
    except OSError as error:
        raise CommandError(f"{home}: {error.strerror or error}") from None
    say(f"OHIF {package.version} is installed; a row of the worklist opens it")


def fetch(package: Package, folder: Path) -> Path:
    """Let npm get the package, whose scripts are not run, into a folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise CommandError(f"npm is not installed (Debian: apt install npm). {_by_hand(package)}")
    command = [npm, "pack", package.wanted, "--ignore-scripts", "--pack-destination", "."]  # seen from the folder
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, cwd=folder, check=False)
    except subprocess.TimeoutExpired:
        raise CommandError(f"npm did not get {package.wanted} in time. {_by_hand(package)}") from None
    found = sorted(folder.glob("*.tgz"))
    if ended.returncode or len(found) != 1:
        said = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
        raise CommandError(f"npm could not get {package.wanted}: {' '.join(said)[:300]} {_by_hand(package)}")
    return found[0]


def _by_hand(package: Package) -> str:
    return f"Or run `npm pack {package.wanted}` elsewhere and give its file: triage-node viewer install --from FILE.tgz"


def check_integrity(tgz: Path, package: Package) -> None:
    """CommandError unless the file is the package, byte by byte."""
    try:
        with tgz.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
    except OSError as error:
        raise CommandError(f"{tgz}: {error.strerror}") from None
    if f"sha512-{base64.b64encode(digest).decode()}" != package.integrity:
        raise CommandError(
            f"{tgz.name} is not {package.wanted}: its SHA-512 differs from the pinned one; not installed"
        )


def unpack(tgz: Path, folder: Path) -> None:
    """Write the viewer's files into a new folder. CommandError where a member would lie outside it or is no file."""
    folder.mkdir()
    total = 0
    try:
        with tarfile.open(tgz, "r:gz") as tar:
            for member, inside in _wanted(tar):
                total += member.size
                if total > LARGEST_BYTES:
                    raise CommandError(f"{tgz.name}: more than {LARGEST_BYTES >> 30} GB; not installed")
                _write(tar, member, folder / inside)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CommandError(f"{tgz.name} cannot be unpacked: {error}") from None
    if not (folder / "index.html").is_file():
        raise CommandError(f"{tgz.name} holds no viewer ({FILES}/index.html is missing)")


def _wanted(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or not (member.isfile() or member.isdir()):
            raise CommandError(f"the package holds {member.name!r}, which is no plain file within it; not installed")
        if member.isfile() and path.is_relative_to(FILES):
            inside = path.relative_to(FILES)
            if inside.parts and inside.parts[0] not in LEFT_OUT and inside.suffix != ".map":
                yield member, inside


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None  # a regular file
    with source, path.open("xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _use(home: Path, fresh: Path) -> None:
    """Point `current` at the fresh folder, at one instant, and remove what was there before."""
    link = fresh.with_suffix(".link")
    link.symlink_to(fresh.name)
    link.replace(home / CURRENT)
    sync_folder(home)
    for other in home.iterdir():
        if other not in (home / CURRENT, fresh):
            shutil.rmtree(other, ignore_errors=True)
