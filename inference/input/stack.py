"""DICOM series -> SliceStack: Hounsfield units with their geometry (PS3.3 C.7.6.2, C.7.6.16, C.11.1).

Comes in: the data sets of one series, in any order. Goes out: one stack sorted along its normal, or NotAnalysable with
the reason. Tilted and unevenly spaced stacks are as good as any; only what truly is no stack is refused.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from inference.findings import NotAnalysable
from inference.input.elements import UNREADABLE, frame_macros, numbers, text, value
from inference.input.geometry import (
    SliceGeometry,
    StackShape,
    common_axes,
    is_localizer,
    slice_geometry,
    stack_shape,
)
from inference.input.hounsfield import is_inverted, pixel_format, write_hu

__all__ = [
    "NotAnalysable",
    "SliceGeometry",
    "SliceStack",
    "StackShape",
    "build_stack",
    "patient_age_years",
    "read_series",
    "slice_geometry",
    "stack_shape",
]

SAME_SPACING_RATIO = 1e-3
DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
OLDEST_YEARS = 130


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """The slices of one series in HU, sorted along their normal; tilted and unevenly spaced stacks too.

    Axes are (slice, row, column); positions are LPS mm of the centre of each slice's first pixel.
    `row_direction` points along a row (towards higher column index), `column_direction` down a column.
    `pixel_spacing` is (between rows, between columns) in mm. `frames` counts from 1 (1 in a single-frame instance).
    """

    study_uid: str
    series_uid: str
    hu: NDArray[np.float32]
    sop_uids: tuple[str, ...]
    frames: tuple[int, ...]
    positions: NDArray[np.float64]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    patient_age_years: float | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slices, LPS."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def depths_mm(self) -> NDArray[np.float64]:
        """(slice,) position of each slice along the normal, mm, strictly ascending."""
        return np.asarray(self.positions @ self.normal)

    @property
    def extents_mm(self) -> NDArray[np.float64]:
        """(slice,) how much of the normal each slice stands for: half way to both neighbours; used for volumes."""
        depths = self.depths_mm
        if len(depths) < 2:
            return np.ones(len(depths))
        edges = np.concatenate(
            [
                [depths[0] - (depths[1] - depths[0]) / 2],
                (depths[1:] + depths[:-1]) / 2,
                [depths[-1] + (depths[-1] - depths[-2]) / 2],
            ]
        )
        return np.diff(edges)


@dataclass(frozen=True, slots=True)
class _Frame:
    """One slice and where it comes from; `number` counts from 1 within its instance."""

    instance: int
    sop_uid: str
    number: int
    geometry: SliceGeometry
    pixel_spacing: tuple[float, float]


def read_series(paths: Sequence[Path]) -> list[Dataset]:
    """Read whole Part 10 files, pixels still as they are stored; NotAnalysable names the file that is none."""
    datasets: list[Dataset] = []
    for path in paths:
        try:
            datasets.append(dcmread(path))
        except OSError as error:
            # pydicom raises it without a number for a damaged file; with one the disk has failed, not the image.
            if error.errno is not None:
                raise
            raise NotAnalysable(f"The file {path.name} is damaged.") from error
        except InvalidDicomError as error:
            raise NotAnalysable(f"The file {path.name} is not a DICOM image.") from error
        except UNREADABLE as error:
            raise NotAnalysable(f"The file {path.name} is damaged.") from error
    return datasets


def build_stack(instances: Sequence[Dataset]) -> SliceStack:
    """Make one stack of the instances of one series; localizers among them are left out.

    NotAnalysable says in one sentence why they are no stack. Values of modalities other than CT are not in HU.
    """
    images = _images(instances)
    frames = [frame for i, ds in enumerate(images) for frame in _frames(i, ds)]
    geometries = [each.geometry for each in frames]
    _refuse_unless_complete(stack_shape(geometries))
    axes = common_axes(geometries)
    if axes is None:
        raise NotAnalysable("The images of this series form no single stack.")
    row, column, normal = (np.array(axis) for axis in axes)
    depths = np.array([each.geometry.position for each in frames]) @ normal
    frames = [frames[i] for i in np.argsort(depths)]
    return SliceStack(
        study_uid=text(images[0], "StudyInstanceUID"),
        series_uid=text(images[0], "SeriesInstanceUID"),
        hu=_hounsfield_units(images, frames),
        sop_uids=tuple(each.sop_uid for each in frames),
        frames=tuple(each.number for each in frames),
        positions=np.array([each.geometry.position for each in frames]),
        row_direction=row,
        column_direction=column,
        pixel_spacing=_common_spacing(frames),
        patient_age_years=patient_age_years(images[0]),
    )


def patient_age_years(ds: Dataset) -> float | None:
    """Age at the study from Patient's Age, or else from birth date and study date; None where neither says it."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", text(ds, "PatientAge").upper())
    if stated:
        count, unit = stated.groups()
        return int(count) * DAYS_PER_UNIT[unit] / DAYS_PER_UNIT["Y"]
    born, studied = _date(ds, "PatientBirthDate"), _date(ds, "StudyDate")
    if born is None or studied is None:
        return None
    years = (studied - born).days / DAYS_PER_UNIT["Y"]
    return years if 0 <= years <= OLDEST_YEARS else None


def _images(instances: Sequence[Dataset]) -> list[Dataset]:
    """The slices among the instances, each once, in the order of their UIDs so that the order given never matters."""
    by_uid: dict[str, Dataset] = {}
    for ds in instances:
        known = by_uid.setdefault(text(ds, "SOPInstanceUID"), ds)
        if known is not ds and not _is_same_image(known, ds):
            raise NotAnalysable("The series holds two different images with the same identifier.")
    if "" in by_uid:
        raise NotAnalysable("An image of the series has no identifier.")
    if len({(text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")) for ds in by_uid.values()}) > 1:
        raise NotAnalysable("The images belong to more than one series.")
    images = [by_uid[uid] for uid in sorted(by_uid) if not is_localizer(by_uid[uid])]
    if not images:
        raise NotAnalysable("The series holds no slices, only localizers." if by_uid else "The series is empty.")
    return images


def _is_same_image(one: Dataset, other: Dataset) -> bool:
    return value(one, "PixelData") == value(other, "PixelData") and slice_geometry(one) == slice_geometry(other)


def _frames(instance: int, ds: Dataset) -> list[_Frame]:
    pixel_format(ds)
    geometries, measures = slice_geometry(ds), frame_macros(ds, "PixelMeasuresSequence")
    if not geometries or len(geometries) != len(measures):
        raise NotAnalysable("An image does not say, or not in readable numbers, where in the patient it lies.")
    result = []
    for i, measure in enumerate(measures):
        spacing = numbers(measure, "PixelSpacing", 2)
        if spacing is None or min(spacing) <= 0:
            raise NotAnalysable("An image does not state its pixel spacing, so nothing can be measured on it.")
        result.append(_Frame(instance, text(ds, "SOPInstanceUID"), i + 1, geometries[i], (spacing[0], spacing[1])))
    return result


def _refuse_unless_complete(shape: StackShape) -> None:
    if shape.obstacle:
        raise NotAnalysable(shape.obstacle)
    if shape.holes:
        more = len(shape.holes) - 1
        others = f", and in {more} more place{'s' if more > 1 else ''}" if more else ""
        raise NotAnalysable(f"{shape.holes[0].removesuffix('.')}{others}.")


def _common_spacing(frames: Sequence[_Frame]) -> tuple[float, float]:
    rows, columns = (sorted(each.pixel_spacing[i] for each in frames) for i in (0, 1))
    for values in (rows, columns):
        if values[-1] > values[0] * (1 + SAME_SPACING_RATIO):
            raise NotAnalysable("The images of this series differ in their pixel spacing.")
    return rows[len(rows) // 2], columns[len(columns) // 2]


def _hounsfield_units(images: Sequence[Dataset], frames: Sequence[_Frame]) -> NDArray[np.float32]:
    """(slice, row, column) in the order of the frames."""
    formats = [pixel_format(ds) for ds in images]
    if len({(each.rows, each.columns) for each in formats}) > 1:
        raise NotAnalysable("The images of this series differ in their number of rows or columns.")
    inverted = is_inverted(images)
    hu = np.empty((len(frames), formats[0].rows, formats[0].columns), np.float32)
    planes: list[dict[int, NDArray[np.float32]]] = [{} for _ in images]
    for place, frame in enumerate(frames):
        planes[frame.instance][frame.number] = hu[place]
    for ds, targets in zip(images, planes, strict=True):
        write_hu(ds, [targets[frame] for frame in sorted(targets)], inverted=inverted)
    return hu


def _date(ds: Dataset, keyword: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text(ds, keyword), "%Y%m%d").date()
    except ValueError:
        return None
