"""Which studies are on the reader's list, when they were scanned, and which earlier ones stand beside them."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from series import DECODERS, Core, core, ct, head, push, settings_for
from starlette.testclient import TestClient

from dicom_node import clock
from dicom_node.commands import listing
from dicom_node.derived.priors import priors_of
from dicom_node.entities import ItemState
from dicom_node.processes.node import running_node
from dicom_node.routes import Rules, load_rules
from dicom_node.settings import load_settings
from dicom_node.steps.complete import complete_due
from dicom_node.steps.receive import Receiver
from dicom_node.steps.route import route_due
from dicom_node.tables import instances, worklist
from dicom_node.tables.views.overview import WorklistRow
from dicom_node.tables.worklist import Show, WorklistItem
from dicom_node.web import words
from dicom_node.web.app import build_app
from dicom_node.web.site import Site, make_templates

MR: dict[str, Any] = {"Modality": "MR", "SOPClassUID": MRImageStorage, "BodyPartExamined": "BRAIN"}
PERSON = {"PatientID": "P", "PatientName": "Doe^Jane", "PatientSex": "F"}
LONG_AFTER = 1e12


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine two hours ahead of UTC."""
    monkeypatch.setitem(os.environ, "TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node's receiving side as its process makes it."""
    return as_served(core(tmp_path))


def as_served(bare: Core) -> Core:
    """With the site's wish for the list."""
    lists = partial(bare.settings.worklist.lists, may_take=load_rules().may_take)
    return Core(bare.settings, bare.database, bare.archive, Receiver(bare.database, bare.archive, DECODERS, lists))


def uid(study: int) -> str:
    return str(ct(0, study=study).StudyInstanceUID)


def routed(node: Core) -> None:
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))


def listed(node: Core, show: Show = Show.TO_READ) -> list[str]:
    site = Site(node.database, node.archive, node.settings, make_templates(node.settings))
    with node.database.read() as tx:
        found = worklist.listed(tx, site.reading_order(clock.utc_now()), 100, show=show)
    return [item.study_uid for item in found]


def client(node: Core) -> TestClient:
    return TestClient(build_app(node.database, node.archive, node.settings), base_url="http://127.0.0.1")


# what is on the list


def test_another_modality_is_stored_and_not_listed(node: Core) -> None:
    """No filter shows it or counts it; the archive, the search, DICOMweb and its own page have it."""
    node.receive(head(3, study=1, **MR))
    node.receive(head(study=2))
    routed(node)
    assert listed(node) == [uid(2)] and listed(node, Show.NOT_ANALYSED) == []
    pages = client(node)
    front, everything = pages.get("/").text, pages.get("/?show=all").text
    assert uid(1) not in front and f'id="row-{uid(1)}"' in everything and "not on the list" in everything
    assert f'id="row-{uid(1)}"' in pages.get("/?q=P1").text
    assert "The images are not CT (MR); only CT is analysed." in pages.get(f"/studies/{uid(1)}").text
    assert pages.get(f"/dicom-web/studies/{uid(1)}/series").json()[0]["00080060"]["Value"] == ["MR"]
    assert "none of their modalities is wanted there: 1." in pages.get("/status").text
    assert [entry.study_uid for entry in listing.worklist(node.settings)] == [uid(2)]
    assert node.number("SELECT count(*) FROM quality WHERE study_uid = :uid", uid=uid(1)) == 0


def test_one_series_that_is_wanted_lists_the_study(node: Core) -> None:
    """Whichever comes first, and once listed it stays."""
    node.receive(head(3, study=1, **MR))
    assert listed(node) == []
    node.receive(head(3, study=1, series=2))
    node.receive(head(3, study=1, series=3, **MR))
    assert listed(node) == [uid(1)]


@pytest.mark.parametrize("modality", ["", "CT", "ct"])
def test_what_may_be_a_head_is_listed(node: Core, modality: str) -> None:
    """Also where the modality is missing: it is declined with a reason that a reader sees."""
    node.receive(head(3, Modality=modality))
    assert listed(node) == [uid(1)]


@pytest.mark.parametrize(
    ("wanted", "shown"), [('"auto"', [2]), ('["CT", " mr"]', [1, 2]), ("[]", [1, 2]), ('["MR"]', [1])]
)
def test_the_site_decides(tmp_path: Path, wanted: str, shown: list[int]) -> None:
    (tmp_path / "site.toml").write_text(f"[worklist]\nmodalities = {wanted}\n")
    modalities = load_settings(tmp_path / "site.toml").worklist.modalities
    node = as_served(core(tmp_path, worklist={"modalities": modalities}))
    node.receive(head(3, study=1, **MR))
    node.receive(head(3, study=2))
    assert sorted(listed(node)) == [uid(study) for study in shown]


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ([{"name": "a", "pipeline": "x", "when": {"modality": {"is": ["MR"]}}}], {"MR"}),
        ([{"name": "a", "pipeline": "x", "when": {"body_part": {"is": ["HEAD"]}}}], {"CT", "MR", "US"}),
        ([{"name": "a", "decline": "no"}], {"CT", "MR", "US"}),  # nobody is asked anything: nothing is hidden
        (
            [
                {"name": "thin MR", "decline": "no", "when": {"modality": {"is": ["MR"]}, "slices": {"below": 3}}},
                {"name": "no US", "ignore": "no", "when": {"modality": {"is": ["US"]}}},
                {"name": "all", "pipeline": "x"},
            ],
            {"CT", "MR"},
        ),
    ],
)
def test_what_a_rule_could_take(rules: list[dict[str, Any]], taken: set[str]) -> None:
    known = Rules.model_validate({"rule": rules})
    assert {each for each in ("CT", "MR", "US") if known.may_take(each)} == taken


def test_a_running_node_lists_heads_only(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with running_node(settings) as (server, _):
        assert set(push(server.port, [*head(3, study=1, **MR), *head(3, study=2)])) == {0}
        (entry,) = listing.worklist(settings)
    assert (entry.study_uid, entry.priors) == (uid(2), ())
    assert entry.scanned_at == datetime(2026, 1, 2, 3, 4).astimezone(UTC)


# when it was scanned


def row_with(node: Core, **elements: Any) -> str:
    """What the page says of a study's scan, an hour and a half after 2026-01-02 03:04 in the node's zone."""
    node.receive([ct(0, **elements)])
    now = datetime(2026, 1, 2, 2, 34, tzinfo=UTC)
    with node.database.read() as tx:
        item = worklist.get(tx, uid(1))
        study = instances.get_study(tx, uid(1))
    assert item is not None and study is not None
    told = words.scanned(WorklistRow(item, study, (), 0, 0, 0), now)
    return f"{told.words}, {words.since(told.ago, now)} ago" if told.ago else told.words


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({}, "scanned 03:04, 1 h 30 min ago"),
        ({"AcquisitionDate": "20260102", "AcquisitionTime": "0400"}, "scanned 04:00, 34 min ago"),
        ({"TimezoneOffsetFromUTC": "+0000"}, "scan time 2026-01-02 05:04 lies in the future"),
        ({"TimezoneOffsetFromUTC": "+0900"}, "scanned 2026-01-01 20:04, 8 h 30 min ago"),
        ({"StudyTime": "043530"}, "scanned 04:35, 0 s ago"),  # a clock that is a little ahead
        ({"StudyDate": "20251224", "StudyTime": "2359"}, "scanned 2025-12-24 23:59, 8 d 4 h ago"),
        ({"StudyDate": "20360102"}, "scan time 2036-01-02 03:04 lies in the future"),
        ({"StudyTime": ""}, "scanned 2026-01-02, time not stated"),
        ({"StudyDate": "", "StudyTime": ""}, "scan time not stated"),
    ],
)
def test_when_it_was_scanned(node: Core, here: None, elements: dict[str, Any], said: str) -> None:
    assert row_with(node, **elements) == said


def test_the_earliest_image_counts_and_row_and_page_say_it(node: Core, here: None) -> None:
    """Not when it came, which "waiting" says, nor a secondary capture that was made later."""
    node.receive(head(3, AcquisitionDate="20260102", AcquisitionTime="0310"))
    node.receive([ct(7, AcquisitionDate="20260102", AcquisitionTime="0306")])
    node.receive([ct(8, series=2, StudyTime="", ContentDate="20260102", ContentTime="0400", Modality="OT")])
    pages = client(node)
    for page in (pages.get("/?show=all").text, pages.get(f"/studies/{uid(1)}").text):
        assert 'scanned">scanned 2026-01-02 03:06, <time class="since"' in page


# earlier studies of the patient


def received(node: Core, study: int, date: str, **elements: Any) -> list[Dataset]:
    """A part of a head of the same person, scanned at noon UTC."""
    when = {"StudyDate": date, "StudyTime": "1200", "TimezoneOffsetFromUTC": "+0000"}
    slices = head(2, study=study, **(PERSON | when | elements))
    node.receive(slices)
    return slices


def priors(node: Core, study: int) -> list[str]:
    with node.database.read() as tx:
        own = instances.get_study(tx, uid(study))
        assert own is not None
        return [each.row.item.study_uid for each in priors_of(tx, [own]).get(uid(study), [])]


def test_priors_stand_under_todays_study(node: Core, here: None) -> None:
    """In the row the last one, on the page and in JSON all, the latest first; whatever modality, listed or not."""
    received(node, 3, "20260105")
    received(node, 1, "20251231", StudyDescription="CT HEAD AFTER FALL")
    received(node, 2, "20260104", **MR)
    received(node, 4, "20260106")
    assert (priors(node, 3), priors(node, 1)) == ([uid(2), uid(1)], [])
    pages = client(node)
    row = pages.get("/").text.split(f'id="row-{uid(3)}"')[1].split("</tr>")[0]
    assert f'Prior <a href="/studies/{uid(2)}">2026-01-04 14:00, 24 h earlier</a>' in row and uid(1) not in row
    page = pages.get(f"/studies/{uid(3)}").text
    assert page.index(f'href="/studies/{uid(2)}"') < page.index(f'href="/studies/{uid(1)}"')
    assert "2025-12-31 14:00, 5 days earlier" in page and "CT HEAD AFTER FALL" in page and uid(4) not in page
    assert "Prior studies" not in pages.get(f"/studies/{uid(1)}").text
    entries = {entry.study_uid: entry for entry in listing.worklist(node.settings)}
    assert entries[uid(3)].priors == (uid(2), uid(1))
    assert entries[uid(3)].scanned_at == datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientID": "Q"},
        {"PatientID": ""},
        {"PatientBirthDate": "19500102"},
        {"PatientBirthDate": ""},
        {"PatientSex": "M"},
        {"PatientSex": ""},
        {"PatientName": "Roe^Jane"},
        {"StudyDate": "20260105"},
        {"StudyDate": "", "StudyTime": ""},
    ],
)
def test_no_prior_of_another_person_or_of_no_known_order(node: Core, elements: dict[str, str]) -> None:
    received(node, 1, "20260101", **elements)
    received(node, 2, "20260105")
    assert priors(node, 2) == []


@pytest.mark.parametrize("both", [{"PatientID": "ANON"}, {"PatientBirthDate": "19000101"}, {"PatientSex": ""}])
def test_placeholders_have_no_priors(node: Core, both: dict[str, str]) -> None:
    received(node, 1, "20260101", **both)
    received(node, 2, "20260105", **both)
    assert priors(node, 2) == []


def test_the_days_order_two_studies_that_state_no_time(node: Core) -> None:
    received(node, 1, "20260101", StudyTime="")
    received(node, 2, "20260105", StudyTime="")
    assert priors(node, 2) == [uid(1)]
    assert "Prior <a" in client(node).get("/").text


def test_what_was_never_seen_is_in_nobodys_list(node: Core) -> None:
    """An unlisted study may be acted on from All; it does not come onto the list by that."""
    node.receive(head(3, study=1, **MR))
    routed(node)
    with node.database.write() as tx:
        assert worklist.acknowledge(tx, uid(1), clock.utc_now(), "Dr A")
        item = worklist.get(tx, uid(1))
    assert isinstance(item, WorklistItem) and item.state is ItemState.ACKNOWLEDGED and not item.listed
    assert [listed(node, show) for show in (Show.TO_READ, Show.SUSPECTED, Show.NOT_ANALYSED)] == [[], [], []]
    assert item.waiting_since > clock.utc_now() - timedelta(hours=1)
