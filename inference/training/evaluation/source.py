"""A digest of the program that reads and analyses, so that answers of older code are known as such."""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import inference


def code_digest(package: Path = Path(inference.__file__).parent) -> str:
    """SHA-256 over the version and every module that reads a study or answers: training is left out but its data sets.

    What changes the rest of training changes no answer of a model that is made.
    """
    found = hashlib.sha256(version("triage-node").encode())
    for path in _modules(package):
        content = path.read_bytes()
        found.update(f"\n{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _modules(package: Path) -> Iterator[Path]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        if parts[0] != "training" or parts[1] == "datasets":
            yield path
