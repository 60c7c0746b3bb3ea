"""The demo as a newcomer runs it: a node of its own, four synthetic heads, the right flags."""

import subprocess
import sys
from pathlib import Path

import pytest
from peers import needs, triage_node
from series import head, settings_for, write

from dicom_node.commands import phantom
from dicom_node.commands.demo import wait_for_page
from dicom_node.dicom.folders import find_dicom
from dicom_node.errors import CommandError

pytestmark = pytest.mark.timeout(600)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    command = [sys.executable, "-m", "dicom_node", "demo", "--once", "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


def test_demo_flags_its_four_heads_rightly() -> None:
    """Suspected ones on top, the normal one not suspected, the incomplete one with its reason."""
    result = demo()
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.strip().split("\n\n")[-1]
    assert [line.split()[0] for line in last.splitlines()[1:]].count("HIGH") == 2
    assert "Slices are missing" in last and "the worklist is at http://127.0.0.1:" in result.stdout


def test_demo_takes_a_folder(tmp_path: Path) -> None:
    """The DICOM in it, whatever it is."""
    write(head(3, Modality="MR"), tmp_path)
    result = demo(str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Not analysed: The images are not CT (MR); only CT is analysed." in result.stdout


def test_demo_without_dicom_says_so(tmp_path: Path) -> None:
    """One clear line and exit code 1."""
    (tmp_path / "notes.txt").write_text("no DICOM here")
    result = demo(str(tmp_path))
    assert result.returncode == 1
    assert f"Error: no DICOM files under {tmp_path}" in result.stderr


@pytest.mark.parametrize(("log", "said"), [("one\nthe port is in use\n\n", "the port is in use"), (None, "nothing")])
def test_a_demo_that_does_not_start_tells_what_its_node_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str | None, said: str
) -> None:
    """Its log goes with the demo's folder."""
    monkeypatch.setattr("dicom_node.commands.demo.START_S", 0.0)
    if log is not None:
        (tmp_path / "serve.log").write_text(log)
    with pytest.raises(CommandError, match=f"it said last: {said}$"):
        wait_for_page(settings_for(tmp_path / "data"), tmp_path / "serve.log")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's patients as files."""
    place = tmp_path_factory.mktemp("phantoms")
    for number, patient in enumerate(phantom.PATIENTS, start=1):
        phantom.write_patient(patient, number, place / str(number))
    return place


def test_phantoms_are_sound_dicom(scanned: Path) -> None:
    """No error from a validator."""
    for folder in scanned.iterdir():
        said = subprocess.run([needs("dciodvfy"), str(find_dicom(folder)[0])], capture_output=True, text=True).stderr
        assert "Error" not in said, said


def test_analyse_agrees_with_what_the_phantoms_are(scanned: Path, tmp_path: Path) -> None:
    """Without any network; the listing names each series once."""
    said = triage_node("analyse", str(scanned), "--out", str(tmp_path))
    assert len(said.strip().splitlines()) == len(phantom.PATIENTS)
    assert said.count("Suspected intracranial haemorrhage") == sum(p.expected == "HIGH" for p in phantom.PATIENTS)
