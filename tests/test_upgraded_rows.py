"""Rows of the list that version 0.4.0 wrote: what they say is known as parts, and goes on where it stood."""

import gzip
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from series import Core, core

from dicom_node import clock, headlines
from dicom_node.commands.listing import worklist as worklist_entries
from dicom_node.derived import flag
from dicom_node.entities import ItemState
from dicom_node.tables import jobs, worklist
from dicom_node.tables.views import overview
from dicom_node.tables.worklist import Standing, WorklistItem
from dicom_node.web import words

STUDY = "1.2.826.0.1.3680043.10.1502.40"  # .N: tests/databases/README.md
SAID_OTHERWISE = {  # 0.4.0 said of two equal volumes that a change was not certain, and "< 0.1 ml"
    8: "Suspected intracranial haemorrhage: epidural 36 ml, subdural 23 ml, intraparenchymal under 1 ml"
    " (probability 1.00)",
    15: "Suspected intracranial haemorrhage: intraparenchymal 35 ml (probability 1.00); all haemorrhage 35 ml to 35 ml"
    " (+0.0 ml, +0 %) in 4.0 h, no change seen; an earlier comparison found growth: please look",
}
PACKED = Path(__file__).parent / "databases" / "0.4.0.sqlite.gz"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database of 0.4.0, in a data folder of its own; nobody has opened it yet."""
    path = tmp_path / "node.sqlite"
    path.write_bytes(gzip.decompress(PACKED.read_bytes()))
    return path


@pytest.fixture
def node(database: Path) -> Core:
    """A node with the database and none of its files."""
    return core(database.parent, worklist={"leave_after_hours": 1e6})


def row(node: Core, number: int) -> overview.WorklistRow:
    """The study's row as the page has it."""
    with node.database.read() as tx:
        item = worklist.get(tx, f"{STUDY}.{number}")
        assert item is not None
        (found,) = overview.rows(tx, [item])
    return found


def refreshed(node: Core, number: int) -> WorklistItem:
    """The study's row after something touched it without news."""
    with node.database.write() as tx:
        flag.refresh(tx, f"{STUDY}.{number}", clock.utc_now())
    return row(node, number).item


@pytest.mark.parametrize(
    ("number", "standing", "label"),
    [
        (2, Standing.POSITIVE, "Suspected"),
        (3, Standing.NEGATIVE, "Not suspected"),
        (5, Standing.POSITIVE, "Growth"),
        (9, Standing.NOT_ANALYSED, "Not analysed"),
        (10, Standing.NOT_ANALYSED, "Not analysed"),
        (11, Standing.FAILED, "Failed"),
        (12, Standing.LOWERED, "Please look"),
        (13, Standing.POSITIVE, "Suspected"),
        (21, Standing.NEGATIVE, "Not suspected"),
    ],
)
def test_a_row_has_the_part_that_its_words_say(node: Core, number: int, standing: Standing, label: str) -> None:
    found = row(node, number)
    (part,) = found.item.parts
    assert (part.question, part.standing, words.sign(found).label) == ("haemorrhage", standing, label)
    if not part.has_result:
        assert headlines.say_part(part) == found.item.headline


@pytest.mark.parametrize("number", [16, 17, 18, 19, 20, 23])
def test_what_waits_has_said_nothing_yet(node: Core, number: int) -> None:
    assert {part.standing for part in row(node, number).item.parts} <= {Standing.RECEIVING}


@pytest.mark.parametrize("number", [2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 21, 22])
def test_a_row_that_is_touched_without_news_stays_where_it_was(node: Core, number: int) -> None:
    """By a retry, by an object of the node's own that comes back: nobody has to look again."""
    before = row(node, number).item
    after = refreshed(node, number)
    assert headlines.headline(after) == SAID_OTHERWISE.get(number, before.headline)
    assert replace(after, parts=(), headline="") == replace(before, parts=(), headline="")


def test_a_study_that_was_not_analysed_stays_acknowledged(node: Core) -> None:
    assert row(node, 10).item.state is ItemState.ACKNOWLEDGED
    assert refreshed(node, 10).state is ItemState.ACKNOWLEDGED


def test_a_picture_that_could_not_be_made_is_no_failed_analysis(database: Path) -> None:
    """The job that draws why a study was declined may fail: the study is declined all the same."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE jobs SET state = 'failed', error = 'disk' WHERE pipeline = 'not analysed'")
    connection.close()
    node = core(database.parent)
    before = row(node, 9)
    assert words.sign(before).label == "Not analysed"
    assert headlines.headline(refreshed(node, 9)) == before.item.headline


def test_a_failed_analysis_is_named_so_that_it_can_be_retried(node: Core) -> None:
    (part,) = row(node, 11).item.parts
    with node.database.write() as tx:
        assert part.job_id and jobs.revive(tx, part.job_id)


def test_the_list_names_the_objects_of_the_latest_result(node: Core) -> None:
    entries = {entry.study_uid: entry for entry in worklist_entries(node.settings)}
    assert len(entries[f"{STUDY}.5"].results) == 4


def test_pictures_of_results_are_on_the_list(node: Core) -> None:
    shown = row(node, 5).picture
    assert shown is not None and (shown.question, shown.version) == ("haemorrhage", 1)
