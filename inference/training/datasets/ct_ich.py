"""CT-ICH as 8-bit window pictures (Hssayeni et al., PhysioNet, doi 10.13026/w8q8-ky94), one patient at a time.

Two layouts of the same pictures are read; P is the patient, PPP with three digits, S the slice from 1, SS with two:

- PhysioNet's archive 1.0.0 as downloaded: `hemorrhage_diagnosis.csv` (PatientNumber, SliceNumber, the five types,
  No_Hemorrhage, Fracture_Yes_No) and `Patients_CT/PPP/brain/S.jpg`, `Patients_CT/PPP/bone/S.jpg`,
  `Patients_CT/PPP/brain/S_HGE_Seg.jpg`. `patient_demographics.csv` is not read: ages are unknown;
- a rearrangement of those files, which is not what PhysioNet gives: `slices.csv` (patient, slice, the five types,
  fracture, image: 0 where the picture is missing), `patients.csv` (patient, age_years, sex), `PPP/SS_brain.jpg`,
  `PPP/SS_bone.jpg`, `masks/PPP_SS.png`. Where a folder of the same name with `_outlines` behind it lies beside, its
  typed outlines `masks/PPP_SS.png` (codes in OUTLINED) and its `missing/PPP_SS_brain.jpg`, pictures that the table
  calls missing, are read too.

The NIfTI files of the archive's later versions are not read. Windows are W120 L40 (brain) and W3200 L700 (bone); HU are
rebuilt from the two; pixel spacing (0.488 mm) is nominal, slices are 5 mm apart from the skull base up.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, UNTYPED, DatasetError, Entry, LabelledStudy, Truth
from inference.training.datasets.ct_ich_pictures import SIZE, grey, resized, resized_codes, slice_hu, square
from inference.training.datasets.digest import digest_of
from inference.training.datasets.table import TableRow, read_header, read_rows

SPACING_MM = 0.488
SLICE_MM = 5.0
TYPES = tuple(HaemorrhageType)
OUTLINED = (
    0,
    1 + TYPES.index(HaemorrhageType.INTRAVENTRICULAR),
    1 + TYPES.index(HaemorrhageType.INTRAPARENCHYMAL),
    1 + TYPES.index(HaemorrhageType.SUBARACHNOID),
    1 + TYPES.index(HaemorrhageType.EPIDURAL),
    1 + TYPES.index(HaemorrhageType.SUBDURAL),
    UNTYPED,
)
TYPED_SIDE = 650


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of tables, columns and pictures. `image` and `people` are '' where there is no such column or table.

    Pictures are paths by `patient` and `slice`; `outlines` is a glob by `patient`, the slice what `place` finds.
    `beside` ends the name of the folder with typed outlines and missing pictures.
    """

    slices: str
    patient: str
    slice: str
    image: str
    people: str
    brain: str
    bone: str
    outlines: str
    place: re.Pattern[str]
    outline_side: int
    beside: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table of slices."""
        return (self.patient, self.slice, *TYPES, *([self.image] if self.image else []))


REARRANGED = _Layout(
    slices="slices.csv",
    patient="patient",
    slice="slice",
    image="image",
    people="patients.csv",
    brain="{patient:03d}/{slice:02d}_brain.jpg",
    bone="{patient:03d}/{slice:02d}_bone.jpg",
    outlines="masks/{patient:03d}_*.png",
    place=re.compile(r"\d{3}_(\d+)\.png"),
    outline_side=SIZE,
    beside="_outlines",
)
ARCHIVE = _Layout(
    slices="hemorrhage_diagnosis.csv",
    patient="patientnumber",
    slice="slicenumber",
    image="",
    people="",
    brain="Patients_CT/{patient:03d}/brain/{slice}.jpg",
    bone="Patients_CT/{patient:03d}/bone/{slice}.jpg",
    outlines="Patients_CT/{patient:03d}/brain/*_HGE_Seg.jpg",
    place=re.compile(r"(\d+)_HGE_Seg\.jpg"),
    outline_side=650,
)


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One patient's head: `labels` bool (slice, 5) as HaemorrhageType orders them; `outlines` by slice, uint8
    (row, column) as in Truth, UNTYPED where the drawing itself names no type.

    `imaged` bool (slice,): False where the picture is missing and HU are the mean of the nearest neighbours.
    """

    number: int
    age_years: float | None
    hu: NDArray[np.float32]
    labels: NDArray[np.bool_]
    imaged: NDArray[np.bool_]
    outlines: dict[int, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class CtIch:
    """The folder as a data set; the tables are read once, pictures only by `load`."""

    root: Path
    name: str = "CT-ICH"
    layout: _Layout = REARRANGED

    def entries(self) -> Sequence[Entry]:
        """Every patient of the table, by number."""
        return [Entry(f"{number:03d}", f"{number:03d}") for number in sorted(self._slices)]

    def load(self, entry: Entry) -> LabelledStudy:
        """One patient's stack and truth; `slices` counts only slices that have a picture."""
        patient = self.patient(int(entry.patient_id))
        labels = patient.labels & patient.imaged[:, None]
        truth = Truth(
            haemorrhage=bool(patient.labels.any()),
            types=tuple(bool(labelled.any()) for labelled in patient.labels.T),
            slices=np.column_stack([labels.any(1), labels]),
            judged=patient.imaged,
            mask=outline_mask(patient),
            age_years=patient.age_years,
        )
        uid = f"2.25.{1000 + patient.number}"
        stack = replace(
            stack_of(patient.hu),
            study_uid=f"{uid}.1",
            series_uid=f"{uid}.2",
            sop_uids=tuple(f"{uid}.3.{i + 1}" for i in range(len(patient.hu))),
            patient_age_years=patient.age_years,
        )
        return LabelledStudy(entry, stack, truth)

    def labels_digest(self) -> str:
        """Of the tables, and of size and time of change of every outline."""
        tables = [self.root / name for name in (self.layout.slices, self.layout.people) if name]
        drawn = [path for number in self._slices for path in self._outline_paths(number)]
        beside = sorted(self._beside.rglob("*.*")) if self._beside else []
        return digest_of(tables, [*drawn, *beside])

    def patient(self, number: int) -> Patient:
        """One patient's pictures and labels, about 30 MB."""
        rows = self._slices.get(number)
        if rows is None:
            raise DatasetError(f"{self.root / self.layout.slices}: has no row for patient {number}.")
        for place, row in enumerate(rows, start=1):
            column = self.layout.slice
            if row.count(column) != place:
                raise DatasetError(f"{row.where}: {column} is {row.text(column)}; expected {place}.")
        labels = np.array([[_stated(row, name) for name in TYPES] for row in rows])
        imaged = np.array(
            [self._claims_image(row) or self._added(number, place) is not None for place, row in enumerate(rows)]
        )
        person = self._people.get(number)
        age_years = person.number_of("age_years") if person else None
        hu = self._volume(number, imaged)
        return Patient(number, age_years, hu, labels, imaged, self._outlines(number, len(rows)))

    @cached_property
    def _slices(self) -> dict[int, list[TableRow]]:
        slices: dict[int, list[TableRow]] = {}
        for row in read_rows(self.root / self.layout.slices, self.layout.columns):
            slices.setdefault(row.count(self.layout.patient), []).append(row)
        return slices

    @cached_property
    def _people(self) -> dict[int, TableRow]:
        if not self.layout.people:
            return {}
        rows = read_rows(self.root / self.layout.people, ("patient", "age_years"))
        return {row.count("patient"): row for row in rows}

    @cached_property
    def _beside(self) -> Path | None:
        beside = self.root.resolve().with_name(f"{self.root.resolve().name}{self.layout.beside}")
        return beside if self.layout.beside and beside.is_dir() else None

    def _claims_image(self, row: TableRow) -> bool:
        return not self.layout.image or _stated(row, self.layout.image)

    def _added(self, number: int, place: int) -> Path | None:
        """The picture of a slice in the brain window that the folder beside has, if any."""
        found = self._beside / f"missing/{number:03d}_{place + 1:02d}_brain.jpg" if self._beside else None
        return found if found is not None and found.exists() else None

    def _outline_paths(self, number: int) -> list[Path]:
        return sorted(self.root.glob(self.layout.outlines.format(patient=number)))

    def _outlines(self, number: int, slices: int) -> dict[int, NDArray[np.uint8]]:
        outlines = {}
        side = self.layout.outline_side
        for path in self._outline_paths(number):
            drawn = resized(square(grey(path), side, path)) > 127
            outlines[self._place(path, slices)] = np.where(drawn, np.uint8(UNTYPED), np.uint8(0))
        typed = sorted(self._beside.glob(f"masks/{number:03d}_*.png")) if self._beside else []
        for path in typed:
            codes = square(grey(path), TYPED_SIDE, path)
            if codes.max() >= len(OUTLINED):
                raise DatasetError(f"{path}: holds {codes.max():.0f}; expected 0 to {len(OUTLINED) - 1}.")
            outlines[self._place(path, slices)] = resized_codes(np.array(OUTLINED, np.uint8)[codes.astype(int)])
        return outlines

    def _place(self, path: Path, slices: int) -> int:
        """The slice, from 0, that a file's name says."""
        place = self.layout.place.fullmatch(path.name)
        if place is None or not 1 <= int(place[1]) <= slices:
            raise DatasetError(f"{path}: outlines no slice; expected one of 1 to {slices} in its name.")
        return int(place[1]) - 1

    def _volume(self, number: int, imaged: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(slice, row, column) HU; a missing picture is the mean of its nearest neighbours."""
        known = [int(place) for place in np.flatnonzero(imaged)]
        if not known:
            raise DatasetError(f"{self.root / self.layout.slices}: no slice of patient {number} has a picture.")
        hu = np.empty((len(imaged), SIZE, SIZE), np.float32)
        for place in known:
            brain, bone = (
                self.root / name.format(patient=number, slice=place + 1)
                for name in (self.layout.brain, self.layout.bone)
            )
            hu[place] = slice_hu(self._added(number, place) or brain, bone)
        for place in map(int, np.flatnonzero(~imaged)):
            below = [k for k in known if k < place][-1:]
            above = [k for k in known if k > place][:1]
            hu[place] = hu[below + above].mean(0)
        return hu


def open_ct_ich(path: Path) -> CtIch:
    """The data set in this folder; DatasetError where it does not have the layout."""
    layout = ARCHIVE if (path / ARCHIVE.slices).exists() else REARRANGED
    table = path / layout.slices
    if not {layout.patient, layout.slice} <= set(read_header(table)):
        raise DatasetError(f"{table}: expected the columns {', '.join(layout.columns)}.")
    if layout.people:
        read_header(path / layout.people)
    return CtIch(path, layout=layout)


def patients(root: Path) -> Iterator[Patient]:
    """Every patient of the folder, by number; one at a time."""
    dataset = open_ct_ich(root)
    for entry in dataset.entries():
        yield dataset.patient(int(entry.patient_id))


def outline_mask(patient: Patient) -> NDArray[np.uint8]:
    """uint8 (slice, row, column) as in Truth: a slice without picture, or labelled but not outlined, is UNKNOWN."""
    mask = np.zeros(patient.hu.shape, np.uint8)
    for place, (labels, imaged) in enumerate(zip(patient.labels, patient.imaged, strict=True)):
        outline = patient.outlines.get(place)
        if not imaged or (labels.any() and outline is None):
            mask[place] = UNKNOWN
        elif outline is not None:
            named = 1 + int(labels.argmax()) if labels.sum() == 1 else UNTYPED
            mask[place] = np.where(outline == UNTYPED, named, outline)
    return mask


def stack_of(hu: NDArray[np.float32], spacing_mm: float = SPACING_MM, slice_mm: float = SLICE_MM) -> SliceStack:
    """An axial stack, rows to posterior, columns to left, slice 0 at the skull base."""
    count, rows, columns = hu.shape
    positions = np.zeros((count, 3))
    positions[:] = (-(columns - 1) / 2 * spacing_mm, -(rows - 1) / 2 * spacing_mm, 0)
    positions[:, 2] = np.arange(count) * slice_mm
    return SliceStack(
        study_uid="2.25.1",
        series_uid="2.25.2",
        hu=hu,
        sop_uids=tuple(f"2.25.3.{i + 1}" for i in range(count)),
        frames=(1,) * count,
        positions=positions,
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing=(spacing_mm, spacing_mm),
    )


def _stated(row: TableRow, column: str) -> bool:
    found = row.flag(column)
    if found is None:
        raise DatasetError(f"{row.where}: {column} is empty; expected 0 or 1.")
    return found
