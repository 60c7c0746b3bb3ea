"""The SQLite file behind all tables: connections and transactions.

One connection per thread, WAL, `synchronous=FULL`: what is committed survives a power cut. Times that decide what is
due are monotonic seconds of the current boot; `open_database` sets them back when the machine has booted since.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlite_utils import Database as SqliteDatabase

from dicom_node.clock import boot_id
from dicom_node.tables.rows import Row, as_row, as_stored, rows_as
from dicom_node.tables.schema import migrations

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = TypeVar("Kind")


class Transaction:
    """What the table functions are given: one connection, inside a transaction or for reading only."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def run(self, sql: str, /, **parameters: object) -> int:
        """Execute a statement that returns no rows; the number of rows it changed."""
        return self._database.conn.execute(sql, _stored(parameters)).rowcount

    def rows(self, sql: str, /, **parameters: object) -> list[Row]:
        """All rows, `RETURNING` ones included."""
        return list(self._database.query(sql, _stored(parameters)))

    def row(self, sql: str, /, **parameters: object) -> Row | None:
        """The first row, or None."""
        return next(iter(self.rows(sql, **parameters)), None)

    def all(self, kind: type[Kind], sql: str, /, **parameters: object) -> list[Kind]:
        """All rows, each as this dataclass."""
        return rows_as(kind, self.rows(sql, **parameters))

    def one(self, kind: type[Kind], sql: str, /, **parameters: object) -> Kind | None:
        """The first row as this dataclass, or None."""
        return next(iter(self.all(kind, sql, **parameters)), None)

    def put(
        self,
        table: str,
        value: "DataclassInstance",
        /,
        key: tuple[str, ...] = (),
        timespec: str = "auto",
        **further: object,
    ) -> None:
        """Insert a dataclass by the names of its fields, with `further` columns; a row of the same key is overwritten.

        Without a key, a row that is there already is an error, as always in SQL.
        """
        row = as_row(value, timespec) | _stored(further)
        self._database.conn.execute(_put_statement(table, tuple(row), key), row)

    def number(self, sql: str, /, **parameters: object) -> int:
        """The single number that a `SELECT count(...)` or `max(...)` gives; 0 for NULL."""
        return int(self._database.conn.execute(sql, _stored(parameters)).fetchone()[0] or 0)


def _stored(parameters: Row) -> Row:
    return {name: as_stored(value) for name, value in parameters.items()}


@cache
def _put_statement(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    values = ", ".join(f":{column}" for column in columns)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"
    if not key:
        return insert
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return f"{insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"


class _Connection:
    """One thread's connection, closed as soon as its thread ends.

    sqlite-utils' objects refer to each other in a circle: without this their file handles would stay open until the
    next garbage collection, a few more with every association.
    """

    def __init__(self, path: Path) -> None:
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        self.database = SqliteDatabase(connection)

    def __del__(self) -> None:
        if hasattr(self, "database"):
            self.database.conn.close()


class Database:
    """The node's SQLite file. Safe to share between threads; each gets its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Reading without a transaction: each statement sees what is committed when it starts."""
        yield Transaction(self._connection())

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One atomic change. BEGIN IMMEDIATE waits for other writers at the start and cannot fail half-way for them."""
        database = self._connection()
        database.conn.execute("BEGIN IMMEDIATE")
        try:
            yield Transaction(database)
            database.conn.execute("COMMIT")
        except BaseException:
            if database.conn.in_transaction:  # on a full disk SQLite may have rolled back by itself
                database.conn.execute("ROLLBACK")
            raise

    def data_version(self) -> int:
        """A number that changes when another connection has committed (PRAGMA data_version)."""
        with self.read() as tx:
            return tx.number("PRAGMA data_version")

    def _connection(self) -> SqliteDatabase:
        held: _Connection | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = _Connection(self.path)
        return held.database


def open_database(path: Path) -> Database:
    """Open or make the file, bring its tables up to date, and set monotonic times back after a reboot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = Database(path)
    with database.write() as tx:  # one process at a time: several may start together
        migrations.apply(tx._database)
        known = tx.row("SELECT value FROM node WHERE key = 'boot'")
        if known and known["value"] != boot_id():
            tx.run("UPDATE series SET last_at = 0, asked_at = 0")
            tx.run("UPDATE jobs SET lease_until = 0, not_before = 0")
            tx.run("UPDATE deliveries SET next_at = 0")
            tx.run("DELETE FROM beats")
        tx.run("INSERT INTO node VALUES ('boot', :boot) ON CONFLICT (key) DO UPDATE SET value = :boot", boot=boot_id())
    return database
