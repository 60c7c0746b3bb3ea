"""The wheel holds everything: a node runs from one installed elsewhere, away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "data", "out")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked into a folder of its own; its dependencies are those of this environment."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=BESIDE)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(place), str(place / "source")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("triage_node-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def run(installed: Path, *arguments: str) -> str:
    """A command of the installed node, in an empty folder; its standard output."""
    folder = installed.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(
        [sys.executable, "-P", "-m", "dicom_node", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_settings_rules_and_model_travel_in_the_wheel(installed: Path) -> None:
    """`config check` reads all of them."""
    said = run(installed, "config", "check")
    assert "model: haemorrhage" in said and "rules: " in said


def test_every_file_travels_in_the_wheel(installed: Path) -> None:
    """Code, templates, weights; documentation stays behind. And it is the wheel's own code that runs."""
    script = "import dicom_node.web as web; print(web.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, cwd=installed, capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(installed))
    files = [
        path.relative_to(ROOT)
        for name in ("dicom_node", "inference", "reports", "config")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix not in (".md", ".jpg", ".pyc")
    ]
    assert [path for path in files if not (installed / path).exists()] == []


def test_nothing_else_travels_in_the_wheel(installed: Path) -> None:
    """No tests, no scripts."""
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"dicom_node", "inference", "reports", "config"}


@pytest.mark.parametrize("package", ["dicom_node", "inference", "reports"])
def test_type_checkers_read_the_annotations(installed: Path, package: str) -> None:
    """PEP 561's marker."""
    assert (installed / package / "py.typed").exists()


def test_licence_is_in_the_wheel(installed: Path) -> None:
    """Apache-2.0."""
    (licence,) = installed.glob("triage_node-*.dist-info/licenses/LICENSE")
    assert "Apache License" in licence.read_text()
