"""DICOM series -> SliceStack: Hounsfield units with their geometry (PS3.3 C.7.6.2, C.7.6.16, C.11.1).

Comes in: the data sets of one series, in any order. Goes out: one stack sorted along its normal, or NotAnalysable with
the reason. Tilted and unevenly spaced stacks are as good as any; only what truly is no stack is refused.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from inference.findings import NotAnalysable
from inference.input.candidates import Candidate, file_name
from inference.input.elements import UNREADABLE, integer, text, value
from inference.input.files import read_file
from inference.input.geometry import SliceGeometry, StackShape, common_axes, depth_of, slice_geometry, stack_shape
from inference.input.hounsfield import is_inverted, rescales, write_hu
from inference.input.selection import select_slices
from inference.input.set_aside import SetAside, Unfit

__all__ = [
    "NotAnalysable",
    "SliceGeometry",
    "SliceStack",
    "StackShape",
    "build_stack",
    "patient_age_years",
    "read_headers",
    "read_series",
    "slice_geometry",
    "stack_shape",
]

Useless: TypeAlias = dict[tuple[str, int], tuple[Unfit, str]]

DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
OLDEST_YEARS = 130
LARGEST_SERIES_BYTES, LARGEST_STACK_VOXELS = 4 << 30, 1 << 29  # far beyond a head of a thousand slices
TOO_LARGE = "The series has more pixels than can be analysed."


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """The slices of one series in HU, sorted along their normal; tilted and unevenly spaced stacks too.

    Axes are (slice, row, column); positions are LPS mm of the centre of each slice's first pixel.
    `row_direction` points along a row (towards higher column index), `column_direction` down a column.
    `pixel_spacing` is (between rows, between columns) in mm. `frames` counts from 1 (1 in a single-frame instance).
    `set_aside` are images of the series that are no slices of the stack.
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
    set_aside: tuple[SetAside, ...] = ()

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slices, LPS."""
        return np.cross(self.row_direction, self.column_direction)

    @property
    def depths_mm(self) -> NDArray[np.float64]:
        """(slice,) position of each slice along the normal, mm, strictly ascending."""
        return np.asarray(self.positions @ self.normal)

    @property
    def voxels_ml(self) -> NDArray[np.float64]:
        """(slice,) the volume of one voxel of each slice."""
        return np.asarray(self.pixel_spacing[0] * self.pixel_spacing[1] * self.extents_mm / 1000)

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


def read_series(paths: Sequence[Path]) -> list[Dataset]:
    """Read whole Part 10 files, pixels still as they are stored; of one that is cut off, what stands before the pixels.

    NotAnalysable names a file of which nothing can be read.
    """
    found, size = [], 0
    for path in paths:
        found.append(_read_file(path))
        size += len(value(found[-1], "PixelData") or b"")
        if size > LARGEST_SERIES_BYTES:
            raise NotAnalysable(TOO_LARGE)
    return found


def read_headers(paths: Sequence[Path]) -> list[Dataset]:
    """Read Part 10 files up to their pixels; NotAnalysable names a file of which nothing can be read."""
    return [_read_up_to_pixels(path) for path in paths]


def build_stack(instances: Sequence[Dataset]) -> SliceStack:
    """Make one stack of the instances of one series; what is no slice of it is set aside (see `select_slices`).

    NotAnalysable says in one sentence why they are no stack. Values of modalities other than CT are not in HU.
    """
    images = _images(instances)
    unusable: Useless = {}
    while True:  # an image whose pixels prove useless may have a good copy
        selection = select_slices(images, lambda i: value(images[i], "PixelData"), unusable)
        _refuse_unless_complete(selection.shape)
        axes = common_axes([each.geometry for each in selection.slices])
        if axes is None or selection.typical is None:
            raise NotAnalysable("The images of this series form no single stack.")
        normal = axes[2]
        slices = sorted(selection.slices, key=lambda each: depth_of(each.geometry, normal))
        hu, useless = _hounsfield_units(images, slices)
        if not useless:
            break
        unusable |= useless
    row, column, _ = (np.array(axis) for axis in axes)
    return SliceStack(
        study_uid=text(selection.typical, "StudyInstanceUID"),
        series_uid=text(selection.typical, "SeriesInstanceUID"),
        hu=hu,
        sop_uids=tuple(each.sop_uid for each in slices),
        frames=tuple(each.frame for each in slices),
        positions=np.array([each.geometry.position for each in slices]),
        row_direction=row,
        column_direction=column,
        pixel_spacing=_common_spacing(slices),
        patient_age_years=patient_age_years(selection.typical),
        set_aside=selection.set_aside,
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


def _read_file(path: Path) -> Dataset:
    try:
        found: Dataset = read_file(path)
    except InvalidDicomError as error:
        raise NotAnalysable(f"The file {path.name} is not a DICOM image.") from error
    except UNREADABLE as error:
        # pydicom raises OSError without a number for a damaged file; with one the disk has failed, not the image.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        found = Dataset()
    # pydicom drops every element of a file that ends within the last one.
    return found if len(found) else _read_up_to_pixels(path)


def _read_up_to_pixels(path: Path) -> Dataset:
    try:
        found = read_file(path, stop_before_pixels=True)
    except UNREADABLE as error:
        raise NotAnalysable(f"The file {path.name} is damaged.") from error
    if not len(found):
        raise NotAnalysable(f"The file {path.name} is damaged.")
    return found


def _images(instances: Sequence[Dataset]) -> list[Dataset]:
    """The images among the instances, each once, in the order of their UIDs so that the order given never matters."""
    by_uid: dict[str, Dataset] = {}
    unnamed: list[Dataset] = []
    for ds in instances:
        uid = text(ds, "SOPInstanceUID")
        if not uid:
            unnamed.append(ds)
            continue
        known = by_uid.setdefault(uid, ds)
        if known is not ds and not _is_same_image(known, ds):
            raise NotAnalysable("The series holds two different images with the same identifier.")
    images = [*(by_uid[uid] for uid in sorted(by_uid)), *unnamed]
    if len({(text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")) for ds in images}) > 1:
        raise NotAnalysable("The images belong to more than one series.")
    if not images:
        raise NotAnalysable("The series is empty.")
    return images


def _is_same_image(one: Dataset, other: Dataset) -> bool:
    return value(one, "PixelData") == value(other, "PixelData") and slice_geometry(one) == slice_geometry(other)


def _refuse_unless_complete(shape: StackShape) -> None:
    if shape.obstacle:
        raise NotAnalysable(shape.obstacle)
    if shape.holes:
        more = len(shape.holes) - 1
        others = f", and in {more} more place{'s' if more > 1 else ''}" if more else ""
        raise NotAnalysable(f"{shape.holes[0].removesuffix('.')}{others}.")


def _common_spacing(slices: Sequence[Candidate]) -> tuple[float, float]:
    rows, columns = (sorted(each.pixel_spacing[i] for each in slices) for i in (0, 1))
    return rows[len(rows) // 2], columns[len(columns) // 2]


def _hounsfield_units(images: Sequence[Dataset], slices: Sequence[Candidate]) -> tuple[NDArray[np.float32], Useless]:
    """(slice, row, column) in the order of the slices, and those whose pixels are of no use.

    NotAnalysable where that is so of most of them: then it is the series, not an image.
    """
    used = sorted({each.instance for each in slices})
    inverted = is_inverted([images[instance] for instance in used])
    header = slices[0].header
    if len(slices) * (integer(header, "Rows") or 0) * (integer(header, "Columns") or 0) > LARGEST_STACK_VOXELS:
        raise NotAnalysable(TOO_LARGE)
    hu = np.empty((len(slices), integer(header, "Rows") or 0, integer(header, "Columns") or 0), np.float32)
    planes = {(each.instance, each.frame): hu[place] for place, each in enumerate(slices)}
    useless: Useless = {}
    reasons = []
    for instance in used:
        ds = images[instance]
        targets = [planes.get((instance, frame + 1)) for frame in range(integer(ds, "NumberOfFrames") or 1)]
        try:
            reason = Unfit.UNITS
            rescales(ds)
            reason = Unfit.DAMAGED
            write_hu(ds, targets, inverted=inverted)
        except NotAnalysable as error:
            file = file_name(ds) if reason is Unfit.DAMAGED else ""
            useless |= {(each.sop_uid, each.frame): (reason, file) for each in slices if each.instance == instance}
            reasons.append(error)
    if len(useless) > len(slices) / 2:
        raise reasons[0]
    return hu, useless or _blank(hu, slices)


def _blank(hu: NDArray[np.float32], slices: Sequence[Candidate]) -> Useless:
    """The few slices that hold one value only, as where a transfer broke off; none where most are so."""
    blank = [each for plane, each in zip(hu, slices, strict=True) if plane.min() == plane.max()]
    if len(blank) > len(slices) / 2:
        return {}
    return {(each.sop_uid, each.frame): (Unfit.BLANK, "") for each in blank}


def _date(ds: Dataset, keyword: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text(ds, keyword), "%Y%m%d").date()
    except ValueError:
        return None
