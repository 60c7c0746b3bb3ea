"""Databases of the versions after 0.4.0: each opens, says what its own version said of it, and a node goes on with it.

What is in them: tests/databases/README.md. A release that changes tables adds one; it is found here by its name.
"""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from series import core
from test_upgrade import DATABASES, browser, deliver, kept, layout, rows, states, told, unpack

from dicom_node import clock
from dicom_node.tables import jobs
from dicom_node.tables.database import open_database

VERSIONS = sorted(path.stem for path in DATABASES.glob("*.json") if path.stem != "0.4.0")
OF_THE_BOOT = {"_sqlite_migrations", "beats", "deliveries", "jobs", "node", "series"}
SAID = ("worklist", "jobs", "feedback", "models", "quality")
SAID_OTHERWISE = {  # small volumes, and an unchanged one, since 0.6.0; suspected studies are ordered by tier since then
    "0.5.0": {
        r"(?<!\+)\b0\.\d ml": "under 1 ml",
        r"intraparenchymal (36 ml to 36 ml .*), change not certain \(within volume error\)": (
            r"all haemorrhage \1, no change seen"
        ),
    }
}


def said_then(version: str) -> dict[str, Any]:
    """What the version itself said."""
    found: dict[str, Any] = json.loads((DATABASES / f"{version}.json").read_text())
    return found


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A released version."""
    return str(request.param)


@pytest.fixture(scope="module")
def data(version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with its database, for looking at it only."""
    folder = tmp_path_factory.mktemp("upgraded") / "data"
    unpack(folder, version)
    return folder


@pytest.fixture(scope="module")
def now(data: Path) -> dict[str, Any]:
    """What is said of the database today."""
    return told(data)


def test_every_release_that_changed_tables_is_here() -> None:
    """Lest the tests below find nothing."""
    assert {"0.5.0", "0.6.0", "0.7.0"} <= set(VERSIONS)
    assert all((DATABASES / f"{each}.sqlite.gz").is_file() for each in VERSIONS)


@pytest.mark.parametrize("what", SAID)
def test_it_says_the_same(version: str, now: dict[str, Any], what: str) -> None:
    """Headlines, urgencies, states and their order; what failed and why; what readers said; what is counted."""
    then = said_then(version)[what]
    if what == "worklist":
        place = {each["study_uid"]: number for number, each in enumerate(now[what])}
        then = sorted((said_today(version, each) for each in then), key=lambda each: place[each["study_uid"]])
    assert then and kept(now[what], then) == then


def test_it_keeps_the_order(version: str, now: dict[str, Any]) -> None:
    """Of states and urgencies in any case; of studies where the order is the same since."""
    then = said_then(version)
    by_urgency = [[(each["urgency"], each["state"]) for each in told["worklist"]] for told in (then, now)]
    assert by_urgency[0] == by_urgency[1]
    if version not in SAID_OTHERWISE:
        assert now["orders"] == then["orders"]


def said_today(version: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What the list says today of a study."""
    headline = entry["headline"]
    for before, since in SAID_OTHERWISE.get(version, {}).items():
        headline = re.sub(before, since, headline)
    return entry | {"headline": headline}


def test_every_page_of_it_opens(version: str, data: Path) -> None:
    """The list, each study's page and those for quality and IT; the images are not here.

    Results of these versions assume no prevalence that a site has set.
    """
    client = browser(core(data))
    for page in (
        "/",
        "/quality",
        "/status",
        *(f"/studies/{each['study_uid']}" for each in said_then(version)["worklist"]),
    ):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert "assumed prevalence" not in answer.text


def test_it_gets_the_tables_of_a_new_one(version: str, tmp_path: Path) -> None:
    """Whole and without loose ends; opened a second time, nothing changes any more."""
    path, new = unpack(tmp_path / "data", version), tmp_path / "new.sqlite"
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


def test_results_keep_their_probabilities(version: str, tmp_path: Path) -> None:
    """And say nothing of an assumed prevalence: they assume that of the model's own data."""
    path = unpack(tmp_path / "data", version)
    then = of_results("study_uid, version, suspected, probability, threshold", path)
    open_database(path)
    assert then and of_results("study_uid, version, suspected, probability, threshold", path) == then
    assert set(of_results("prevalence", path)) == {(None,)}


def of_results(columns: str, path: Path) -> list[tuple[object, ...]]:
    """These columns of every result in a database."""
    connection = sqlite3.connect(path)
    found = connection.execute(f"SELECT {columns} FROM analyses ORDER BY study_uid, version").fetchall()
    connection.close()
    return found


def test_every_row_of_0_7_0_stays(tmp_path: Path) -> None:
    """Missed bleeds, damaged files, outcomes, choices and all else but what ends with the boot."""
    path = unpack(tmp_path / "data", "0.7.0")
    before = rows(path)
    assert len(before["damages"]) == 4
    open_database(path)
    after = rows(path)
    for table in before.keys() - OF_THE_BOOT:
        pairs = zip(before[table], after[table], strict=True)
        assert all(now[: len(then)] == then for then, now in pairs), table


def test_damaged_files_of_0_7_0_are_named(tmp_path: Path) -> None:
    """On the page for IT, each with its study."""
    unpack(tmp_path / "data", "0.7.0")
    page = browser(core(tmp_path / "data")).get("/status").text
    assert all(f"1502.70.{number}</a>" in page for number in (2, 5, 6, 8))


def test_what_was_under_way_goes_on(version: str, tmp_path: Path) -> None:
    """Queued and running analyses are due after a boot; what waits is sent, but for patients who contradict."""
    unpack(tmp_path / "data", version)
    node = core(tmp_path / "data", deliver={"attempts": 3})
    then = said_then(version)["jobs"]
    due = [each["study_uid"] for each in then if each["state"] in ("queued", "running")]
    with node.database.write() as tx:
        jobs.expire(tx, clock.monotonic(), limit=5)
        claimed = iter(lambda: jobs.claim(tx, "test", clock.monotonic(), 60), None)
        assert due and sorted(job.study_uid for job in claimed) == sorted(due)
    waiting = {each["id"] for each in then if each["state"] == "waiting"}
    held = {each["study_uid"] for each in said_then(version)["worklist"] if each.get("contradiction") == "undecided"}
    kept_back = {each["id"] for each in then if each["state"] == "waiting" and each["study_uid"] in held}
    deliver(node)
    after = states(tmp_path / "data")
    assert waiting > kept_back and {after[each] for each in waiting - kept_back} == {"sent"}
    assert {after[each] for each in kept_back} == ({"waiting"} if kept_back else set())
