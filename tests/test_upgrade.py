"""A database that a node of version 0.4.0 wrote: it opens, says what it said then, and a node goes on with it.

What is in it: tests/databases/README.md. What 0.4.0 itself said of it: tests/databases/0.4.0.json. What commands print
as JSON may gain fields; those that were there keep their names and values.
"""

import csv
import gzip
import json
import random
import re
import sqlite3
from collections.abc import Generator, Sequence
from datetime import UTC, date, datetime
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from peers import triage_node
from reports_support import result_for
from series import DECODERS, Core, core, head
from starlette.testclient import TestClient

from dicom_node import clock
from dicom_node.entities import Equipment, SendStatus
from dicom_node.routes import load_rules
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.complete import complete_due
from dicom_node.steps.deliver import deliver_due
from dicom_node.steps.receive import reconcile
from dicom_node.steps.route import route_due
from dicom_node.tables import jobs, quality
from dicom_node.tables.database import Database, open_database
from dicom_node.web.app import build_app
from inference.engines.local import Engine
from inference.findings import Result
from inference.pipelines.base import Given, Question
from inference.pipelines.registry import question_of

DATABASES = Path(__file__).parent / "databases"
THEN: dict[str, Any] = json.loads((DATABASES / "0.4.0.json").read_text())
LONG_AFTER = 1e12
ORDERS = {"overdue first": "overdue_first = true", "none overdue": "ageing_cap_minutes = 1e8"}
GREW: dict[str, Any] = {
    "PatientID": "P00004",
    "IssuerOfPatientID": "HOSPITAL",
    "PatientBirthDate": "19520202",
    "PatientSex": "F",
}  # study 5's patient
SAID_OTHERWISE = {
    "35 ml to 35 ml (+0.0 ml, +0 %), change not certain (within volume error).": "35 ml to 35 ml (+0.0 ml, +0 %), no "
    "change seen."
}

COMING: dict[str, Any] = {
    "PatientID": "P00020",
    "PatientName": "Coming^Cory",
    "PatientBirthDate": "19770731",
    "PatientSex": "M",
}  # study 20's patient


def unpack(data: Path, version: str = "0.4.0") -> Path:
    """The database of a version as that of the node with this data folder; its path."""
    data.mkdir(parents=True)
    path = data / "node.sqlite"
    path.write_bytes(gzip.decompress((DATABASES / f"{version}.sqlite.gz").read_bytes()))
    return path


def command(data: Path, *arguments: str, worklist: str = "") -> str:
    """What a command prints on this data folder; no study leaves the list by its age."""
    site = data / "triage-node.toml"
    site.write_text(f'[node]\ndata = "{data}"\n[worklist]\nleave_after_hours = 1e6\n{worklist}\n')
    return triage_node("--config", str(site), *arguments)


def listed(data: Path, worklist: str = "") -> list[dict[str, Any]]:
    """`worklist --json`."""
    entries: list[dict[str, Any]] = json.loads(command(data, "worklist", "--json", worklist=worklist))
    return entries


def states(data: Path) -> dict[str, str]:
    """Every analysis and delivery with its state."""
    return {each["id"]: each["state"] for each in json.loads(command(data, "jobs", "--json", "--limit", "1000"))}


def told(data: Path) -> dict[str, Any]:
    """What commands and quality say of a database; of models without what their files say, which are not here."""
    models = json.loads(command(data, "models", "list", "--json"))
    of_model = ("id", "in_use", "chosen", "installed_at", "installed_by")
    return {
        "worklist": listed(data),
        "orders": {name: [each["study_uid"] for each in listed(data, order)] for name, order in ORDERS.items()},
        "jobs": json.loads(command(data, "jobs", "--json", "--limit", "1000")),
        "feedback": list(csv.DictReader(StringIO(command(data, "feedback", "--csv")))),
        "models": [{key: each[key] for key in of_model} for each in models],
        "quality": counted(open_database(data / "node.sqlite")),
    }


def counted(database: Database) -> dict[str, list[Any]]:
    """How many studies of which week and scanner ended how, and after how long they were flagged."""
    ever = date(2020, 1, 1)
    with database.read() as tx:
        made = {each.scanner_id: [each.aet, *_texts(each.equipment)] for each in quality.scanners(tx)}
        counts = [
            [each.week.isoformat(), made[each.scanner_id], each.outcome, each.judged, each.studies]
            for each in quality.counts(tx, "haemorrhage", ever)
        ]
        taken = [
            [each.week.isoformat(), made[each.scanner_id], list(each.milliseconds)]
            for each in quality.turnarounds(tx, "haemorrhage", ever)
        ]
    return {"counts": sorted(counts), "turnarounds": sorted(taken)}


def _texts(equipment: Equipment) -> list[str]:
    return [equipment.manufacturer, equipment.model, equipment.station]


def kept(now: object, then: object) -> object:
    """What is said now without the fields that were not there then."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: kept(value, then[key]) for key, value in now.items() if key in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [kept(*pair) for pair in zip(now, then, strict=True)]
    return now


def browser(node: Core) -> TestClient:
    """The page, as its own scripts ask for it."""
    app = build_app(node.database, node.archive, node.settings)
    return TestClient(app, base_url="http://127.0.0.1", headers={"Sec-Fetch-Site": "same-origin"})


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


# what it says


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """A node with the database, for looking at it only."""
    data = tmp_path_factory.mktemp("upgraded") / "data"
    unpack(data)
    return core(data)


@pytest.fixture(scope="module")
def now(upgraded: Core) -> dict[str, Any]:
    """What is said of the database today."""
    return told(upgraded.settings.node.data)


@pytest.fixture(scope="module")
def client(upgraded: Core) -> TestClient:
    return browser(upgraded)


def layout(path: Path) -> dict[str, set[tuple[str, str]]]:
    """Tables, indices and triggers, each with its columns and their types."""
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    columns = {name: connection.execute("SELECT name, type FROM pragma_table_xinfo(?)", [name]) for name in names}
    found = {name: {(str(one), str(other)) for one, other in each} for name, each in columns.items()}
    connection.close()
    return found


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that stands in a database."""
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}
    connection.close()
    return found


def test_it_gets_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """Whole and without loose ends; opened a second time, nothing changes any more."""
    path, new = unpack(tmp_path / "data"), tmp_path / "new.sqlite"
    open_database(path)
    open_database(new)
    assert layout(path) == layout(new)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    before = rows(path)
    open_database(path)
    assert rows(path) == before


@pytest.mark.parametrize("what", ["worklist", "orders", "jobs", "feedback", "models", "quality"])
def test_it_says_the_same(now: dict[str, Any], what: str) -> None:
    """Headlines, urgencies, states and their order; what failed and why; what readers said; what is counted."""
    assert kept(now[what], THEN[what]) == THEN[what]


@pytest.mark.parametrize("study_uid", THEN["pages"])
def test_the_page_of_a_study_says_the_same(client: TestClient, study_uid: str) -> None:
    """Result, growth, reader, why a series was not analysed, what did not arrive."""
    page = text_of(client.get(f"/studies/{study_uid}").text)
    then = THEN["pages"][study_uid]
    for before, since in SAID_OTHERWISE.items():
        then = [said.replace(before, since) for said in then]
    assert [said for said in then if said not in page] == []


@pytest.mark.parametrize("words", THEN["searches"])
def test_a_search_finds_the_same(client: TestClient, words: str) -> None:
    """By the start of a word of name, patient ID or accession number; a corrected name by what is right."""
    page = client.get("/", params={"q": words}).text
    assert [uid for uid in THEN["pages"] if f'"/studies/{uid}"' in page] == THEN["searches"][words]


def test_the_page_for_it_says_the_same(client: TestClient) -> None:
    """Who was refused, and why."""
    page = text_of(client.get("/status").text)
    assert [said for said in THEN["status"] if said not in page] == []


# a node goes on with it


@pytest.fixture
def node(tmp_path: Path) -> Core:
    """A node with the database and none of its files."""
    unpack(tmp_path / "data")
    return core(tmp_path / "data", deliver={"attempts": 3})


class NothingFound(Engine):
    """An engine that suspects nothing."""

    def __init__(self) -> None:
        """No device, no model."""

    def question(self, pipeline_name: str) -> Question:
        return question_of("haemorrhage")

    def run(self, pipeline_name: str, given: Given) -> Result:
        return result_for(given.stack, {}, False)


def work(node: Core) -> None:
    """Complete, route and analyse what has come."""
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))
    while analyse_next(node.database, node.archive, node.settings, NothingFound(), "test", lambda job: None):
        pass


def accept(paths: Sequence[Path], patience: float = 1.0) -> Generator[SendStatus]:
    """A destination that stores everything, however long its answers are waited for."""
    return (SendStatus(path, 0x0000) for path in paths)


def deliver(node: Core) -> None:
    """Send what is due."""
    for destination in ("pacs", "archive"):
        deliver_due(node.database, destination, accept, node.settings.deliver, random.Random(1))


def test_what_was_queued_or_under_way_is_analysed(node: Core) -> None:
    """The machine has booted since: the lease of its worker is over."""
    due = [each["study_uid"] for each in THEN["jobs"] if each["state"] in ("queued", "running")]
    with node.database.write() as tx:
        jobs.expire(tx, clock.monotonic(), limit=5)
        claimed = iter(lambda: jobs.claim(tx, "test", clock.monotonic(), 60), None)
        assert sorted(job.study_uid for job in claimed) == sorted(due)


def test_what_waits_is_delivered_and_what_failed_is_revived(node: Core) -> None:
    data, then = node.settings.node.data, {each["id"]: each["state"] for each in THEN["jobs"]}
    waiting, failed = ([key for key, state in then.items() if state == each] for each in ("waiting", "failed"))
    deliver(node)
    assert states(data) == then | dict.fromkeys(waiting, "sent")
    for key in failed:
        command(data, "retry", key)
    revived = {key: "queued" if key.startswith("A") else "waiting" for key in failed}
    assert states(data) == then | dict.fromkeys(waiting, "sent") | revived
    deliver(node)
    assert set(states(data).values()) & {"waiting", "failed"} == set()


def test_readers_go_on(node: Core) -> None:
    """They put back, acknowledge, read, and change what they have said."""
    client, (first, *_) = browser(node), THEN["worklist"]
    client.post("/reader", data={"name": "carla"})
    for action in ("acknowledge", "read", "unread", "acknowledge"):
        assert client.post(f"/studies/{first['study_uid']}/{action}").status_code == 200
    made = re.findall('name="made" value="([^"]+)"', client.get(f"/studies/{first['study_uid']}").text)
    said = {"verdict": "agree", "reader": "ben", "version": "1", "made": made[0], "comment": "I see it now."}
    assert client.post(f"/studies/{first['study_uid']}/feedback", data=said).status_code == 200
    page = text_of(client.get(f"/studies/{first['study_uid']}").text)
    assert "Acknowledged by carla" in page and "I see it now." in page


def test_images_go_on_coming(node: Core) -> None:
    """A new study, and a further series of one that was still being received."""
    new, rest = head(study=77), head(18, study="40.20", series=2, **COMING)
    node.receive(new)
    node.receive(rest)
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC))
    entries = {each["study_uid"]: each for each in listed(node.settings.node.data)}
    assert len(entries) == len(THEN["worklist"]) + 1
    assert {entries[each[0].StudyInstanceUID]["headline"] for each in (new, rest)} == {"Waiting for analysis"}


def test_a_later_scan_is_compared_with_an_earlier_one(node: Core) -> None:
    """Of a patient whom 0.4.0 has analysed; it did not keep the sex beside the scan, but with the study."""
    node.receive(head(study=78, **GREW, PatientName="Grow^Greta", TimezoneOffsetFromUTC="+0100", StudyDate="20261120"))
    work(node)
    (entry,) = [each for each in listed(node.settings.node.data) if each["accession"] == "A78"]
    assert entry["headline"].startswith("No haemorrhage suspected")
    assert "earlier was measured by another model" in entry["headline"]


def test_a_study_whose_files_are_gone_is_forgotten(node: Core) -> None:
    """Every row of it but what readers said and what is counted."""
    before = counted(node.database)
    reconcile(node.database, node.archive, DECODERS, clock.utc_now())
    assert listed(node.settings.node.data) == []
    assert counted(node.database) == before
    feedback = csv.DictReader(StringIO(command(node.settings.node.data, "feedback", "--csv")))
    then = [each | {"accession": ""} for each in THEN["feedback"]]
    assert kept(list(feedback), then) == then
