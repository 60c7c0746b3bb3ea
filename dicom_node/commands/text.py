"""How commands print: rows as JSON, as TOML, or as a table."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.settings import Settings


def to_json(entries: Any) -> str:
    """Dataclasses as a JSON array."""
    return json.dumps([asdict(entry) for entry in entries], indent=1, default=_plain, ensure_ascii=False)


def to_toml(settings: "Settings") -> str:
    """The settings as TOML that can be used as a settings file."""
    import tomli_w

    sections = settings.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({name: content for name, content in sections.items() if content}).rstrip()


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under their heads, for a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Path | StrEnum):
        return str(value)
    raise TypeError(f"{type(value)} is not for JSON")
