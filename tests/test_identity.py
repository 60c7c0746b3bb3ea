"""Whose result is it? UIDs are not unique in the world, and names are corrected after images were sent."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.dataset import Dataset
from scripted import analysed, route, work
from series import DECODERS, ROOT, Core, core, ct, head, uids
from starlette.testclient import TestClient

from dicom_node.commands.main import main
from dicom_node.derived import identity
from dicom_node.derived.identity import contradict, own_study
from dicom_node.entities import Decision, Patient, SendStatus, Study
from dicom_node.headlines import headline
from dicom_node.steps.deliver import deliver_due
from dicom_node.steps.receive import reconcile
from dicom_node.steps.retain import retain
from dicom_node.tables import contradictions, deliveries, instances, jobs, results, worklist
from dicom_node.web.app import build_app

SENT = f"{ROOT}.1"
PACS = [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1, "destination": True}]
JANE: dict[str, Any] = {
    "PatientName": "Doe^Jane",
    "PatientID": "J1",
    "PatientBirthDate": "19800102",
    "PatientSex": "F",
    "PatientAge": "045Y",
}
JOHN: dict[str, Any] = {
    "PatientName": "Smith^John",
    "PatientID": "S2",
    "PatientBirthDate": "19400102",
    "PatientSex": "M",
    "PatientAge": "085Y",
}


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with one destination."""
    return core(tmp_path, peer=PACS)


def other_images(**elements: Any) -> list[Dataset]:
    """A head under the first study's UID, with series and SOP Instance UIDs of its own."""
    found = head(series=2, **elements)
    for ds in found:
        ds.StudyInstanceUID = SENT
    return found


def studies(node: Core) -> dict[str, Study]:
    """The studies by the patient's family name."""
    with node.database.read() as tx:
        rows = tx.all(Study, "SELECT * FROM studies")
    return {each.patient_name.partition("^")[0]: each for each in rows}


def said(node: Core, study: Study) -> str:
    """What the list says of a study."""
    with node.database.read() as tx:
        item = worklist.get(tx, study.study_uid)
    assert item is not None
    return headline(item)


def delivered(node: Core) -> list[Dataset]:
    """Send what is due; the objects that reached the PACS."""
    sent: list[Path] = []

    def send(paths: Sequence[Path]) -> Iterable[SendStatus]:
        for path in paths:
            sent.append(path)
            yield SendStatus(path, 0x0000)

    deliver_due(node.database, "pacs", send, node.settings.deliver, random.Random(1))  # type: ignore[arg-type]
    return [dcmread(path) for path in sent]


def names(objects: Iterable[Dataset]) -> set[tuple[str, str]]:
    """Under which name and ID objects are."""
    return {(str(ds.PatientName), str(ds.PatientID)) for ds in objects}


def settle(node: Core, decision: Decision) -> None:
    """IT decides."""
    with node.database.write() as tx:
        identity.decide(tx, SENT, decision, "IT", datetime.now(UTC))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Patient("1"), Patient("2"), True),
        (Patient("1"), Patient(""), False),
        (Patient("a1"), Patient("A1"), False),
        (Patient("1", "HERE"), Patient("2", "THERE"), False),  # each hospital numbers for itself
        (Patient("1", "HERE"), Patient("2", ""), True),
        (Patient("1", birth_date="19800101"), Patient("1", birth_date="19800102"), True),
        (Patient("1", birth_date="1980.01.01"), Patient("1", birth_date="19800101"), False),
        (Patient("1", birth_date="1980"), Patient("1", birth_date="19800101"), False),
        (Patient("1", birth_date=""), Patient("1", birth_date="19800101"), False),
        (Patient("1", sex="M"), Patient("1", sex="F"), True),
        (Patient("1", sex="O"), Patient("1", sex="F"), False),
        (Patient("UNKNOWN"), Patient("1"), False),
        (Patient("1", birth_date="19000101"), Patient("1", birth_date="19800101"), False),
        (Patient("1", patient_name="Doe^Jane"), Patient("1", patient_name="Roe^Jane"), False),  # married
    ],
)
def test_what_contradicts(one: Patient, other: Patient, expected: bool) -> None:
    """Patient ID, birth date and sex; what is absent says nothing."""
    assert contradict(one, other) is contradict(other, one) is expected


@pytest.mark.parametrize("same_sop", [False, True])
def test_a_series_uid_that_another_study_has_used(node: Core, same_sop: bool) -> None:
    """Both studies are analysed, each with its own images, also where even the SOP Instance UIDs are the same."""
    first, second = head(**JANE), head(study=2, shade=5, **JOHN)
    for one, other in zip(first, second, strict=True):
        other.SeriesInstanceUID = one.SeriesInstanceUID
        if same_sop:
            other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    analysed(node, first, True)
    analysed(node, second, False)
    assert "Suspected" in said(node, studies(node)["Doe"]) and "No haem" in said(node, studies(node)["Smith"])
    objects = delivered(node)
    assert names(objects) == {("Doe^Jane", "J1"), ("Smith^John", "S2")}
    assert {str(ds.StudyInstanceUID) for ds in objects} == {SENT, f"{ROOT}.2"}
    with node.database.read() as tx:
        for each in (first, second):
            assert len(instances.of_series(tx, *uids(each[0])[:2])) == 24


def test_two_patients_under_one_study(node: Core) -> None:
    """Each keeps its own result and name; nothing is sent before IT decides; kept apart, each is sent as it is."""
    analysed(node, head(**JANE), True)
    node.receive(other_images(shade=3, **JOHN))
    assert not delivered(node)
    route(node)
    work(node, False)
    assert not delivered(node)
    jane, john = studies(node)["Doe"], studies(node)["Smith"]
    assert jane.study_uid == SENT and john.study_uid == own_study(SENT, john.patient) and john.sent_uid == SENT
    assert "Suspected" in said(node, jane) and "No haem" in said(node, john)
    settle(node, Decision.APART)
    objects = delivered(node)
    assert {str(ds.StudyInstanceUID) for ds in objects} == {SENT}
    by_name = {name: [ds for ds in objects if str(ds.PatientName) == name] for name in ("Doe^Jane", "Smith^John")}
    assert {ds.Modality for ds in by_name["Doe^Jane"]} >= {"SEG", "SR", "KO"}
    assert {ds.Modality for ds in by_name["Smith^John"]} == {"SR"}
    reports = [ds for ds in objects if ds.Modality == "SR"]
    assert len({ds.SOPInstanceUID for ds in reports}) == len({ds.SeriesInstanceUID for ds in reports}) == 2
    assert "another patient" in next(ds for ds in reports if ds.PatientID == "S2").to_json()
    node.receive(other_images(shade=4, **JOHN))  # the decision holds while nobody else comes
    with node.database.read() as tx:
        known = contradictions.get(tx, SENT)
        assert known is not None and known.decision is Decision.APART and known.decided_by == "IT"


def test_a_third_patient_asks_again(node: Core) -> None:
    """A decision speaks of the patients who were known."""
    node.receive(head(3, **JANE))
    node.receive(other_images(**JOHN)[:3])
    settle(node, Decision.ONE)
    further = head(3, series=3, PatientID="X3", PatientName="Third^Person")
    node.receive(further)
    with node.database.read() as tx:
        known = contradictions.get(tx, SENT)
        assert known is not None and known.decision is Decision.NONE and len(known.identities) == 3
        assert len(instances.studies_as_sent(tx, SENT)) == 2  # the two of one person stay together


def test_one_person_after_all(node: Core) -> None:
    """The images are put together, analysed as one study, and what was held back is sent."""
    analysed(node, head(**JANE), True)
    analysed(node, other_images(shade=3, **JOHN), False)
    settle(node, Decision.ONE)
    route(node)
    assert [each.study_uid for each in studies(node).values()] == [SENT]
    with node.database.read() as tx:
        assert len(instances.of_study(tx, SENT)) == 48 and len(instances.series_of_study(tx, SENT)) == 2
        assert {each.state for each in jobs.of_study(tx, SENT)} == {"done"}
    assert names(delivered(node)) == {("Doe^Jane", "J1")}


def test_a_corrected_name_issues_the_results_again(node: Core) -> None:
    """The same pixels under another patient: no contradiction, the same series, objects under the new identity."""
    analysed(node, head(**JANE), True)
    assert names(delivered(node)) == {("Doe^Jane", "J1")}
    for part in (head(**JOHN)[:10], head(**JOHN)[10:]):
        node.receive(part, calling_aet="PACS")
        with node.database.read() as tx:
            assert len(instances.studies_as_sent(tx, SENT)) == 1
            assert (contradictions.get(tx, SENT) is not None) is (len(part) == 10)
    work(node, True)
    objects = delivered(node)
    assert len(objects) == 4 and names(objects) == {("Smith^John", "S2")}
    assert node.number("SELECT count(*) FROM jobs WHERE kind = 'analyse'") == 1
    report = next(ds for ds in objects if ds.Modality == "SR")
    assert "PredecessorDocumentsSequence" in report


def test_a_correction_before_the_results_were_sent(node: Core) -> None:
    """What names the former patient and still waits is never sent."""
    analysed(node, head(**JANE), True)
    node.receive(head(**JOHN), calling_aet="PACS")
    assert not delivered(node)
    work(node, True)
    assert names(delivered(node)) == {("Smith^John", "S2")}
    assert node.number("SELECT count(*) FROM deliveries WHERE state = 'withdrawn'") == 4


def test_a_correction_while_the_analysis_runs(node: Core) -> None:
    """The result that was under way names the former patient: it is made again before anything is sent."""
    node.receive(head(**JANE))
    route(node)
    work(node, lambda: node.receive(head(**JOHN), calling_aet="PACS"))
    assert not delivered(node)
    work(node, True)
    assert names(delivered(node)) == {("Smith^John", "S2")}


@pytest.mark.parametrize("elements", [{"PatientID": ["J1", "OLD7"]}, {"PatientName": ["Doe^Jane", "Roe^Jane"]}])
def test_several_values_are_no_correction(node: Core, elements: dict[str, Any]) -> None:
    """Where one value should stand: what the images say and what the result says of them is read alike."""
    analysed(node, head(**JANE | elements), True)
    assert node.number("SELECT count(*) FROM jobs WHERE kind = 'analyse' AND state = 'queued'") == 0
    assert len(delivered(node)) == 4


def test_a_half_corrected_series_is_a_contradiction(node: Core) -> None:
    """Until the rest comes nothing is sent; two people, then, are told apart image by image."""
    analysed(node, head(**JANE), True)
    node.receive(head(**JOHN)[:10], calling_aet="PACS")
    assert not delivered(node)
    settle(node, Decision.APART)
    with node.database.read() as tx:
        jane, john = instances.studies_as_sent(tx, SENT)
        assert (jane.patient_id, john.patient_id) == ("J1", "S2")
        assert len(instances.of_series(tx, jane.study_uid, f"{SENT}.1")) == 24
        assert len(instances.of_series(tx, john.study_uid, f"{SENT}.1")) == 10


def test_corrections_in_any_order_leave_one_study(node: Core) -> None:
    """A new series comes under the right name before the old one is corrected: at the end all is one patient's."""
    analysed(node, head(**JANE), True)
    node.receive(other_images(shade=3, **JOHN), calling_aet="PACS")
    assert len(studies(node)) == 2 and not delivered(node)
    node.receive(head(**JOHN), calling_aet="PACS")
    assert [each.patient_id for each in studies(node).values()] == ["S2"]
    with node.database.read() as tx:
        assert contradictions.get(tx, SENT) is None
        assert len(instances.of_study(tx, SENT)) == 24 * 3
    work(node, True)
    assert names(delivered(node)) == {("Smith^John", "S2")}


@pytest.mark.parametrize(
    ("numbers", "shared", "reason"),
    [
        ("as they are", 24, "24 different images of the series came with the same identifier"),
        ("none", 24, "24 different images"),
        ("all 1", 24, "24 different images"),
        ("as they are", 2, "2 different images"),
    ],
)
def test_images_that_share_a_sop_instance_uid(node: Core, numbers: str, shared: int, reason: str) -> None:
    """A careless anonymiser: the reason is the true one, whatever it made of the Instance Numbers."""
    images = head(**JANE)
    for ds in images:
        ds.InstanceNumber = {"as they are": ds.InstanceNumber, "none": None, "all 1": 1}[numbers]
    for ds in images[:shared]:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = images[0].SOPInstanceUID
    node.receive(images)
    route(node)
    assert reason in said(node, studies(node)["Doe"])


def test_a_moved_image_is_a_correction(node: Core) -> None:
    """The same SOP Instance UID and number in a corrected place: the series is analysed with the last one."""
    node.receive(head(**JANE))
    analysed(node, [ct(3, ImagePositionPatient=[-16.0, -16.0, 15.5], shade=1, **JANE)], True)
    assert "Suspected" in said(node, studies(node)["Doe"])


def test_the_archive_forgets_and_finds_both(node: Core) -> None:
    """Files without rows are told apart again; retention takes all that lies under one Study Instance UID."""
    node.receive(head(3, **JANE))
    node.receive(other_images(**JOHN)[:3])
    with node.database.write() as tx:
        for each in studies(node).values():
            tx.run("DELETE FROM worklist WHERE study_uid = :uid", uid=each.study_uid)
            instances.forget_study(tx, each.study_uid)
    assert reconcile(node.database, node.archive, DECODERS, datetime.now(UTC)) == (6, 0)
    assert {each.patient_id for each in studies(node).values()} == {"J1", "S2"}
    route(node)
    settle(node, Decision.APART)
    assert retain(node.database, node.archive, 0.0) == 2
    assert not node.files() and node.number("SELECT count(*) FROM contradictions") == 0


def test_page_and_command_let_it_decide(node: Core) -> None:
    """List and page say it in words, with both patients; a wrong choice is refused; the status page counts it."""
    node.receive(head(**JANE))
    node.receive(other_images(**JOHN))
    route(node)
    john = studies(node)["Smith"]
    client = TestClient(build_app(node.database, node.archive, node.settings), base_url="http://localhost")
    own = {"Sec-Fetch-Site": "same-origin"}
    assert "nothing is sent until IT decides" in client.get("/").text
    page = client.get(f"/studies/{john.study_uid}").text
    assert all(words in page for words in ("Whose images?", "Doe, Jane", "Several people", "One person"))
    assert f'href="/studies/{SENT}"' in page
    assert "Studies with images of different patients: 1" in client.get("/status").text
    assert client.post(f"/studies/{SENT}/identity?decision=maybe", headers=own).status_code == 400
    listed = client.get("/dicom-web/studies", headers={"Accept": "application/dicom+json"}).json()
    assert {each["00100020"]["Value"][0] for each in listed} == {"J1", "S2"}
    metadata = client.get(f"/dicom-web/studies/{john.study_uid}/metadata").json()
    assert {each["0020000D"]["Value"][0] for each in metadata} == {john.study_uid}
    assert client.post(f"/studies/{john.study_uid}/identity?decision=apart", headers=own).status_code == 200
    assert "kept apart" in client.get("/").text

    site = node.settings.node.data / "site.toml"
    site.write_text(f'[node]\ndata = "{node.settings.node.data}"\n')
    run = CliRunner().invoke(main, ["--config", str(site), "identity", "list"])
    assert run.exit_code == 0 and "apart" in run.output and "Smith^John" in run.output
    assert CliRunner().invoke(main, ["--config", str(site), "identity", "one", SENT]).exit_code == 0
    assert CliRunner().invoke(main, ["--config", str(site), "identity", "one", "1.2.3"]).exit_code == 1
    assert len(studies(node)) == 1
    assert client.post("/studies/1.2.3/identity?decision=one", headers=own).status_code == 404


def test_a_result_that_comes_back_stays_with_its_patient(node: Core) -> None:
    """The PACS sends the node's own report back under the name that it has corrected: no contradiction."""
    analysed(node, head(**JANE), True)
    report = next(ds for ds in delivered(node) if ds.Modality == "SR")
    report.PatientID, report.PatientBirthDate = "S2", "19400102"
    node.receive([report], calling_aet="PACS")
    with node.database.read() as tx:
        assert contradictions.get(tx, SENT) is None and len(instances.studies_as_sent(tx, SENT)) == 1
        assert deliveries.waiting(tx, SENT, ["pacs"]) == 0
        assert results.last_version(tx, SENT, "haemorrhage") is not None
