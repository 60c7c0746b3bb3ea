"""Any folder of DICOM CT studies, nested and named in any way, with one CSV of labels at its top.

The CSV has a header; the order and case of the columns do not matter; an empty cell says nothing. Columns:

- one of `study_uid`, `accession_number`, `patient_id` (which must then have one study), or only `sop_uid`: what a row
  is about. A row with a `sop_uid` labels that slice, one without labels the whole study; both may stand together;
- `haemorrhage` (or `hemorrhage`): 1 or 0; required as a column;
- `epidural`, `subdural`, `subarachnoid`, `intraparenchymal`, `intraventricular`: 1 or 0; optional;
- `series_uid`: the series to read, where the study has several; without it the choice is that of `series.py`;
- `patient`: who it is, where Patient ID does not say it (bootstrap and folds go by patient).

A study without a label of its own has blood if a slice has; it has none only if every slice is labelled 0. A slice that
is labelled 1 and is none of the stack that is read is an error, since its blood would else be lost.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import DatasetError, Entry, LabelledStudy, Truth, knowing
from inference.training.datasets.digest import digest_of
from inference.training.datasets.headers import Header, read_headers
from inference.training.datasets.series import DatasetSeries, first_stack, words_of
from inference.training.datasets.table import TableRow, read_header, read_rows

log = logging.getLogger(__name__)

KEYS = ("study_uid", "accession_number", "patient_id")
SPELLINGS = ("haemorrhage", "hemorrhage")
TYPES = tuple(HaemorrhageType)
EXPECTED = f"one of {', '.join(KEYS)}, sop_uid, and the column haemorrhage"


@dataclass(slots=True)
class _Study:
    """The files and the rows of one study; `wrong` says why they cannot be brought together."""

    headers: list[Header] = field(default_factory=list)
    rows: list[TableRow] = field(default_factory=list)
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of a study or a slice: True, False, or None."""

    haemorrhage: bool | None
    types: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True)
class _Labels:
    """All rows of a study: of the whole, and by SOP Instance UID; `where` is the first row."""

    where: str
    whole: _Said | None
    slices: Mapping[str, tuple[TableRow, _Said]]


@dataclass(frozen=True, eq=False)
class DicomCsv:
    """`table` is the CSV, `root` the folder of studies, `index` where headers are kept between runs, if at all."""

    root: Path
    table: Path
    name: str
    index: Path | None = None

    def entries(self) -> Sequence[Entry]:
        """Every study that has images or a label; the first call reads all headers."""
        return [Entry(study_id, _patient(study_id, study)) for study_id, study in sorted(self._studies.items())]

    def load(self, entry: Entry) -> LabelledStudy:
        """One study; DatasetError where its labels or its files are not complete and free of contradiction."""
        study = self._studies.get(entry.study_id)
        if study is None:
            raise DatasetError(f"{self.table}: has no study {entry.study_id}.")
        if study.wrong:
            raise DatasetError(study.wrong)
        if not study.rows:
            file = self.root / study.headers[0].path
            raise DatasetError(f"{file}: its study {entry.study_id} has no label; expected a row in {self.table}.")
        labels = _labels_of(study.rows)
        with knowing(_truth_without_images(labels)):
            self._refuse_damaged(study)
            series_name, stack = first_stack(entry.study_id, self._series(study))
        return LabelledStudy(entry, stack, _truth(labels, stack), series_name)

    def labels_digest(self) -> str:
        """Of the table."""
        return digest_of([self.table])

    @cached_property
    def _headers(self) -> list[Header]:
        return read_headers(self.root, self.index)

    @cached_property
    def _studies(self) -> dict[str, _Study]:
        studies: dict[str, _Study] = {}
        named: dict[tuple[str, str], set[str]] = {}
        for header in self._headers:
            if header.study_uid:
                studies.setdefault(header.study_uid, _Study()).headers.append(header)
                for column in (*KEYS, "sop_uid"):
                    named.setdefault((column, getattr(header, column)), set()).add(header.study_uid)
        if not studies:
            raise DatasetError(f"{self.root}: holds no DICOM images.")
        for row in read_rows(self.table, [_spelling(self.table)]):
            key = next((each for each in (*KEYS, "sop_uid") if row.text(each)), "")
            if not key:
                raise DatasetError(f"{row.where}: does not say what it labels; expected {EXPECTED}.")
            said = row.text(key)
            found = named.get((key, said), set())
            study = studies.setdefault(next(iter(found)) if len(found) == 1 else said, _Study())
            study.rows.append(row)
            if not found:
                study.wrong = f"{row.where}: no image below {self.root} has the {key} {said}."
            elif len(found) > 1:
                study.wrong = f"{row.where}: {key} {said} has {len(found)} studies; expected study_uid."
        return studies

    def _refuse_damaged(self, study: _Study) -> None:
        """DatasetError where a folder of this study alone holds a file that cannot be read."""
        for folder in {_folder(header) for header in study.headers}:
            damaged = self._damaged.get(folder, [])
            if damaged and len(self._studies_in[folder]) == 1:
                raise DatasetError(f"{self.root / damaged[0]}: cannot be read; expected a DICOM image.")

    @cached_property
    def _damaged(self) -> dict[str, list[str]]:
        """The files that cannot be read, by folder."""
        damaged: dict[str, list[str]] = {}
        for header in self._headers:
            if header.damaged:
                damaged.setdefault(_folder(header), []).append(header.path)
        return damaged

    @cached_property
    def _studies_in(self) -> dict[str, set[str]]:
        """The studies of each folder."""
        studies: dict[str, set[str]] = {}
        for header in self._headers:
            if header.study_uid:
                studies.setdefault(_folder(header), set()).add(header.study_uid)
        return studies

    def _series(self, study: _Study) -> list[DatasetSeries]:
        """The series that may be read: the one named, or those with labelled slices, or all of CT."""
        wanted = {row.text("series_uid"): row for row in study.rows if row.text("series_uid")}
        if len(wanted) > 1:
            raise DatasetError(f"{list(wanted.values())[1].where}: names another series_uid than an earlier row.")
        by_sop = {header.sop_uid: header for header in study.headers}
        labelled: set[str] = set()
        for row in study.rows:
            sop_uid = row.text("sop_uid")
            if sop_uid and sop_uid not in by_sop:
                raise DatasetError(f"{row.where}: the study has no image with the sop_uid {sop_uid}.")
            if sop_uid and by_sop[sop_uid].frames > 1:
                raise DatasetError(f"{row.where}: the image has several frames; expected a label of the study.")
            labelled |= {by_sop[sop_uid].series_uid} if sop_uid else set()
        files: dict[str, list[Header]] = {}
        for header in study.headers:
            if header.modality in ("CT", ""):
                files.setdefault(header.series_uid, []).append(header)
        for uid, row in wanted.items():
            if uid not in files:
                raise DatasetError(f"{row.where}: the study has no CT series with the series_uid {uid}.")
        chosen = set(wanted) or labelled or set(files)
        return [self._named(uid, headers) for uid, headers in files.items() if uid in chosen]

    def _named(self, uid: str, headers: Sequence[Header]) -> DatasetSeries:
        first = headers[0]
        words = words_of(first.series_description, first.kernel, first.contrast)
        return DatasetSeries(
            f"{first.series_description} {uid}".strip(), words, tuple(self.root / h.path for h in headers)
        )


def open_dicom_csv(path: Path, index: Path | None = None) -> DicomCsv:
    """The data set in this folder, or of this CSV; DatasetError where it does not have the layout."""
    if path.is_file():
        _spelling(path)
        return DicomCsv(path.parent, path, path.stem, index)
    tables = [table for table in sorted(path.glob("*.csv")) if table != index]
    if not tables:
        raise DatasetError(f"{path}: holds no CSV of labels; expected {EXPECTED}.")
    fitting = [table for table in tables if set(SPELLINGS) & set(read_header(table))] or tables
    if len(fitting) > 1:
        raise DatasetError(f"{fitting[1]}: is a second CSV beside {fitting[0].name}; expected one.")
    _spelling(fitting[0])
    return DicomCsv(path, fitting[0], path.name, index)


def _spelling(table: Path) -> str:
    """The name of the column `haemorrhage`; DatasetError where it or every key is missing."""
    header = read_header(table)
    spelling = next((name for name in SPELLINGS if name in header), None)
    if spelling is None or not {*KEYS, "sop_uid"} & set(header):
        raise DatasetError(f"{table}: expected {EXPECTED}; found {', '.join(header) or 'none'}.")
    return spelling


def _folder(header: Header) -> str:
    return header.path.rpartition("/")[0]


def _patient(study_id: str, study: _Study) -> str:
    named = [row.text("patient") or row.text("patient_id") for row in study.rows]
    recorded = [header.patient_id for header in study.headers]
    return next((name for name in (*named, *recorded) if name), study_id)


def _said(row: TableRow) -> _Said:
    types = tuple(row.flag(kind) for kind in TYPES)
    flags = [row.flag(spelling) for spelling in SPELLINGS]
    haemorrhage = next((flag for flag in flags if flag is not None), None)
    if haemorrhage is False and True in types:
        raise DatasetError(f"{row.where}: names a type of haemorrhage but says that there is none.")
    if haemorrhage is None and True in types:
        haemorrhage = True
    elif haemorrhage is None and None not in types:
        haemorrhage = False
    return _Said(haemorrhage, types)


def _merged(one: _Said | None, other: _Said, row: TableRow) -> _Said:
    if one is not None and one != other:
        raise DatasetError(f"{row.where}: contradicts an earlier row of the same study or slice.")
    return other


def _labels_of(rows: Sequence[TableRow]) -> _Labels:
    whole: _Said | None = None
    slices: dict[str, tuple[TableRow, _Said]] = {}
    for row in rows:
        sop_uid = row.text("sop_uid")
        if sop_uid:
            _, earlier = slices.get(sop_uid, (row, None))
            slices[sop_uid] = row, _merged(earlier, _said(row), row)
        else:
            whole = _merged(whole, _said(row), row)
    return _Labels(rows[0].where, whole, slices)


def _truth_without_images(labels: _Labels) -> Truth | None:
    """What is said of the study whatever its images are; None where only the images tell if every slice is labelled."""
    whole = labels.whole
    if any(said.haemorrhage for _, said in labels.slices.values()):
        return Truth(True, whole.types if whole else (None,) * len(TYPES))
    return Truth(whole.haemorrhage, whole.types) if whole and whole.haemorrhage is not None else None


def _refuse_lost_blood(labels: _Labels, stack: SliceStack) -> None:
    """DatasetError where a slice outside the stack is labelled 1; those labelled 0 say nothing of the stack."""
    inside = set(stack.sop_uids)
    outside = [each for uid, each in labels.slices.items() if uid not in inside]
    for row, said in outside:
        if said.haemorrhage:
            raise DatasetError(
                f"{row.where}: the slice {row.text('sop_uid')} is labelled 1 but is none of the series that is read, "
                f"{stack.series_uid}; expected labels of one series, or a series_uid that names it."
            )
    if outside:
        log.info("%s: %d slices labelled 0 are not in the series that is read", labels.where, len(outside))


def _truth(labels: _Labels, stack: SliceStack) -> Truth:
    where, whole = labels.where, labels.whole
    age_years = stack.patient_age_years
    if not labels.slices:
        if whole is None or whole.haemorrhage is None:
            raise DatasetError(f"{where}: haemorrhage is empty; expected 0 or 1.")
        return Truth(whole.haemorrhage, whole.types, age_years=age_years)
    _refuse_lost_blood(labels, stack)
    by_sop = {uid: said for uid, (_, said) in labels.slices.items()}
    said = [by_sop.get(uid, _Said(None, (None,) * len(TYPES))) for uid in stack.sop_uids]
    slices = np.array([[each.haemorrhage is True, *(kind is True for kind in each.types)] for each in said])
    judged = np.array([each.haemorrhage is not None for each in said])
    types = tuple(_of_all([each.types[place] for each in said]) for place in range(len(TYPES)))
    haemorrhage = _of_all([each.haemorrhage for each in said])
    if whole is not None:
        if whole.haemorrhage is False and haemorrhage:
            raise DatasetError(f"{where}: the study is labelled 0, one of its slices 1.")
        haemorrhage = whole.haemorrhage if whole.haemorrhage is not None else haemorrhage
        types = tuple(a if a is not None else b for a, b in zip(whole.types, types, strict=True))
    if haemorrhage is None:
        missing = int((~judged).sum())
        raise DatasetError(f"{where}: the study has no positive label, and none at all on {missing} of its slices.")
    return Truth(haemorrhage, types, slices, judged, age_years=age_years)


def _of_all(flags: Sequence[bool | None]) -> bool | None:
    """True where any is, False where all are, None where nobody can say."""
    if True in flags:
        return True
    return None if None in flags else False
