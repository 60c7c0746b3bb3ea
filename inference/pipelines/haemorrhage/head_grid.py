"""SliceStack -> upright head on a regular grid of 1 mm pixels and about 5 mm planes, and labels back to every slice.

Axial stacks of any order, handedness, pixel spacing, field of view and slice count come in. Thin slices are averaged to
planes of about 5 mm by their extents; slices of 3.4 mm and more stay planes of their own, so that an unevenly spaced
stack keeps what was scanned. The head is turned upright about the slices' normal (by its left-right symmetry) and
centred (`pose.py`), levelled, and its own cupping is taken off (`cupping.py`). A stack of a tilted gantry stays
sheared: the network looks within planes, and labels return to the plane they were drawn on. Images that lie elsewhere
within their plane are shifted first (`alignment.py`). Frame of the grid: rows run to posterior, columns to the
patient's left, planes to the vertex.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from inference.findings import NotAnalysable
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.alignment import align, in_plane_shifts, unalign
from inference.pipelines.haemorrhage.cupping import without_cupping
from inference.pipelines.haemorrhage.measured_head import LOW_MM
from inference.pipelines.haemorrhage.plain_head import find_plain_head
from inference.pipelines.haemorrhage.pose import AIR_HU, Pose, find_pose, sample

GRID_ROWS = 208
GRID_COLUMNS = 176
GRID_MM = 1.0
SLAB_MM = 5.0
LEVEL_HU = 33.0
TISSUE_HU = (10.0, 60.0)
HEIGHT_MM = 150.0
CHANNELS = 9


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the source's axes become rows to posterior, columns to left, slices to the vertex; transpose comes first."""

    transpose: bool
    flip_slices: bool
    flip_rows: bool
    flip_columns: bool

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """View of (slice, row, column) in the standard order."""
        turned = array.transpose(0, 2, 1) if self.transpose else array
        return turned[
            :: -1 if self.flip_slices else 1, :: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1
        ]

    def undo(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """View of a standard (slice, row, column) array in the source's order."""
        turned = array[
            :: -1 if self.flip_slices else 1, :: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1
        ]
        return turned.transpose(0, 2, 1) if self.transpose else turned

    def apply_to_shifts(self, shifts: NDArray[np.intp]) -> NDArray[np.intp]:
        """(slice, 2) shifts by rows and columns in the standard order."""
        turned = shifts[:, ::-1] if self.transpose else shifts
        signs = np.array([-1 if self.flip_rows else 1, -1 if self.flip_columns else 1])
        return np.asarray(turned[:: -1 if self.flip_slices else 1] * signs)


@dataclass(frozen=True, slots=True, eq=False)
class Slabs:
    """A stack's planes in the standard order, before it is known where a head lies in them.

    `hu` (slice, row, column) are the slices as scanned, moved by `shifts`, with pixels of `spacing` mm. `pooled`
    (plane, row, column) has pixels of `pooled_mm`, whole blocks alone, so that its middle lies `cut_mm` before that of
    `hu`; `low` is the same at LOW_MM. `plane_of_slice` and `slab_mm` are those of HeadGrid.
    """

    orientation: Orientation
    shifts: NDArray[np.intp]
    hu: NDArray[np.float32]
    spacing: tuple[float, float]
    plane_of_slice: NDArray[np.intp]
    slab_mm: NDArray[np.float64]
    pooled: torch.Tensor
    pooled_mm: tuple[float, float]
    cut_mm: tuple[float, float]
    low: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class HeadGrid:
    """A head as the network sees it.

    `image` is float32 (plane, GRID_ROWS, GRID_COLUMNS) HU, levelled so that brain has a median near 33 HU; `inside`
    is the intracranial space there. `depth_mm` is each plane's distance below the top of the intracranial space.
    `slab_mm` is each plane's thickness. `plane_of_slice` counts source slices in the standard order (skull base first);
    so do `shifts`, the (row, column) by which each was moved within its plane. `shifted_shape` is the stack's then.
    `warnings` say in which ways the head is unlike most.
    """

    image: torch.Tensor
    inside: NDArray[np.bool_]
    depth_mm: torch.Tensor
    slab_mm: NDArray[np.float64]
    plane_of_slice: NDArray[np.intp]
    orientation: Orientation
    pose: Pose
    shifted_shape: tuple[int, int, int]
    spacing: tuple[float, float]
    shifts: NDArray[np.intp]
    warnings: tuple[str, ...] = ()


def orientation_of(stack: SliceStack) -> Orientation:
    """The flips and the transposition that make an axial stack standard; NotAnalysable when it is not axial."""
    normal = stack.normal
    if abs(normal[2]) < np.cos(np.deg2rad(45)):
        raise NotAnalysable("The slices are not axial.")
    transpose = bool(abs(stack.row_direction[0]) < abs(stack.row_direction[1]))
    along_columns = stack.column_direction if transpose else stack.row_direction
    along_rows = stack.row_direction if transpose else stack.column_direction
    return Orientation(transpose, bool(normal[2] < 0), bool(along_rows[1] < 0), bool(along_columns[0] < 0))


def planes_of(extents_mm: NDArray[np.float64], slab_mm: float = SLAB_MM) -> NDArray[np.intp]:
    """(slice,) index of the plane each slice goes to: neighbours are joined while they come nearer to `slab_mm`."""
    plane, filled = 0, 0.0
    planes = np.zeros(len(extents_mm), np.intp)
    for i, extent in enumerate(extents_mm):
        if filled > 0 and filled + extent / 2 > slab_mm:
            plane, filled = plane + 1, 0.0
        planes[i] = plane
        filled += extent
    return planes


def _slabs(pooled: torch.Tensor, planes: NDArray[np.intp], extents: NDArray[np.float64]) -> torch.Tensor:
    """Mean of each plane's slices, weighted by their extents."""
    if len(pooled) == planes[-1] + 1:
        return pooled
    weights = torch.zeros((int(planes[-1]) + 1, len(pooled)))
    weights[torch.from_numpy(planes), torch.arange(len(pooled))] = torch.from_numpy(extents.astype(np.float32))
    weights /= weights.sum(1, keepdim=True)
    return torch.einsum("ps,srx->prx", weights, pooled)


def slabs_of(stack: SliceStack) -> Slabs:
    """The stack's planes in the standard order; NotAnalysable when it is not axial."""
    orientation = orientation_of(stack)
    shifts = orientation.apply_to_shifts(in_plane_shifts(stack))
    hu = np.require(align(np.asarray(orientation.apply(stack.hu), np.float32), shifts, AIR_HU), np.float32, ["C", "W"])
    spacing = stack.pixel_spacing[::-1] if orientation.transpose else stack.pixel_spacing
    extents = stack.extents_mm[::-1] if orientation.flip_slices else stack.extents_mm
    extents = np.ascontiguousarray(extents)
    planes = planes_of(extents)
    factors = (max(1, round(GRID_MM / spacing[0])), max(1, round(GRID_MM / spacing[1])))
    pooled = nnf.avg_pool2d(torch.from_numpy(hu)[:, None], factors)[:, 0].nan_to_num(nan=AIR_HU)
    slabs = _slabs(pooled, planes, extents)
    pooled_mm = (spacing[0] * factors[0], spacing[1] * factors[1])
    cut_rows, cut_columns = ((hu.shape[a + 1] - pooled.shape[a + 1] * factors[a]) / 2 * spacing[a] for a in (0, 1))
    size = [max(32, round(slabs.shape[a + 1] * pooled_mm[a] / LOW_MM)) for a in (0, 1)]
    return Slabs(
        orientation=orientation,
        shifts=shifts,
        hu=hu,
        spacing=spacing,
        plane_of_slice=planes,
        slab_mm=np.bincount(planes, extents).astype(np.float64),
        pooled=slabs,
        pooled_mm=pooled_mm,
        cut_mm=(cut_rows, cut_columns),
        low=sample(slabs, pooled_mm, size[0], size[1], LOW_MM, Pose(0.0, 0.0, 0.0)),
    )


def to_grid(stack: SliceStack, keep_cupping: bool = False) -> HeadGrid:
    """The stack on the network's grid; NotAnalysable when it is no axial, plain head.

    `keep_cupping` is for measuring it.
    """
    of = slabs_of(stack)
    inside_low, warnings = find_plain_head(of.low.numpy(), of.slab_mm, of.hu, of.spacing)
    pose = find_pose(of.low, inside_low, LOW_MM)

    image = sample(of.pooled, of.pooled_mm, GRID_ROWS, GRID_COLUMNS, GRID_MM, pose)
    mask = torch.from_numpy(inside_low.astype(np.float32)) + AIR_HU
    inside = (sample(mask, (LOW_MM, LOW_MM), GRID_ROWS, GRID_COLUMNS, GRID_MM, pose) > AIR_HU + 0.5).numpy()
    image = image + _level(image[torch.from_numpy(inside)])
    if not keep_cupping:
        image = without_cupping(image, inside)
    return HeadGrid(
        image=image,
        inside=inside,
        depth_mm=_depths(inside, of.slab_mm),
        slab_mm=of.slab_mm,
        plane_of_slice=of.plane_of_slice,
        orientation=of.orientation,
        pose=Pose(pose.row_mm - of.cut_mm[0], pose.column_mm - of.cut_mm[1], pose.angle),
        shifted_shape=of.hu.shape,
        spacing=of.spacing,
        shifts=of.shifts,
        warnings=warnings,
    )


def _level(values: torch.Tensor) -> float:
    """What brings the tissue's median to LEVEL_HU; the second look is at what is tissue by the first."""
    level = 0.0
    for _ in range(2):
        tissue = values[(values + level > TISSUE_HU[0]) & (values + level < TISSUE_HU[1])]
        level = float(LEVEL_HU - tissue.median()) if len(tissue) else level
    return level


def _depths(inside: NDArray[np.bool_], slab_mm: NDArray[np.float64]) -> torch.Tensor:
    """(plane,) mm below the topmost plane in which the intracranial space shows."""
    middles = np.cumsum(slab_mm) - slab_mm / 2
    top = np.flatnonzero(inside.sum((1, 2)) > 200)
    highest = middles[top[-1]] if len(top) else middles[-1]
    return torch.from_numpy((highest - middles).astype(np.float32))


def labels_to_source(labels: NDArray[np.uint8], grid: HeadGrid) -> NDArray[np.uint8]:
    """Labels (plane, row, column) of the grid, nearest, on the source stack's own (slice, row, column)."""
    slices, height, width = grid.shifted_shape
    y = (np.arange(height) - (height - 1) / 2) * grid.spacing[0] - grid.pose.row_mm
    x = (np.arange(width) - (width - 1) / 2) * grid.spacing[1] - grid.pose.column_mm
    cos, sin = np.cos(grid.pose.angle), np.sin(grid.pose.angle)
    row = np.rint((cos * y[:, None] - sin * x[None, :]) / GRID_MM + (GRID_ROWS - 1) / 2).astype(np.intp)
    column = np.rint((cos * x[None, :] + sin * y[:, None]) / GRID_MM + (GRID_COLUMNS - 1) / 2).astype(np.intp)
    within = (row >= 0) & (row < GRID_ROWS) & (column >= 0) & (column < GRID_COLUMNS)
    index = np.where(within, row * GRID_COLUMNS + column, 0)
    out = np.zeros((slices, height, width), np.uint8)
    for plane in np.flatnonzero(labels.any((1, 2))):
        drawn = np.where(within, labels[plane].ravel()[index], 0)
        out[grid.plane_of_slice == plane] = drawn
    return np.ascontiguousarray(grid.orientation.undo(unalign(out, grid.shifts))).astype(np.uint8, copy=False)


def triplets(image: torch.Tensor) -> torch.Tensor:
    """(plane, 3, row, column): each plane between its neighbours, the ends repeated."""
    padded = torch.cat([image[:1], image, image[-1:]])
    return torch.stack([padded[:-2], padded[1:-1], padded[2:]], 1)


def features(three: torch.Tensor, depth_mm: torch.Tensor, blind: Sequence[int] = ()) -> torch.Tensor:
    """Network input (n, CHANNELS, row, column) of slice triplets in HU (n, 3, row, column) and their depths (n,).

    Channels: brain window of the three planes, the narrow 20-60 HU window and bone window of the middle one, its
    smoothed left-right difference, and where each pixel is (row, distance from the midline, depth). `blind` names
    channels that are 0 instead, to find out what they bring.
    """
    brain = three.clamp(-10, 100) / 50 - 0.7
    middle = three[:, 1:2]
    narrow = middle.clamp(20, 60) / 20 - 2
    bone = middle.clamp(-500, 1500) / 700
    smooth = nnf.avg_pool2d(middle.clamp(0, 90), 5, 1, 2)
    difference = (smooth - smooth.flip(-1)) / 15
    rows = torch.linspace(-1, 1, three.shape[2], device=three.device)[None, None, :, None].expand_as(middle)
    columns = torch.linspace(-1, 1, three.shape[3], device=three.device).abs()[None, None, None, :].expand_as(middle)
    depth = (depth_mm / HEIGHT_MM - 0.5)[:, None, None, None].expand_as(middle)
    seen = torch.cat([brain, narrow, bone, difference, rows, columns, depth], 1)
    if blind:
        seen[:, list(blind)] = 0
    return seen
