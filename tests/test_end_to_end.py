"""A head CT goes in, a flagged study comes out: DCMTK sends real heads to `serve`, Orthanc gets what it finds."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from peers import Orthanc, Served, pacs_peer, running_node, running_orthanc, storescu, triage_node, wait_until
from pydicom import dcmread

from reports.preview_file import read_index

pytestmark = pytest.mark.timeout(600)
PATIENTS = (81, 94, 54)
QUICK = "[complete]\nquiet_s = 6.0\n"


@pytest.fixture(scope="module")
def heads(shared: Path, ct_ich: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three patients and the real gantry-tilt head, each in a folder of its own."""
    place = tmp_path_factory.mktemp("heads")
    folders = [ct_ich.write_dicom(patient, place / f"{patient:03d}") for patient in PATIENTS]
    tilted = place / "tilted"
    tilted.mkdir()
    for file in (shared / "dicom" / "gantry_tilt_head").glob("*.dcm"):
        shutil.copy(file, tilted)
    return [*folders, tilted]


@pytest.fixture(scope="module")
def world(heads: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Orthanc]]:
    """Orthanc and the node, with all heads sent at once on several associations and everything delivered."""
    place = tmp_path_factory.mktemp("world")
    with running_orthanc(place / "pacs") as orthanc, running_node(place / "node", QUICK + pacs_peer(orthanc)) as served:
        scanners = [storescu(folder, served.port, aet=f"CT{i}") for i, folder in enumerate(heads)]
        for scanner in scanners:
            assert scanner.wait(60) == 0
        wait_until(lambda: served.settled(len(heads)), 120, "every study has its result and it is delivered")
        yield served, orthanc


def test_every_study_has_its_result_objects_in_the_pacs(world: tuple[Served, Orthanc]) -> None:
    """SEG, SR, SC and KO of each suspected study, the SR of every other."""
    served, orthanc = world
    jobs = json.loads(served.command("jobs", "--json", "--limit", "1000"))
    assert {job["state"] for job in jobs} == {"done", "sent"}
    found = defaultdict(list)
    for tags in orthanc.instances():
        found[tags["StudyInstanceUID"]].append(tags)
    for entry in served.worklist():
        (small,) = (served.data / "results" / entry["study_uid"]).rglob("preview.zip")
        assert len(read_index(small).slices) >= 10
        modalities = sorted(tags["Modality"] for tags in found[entry["study_uid"]])
        assert sorted(tags["SOPInstanceUID"] for tags in found[entry["study_uid"]]) == sorted(entry["results"])
        if entry["urgency"] == "HIGH":
            assert len(modalities) == 4 and {"SEG", "SR", "KO"} < set(modalities), modalities
        else:
            assert modalities == ["SR"]


def test_flags_follow_the_model(world: tuple[Served, Orthanc], heads: list[Path], tmp_path: Path) -> None:
    """The worklist says what `analyse` says of the same files."""
    served, _ = world
    answers = json.loads(triage_node("analyse", str(heads[0].parent), "--out", str(tmp_path), "--json"))
    suspected = {answer["study_uid"]: answer["suspected"] for answer in answers}
    assert len(suspected) == len(heads)
    assert {entry["study_uid"]: entry["urgency"] for entry in served.worklist()} == {
        study_uid: "HIGH" if flag else "LOW" for study_uid, flag in suspected.items()
    }
    assert any(suspected.values())


def test_suspected_studies_come_first(world: tuple[Served, Orthanc]) -> None:
    """In the order of the list and nowhere else."""
    served, _ = world
    urgencies = [entry["urgency"] for entry in served.worklist()]
    assert urgencies == sorted(urgencies, key=["HIGH", "MEDIUM", "LOW"].index)


def test_images_are_kept_as_sent(world: tuple[Served, Orthanc], heads: list[Path]) -> None:
    """The archive holds every image, its data set unchanged to the byte."""
    served, _ = world
    stored = {dcmread(path).SOPInstanceUID: path for path in (served.data / "instances").rglob("*.dcm")}
    sent = [path for folder in heads for path in folder.glob("*.dcm")]
    assert len(stored) == len(sent)
    for path in sent[::7]:
        original = dcmread(path)
        assert dcmread(stored[original.SOPInstanceUID]).PixelData == original.PixelData


def test_results_coming_back_are_not_analysed(world: tuple[Served, Orthanc], tmp_path: Path) -> None:
    """A PACS that forwards the node's own results changes nothing."""
    served, orthanc = world
    before = served.worklist()
    for tags in orthanc.instances():
        (tmp_path / f"{tags['ID']}.dcm").write_bytes(orthanc.file(tags["ID"]))
    count = orthanc.count()
    assert storescu(tmp_path, served.port, "-R").wait(60) == 0
    wait_until(lambda: not receiving(served), 30, "the results were looked at")
    assert served.worklist() == before
    assert orthanc.count() == count


def receiving(served: Served) -> int:
    """How many series still wait for the router."""
    from dicom_node.tables.database import Database

    with Database(served.data / "node.sqlite").read() as tx:
        return tx.number("SELECT count(*) FROM series WHERE state <> 'routed'")
