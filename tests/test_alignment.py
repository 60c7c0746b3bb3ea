"""Images reconstructed around another centre are shifted back by their positions, and labels return to each of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_preprocess import flipped, stack_from

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.alignment import in_plane_shifts
from inference.pipelines.haemorrhage.head_grid import HeadGrid, labels_to_source, to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType

PIXEL_MM = 0.976


@pytest.fixture(scope="module")
def stack() -> SliceStack:
    """A head with a large bleed, at half resolution to be quick, with room around it."""
    made = synthetic_head(3, HaemorrhageType.INTRAPARENCHYMAL)
    hu = np.pad(made.hu[:, ::2, ::2], ((0, 0), (40, 40), (40, 40)), constant_values=-1000)
    return stack_from(hu, (5.0, PIXEL_MM, PIXEL_MM))


@pytest.fixture(scope="module")
def straight(stack: SliceStack) -> HeadGrid:
    """The head on the grid as it was scanned."""
    return to_grid(stack)


def jumped(stack: SliceStack, which: slice, rows: int, columns: int) -> SliceStack:
    """Some images reconstructed around another centre; positions say so."""
    hu, positions = stack.hu.copy(), stack.positions.copy()
    hu[which] = np.roll(hu[which], (-rows, -columns), (1, 2))
    down, across = stack.pixel_spacing
    positions[which] += rows * down * stack.column_direction + columns * across * stack.row_direction
    return replace(stack, hu=hu, positions=positions)


def same_head(grid: HeadGrid, expected: HeadGrid) -> bool:
    """Whether two grids show the same head at the same place, but for what half a pixel of centring does."""
    difference = (grid.image - expected.image).abs()[torch.from_numpy(expected.inside)]
    return bool(difference.mean() < 6) and (grid.inside & expected.inside).sum() > 0.97 * expected.inside.sum()


def labels_of(grid: HeadGrid) -> NDArray[np.uint8]:
    """The intracranial space, drawn on the grid and brought back to the source's slices."""
    return labels_to_source(grid.inside.astype(np.uint8), grid)


@pytest.mark.parametrize(
    ("mm", "down", "across", "upper"),
    [
        (5, 0, 1, True),
        (5, 1, 0, False),
        (15, -1, 0, True),
        (15, 0, -1, False),
        (29, 1, -1, True),
        (29, -1, 0, False),
        (29, 0, 1, True),
    ],
)
def test_a_block_that_lies_elsewhere(
    stack: SliceStack, straight: HeadGrid, mm: int, down: int, across: int, upper: bool
) -> None:
    pixels, half = round(mm / PIXEL_MM), len(stack.hu) // 2
    which = slice(half, None) if upper else slice(None, half)
    grid = to_grid(jumped(stack, which, down * pixels, across * pixels))
    assert same_head(grid, straight)
    labels, expected = labels_of(grid), labels_of(straight)
    labels[which] = np.roll(labels[which], (down * pixels, across * pixels), (1, 2))
    assert labels.shape == expected.shape
    assert 2 * (labels & expected).sum() > 0.98 * (labels.sum() + expected.sum())


@pytest.mark.parametrize(
    ("slices", "rows", "columns", "transpose"), [(True, False, True, False), (False, True, False, True)]
)
def test_whatever_order_the_images_are_stored_in(
    stack: SliceStack, straight: HeadGrid, slices: bool, rows: bool, columns: bool, transpose: bool
) -> None:
    other = flipped(jumped(stack, slice(12, None), 9, -14), slices, rows, columns, transpose)
    grid = to_grid(other)
    assert same_head(grid, straight)
    back = labels_of(grid)
    assert back.shape == other.hu.shape
    assert np.median(other.hu[back > 0]) == pytest.approx(np.median(stack.hu[labels_of(straight) > 0]), abs=1)


@pytest.mark.parametrize("which", [slice(9, 10), slice(8, 14)])
def test_single_slices_and_blocks_in_between(stack: SliceStack, straight: HeadGrid, which: slice) -> None:
    assert same_head(to_grid(jumped(stack, which, 0, 20)), straight)


@pytest.mark.parametrize("mm", [0.2, 0.5, 0.9])
def test_a_fraction_of_a_pixel_changes_nothing(stack: SliceStack, mm: float) -> None:
    positions = stack.positions.copy()
    positions[10:, 0] += mm
    other = replace(stack, positions=positions)
    assert not in_plane_shifts(other).any()


@pytest.mark.parametrize("tilt", [-0.5, 0.2, 0.36])
def test_a_tilted_gantry_stays_sheared(stack: SliceStack, tilt: float) -> None:
    sheared = stack.positions + tilt * stack.depths_mm[:, None] * stack.column_direction
    tilted = replace(stack, positions=sheared)
    assert not in_plane_shifts(tilted).any()
    shifts = in_plane_shifts(jumped(tilted, slice(14, None), 12, -12))
    assert (shifts[14:] - shifts[0] == (12, -12)).all() and not (shifts[:14] - shifts[0]).any()


def test_positions_that_cannot_be_true_are_not_believed(stack: SliceStack) -> None:
    positions = stack.positions.copy()
    positions[7, 0] += 10_000
    assert not in_plane_shifts(replace(stack, positions=positions)).any()
