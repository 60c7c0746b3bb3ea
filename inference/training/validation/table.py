"""A site's CSV: columns are recognised by their names, cells by common words; errors name the line and the column.

Separated by comma, semicolon or tab, in UTF-8 or in the code page of Windows in Western Europe. Lines are counted as an
editor does: a report may go over several.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.training.datasets.base import DatasetError

STUDY, ACCESSION, PATIENT = "study_uid", "accession_number", "patient_id"
KEYS = (STUDY, ACCESSION, PATIENT)
COLUMNS: Mapping[str, Sequence[str]] = {  # as they are compared: small letters and digits alone
    STUDY: ("studyuid", "studyinstanceuid", "study"),
    ACCESSION: ("accessionnumber", "accession", "accessionno", "untersuchungsnummer", "auftragsnummer"),
    PATIENT: ("patientid", "patient", "pid", "patientenid", "patientennummer"),
    "haemorrhage": ("haemorrhage", "hemorrhage", "ich", "bleed", "bleeding", "blutung", "truth"),
    "epidural": ("epidural", "extradural", "edh"),
    "subdural": ("subdural", "sdh"),
    "subarachnoid": ("subarachnoid", "subarachnoidal", "sah", "sab"),
    "intraparenchymal": ("intraparenchymal", "intracerebral", "intrazerebral", "iph", "icb"),
    "intraventricular": ("intraventricular", "intraventrikulär", "ivh"),
    "report": ("report", "reporttext", "text", "befund", "befundtext", "bericht"),
    "sentence": ("sentence", "satz"),
    "verdict": ("verdict", "urteil"),
    "words": ("words",),
    "types": ("types", "typen"),
}
YES = ("1", "yes", "y", "ja", "j", "true", "wahr", "positive", "positiv")
NO = ("0", "no", "n", "nein", "false", "falsch", "negative", "negativ")
SEPARATORS = ";\t,"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; cells are read by the name of their column in COLUMNS."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """The cell, '' where it is empty or there is no such column."""
        return self.cells.get(column, "")

    def flag(self, column: str) -> bool | None:
        """The cell as yes or no, None where it is empty; DatasetError at anything else."""
        found = self.text(column)
        said = found.casefold()
        if said and said not in (*YES, *NO):
            raise DatasetError(
                f"{self.path}, line {self.line}, column {column}: {found!r} is neither yes nor no; expected 1 or 0, "
                "yes or no, ja or nein, true or false."
            )
        return said in YES if said else None

    @property
    def key(self) -> tuple[str, str]:
        """Which study is meant: a column and its value. DatasetError where the row names none."""
        for column in KEYS:
            if self.text(column):
                return column, self.text(column)
        raise DatasetError(f"{self.path}, line {self.line}: names no study; expected one of {', '.join(KEYS)}.")


def read_table(path: Path, required: Sequence[str]) -> list[Row]:
    """Every row that is not blank. DatasetError where the file, a required column or every key is missing."""
    text = _decoded(path)
    head = text.partition("\n")[0]
    separator = max(SEPARATORS, key=head.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = []
    try:
        named = _columns(path, next(lines, []), required)
        line = lines.line_num + 1
        for cells in lines:
            began, line = line, lines.line_num + 1
            if any(cell.strip() for cell in cells):
                rows.append(_row(path, began, cells, named))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {lines.line_num}: is no CSV ({error}).") from error
    if not rows:
        raise DatasetError(f"{path}: holds no rows below the names of the columns.")
    return rows


def _columns(path: Path, head: Sequence[str], required: Sequence[str]) -> dict[int, str]:
    """{place: name in COLUMNS} of those that are known."""
    named: dict[int, str] = {}
    for place, cell in enumerate(head):
        plain = re.sub(r"[\W_]", "", cell.casefold())
        name = next((name for name, spellings in COLUMNS.items() if plain in spellings), None)
        if name in named.values():
            raise DatasetError(f"{path}, line 1, column {cell.strip()}: a second column that says {name}.")
        if name is not None:
            named[place] = name
    found = ", ".join(each.strip() for each in head) or "none"
    if not set(KEYS) & set(named.values()):
        raise DatasetError(f"{path}, line 1: no column names the study; expected {' or '.join(KEYS)}; found {found}.")
    for name in required:
        if name not in named.values():
            raise DatasetError(f"{path}, line 1: the column {name} is missing; found {found}.")
    return named


def _row(path: Path, line: int, cells: Sequence[str], named: Mapping[int, str]) -> Row:
    if len(cells) <= max(named):
        missing = named[max(named)]
        raise DatasetError(f"{path}, line {line}, column {missing}: is missing; the line has {len(cells)} cells.")
    return Row(path, line, {name: cells[place].strip() for place, name in named.items()})


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DatasetError(f"{path}: is text neither in UTF-8 nor in Windows-1252.")
