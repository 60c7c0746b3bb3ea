"""Between a table's row and a dataclass, both ways, by the names of its fields.

In a row an enum is its text, a time is ISO 8601, a path is a text, a truth is 0 or 1, and a tuple is JSON.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = dict[str, Any]
Kind = TypeVar("Kind")


def rows_as(kind: type[Kind], rows: Iterable[Row]) -> list[Kind]:
    """Each row as this dataclass. A column that no field is named after is left out.

    ValidationError, which names the field, when a column is missing or holds what the field cannot be.
    """
    tuples, adapter = _reader(kind)  # type: ignore[arg-type]  # every class is hashable
    if tuples:
        rows = [row | {name: _parsed(row[name]) for name in tuples if name in row} for row in rows]
    found: list[Kind] = adapter.validate_python(rows)
    return found


def as_row(value: "DataclassInstance", timespec: str = "auto") -> Row:
    """A dataclass' fields as they are stored; `timespec` is that of `datetime.isoformat`."""
    return {field.name: as_stored(getattr(value, field.name), timespec) for field in fields(value)}


def as_stored(value: object, timespec: str = "auto") -> object:
    """One value as it is stored."""
    if isinstance(value, datetime):
        return value.isoformat(timespec=timespec)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return json.dumps(value, default=to_jsonable_python)
    return value


@cache
def _reader(kind: Any) -> tuple[tuple[str, ...], TypeAdapter[Any]]:
    """The fields that are tuples, and what makes a list of this dataclass from rows."""
    tuples = tuple(name for name, hint in get_type_hints(kind).items() if get_origin(hint) is tuple)
    return tuples, TypeAdapter(list[kind])


def _parsed(column: Any) -> object:
    """What the JSON says; what is none is left as it is, so that the error names its field."""
    try:
        return json.loads(column)
    except (TypeError, ValueError):
        return column
