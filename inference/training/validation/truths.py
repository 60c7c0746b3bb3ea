"""Truths for the studies of a folder, from a site's CSV of truths, of report texts, or both.

A row that fits no study, a study without a row, rows that contradict each other: each is listed and stops nothing. A
truth that was given wins over what the reports' rules say. Corrected sentences win over the rules.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import DatasetError
from inference.training.validation.report_text import Said, Sentence, Verdict, conclude, read_report
from inference.training.validation.table import ACCESSION, PATIENT, STUDY, Row, read_table

TYPES = tuple(kind.value for kind in HaemorrhageType)
HEAD = ("study_uid", "sentence", "verdict", "words", "types", "by")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Named:
    """A study of the folder by all that a CSV may call it."""

    study_uid: str
    accession: str
    patient_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Something that is listed and not counted, or counted in spite of it."""

    study: str
    reason: str


@dataclass(frozen=True, slots=True)
class StudyTruth:
    """What is true of a study; `haemorrhage` None: unclear, for `reason`. `types` in the types' order, None: unsaid."""

    haemorrhage: bool | None
    types: tuple[bool | None, ...] = (None,) * 5
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence of a study's report; `by` is "rules", or "reader" where one has corrected it."""

    study_uid: str
    sentence: Sentence
    by: str


@dataclass(slots=True)
class Truths:
    """By Study Instance UID: what is true. `unclear`, `not_here` (rows without a study), `notes` (rows that are not as
    they should be), `untold` (studies without a row) are for the page's lists."""

    studies: dict[str, StudyTruth] = field(default_factory=dict)
    sentences: list[Told] = field(default_factory=list)
    unclear: list[Listed] = field(default_factory=list)
    not_here: list[Listed] = field(default_factory=list)
    notes: list[Listed] = field(default_factory=list)
    untold: list[Listed] = field(default_factory=list)


def read_truths(here: Sequence[Named], truth: Path | None, reports: Path | None, corrected: Path | None) -> Truths:
    """All that the files say of the studies that are here. DatasetError where a file is not what it should be."""
    truths = Truths()
    said = _by_study(here, _checked(read_table(truth, ["haemorrhage"])), truths) if truth else {}
    texts = _by_study(here, read_table(reports, ["report"]), truths) if reports else {}
    given = {uid: _given(uid, rows, truths) for uid, rows in said.items()}
    wins = _corrections(corrected, truths) if corrected else {}
    read = {uid: _read(uid, rows, wins.get(uid, {}), truths) for uid, rows in texts.items()}
    for uid, corrections in wins.items():
        unused = corrections.keys() - {each.sentence.text for each in truths.sentences if each.study_uid == uid}
        truths.notes += [
            Listed(uid, f'the corrected sentence "{text}" is not in its report') for text in sorted(unused)
        ]
    for named in here:
        uid = named.study_uid
        found = given.get(uid) or read.get(uid)
        if found is None:
            truths.untold.append(Listed(uid, "no row of the CSV names it"))
            continue
        if uid in given and uid in read and {found.haemorrhage, read[uid].haemorrhage} == {True, False}:
            words = (_word(found.haemorrhage), _word(read[uid].haemorrhage))
            truths.notes.append(Listed(uid, f"{words[0]} by its truth, {words[1]} by its report"))
        truths.studies[uid] = found
        if found.haemorrhage is None:
            truths.unclear.append(Listed(uid, found.reason))
    return truths


def _checked(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, whose cells are what they should be, also of those that fit no study here."""
    for row in rows:
        _of_row(row)
    return rows


def _word(haemorrhage: bool | None) -> str:
    return "haemorrhage" if haemorrhage else "no haemorrhage"


def _by_study(here: Sequence[Named], rows: Sequence[Row], truths: Truths) -> dict[str, list[Row]]:
    """The rows of each study; those that fit none, or several, are listed."""
    known: dict[tuple[str, str], list[str]] = {}
    for each in here:
        for column, value in ((STUDY, each.study_uid), (ACCESSION, each.accession), (PATIENT, each.patient_id)):
            known.setdefault((column, value), []).append(each.study_uid)
    found: dict[str, list[Row]] = {}
    for row in rows:
        column, value = row.key
        studies = known.get((column, value), [])
        if len(studies) == 1:
            found.setdefault(studies[0], []).append(row)
        elif studies:
            several = f"{len(studies)} studies have this {column}; a study_uid would say which is meant"
            truths.not_here.append(Listed(value, f"{row.path.name}, line {row.line}: {several}"))
        else:
            truths.not_here.append(Listed(value, f"{row.path.name}, line {row.line}: no study here has this {column}"))
    return found


def _given(uid: str, rows: Sequence[Row], truths: Truths) -> StudyTruth:
    """The truth of a study's rows; unclear where they contradict each other."""
    said = [_of_row(row) for row in rows]
    lines = " and ".join(str(row.line) for row in rows)
    if len(rows) == 1:
        is_silent = said[0].haemorrhage is None and not said[0].reason
        return replace(said[0], reason=f"{rows[0].path.name}, line {lines} says nothing") if is_silent else said[0]
    if any(each != said[0] for each in said):
        return StudyTruth(None, reason=f"{rows[0].path.name}, lines {lines} contradict each other")
    truths.notes.append(Listed(uid, f"{rows[0].path.name}, lines {lines} say the same twice; counted once"))
    return said[0]


def _of_row(row: Row) -> StudyTruth:
    """What one row says; DatasetError where it contradicts itself."""
    haemorrhage, types = row.flag("haemorrhage"), tuple(row.flag(kind) for kind in TYPES)
    if haemorrhage is False and True in types:
        named = TYPES[types.index(True)]
        return StudyTruth(None, reason=f"{row.path.name}, line {row.line} says no haemorrhage, but {named} yes")
    if haemorrhage is None and True in types:
        haemorrhage = True
    return StudyTruth(haemorrhage, types)


def _read(uid: str, rows: Sequence[Row], wins: Mapping[str, Sentence], truths: Truths) -> StudyTruth:
    """What the reports of a study say together; its sentences are kept, corrected ones as the reader has them."""
    if len(rows) > 1:
        lines = " and ".join(str(row.line) for row in rows)
        truths.notes.append(Listed(uid, f"{rows[0].path.name}, lines {lines} are reports of it; read together"))
    sentences = [sentence for row in rows for sentence in read_report(row.text("report"))]
    told = {
        each.text: Told(uid, wins.get(each.text, each), "reader" if each.text in wins else "rules")
        for each in sentences
    }
    truths.sentences += told.values()
    said: Said = conclude([each.sentence for each in told.values()])
    types = tuple(True if kind in said.types else None for kind in TYPES)
    return StudyTruth(said.haemorrhage, types, said.reason)


def _corrections(path: Path, truths: Truths) -> dict[str, dict[str, Sentence]]:
    """{study: {text: sentence}} as the reader has left them; DatasetError names the line of a verdict that is none."""
    found: dict[str, dict[str, Sentence]] = {}
    for row in read_table(path, [STUDY, "sentence", "verdict"]):
        said = row.text("verdict").casefold()
        if said not in list(Verdict):
            known = ", ".join(Verdict)
            raise DatasetError(f"{path}, line {row.line}, column verdict: {said!r} is none; expected one of {known}.")
        types = tuple(each for each in TYPES if each in row.text("types").casefold().split())
        text = " ".join(row.text("sentence").split())
        text = text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
        sentence = Sentence(text, Verdict(said), tuple(filter(None, row.cells.get("words", "").split("; "))), types)
        earlier = found.setdefault(row.text(STUDY), {}).setdefault(text, sentence)
        if earlier != sentence:
            truths.notes.append(Listed(row.text(STUDY), f"{path.name}, line {row.line}: another verdict than before"))
    return found


def sentences_csv(told: Sequence[Told]) -> str:
    """The sentences as a CSV that a reader may correct and give back; nothing in it is a formula of a spreadsheet."""
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(HEAD)
    for each in told:
        text = each.sentence.text
        safe = f"'{text}" if text.startswith(FORMULA) else text
        words, types = "; ".join(each.sentence.words), " ".join(each.sentence.types)
        writer.writerow([each.study_uid, safe, each.sentence.verdict, words, types, each.by])
    return made.getvalue()


def differs(path: Path, told: Sequence[Told]) -> bool:
    """Whether a file of sentences has other verdicts or types than these; DatasetError where it is none."""
    old = _corrections(path, Truths())
    return any(
        (earlier.verdict, earlier.types) != (each.sentence.verdict, each.sentence.types)
        for each in told
        if (earlier := old.get(each.study_uid, {}).get(each.sentence.text))
    )
