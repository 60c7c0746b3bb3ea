"""How commands print: rows as JSON, as TOML, or as a table."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from dicom_node.settings import Settings


def to_json(entries: Any) -> str:
    """Dataclasses as a JSON array."""
    return json.dumps([asdict(entry) for entry in entries], indent=1, default=_plain, ensure_ascii=False)


def to_toml(settings: Settings) -> str:
    """The settings as TOML that can be used as a settings file."""
    lines: list[str] = []
    for section, values in settings.model_dump(mode="json").items():
        for table in values if isinstance(values, list) else [values]:
            lines.append(f"[[{section}]]" if isinstance(values, list) else f"[{section}]")
            lines += [
                f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items() if value is not None
            ]
            lines.append("")
    return "\n".join(lines).rstrip()


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
