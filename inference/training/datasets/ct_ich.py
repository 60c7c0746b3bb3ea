"""CT-ICH as 8-bit window pictures (Hssayeni et al., PhysioNet, doi 10.13026/w8q8-ky94), one patient at a time.

Layout: `slices.csv` (patient, slice, the five types, fracture, image), `patients.csv` (patient, age_years, sex),
`PPP/SS_brain.jpg` (W120 L40), `PPP/SS_bone.jpg` (W3200 L700), `masks/PPP_SS.png`; PPP the patient, SS the slice from 1.
HU are rebuilt from the two windows; pixel spacing (0.488 mm) is nominal, slices are 5 mm apart from the skull base up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from inference.findings import HaemorrhageType
from inference.stack import SliceStack
from inference.training.datasets.base import UNKNOWN, UNTYPED, DatasetError, Entry, LabelledStudy, Truth
from inference.training.datasets.table import Row, read_header, read_rows

SPACING_MM = 0.488
SLICE_MM = 5.0
SIZE = 512
TYPES = tuple(HaemorrhageType)
SLICE_COLUMNS = ("patient", "slice", *TYPES, "image")


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One patient's head: `labels` bool (slice, 5) as HaemorrhageType orders them; `outlines` by slice.

    `imaged` bool (slice,): False where the picture is missing and HU are the mean of the nearest neighbours.
    """

    number: int
    age_years: float | None
    hu: NDArray[np.float32]
    labels: NDArray[np.bool_]
    imaged: NDArray[np.bool_]
    outlines: dict[int, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class CtIch:
    """The folder as a data set; the tables are read once, pictures only by `load`."""

    root: Path
    name: str = "CT-ICH"

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

    def patient(self, number: int) -> Patient:
        """One patient's pictures and labels, about 30 MB."""
        rows = self._slices.get(number)
        if rows is None:
            raise DatasetError(f"{self.root / 'slices.csv'}: has no row for patient {number}.")
        for place, row in enumerate(rows, start=1):
            if row.count("slice") != place:
                raise DatasetError(f"{row.where}: slice is {row.text('slice')}; expected {place}.")
        labels = np.array([[_stated(row, name) for name in TYPES] for row in rows])
        imaged = np.array([_stated(row, "image") for row in rows])
        person = self._people.get(number)
        age_years = person.number_of("age_years") if person else None
        hu = _volume(self.root / f"{number:03d}", imaged)
        return Patient(number, age_years, hu, labels, imaged, self._outlines(number, len(rows)))

    @cached_property
    def _slices(self) -> dict[int, list[Row]]:
        slices: dict[int, list[Row]] = {}
        for row in read_rows(self.root / "slices.csv", SLICE_COLUMNS):
            slices.setdefault(row.count("patient"), []).append(row)
        return slices

    @cached_property
    def _people(self) -> dict[int, Row]:
        return {row.count("patient"): row for row in read_rows(self.root / "patients.csv", ("patient", "age_years"))}

    def _outlines(self, number: int, slices: int) -> dict[int, NDArray[np.bool_]]:
        outlines = {}
        for path in sorted((self.root / "masks").glob(f"{number:03d}_*.png")):
            place = path.stem[4:]
            if not place.isdecimal() or not 1 <= int(place) <= slices:
                raise DatasetError(f"{path}: outlines no slice; expected {number:03d}_01.png to _{slices:02d}.png.")
            drawn = _grey(path) > 127
            if drawn.shape != (SIZE, SIZE):
                raise DatasetError(f"{path}: has {drawn.shape[0]} x {drawn.shape[1]} pixels; expected {SIZE} x {SIZE}.")
            outlines[int(place) - 1] = drawn
        return outlines


def open_ct_ich(path: Path) -> CtIch:
    """The data set in this folder; DatasetError where it does not have the layout."""
    header = read_header(path / "slices.csv")
    if not {"patient", "slice"} <= set(header):
        raise DatasetError(f"{path / 'slices.csv'}: expected the columns {', '.join(SLICE_COLUMNS)}.")
    read_header(path / "patients.csv")
    return CtIch(path)


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
            mask[place][outline] = 1 + int(labels.argmax()) if labels.sum() == 1 else UNTYPED
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


def _stated(row: Row, column: str) -> bool:
    found = row.flag(column)
    if found is None:
        raise DatasetError(f"{row.where}: {column} is empty; expected 0 or 1.")
    return found


def _grey(path: Path) -> NDArray[np.float32]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"), np.float32)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: is missing, but the table says that this slice has a picture.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetError(f"{path}: cannot be read as a picture ({error}).") from error


def _slice_hu(folder: Path, number: int) -> NDArray[np.float32]:
    grey = _grey(folder / f"{number:02d}_brain.jpg")
    bone = folder / f"{number:02d}_bone.jpg"
    wide = _grey(bone) * (3200 / 255) - 900 if bone.exists() else np.where(grey > 127, 1000.0, -1000.0)
    if wide.shape != grey.shape:
        raise DatasetError(f"{bone}: is not of the size of the brain window's picture.")
    hu = grey * (120 / 255) - 20
    hu = np.where(grey >= 252, np.maximum(wide, 100), np.where(grey <= 3, np.minimum(wide, -20), hu))
    return np.asarray(Image.fromarray(hu.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BOX))


def _volume(folder: Path, imaged: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(slice, row, column) HU; a missing picture is the mean of its nearest neighbours."""
    known = [int(place) for place in np.flatnonzero(imaged)]
    if not known:
        raise DatasetError(f"{folder}: the table says that none of its slices has a picture.")
    hu = np.empty((len(imaged), SIZE, SIZE), np.float32)
    for place in known:
        hu[place] = _slice_hu(folder, place + 1)
    for place in map(int, np.flatnonzero(~imaged)):
        below = [k for k in known if k < place][-1:]
        above = [k for k in known if k > place][:1]
        hu[place] = hu[below + above].mean(0)
    return hu
