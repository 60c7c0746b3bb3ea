"""However a head lies in its slices, the same pose is found relative to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.pose import Pose, find_pose, sample
from inference.training.datasets.ct_ich import open_ct_ich, stack_of

WITHIN_DEG = 4.0
TURNED = (127, 86, 92, 120)  # heads that were scanned turned, by up to 48 degrees
BLEEDING = (81, 75, 51)  # large bleeds on one side


def halved(stack: SliceStack) -> SliceStack:
    """The stack on pixels of twice the size, to be quick."""
    down, across = stack.pixel_spacing
    return replace(
        stack, hu=np.ascontiguousarray(stack.hu[:, ::2, ::2], np.float32), pixel_spacing=(2 * down, 2 * across)
    )


def turned(stack: SliceStack, degrees: float) -> SliceStack:
    """The head turned about the slices' normal."""
    hu = ndimage.rotate(stack.hu + 1024, degrees, axes=(2, 1), reshape=False, order=1) - 1024
    return replace(stack, hu=np.ascontiguousarray(hu, np.float32))


def angle_of(stack: SliceStack) -> float:
    return float(np.rad2deg(to_grid(stack).pose.angle))


@pytest.mark.parametrize("patient", [*TURNED, *BLEEDING, 54])
def test_a_turned_head_is_turned_back(shared: Path, patient: int) -> None:
    """From -30 to 30 degrees; a head that was scanned turned already is tried the other way."""
    stack = halved(stack_of(open_ct_ich(shared / "ct_ich").patient(patient).hu))
    own = angle_of(stack)
    for degrees in (-30.0, -12.0, 17.0, 30.0):
        by = np.sign(own) * abs(degrees) if abs(own) > 20 else degrees
        assert abs(angle_of(turned(stack, by)) - (own - by)) <= WITHIN_DEG


@pytest.mark.parametrize("patient", [54, 81])
@pytest.mark.parametrize("how", ["fine pixels", "oblong pixels", "thin slices"])
def test_resampled_heads_have_the_same_pose(shared: Path, patient: int, how: str) -> None:
    stack = halved(stack_of(open_ct_ich(shared / "ct_ich").patient(patient).hu))
    zoom = {"fine pixels": (1, 1.4, 1.4), "oblong pixels": (1, 1, 0.7), "thin slices": (2.5, 1, 1)}[how]
    hu = np.ascontiguousarray(ndimage.zoom(stack.hu, zoom, order=1, grid_mode=True, mode="nearest"), np.float32)
    other = stack_of(hu, slice_mm=5.0 * len(stack.hu) / len(hu))
    down, across = (
        size * before / after
        for size, before, after in zip(stack.pixel_spacing, stack.hu.shape[1:], hu.shape[1:], strict=True)
    )
    corner = (-(hu.shape[2] - 1) / 2 * across, -(hu.shape[1] - 1) / 2 * down)
    positions = other.positions.copy()
    positions[:, :2] = corner
    first, second = to_grid(stack).pose, to_grid(replace(other, pixel_spacing=(down, across), positions=positions)).pose
    assert abs(np.rad2deg(second.angle - first.angle)) <= WITHIN_DEG
    assert abs(second.row_mm - first.row_mm) <= 3 and abs(second.column_mm - first.column_mm) <= 3


def test_an_end_of_the_search_is_no_minimum() -> None:
    """An egg that is upright, beside a beam that makes it look more symmetrical the more it is turned."""
    y, x = np.mgrid[-60:60, -60:60] * 2.0
    egg = (x / 65) ** 2 + (y / np.where(y < 0, 95, 75)) ** 2 < 1
    bone = ndimage.binary_dilation(egg, iterations=3) & ~egg
    low = np.repeat(np.where(egg, 35.0, np.where(bone, 900.0, -1000.0))[None], 8, 0).astype(np.float32)
    low[:, 40:80, 100:] = 400
    pose = find_pose(torch.from_numpy(low), np.repeat(egg[None], 8, 0), 2.0)
    assert abs(np.rad2deg(pose.angle)) <= WITHIN_DEG


def test_sampling_at_a_pose_brings_the_head_upright() -> None:
    image = torch.full((1, 80, 80), -1024.0)
    image[0, 50, 30] = 0.0
    pose = Pose(row_mm=10.5 * 2, column_mm=-9.5 * 2, angle=0.0)
    assert float(sample(image, (2.0, 2.0), 21, 21, 2.0, pose)[0, 10, 10]) == pytest.approx(0.0, abs=1)
