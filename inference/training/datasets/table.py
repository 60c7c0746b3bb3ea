"""A CSV file of labels, row by row; every error names the file, the row and what was expected.

Column names are matched without regard to case. Rows are numbered as spreadsheets do: the header is row 1.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.training.datasets.base import DatasetError


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table; cells are read by the lower-case name of their column."""

    path: Path
    number: int
    columns: Mapping[str, int]
    cells: Sequence[str]

    @property
    def where(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.path}, row {self.number}"

    def text(self, column: str) -> str:
        """The cell without surrounding blanks; '' where it is empty or the table has no such column."""
        place = self.columns.get(column)
        return "" if place is None else self.cells[place].strip()

    def flag(self, column: str) -> bool | None:
        """The cell as a label: 1 or 0, None where nothing is said; DatasetError at anything else."""
        found = self.text(column)
        if found not in ("", "0", "1"):
            raise DatasetError(f"{self.where}: {column} is {found!r}; expected 0 or 1.")
        return found == "1" if found else None

    def number_of(self, column: str) -> float | None:
        """The cell as a number, None where it is empty; DatasetError at anything else."""
        found = self.text(column)
        try:
            return float(found) if found else None
        except ValueError as error:
            raise DatasetError(f"{self.where}: {column} is {found!r}; expected a number.") from error

    def count(self, column: str) -> int:
        """The cell as a whole number; DatasetError at anything else."""
        found = self.text(column)
        if not found.isdecimal():
            raise DatasetError(f"{self.where}: {column} is {found!r}; expected a whole number.")
        return int(found)


def read_header(path: Path) -> tuple[str, ...]:
    """The lower-case names of the columns; DatasetError where the file cannot be read or is empty."""
    return tuple(name.strip().lower() for name in next(_lines(path), []))


def read_rows(path: Path, required: Sequence[str]) -> Iterator[TableRow]:
    """Every row that is not blank, one at a time; DatasetError where a column or all rows are missing."""
    lines = _lines(path)
    columns = {name.strip().lower(): place for place, name in enumerate(next(lines, []))}
    missing = [name for name in required if name not in columns]
    if missing:
        found = ", ".join(columns) or "none"
        raise DatasetError(f"{path}: column {missing[0]} is missing; expected {', '.join(required)}; found {found}.")
    empty = True
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DatasetError(f"{path}, row {number}: has {len(cells)} cells; expected {len(columns)}.")
        empty = False
        yield TableRow(path, number, columns, cells)
    if empty:
        raise DatasetError(f"{path}: holds no labels; expected a row below the column names.")


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.reader(lines)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: is missing.") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: is no CSV file in UTF-8 ({error}).") from error
