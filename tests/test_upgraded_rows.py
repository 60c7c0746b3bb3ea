"""Rows of the list that version 0.4.0 wrote: what they say is known as parts, and goes on where it stood."""

import gzip
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from series import Core, core

from dicom_node import clock, headlines
from dicom_node.commands.listing import worklist as worklist_entries
from dicom_node.derived import flag
from dicom_node.entities import ItemState, Patient, SeriesState
from dicom_node.tables import instances, jobs, worklist
from dicom_node.tables.database import Database, open_database
from dicom_node.tables.schema import migrations
from dicom_node.tables.views import overview
from dicom_node.tables.worklist import Standing, Tier, WorklistItem
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


@pytest.mark.parametrize(
    ("number", "tier"), [(8, Tier.LARGE), (15, Tier.LARGE), (12, Tier.MORE_CERTAIN), (14, Tier.MORE_CERTAIN)]
)
def test_a_suspected_row_has_the_tier_that_its_result_has(node: Core, number: int, tier: Tier) -> None:
    """As a refresh gives it."""
    assert row(node, number).item.tier is refreshed(node, number).tier is tier


def test_a_row_knows_when_its_study_was_scanned(node: Core) -> None:
    """From the scans behind its results; what was not analysed does not say."""
    assert row(node, 5).item.scanned_at == datetime(2026, 11, 10, 12, 50, tzinfo=UTC)
    assert row(node, 9).item.scanned_at is None and row(node, 9).item.listed


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


@pytest.mark.parametrize("same_sop", [True, False])
def test_series_that_two_studies_share_are_told_apart(tmp_path: Path, same_sop: bool) -> None:
    """Before, the second study's images took the first's series: now each has its own, and waits to be routed."""
    database = Database(tmp_path / "node.sqlite")
    with database.write() as tx:
        migrations.apply(tx._database, stop_before="identities")
        for study in ("1.1", "1.2"):
            tx.run(f"INSERT INTO studies VALUES ('{study}', 'P{study}', 'N', '', '', '', '', '', '')")
        tx.run(
            "INSERT INTO series (series_uid, study_uid, modality, calling_aet, called_aet, state, last_at)"
            " VALUES ('2.1', '1.1', 'CT', '', '', 'routed', 9)"
        )
        for version, (study, current) in enumerate((("1.1", 0), ("1.2", 1)), start=1):
            tx.run(
                "INSERT INTO instances VALUES (:sop, :version, :current, :study, '2.1', '', '', 'CT', :path, 1, '',"
                " '[]', '2026-01-01T00:00:00+00:00', '', '')",
                sop="3.1" if same_sop else f"3.{version}",
                version=version,
                current=current or not same_sop,
                study=study,
                path=f"/{version}",
            )
    database = open_database(tmp_path / "node.sqlite")
    with database.read() as tx:
        for study in ("1.1", "1.2"):
            assert [each.study_uid for each in instances.of_series(tx, study, "2.1")] == [study]
            series = instances.get_series(tx, study, "2.1")
            assert series is not None and series.state is SeriesState.RECEIVING
        assert instances.patients_of(tx, "1.1") == [Patient("P1.1", "", "N")]
        assert not tx.rows("PRAGMA foreign_key_check")
