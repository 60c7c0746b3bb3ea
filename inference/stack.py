"""DICOM series -> SliceStack: Hounsfield units with their geometry (PS3.3 C.7.6.2, C.7.6.16, C.11.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        edges = np.concatenate([[depths[0] - (depths[1] - depths[0]) / 2], (depths[1:] + depths[:-1]) / 2,
                                [depths[-1] + (depths[-1] - depths[-2]) / 2]])
        return np.diff(edges)
