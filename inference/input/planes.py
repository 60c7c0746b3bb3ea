"""Single slices of a series, found by headers and decoded one by one: for pictures, where a whole stack is not needed.

The same choice as for the analysis (`select_slices`), but what forms no stack is no obstacle: whatever is a slice can
be looked at. A slice whose pixels cannot be read is passed over.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inference.findings import NotAnalysable
from inference.input.candidates import Candidate
from inference.input.elements import integer, text, value
from inference.input.geometry import Vector, common_axes, depth_of
from inference.input.hounsfield import is_inverted, write_hu
from inference.input.selection import select_slices
from inference.input.stack import read_headers, read_series


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of a series, not yet decoded. `frame` counts from 1; `number` is the Instance Number.

    `row_direction` points along a row, `column_direction` down a column (LPS); `pixel_spacing` is (between rows,
    between columns) in mm. `is_ct`: its values are in HU.
    """

    path: Path
    sop_uid: str
    frame: int
    number: int | None
    pixel_spacing: tuple[float, float]
    row_direction: Vector
    column_direction: Vector
    is_ct: bool


def find_slices(paths: Sequence[Path], pause: Callable[[], None] = lambda: None) -> tuple[Slice, ...]:
    """The slices of a series from the headers of its files, in the order of the stack, or else of their numbers.

    NotAnalysable where nothing is a slice. A damaged file is passed over. `pause` is called before each file.
    """
    by_uid: dict[str, tuple[Path, Dataset]] = {}
    for path in paths:
        pause()
        with suppress(NotAnalysable):
            (header,) = read_headers([path])
            by_uid.setdefault(text(header, "SOPInstanceUID") or path.name, (path, header))
    files = [by_uid[uid] for uid in sorted(by_uid)]  # as the analysis takes them
    selection = select_slices(
        [header for _, header in files], lambda i: value(read_series([files[i][0]])[0], "PixelData")
    )
    if not selection.slices:
        raise NotAnalysable(selection.shape.obstacle or "The series holds no slices.")
    axes = common_axes([each.geometry for each in selection.slices])
    if axes is not None:
        ordered = sorted(selection.slices, key=lambda each: depth_of(each.geometry, axes[2]))
    else:
        ordered = sorted(selection.slices, key=lambda each: (integer(each.header, "InstanceNumber") or 0, each.frame))
    return tuple(_slice(each, files[each.instance][0]) for each in ordered)


def _slice(each: Candidate, path: Path) -> Slice:
    a, b, c, d, e, f = each.geometry.orientation
    return Slice(
        path=path,
        sop_uid=each.sop_uid,
        frame=each.frame,
        number=None if each.of_several else integer(each.header, "InstanceNumber"),
        pixel_spacing=each.pixel_spacing,
        row_direction=(a, b, c),
        column_direction=(d, e, f),
        is_ct=text(each.header, "Modality") == "CT",
    )


def read_planes(
    slices: Sequence[Slice], pause: Callable[[], None] = lambda: None
) -> Iterator[tuple[Slice, NDArray[np.float32]]]:
    """Each slice with its values (row, column), in HU where it is CT; without those that cannot be read.

    `pause` is called before each file, and may raise.
    """
    inverted = False
    for number, (path, group) in enumerate(groupby(slices, key=lambda each: each.path)):
        pause()
        wanted = list(group)
        with suppress(NotAnalysable):
            (dataset,) = read_series([path])
            if number == 0:  # all slices of a series are stored alike
                inverted = is_inverted([dataset])
            planes = _planes(dataset, wanted, inverted)
            yield from zip(wanted, planes, strict=True)


def _planes(dataset: Dataset, wanted: Sequence[Slice], inverted: bool) -> list[NDArray[np.float32]]:
    shape = (integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0)
    count = max(integer(dataset, "NumberOfFrames") or 1, *(each.frame for each in wanted))
    frames: list[NDArray[np.float32] | None] = [None] * count
    planes = []
    for each in wanted:
        plane = np.empty(shape, np.float32)
        frames[each.frame - 1] = plane
        planes.append(plane)
    write_hu(dataset, frames, inverted=inverted)
    return planes
