"""Migrations: what databases remember of them never changes."""

from pathlib import Path

import pytest

from dicom_node.tables import schema
from dicom_node.tables.database import open_database

RELEASED = [
    "first_tables",
    "model_tables",
    "reading_states",
    "search_tables",
    "feedback_tables",
    "quality_tables",
    "growth_tables",
    "dicomweb_indices",
    "quality_sums",
    "questions",
    "whole_names",
]


def test_released_migrations_keep_their_names_and_places(tmp_path: Path) -> None:
    """Each has run once, in order; opening the file again runs none."""
    for _ in range(2):
        with open_database(tmp_path / "node.sqlite").read() as tx:
            names = [row["name"] for row in tx.rows("SELECT name FROM _sqlite_migrations ORDER BY rowid")]
        assert names[: len(RELEASED)] == RELEASED and len(names) == len(set(names))


def test_a_script_is_run_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger's own semicolons end no statement; a statement without an end is no release."""
    monkeypatch.setattr(schema, "migrations", type(schema.migrations)("of this test"))
    database = open_database(tmp_path / "node.sqlite")
    with database.write() as tx:
        schema._migration(
            "whole",
            """
CREATE TABLE one (
    number INTEGER);
CREATE TRIGGER twice AFTER INSERT ON one BEGIN
    UPDATE one SET number = 2 * number;
    UPDATE one SET number = 2 * number;
END;
INSERT INTO one VALUES (1);
""",
        )
        schema.migrations.apply(tx._database)
        assert tx.number("SELECT number FROM one") == 4
        schema._migration("half", "CREATE TABLE two (number INTEGER)")
        with pytest.raises(AssertionError, match="half"):
            schema.migrations.apply(tx._database)
