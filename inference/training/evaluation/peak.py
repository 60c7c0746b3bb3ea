"""Where a network is surest of blood, as no result says it: the pipeline, watched while it reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.answer import Reading
from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_ROWS, HeadGrid, labels_to_source
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The voxel of a head grid, as (plane, row, column), that is most probably blood."""

    grid: HeadGrid
    place: tuple[int, int, int]

    def voxels(self) -> NDArray[np.intp]:
        """(n, 3) voxels of the stack that lie there, one for each slice of the plane; none where it lies outside."""
        plane, row, column = self.place
        spot = np.zeros((len(self.grid.image), GRID_ROWS, GRID_COLUMNS), np.uint8)
        spot[plane, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 1
        found = np.argwhere(labels_to_source(spot, self.grid))
        middles = [found[found[:, 0] == each].mean(0) for each in np.unique(found[:, 0])]
        return np.array(middles).reshape(-1, 3).round().astype(np.intp)


class WatchedPipeline(HaemorrhagePipeline):
    """Answers as its parent does, and keeps the last reading's peak."""

    peak: Peak | None = None

    def read(self, grid: HeadGrid) -> Reading:
        """The parent's reading."""
        self.peak = None
        reading = super().read(grid)
        if reading.voxels is not None:
            free = reading.voxels[:, 0].numpy()
            plane, row, column = (int(each) for each in np.unravel_index(int(free.argmin()), free.shape))
            self.peak = Peak(grid, (plane, row, column))
        return reading
