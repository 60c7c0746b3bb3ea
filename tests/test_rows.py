"""Rows: every dataclass comes back from SQLite as it went in, in the form that databases of before hold."""

import sqlite3
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dicom_node.entities import (
    Analysis,
    Choice,
    Delivery,
    FindingRow,
    Instance,
    ItemState,
    Job,
    ResultObject,
    Scan,
    Series,
    Study,
    Urgency,
)
from dicom_node.tables import instances
from dicom_node.tables.database import Database, open_database
from dicom_node.tables.models import InstalledModel, InUse
from dicom_node.tables.processes import Beat, Refusal
from dicom_node.tables.rows import as_row, rows_as
from dicom_node.tables.worklist import Part, PartFinding, Standing, WorklistItem
from inference.change import Change, Growth, Volume
from inference.input.geometry import SliceGeometry

TABLES = {
    Study: "studies",
    Series: "series",
    Instance: "instances",
    Choice: "choices",
    Job: "jobs",
    Analysis: "analyses",
    ResultObject: "results",
    Scan: "scans",
    Delivery: "deliveries",
    WorklistItem: "worklist",
    Beat: "beats",
    InstalledModel: "models",
    InUse: "models_in_use",
    Refusal: "refusals",
}
FURTHER: dict[type, dict[str, Any]] = {
    Instance: {"geometry": ()},
    Job: {"priority": 1},
    ResultObject: {"study_uid": "1.2", "question": "q", "version": 1, "made_at": datetime(2026, 1, 2, tzinfo=UTC)},
}
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cs"])),  # no encoding holds half a surrogate pair
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    timedelta: st.timedeltas(timedelta(days=-36500), timedelta(days=36500)),
    Path: st.text("abc 1.é", min_size=1).map(lambda name: Path("/archive") / name),
    type(None): st.none(),
}
NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
GROWTH = Growth(
    "1.1", 2, timedelta(hours=5.5), NOON, True, (Change("x", Volume(1.5, 1.0, 2.0), Volume(9.0), grown=True),)
)
PART = Part("haemorrhage", Standing.POSITIVE, Urgency.HIGH, 2, 0.5, (PartFinding("subdural", 31.25),), 1, growth=GROWTH)
ITEM = WorklistItem("1.2", Urgency.HIGH, ItemState.UNREAD, NOON, NOON, (PART,), grown=True)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    if get_origin(hint) is UnionType:
        return st.one_of(*map(values_of, get_args(hint)))
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    if isinstance(hint, type) and is_dataclass(hint):
        return st.builds(hint, **{name: values_of(each) for name, each in get_type_hints(hint).items()})
    return st.sampled_from(list(hint)) if isinstance(hint, type) and issubclass(hint, Enum) else PLAIN[hint]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Empty tables, where a row may stand without those that it refers to."""
    database = open_database(tmp_path / "node.sqlite")
    with database.read() as tx:
        tx.run("PRAGMA foreign_keys = OFF")
    return database


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: str(kind.__name__))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_put_comes_back(database: Database, kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    with database.read() as tx:
        tx.run(f"DELETE FROM {TABLES[kind]}")
        tx.put(TABLES[kind], value, **FURTHER.get(kind, {}))
        assert tx.all(kind, f"SELECT * FROM {TABLES[kind]}") == [value]
        assert tx.one(kind, f"SELECT * FROM {TABLES[kind]} WHERE 0") is None


def test_a_row_of_the_same_key_is_overwritten(database: Database) -> None:
    """What no field is named after stays as it was; without a key it is an error."""
    with database.write() as tx:
        tx.put("worklist", ITEM, key=("study_uid",))
        tx.put("worklist", replace(ITEM, headline="other"), key=("study_uid",), version=7)
        tx.put("worklist", replace(ITEM, study_uid="1.3"), key=("study_uid",))
        found = tx.all(WorklistItem, "SELECT * FROM worklist ORDER BY study_uid")
    assert found == [replace(ITEM, headline="other", version=7), replace(ITEM, study_uid="1.3")]
    with database.write() as tx, pytest.raises(sqlite3.IntegrityError, match=r"worklist\.study_uid"):
        tx.put("worklist", ITEM)


def test_rows_have_the_form_that_they_had_before() -> None:
    """A database of before is read and searched by these texts."""
    finding = FindingRow("subdural", "35486000", 0.5, True, 31.25)
    analysis = Analysis(
        "1.2", "haemorrhage", 1, "1.2.3", "haemorrhage", True, 0.5, 0.25, (finding,), "own", "3", "ab", ("é",), 2, NOON
    )
    assert as_row(ITEM, timespec="milliseconds") == {
        "study_uid": "1.2",
        "urgency": "HIGH",
        "state": "unread",
        "received_at": "2026-11-20T12:00:00.123+00:00",
        "waiting_since": "2026-11-20T12:00:00.123+00:00",
        "parts": '[{"question": "haemorrhage", "standing": "positive", "urgency": "HIGH", "version": 2,'
        ' "probability": 0.5, "findings": [{"name": "subdural", "volume_ml": 31.25, "low_ml": null, "high_ml":'
        ' null, "side": "", "region": ""}], "raised_by": 1, "reason": "",'
        ' "job_id": 0, "growth": {"earlier_study_uid": "1.1", "earlier_version": 2, "elapsed": "PT5H30M", "earlier_at":'
        ' "2026-11-20T12:00:00.123456Z", "same_model": true, "changes": [{"name": "x", "earlier": {"ml": 1.5, "low_ml":'
        ' 1.0, "high_ml": 2.0, "repeat_sd": null}, "later": {"ml": 9.0, "low_ml": null, "high_ml": null, "repeat_sd":'
        ' null}, "whole": false, "notable": false, "grown": true}]}, "growth_lowered": false, "incomplete": "",'
        ' "band": "", "kinds": []}]',
        "flagged_at": None,
        "acknowledged_at": None,
        "version": 0,
        "reader": "",
        "acted_at": None,
        "grown": 1,
        "headline": "",
        "tier": 2,
        "scanned_at": None,
        "listed": True,
        "missed_by": "",
        "missed_at": None,
    }
    row = as_row(analysis)
    assert (row["findings"], row["warnings"], row["made_at"]) == (
        '[{"name": "subdural", "code": "35486000", "probability": 0.5, "present": true, "volume_ml": 31.25,'
        ' "low_ml": null, "high_ml": null, "repeat_sd": null, "side": "", "region": "", "differential":'
        " false}]",
        '["\\u00e9"]',
        "2026-11-20T12:00:00.123456+00:00",
    )


def test_geometry_stands_beside_its_instance(database: Database) -> None:
    """In the form that queries look into; only that of a series' current instances counts."""
    first = SliceGeometry((-10.0, -20.0, 5.5), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 5.0, 3)
    frames = (first, replace(first, position=(0.0, 0.0, 1e-3), slice_thickness_mm=None, instance_number=None))
    one = Instance("1.2.3", 1, "1.2", "1.2.1", "1.2.4", "1.2.5", "CT", Path("/1"), 10, "ab", NOON, "SCANNER", "TRIAGE")
    with database.write() as tx:
        instances.add_instance(tx, one, ())
        instances.add_instance(tx, replace(one, version=2, path=Path("/2")), frames)
        instances.add_instance(tx, replace(one, sop_uid="1.2.4", path=Path("/3")), frames[:1])
        instances.add_instance(tx, replace(one, series_uid="1.2.2", sop_uid="1.2.5", path=Path("/4")), frames)
        stored = [row["geometry"] for row in tx.rows("SELECT geometry FROM instances ORDER BY path")]
        assert instances.geometry_of_series(tx, "1.2", "1.2.1") == [*frames, first]
    assert stored[0] == "[]" and stored[2] == (
        '[{"position": [-10.0, -20.0, 5.5], "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],'
        ' "slice_thickness_mm": 5.0, "instance_number": 3}]'
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"urgency": "soon"}, "urgency"), ({"grown": 3}, "grown"), ({"received_at": "noon"}, "received_at")],
)
def test_a_column_that_cannot_be_read_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?m)^0\.{named}$"):
        rows_as(WorklistItem, [as_row(ITEM) | wrong])


@pytest.mark.parametrize("column", ["no JSON", None, '{"a": 1}', '[{"name": 1}]'])
def test_json_that_cannot_be_read_is_named(column: str | None) -> None:
    @dataclass(frozen=True, slots=True)
    class Found:
        findings: tuple[FindingRow, ...]

    with pytest.raises(ValidationError, match=r"(?m)^0\.findings"):
        rows_as(Found, [{"findings": column}])


def test_a_column_that_is_not_there_is_named(database: Database) -> None:
    """When it is read, and when it is written; one that nobody asks for is let pass."""
    row = as_row(ITEM)
    with pytest.raises(ValidationError, match=r"(?m)^0\.urgency$"):
        rows_as(WorklistItem, [{name: row[name] for name in row if name != "urgency"}])
    with database.write() as tx, pytest.raises(sqlite3.OperationalError, match="no column named mood"):
        tx.put("worklist", ITEM, mood="good")
    assert rows_as(WorklistItem, [row | {"place": 0}]) == [ITEM]
    assert {field.name for field in fields(ITEM)} == row.keys()
