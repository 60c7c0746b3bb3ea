"""Reads CT-ICH from its folder (Hssayeni et al., PhysioNet, doi 10.13026/w8q8-ky94) into heads on the network's grid.

Layout: `slices.csv`, `patients.csv`, `PPP/SS_brain.jpg` (W120 L40), `PPP/SS_bone.jpg` (W3200 L700), `masks/PPP_SS.png`.
HU are rebuilt from the two windows; pixel spacing (0.488 mm) is nominal, slices are 5 mm apart from the skull base up.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.findings import HaemorrhageType
from inference.preprocess import GRID_COLUMNS, GRID_ROWS, HeadGrid, to_grid
from inference.stack import SliceStack

SPACING_MM = 0.488
SLICE_MM = 5.0
SIZE = 512
TYPES = tuple(HaemorrhageType)


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One patient's head: `labels` bool (slice, 5) as HaemorrhageType orders them; `outlines` by slice."""

    number: int
    age_years: float | None
    hu: NDArray[np.float32]
    labels: NDArray[np.bool_]
    imaged: NDArray[np.bool_]
    outlines: dict[int, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingHead:
    """A head on the grid with what is known of it, small enough to keep hundreds in memory.

    `image` float16 (plane, row, column) HU; `inside` bool; `depth_mm` (plane,). `labels` bool (plane, 5) or None when
    voxels are known: `voxels` uint8, 0 = none, 1..5 = type, 255 = not to be judged; None = only `labels` are known.
    """

    image: NDArray[np.float16]
    inside: NDArray[np.bool_]
    depth_mm: NDArray[np.float32]
    labels: NDArray[np.bool_]
    voxels: NDArray[np.uint8] | None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _grey(path: Path) -> NDArray[np.float32]:
    return np.asarray(Image.open(path).convert("L"), np.float32)


def _slice_hu(folder: Path, number: int) -> NDArray[np.float32] | None:
    brain = folder / f"{number:02d}_brain.jpg"
    if not brain.exists():
        return None
    grey = _grey(brain)
    bone = folder / f"{number:02d}_bone.jpg"
    wide = _grey(bone) * (3200 / 255) - 900 if bone.exists() else np.where(grey > 127, 1000.0, -1000.0)
    hu = grey * (120 / 255) - 20
    hu = np.where(grey >= 252, np.maximum(wide, 100), np.where(grey <= 3, np.minimum(wide, -20), hu))
    return np.asarray(Image.fromarray(hu.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BOX))


def _volume(folder: Path, count: int) -> NDArray[np.float32]:
    """(slice, row, column) HU; a missing picture is the mean of its nearest neighbours."""
    read = [_slice_hu(folder, i + 1) for i in range(count)]
    known = [i for i, plane in enumerate(read) if plane is not None]
    planes = []
    for i in range(count):
        near = [max((k for k in known if k <= i), default=None), min((k for k in known if k >= i), default=None)]
        found = [plane for k in near if k is not None and (plane := read[k]) is not None]
        planes.append(np.mean(found, axis=0))
    return np.stack(planes).astype(np.float32)


def patients(root: Path) -> Iterator[Patient]:
    """Every patient of the folder, by number; one at a time, each about 30 MB."""
    ages = {int(row["patient"]): float(row["age_years"]) for row in _rows(root / "patients.csv") if row["age_years"]}
    slices: dict[int, list[dict[str, str]]] = {}
    for row in _rows(root / "slices.csv"):
        slices.setdefault(int(row["patient"]), []).append(row)
    for number, rows in sorted(slices.items()):
        labels = np.array([[row[name] == "1" for name in TYPES] for row in rows])
        imaged = np.array([row["image"] == "1" for row in rows])
        drawn = sorted((root / "masks").glob(f"{number:03d}_*.png"))
        outlines = {int(path.stem[4:]) - 1: _grey(path) > 127 for path in drawn}
        hu = _volume(root / f"{number:03d}", len(rows))
        yield Patient(number, ages.get(number), hu, labels, imaged, outlines)


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


def on_grid(mask: NDArray[np.bool_], grid: HeadGrid) -> NDArray[np.bool_]:
    """A drawing (row, column) on one source slice of a standard-order stack, nearest, on the grid's plane."""
    y = np.arange(GRID_ROWS) - (GRID_ROWS - 1) / 2
    x = np.arange(GRID_COLUMNS) - (GRID_COLUMNS - 1) / 2
    cos, sin = np.cos(grid.pose.angle), np.sin(grid.pose.angle)
    row = (cos * y[:, None] + sin * x[None] + grid.pose.row_mm) / grid.spacing[0] + (mask.shape[0] - 1) / 2
    column = (cos * x[None] - sin * y[:, None] + grid.pose.column_mm) / grid.spacing[1] + (mask.shape[1] - 1) / 2
    r, c = np.rint(row).astype(int), np.rint(column).astype(int)
    within = (r >= 0) & (r < mask.shape[0]) & (c >= 0) & (c < mask.shape[1])
    return np.asarray(within & mask[r.clip(0, mask.shape[0] - 1), c.clip(0, mask.shape[1] - 1)])


def training_head(patient: Patient) -> TrainingHead:
    """The patient's head on the grid; voxels are known where no slice is labelled, or where it was outlined."""
    grid = to_grid(stack_of(patient.hu))
    labels = patient.labels & patient.imaged[:, None]
    voxels = np.zeros(grid.image.shape, np.uint8)
    for plane in np.flatnonzero(labels.any(1)):
        outline = patient.outlines.get(int(plane))
        if outline is None or labels[plane].sum() != 1:
            voxels[plane] = 255
            continue
        voxels[plane][on_grid(outline, grid)] = 1 + int(np.flatnonzero(labels[plane])[0])
    for plane in np.flatnonzero(~patient.imaged):
        voxels[plane] = 255
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)
