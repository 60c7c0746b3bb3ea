"""`analyse` of files that lack what every image must have: each is one line, and the other series go on."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.dataset import Dataset
from scripted import ScriptedEngine
from series import head, settings_for, write

from dicom_node.commands import analyse_files as command
from dicom_node.commands.analyse_files import analyse_files
from dicom_node.commands.main import main
from dicom_node.errors import CommandError
from reports.build import build_reports

TYPE_1 = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "PixelData"]
TYPE_1 += ["BitsAllocated", "PhotometricInterpretation", "ImagePositionPatient", "PixelSpacing", "RescaleSlope"]
TYPE_1 += ["FrameOfReferenceUID", "InstanceNumber"]
NAMED = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")


def spoil(paths: list[Path], keyword: str, emptied: bool) -> None:
    """Take an element out of files, or its value; the preamble stays."""
    for path in paths:
        dataset = dcmread(path)
        if emptied:
            dataset[keyword].value = b"" if keyword == "PixelData" else None
        else:
            del dataset[keyword]
        dataset.save_as(path)


@pytest.mark.parametrize(("which", "emptied"), [(slice(10, 11), False), (slice(None), True)], ids=["one", "all"])
@pytest.mark.filterwarnings("ignore")
def test_what_an_image_lacks_ends_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], which: slice, emptied: bool
) -> None:
    """One file of a series lacks an element, or all have it empty, for each element; the series beside is whole."""
    spoiled: list[Path] = []
    for number, keyword in enumerate(TYPE_1, start=1):
        paths = write(head(study=number), tmp_path / "in" / keyword)[which]
        spoil(paths, keyword, emptied)
        spoiled += paths if keyword in NAMED else []
    write(head(study=99), tmp_path / "in" / "whole")
    settings = settings_for(tmp_path / "data", report={"picture_for_not_analysed": True})
    engine = ScriptedEngine(*[True] * len(TYPE_1))
    answers = list(analyse_files(tmp_path / "in", tmp_path / "out", settings, engine))
    (whole,) = [each for each in answers if each.study_uid.endswith(".99")]
    assert whole.status == "analysed" and len(whole.outputs) == 4
    assert all(each.status == "analysed" or each.reason for each in answers)
    assert len(answers) == len(TYPE_1) + 1 - (len(NAMED) if emptied else 0)
    told = capfd.readouterr().out
    for path in spoiled:
        assert f"{path}" in told and f"{path.parent.name} is missing" in told


def test_only_files_that_cannot_be_analysed_are_no_success(tmp_path: Path) -> None:
    spoil(write(head(3), tmp_path / "in"), "SOPClassUID", False)
    with pytest.raises(CommandError, match=r"no DICOM files under .* that could be analysed"):
        list(analyse_files(tmp_path / "in", tmp_path / "out", settings_for(tmp_path / "data"), ScriptedEngine()))


def test_slices_that_name_several_spaces_share_the_first(tmp_path: Path) -> None:
    """They form one stack, so their segmentation lies in one space."""
    slices = head()
    for i, dataset in enumerate(slices):
        dataset.FrameOfReferenceUID = f"1.2.{i % 2 + 1}"
    paths = write(slices, tmp_path / "in")
    spoil(paths[:1], "FrameOfReferenceUID", False)
    settings = settings_for(tmp_path / "data")
    (answer,) = analyse_files(tmp_path / "in", tmp_path / "out", settings, ScriptedEngine(True))
    (segmentation,) = [each.path for each in answer.outputs if each.kind == "SEG"]
    assert dcmread(segmentation).FrameOfReferenceUID == "1.2.2"


def test_a_series_of_which_no_result_can_be_made_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The others are analysed and told, also as JSON; the command fails at the end."""
    write(head(study=1), tmp_path / "in" / "1")
    write(head(study=2), tmp_path / "in" / "2")
    (tmp_path / "site.toml").write_text(f'[node]\ndata = "{tmp_path / "data"}"\n')

    def stumble(context: object, *given: object) -> object:
        first: Dataset = context.sources[0]  # type: ignore[attr-defined]
        if first.StudyInstanceUID.endswith(".1"):
            raise KeyError("an element that a writer needs")
        return build_reports(context, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "build_reports", stumble)
    monkeypatch.setattr("dicom_node.models.store.open_engine", lambda *_: ScriptedEngine(True, True))
    options = ["--config", str(tmp_path / "site.toml"), "analyse", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*options, "--json"])
    assert done.exit_code == 1 and "Traceback" not in done.output
    (answer,) = json.loads(done.stdout)
    assert answer["study_uid"].endswith(".2") and len(answer["outputs"]) == 4
    assert done.stderr.splitlines()[-1] == "Error: 1 of 2 series could not be analysed"
    assert "an element that a writer needs" in done.stderr
