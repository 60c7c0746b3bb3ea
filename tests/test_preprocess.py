"""Stacks of any order, handedness, spacing and tilt reach the network alike, and labels come back where they belong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.findings import NotAnalysable
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.head_grid import (
    CHANNELS,
    GRID_COLUMNS,
    GRID_ROWS,
    HeadGrid,
    features,
    labels_to_source,
    planes_of,
    to_grid,
    triplets,
)
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead, synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType


def stack_from(hu: NDArray[np.float32], spacing: tuple[float, float, float]) -> SliceStack:
    """A standard axial stack around the origin."""
    count, rows, columns = hu.shape
    corner = (-(columns - 1) / 2 * spacing[2], -(rows - 1) / 2 * spacing[1])
    positions = np.array([[corner[0], corner[1], i * spacing[0]] for i in range(count)])
    return SliceStack(
        study_uid="2.25.1",
        series_uid="2.25.2",
        hu=hu,
        sop_uids=tuple(f"2.25.{i}" for i in range(count)),
        frames=(1,) * count,
        positions=positions,
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing=spacing[1:],
    )


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    """A head with a large bleed on one side, at half resolution to be quick."""
    made = synthetic_head(3, HaemorrhageType.INTRAPARENCHYMAL)
    return SyntheticHead(made.hu[:, ::2, ::2].copy(), made.labels[:, ::2, ::2].copy(), (5.0, 0.976, 0.976))


@pytest.fixture(scope="module")
def stack(head: SyntheticHead) -> SliceStack:
    return stack_from(head.hu, head.spacing_mm)


@pytest.fixture(scope="module")
def expected(stack: SliceStack) -> HeadGrid:
    return to_grid(stack)


def flipped(stack: SliceStack, slices: bool, rows: bool, columns: bool, transpose: bool) -> SliceStack:
    """The same anatomy at the same place, stored in another order."""
    hu, positions = stack.hu, stack.positions
    row, column = stack.row_direction, stack.column_direction
    down, across = stack.pixel_spacing
    if slices:
        hu, positions = hu[::-1], positions[::-1]
    if rows:
        hu, positions = hu[:, ::-1], positions + column * down * (hu.shape[1] - 1)
        column = -column
    if columns:
        hu, positions = hu[:, :, ::-1], positions + row * across * (hu.shape[2] - 1)
        row = -row
    if transpose:
        hu, row, column, down, across = hu.transpose(0, 2, 1), column, row, across, down
    if np.cross(row, column) @ (positions[-1] - positions[0]) < 0:
        hu, positions = hu[::-1], positions[::-1]
    return replace(
        stack, hu=hu, positions=positions, row_direction=row, column_direction=column, pixel_spacing=(down, across)
    )


@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_storage_order_does_not_matter(
    stack: SliceStack, expected: HeadGrid, slices: bool, rows: bool, columns: bool, transpose: bool
) -> None:
    other = flipped(stack, slices, rows, columns, transpose)
    assert np.all(np.diff(other.depths_mm) > 0)
    grid = to_grid(other)
    assert torch.allclose(grid.image, expected.image, atol=0.5)
    assert torch.equal(grid.depth_mm, expected.depth_mm)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_labels_come_back_to_their_own_voxels(
    head: SyntheticHead, stack: SliceStack, rows: bool, transpose: bool
) -> None:
    other = flipped(stack, True, rows, True, transpose)
    truth = flipped(replace(stack, hu=head.labels.astype(np.float32)), True, rows, True, transpose).hu > 0
    grid = to_grid(other)
    carried = to_grid(replace(other, hu=np.where(truth, 3000, other.hu).astype(np.float32)))
    labels = (carried.image.numpy() > 1500) & grid.inside
    back = labels_to_source(labels.astype(np.uint8), carried) > 0
    assert back.shape == other.hu.shape
    overlap = 2 * (back & truth).sum() / (back.sum() + truth.sum())
    assert overlap > 0.9


def test_head_is_centred_and_upright(head: SyntheticHead) -> None:
    from scipy import ndimage

    turned = ndimage.rotate(head.hu + 1024, 20, axes=(2, 1), reshape=False, order=1) - 1024
    moved = np.roll(turned, (9, -14), axis=(1, 2)).astype(np.float32)
    straight, crooked = (to_grid(stack_from(h, head.spacing_mm)) for h in (head.hu, moved))
    change = np.rad2deg(abs(crooked.pose.angle - straight.pose.angle))
    assert change == pytest.approx(20, abs=4)
    for grid in (straight, crooked):
        rows, columns = np.nonzero(grid.inside.any(0))
        assert (rows.min() + rows.max()) / 2 == pytest.approx((GRID_ROWS - 1) / 2, abs=4)
        assert (columns.min() + columns.max()) / 2 == pytest.approx((GRID_COLUMNS - 1) / 2, abs=4)


@pytest.mark.parametrize("spacing", [0.625, 1.25, 2.5])
def test_thin_slices_become_planes_of_about_5_mm(head: SyntheticHead, spacing: float) -> None:
    repeats = round(5 / spacing)
    grid = to_grid(stack_from(head.hu.repeat(repeats, axis=0), (spacing, *head.spacing_mm[1:])))
    assert len(grid.image) == len(head.hu)
    assert torch.allclose(grid.image, to_grid(stack_from(head.hu, head.spacing_mm)).image, atol=0.5)
    assert labels_to_source(grid.inside.astype(np.uint8), grid).shape[0] == len(head.hu) * repeats


def test_planes_of_uneven_slices() -> None:
    extents = np.array([4.0, 4, 4, 2.54, 4.04, 7, 7])
    assert planes_of(extents).tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert planes_of(np.full(8, 5.0)).tolist() == list(range(8))
    assert planes_of(np.full(6, 10.0)).tolist() == list(range(6))


def test_another_field_of_view_gives_the_same_head(head: SyntheticHead, stack: SliceStack) -> None:
    wide = np.full((len(head.hu), 400, 330), -1000, np.float32)
    wide[:, 72:328, 37:293] = head.hu
    grid, expected = to_grid(stack_from(wide, head.spacing_mm)), to_grid(stack)
    assert float((grid.image - expected.image).abs()[torch.from_numpy(expected.inside)].mean()) < 6
    assert (grid.inside & expected.inside).sum() > 0.97 * expected.inside.sum()


@pytest.mark.parametrize("what", ["air", "water", "noise", "no skull"])
def test_what_is_no_head_is_refused(head: SyntheticHead, what: str) -> None:
    rng = np.random.default_rng(1)
    images = {
        "air": np.full_like(head.hu, -1000),
        "water": np.where(head.hu > -500, 0, -1000).astype(np.float32),
        "noise": rng.normal(40, 300, head.hu.shape).astype(np.float32),
        "no skull": np.minimum(head.hu, 60),
    }
    with pytest.raises(NotAnalysable, match="No whole head"):
        to_grid(stack_from(images[what], head.spacing_mm))


def test_a_protected_array_with_gaps_is_read(stack: SliceStack, expected: HeadGrid) -> None:
    hu = stack.hu.copy()
    hu[:, :8] = np.nan
    hu.flags.writeable = False
    grid = to_grid(replace(stack, hu=hu))
    assert torch.allclose(grid.image, expected.image, atol=1)


def test_coronal_slices_are_refused(stack: SliceStack) -> None:
    with pytest.raises(NotAnalysable, match="not axial"):
        to_grid(replace(stack, column_direction=np.array([0, 0, -1.0])))


def test_features_are_bounded_and_mirror_the_head(stack: SliceStack) -> None:
    grid = to_grid(stack)
    three = triplets(grid.image)
    assert three.shape == (30, 3, GRID_ROWS, GRID_COLUMNS)
    assert torch.equal(three[0, 0], three[0, 1])
    made = features(three, grid.depth_mm)
    assert made.shape == (30, CHANNELS, GRID_ROWS, GRID_COLUMNS)
    assert float(made.abs().max()) < 10
    mirrored = features(three.flip(-1), grid.depth_mm)
    assert torch.allclose(mirrored[:, 5], -made[:, 5], atol=1e-4)
    assert torch.allclose(mirrored[:, 6:], made[:, 6:].flip(-1), atol=1e-5)
