"""Where a head lies in its slices and how it is turned: found by its left-right symmetry, about the slices' normal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

AIR_HU = -1024.0
WIDE_SHARE = 0.6
MAP_PIXELS, MAP_MM = 64, 3.0
MOVES = range(-4, 5)
DENSEST_HU = 400.0
UPRIGHT_FIRST = 0.1  # by how much more a turn of one radian must gain
COARSE_DEG, FINE_DEG = np.arange(-75.0, 76.0, 5.0), np.arange(-5.0, 6.0, 1.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head lies in the oriented slices: its centre in mm from the image centre, and its turn in radians."""

    row_mm: float
    column_mm: float
    angle: float


def sample(
    planes: torch.Tensor, spacing: tuple[float, float], rows: int, columns: int, mm: float, pose: Pose
) -> torch.Tensor:
    """(plane, rows, columns) at `mm`, centred on the pose and turned by it; air outside the image."""
    height, width = planes.shape[1:]
    cos, sin = float(np.cos(pose.angle)), float(np.sin(pose.angle))
    y = (torch.arange(rows) - (rows - 1) / 2) * mm
    x = (torch.arange(columns) - (columns - 1) / 2) * mm
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    row = (cos * yy + sin * xx + pose.row_mm) / spacing[0]
    column = (cos * xx - sin * yy + pose.column_mm) / spacing[1]
    grid = torch.stack([column * 2 / width, row * 2 / height], dim=-1)[None]
    shifted = nnf.grid_sample(planes[None] - AIR_HU, grid, padding_mode="zeros", align_corners=False)
    return torch.as_tensor(shifted[0] + AIR_HU)


def find_pose(low: torch.Tensor, inside: NDArray[np.bool_], spacing_mm: float) -> Pose:
    """The pose of a head at `spacing_mm`, HU and intracranial space (plane, row, column), by its widest planes.

    The turn makes it most symmetrical; the centre is the middle of the upright head. A turn at the end of what is
    searched is no minimum: the head would go on gaining beyond it.
    """
    areas = inside.sum((1, 2))
    wide = areas >= WIDE_SHARE * areas.max()
    share = inside[wide].mean(0)
    half = (np.array(share.shape) - 1) / 2
    points = np.argwhere(share > 0)
    middle = (np.average(points, axis=0, weights=share[share > 0]) - half) * spacing_mm
    bone = (low[torch.from_numpy(np.flatnonzero(wide))].clamp(0, DENSEST_HU) / DENSEST_HU).mean(0)
    maps = torch.stack([torch.from_numpy(share.astype(np.float32)), bone]) + AIR_HU

    def asymmetry(angle: float) -> float:
        pose = Pose(float(middle[0]), float(middle[1]), angle)
        turned = sample(maps, (spacing_mm, spacing_mm), MAP_PIXELS, MAP_PIXELS, MAP_MM, pose)
        mirrored = turned.flip(-1)
        costs = [float((turned - torch.roll(mirrored, move, -1)).abs().mean()) for move in MOVES]
        return min(costs) * (1 + UPRIGHT_FIRST * abs(angle))

    angle = _lowest_minimum(np.deg2rad(COARSE_DEG), asymmetry)
    angle = _lowest_minimum(angle + np.deg2rad(FINE_DEG), asymmetry)
    cos, sin = np.cos(angle), np.sin(angle)
    from_middle = (points - half) * spacing_mm - middle
    down = cos * from_middle[:, 0] - sin * from_middle[:, 1]
    across = cos * from_middle[:, 1] + sin * from_middle[:, 0]
    row, column = (down.max() + down.min()) / 2, (across.max() + across.min()) / 2
    return Pose(float(middle[0] + cos * row + sin * column), float(middle[1] + cos * column - sin * row), float(angle))


def _lowest_minimum(angles: NDArray[np.float64], cost: Callable[[float], float]) -> float:
    """The angle of the lowest minimum that is not at either end; the lowest of all where there is none."""
    costs = [cost(float(angle)) for angle in angles]
    minima = [i for i in range(1, len(costs) - 1) if costs[i] <= min(costs[i - 1], costs[i + 1])]
    among: Sequence[int] = minima or range(len(costs))
    return float(angles[min(among, key=costs.__getitem__)])
