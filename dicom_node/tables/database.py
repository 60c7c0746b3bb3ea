"""The SQLite file behind all tables: connections and transactions.

One connection per thread, WAL, `synchronous=FULL`: what is committed survives a power cut. Times that decide what is
due are monotonic seconds of the current boot; `open_database` sets them back when the machine has booted since. A file
that cannot be used now may be usable later: whoever goes on asking finds out.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlite_utils import Database as SqliteDatabase

from dicom_node.clock import boot_id, monotonic
from dicom_node.tables.rows import Row, as_row, as_stored, rows_as
from dicom_node.tables.schema import migrations
from dicom_node.tables.sqlite_file import check_whole, identity_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = TypeVar("Kind")
PATIENCE_S = 10.0  # for another program's lock
LOCKED_PATIENCE_S = 0.5  # once it has held for longer than that


class Transaction:
    """What the table functions are given: one connection, inside a transaction or for reading only.

    A column or parameter `path` is a whole path here and relative to `folder`, the data folder, in the file, so that
    the folder may be moved.
    """

    def __init__(self, database: SqliteDatabase, folder: Path) -> None:
        self._database, self._folder = database, folder

    def run(self, sql: str, /, **parameters: object) -> int:
        """Execute a statement that returns no rows; the number of rows it changed."""
        return self._database.conn.execute(sql, self._stored(parameters)).rowcount

    def rows(self, sql: str, /, **parameters: object) -> list[Row]:
        """All rows, `RETURNING` ones included."""
        rows = list(self._database.query(sql, self._stored(parameters)))
        if rows and "path" in rows[0]:
            rows = [row | {"path": str(self._folder / row["path"])} if row["path"] else row for row in rows]
        return rows

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
        row = self._within(as_row(value, timespec)) | self._stored(further)
        self._database.conn.execute(_put_statement(table, tuple(row), key), row)

    def number(self, sql: str, /, **parameters: object) -> int:
        """The single number that a `SELECT count(...)` or `max(...)` gives; 0 for NULL."""
        return int(self._database.conn.execute(sql, self._stored(parameters)).fetchone()[0] or 0)

    def _stored(self, parameters: Row) -> Row:
        return self._within({name: as_stored(value) for name, value in parameters.items()})

    def _within(self, row: Row) -> Row:
        path = row.get("path")
        if path and Path(path).is_relative_to(self._folder):
            return row | {"path": str(Path(path).relative_to(self._folder))}
        return row


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

    def __init__(self, path: Path, patience_s: float, make: bool) -> None:
        address = f"{path.absolute().as_uri()}?mode={'rwc' if make else 'rw'}"
        connection = sqlite3.connect(
            address, timeout=patience_s, isolation_level=None, check_same_thread=False, uri=True
        )
        self.database = SqliteDatabase(connection)
        self.patience_s = patience_s
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")  # /tmp may be full or read-only

    def wait_for_locks(self, patience_s: float) -> None:
        """Wait so long for other programs' locks from now on."""
        if patience_s != self.patience_s:
            self.database.conn.execute(f"PRAGMA busy_timeout={round(patience_s * 1000)}")
            self.patience_s = patience_s

    def __del__(self) -> None:
        if hasattr(self, "database"):
            self.database.conn.close()


class Database:
    """The node's SQLite file. Safe to share between threads; each gets its own connection.

    `prepare` runs once, in a transaction, before anything else; where it fails, a later use tries again. Without it the
    file is made when there is none.
    """

    def __init__(self, path: Path, prepare: Callable[[Transaction], None] | None = None) -> None:
        self.path = path
        self._prepare = prepare
        self._preparing = threading.Lock()
        self._failed: tuple[float, Exception] | None = None  # when preparing failed, and how
        self._file: tuple[int, int] | None = None  # device and inode of the file that was prepared
        self._local = threading.local()
        self._is_locked = False

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Reading without a transaction: each statement sees what is committed when it starts.

        A file that is up to date can be read also while it cannot be written.
        """
        with self._noticing_locks():
            try:
                self.make_ready()
            except sqlite3.OperationalError:
                if not self._is_up_to_date():
                    raise
            yield self._transaction(self._connection(PATIENCE_S))

    @contextmanager
    def write(self, patience_s: float = PATIENCE_S) -> Iterator[Transaction]:
        """One atomic change. BEGIN IMMEDIATE waits for other writers at the start and cannot fail half-way for them.

        It waits for `patience_s`, less while a lock is known to last.
        """
        with self._noticing_locks():
            self.make_ready(patience_s)
            with self._atomic(self._connection(patience_s)) as tx:
                self._is_locked = False
                yield tx

    def data_version(self) -> int:
        """A number that changes when another connection has committed (PRAGMA data_version)."""
        with self.read() as tx:
            return tx.number("PRAGMA data_version")

    def make_ready(self, patience_s: float = PATIENCE_S) -> None:
        """Bring the file up to date, if that has not been done. Not tried twice within a second."""
        if self._prepare is None or self._file is not None:
            return
        with self._preparing:
            if self._file is not None:
                return
            if self._failed and monotonic() - self._failed[0] < 1:
                raise self._failed[1]
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                check_whole(self.path)
                first = _Connection(self.path, self._patience(patience_s), make=True)
                with self._atomic(first.database) as tx:
                    self._prepare(tx)
            except (sqlite3.Error, OSError) as error:
                self._failed = monotonic(), error
                raise
            self._file, self._failed = identity_of(self.path), None

    def was_replaced(self) -> bool:
        """Whether another file lies in its place: what is committed here nobody would find again."""
        there = identity_of(self.path)
        return self._file is not None and there is not None and there != self._file

    def is_missing(self) -> bool:
        """Whether the file that was prepared has gone."""
        return self._file is not None and identity_of(self.path) is None

    def _transaction(self, database: SqliteDatabase) -> Transaction:
        return Transaction(database, self.path.parent.absolute())

    @contextmanager
    def _atomic(self, database: SqliteDatabase) -> Iterator[Transaction]:
        database.conn.execute("BEGIN IMMEDIATE")
        try:
            yield self._transaction(database)
            database.conn.execute("COMMIT")
        except BaseException:
            if database.conn.in_transaction:  # on a full disk SQLite may have rolled back by itself
                database.conn.execute("ROLLBACK")
            raise

    def _connection(self, patience_s: float) -> SqliteDatabase:
        patience_s = self._patience(patience_s)
        held: _Connection | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = _Connection(self.path, patience_s, make=self._prepare is None)
        held.wait_for_locks(patience_s)
        return held.database

    def _is_up_to_date(self) -> bool:
        try:
            return not migrations.pending(self._connection(LOCKED_PATIENCE_S))
        except sqlite3.Error:
            return False

    def _patience(self, patience_s: float) -> float:
        return min(patience_s, LOCKED_PATIENCE_S) if self._is_locked else patience_s

    @contextmanager
    def _noticing_locks(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                self._is_locked = True
            raise


def open_database(path: Path, at_once: bool = True) -> Database:
    """Open or make the file, bring its tables up to date, and set monotonic times back after a reboot.

    `at_once` False leaves that to the first use, and to the next one where it fails.
    """
    database = Database(path, bring_up_to_date)
    if at_once:
        database.make_ready()
    return database


def bring_up_to_date(tx: Transaction) -> None:
    """In one transaction, so that one process does it at a time: several may start together."""
    migrations.apply(tx._database)
    known = tx.row("SELECT value FROM node WHERE key = 'boot'")
    if known and known["value"] != boot_id():
        tx.run("UPDATE series SET last_at = 0, asked_at = 0")
        tx.run("UPDATE jobs SET lease_until = 0, not_before = 0")
        tx.run("UPDATE deliveries SET next_at = 0")
        tx.run("DELETE FROM beats")
    tx.run("INSERT INTO node VALUES ('boot', :boot) ON CONFLICT (key) DO UPDATE SET value = :boot", boot=boot_id())
