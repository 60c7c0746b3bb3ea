"""Which slices form a stack, and where something is missing."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from ct_slices import ct_slice, garble
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from inference.input.geometry import (
    SliceGeometry,
    StackShape,
    common_axes,
    orientation_plane,
    slice_geometry,
    stack_shape,
)
from inference.input.stack import read_series

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def series(depths: list[float], numbers: list[int | None] | None = None, thickness: float | None = None) -> StackShape:
    """The shape of an axial series at these depths."""
    named = numbers or [None] * len(depths)
    return stack_shape([SliceGeometry((0.0, 0.0, z), AXIAL, thickness, n) for z, n in zip(depths, named, strict=True)])


def of_folder(folder: Path) -> list[SliceGeometry]:
    """The geometry of every slice in a folder."""
    return [each for ds in read_series(sorted(folder.glob("*.dcm"))) for each in slice_geometry(ds)]


def test_the_tilted_and_uneven_head_has_no_gap(shared: Path) -> None:
    shape = stack_shape(of_folder(shared / "dicom/gantry_tilt_head"))
    assert shape.is_volume and shape.gaps == shape.holes == ()
    assert (shape.slices, shape.plane) == (28, "axial")
    assert shape.spacing_mm == pytest.approx(4.002, abs=1e-3)
    assert shape.coverage_mm == pytest.approx(12 * 4.002 + 4.002 + 1.081 + 13 * 6.999 + (4.002 + 6.999) / 2, abs=0.1)


def test_every_inner_slice_of_the_tilted_head_is_missed(shared: Path) -> None:
    slices = of_folder(shared / "dicom/gantry_tilt_head")
    for left_out in range(1, 27):
        shape = stack_shape(slices[:left_out] + slices[left_out + 1 :])
        assert shape.gaps == (shape.gaps[0],), left_out
        assert f"between images {left_out} and {left_out + 2}" in shape.gaps[0]


@pytest.mark.parametrize(("folder", "where"), [("001", "images 9 and 10"), ("002", "images 3 and 5")])
def test_gaps_in_the_increment_are_found(shared: Path, folder: str, where: str) -> None:
    shape = stack_shape(of_folder(shared / "dicom/geometry/sliceincrement" / folder))
    assert shape.is_volume
    assert len(shape.gaps) == 1 and where in shape.gaps[0]
    assert shape.holes == shape.gaps


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("sliceorientation/001", "different directions"),
        ("notavolume/001", "same position (images 23 and 24)"),
        ("slicecount/001", "only 2 slices"),
    ],
)
def test_what_is_no_stack_says_why(shared: Path, folder: str, words: str) -> None:
    shape = stack_shape(of_folder(shared / "dicom/geometry" / folder))
    assert not shape.is_volume
    assert shape.obstacle and words in shape.obstacle


def test_good_stacks_in_other_planes(shared: Path) -> None:
    good = stack_shape(of_folder(shared / "dicom/geometry/good_mr"))
    assert good.is_volume and good.plane == "sagittal" and good.coverage_mm == pytest.approx(4)
    tilted = stack_shape(of_folder(shared / "dicom/geometry/gantrytilting/001"))
    assert tilted.is_volume and tilted.plane == "axial" and tilted.gaps == ()
    enhanced = stack_shape(of_folder(shared / "dicom/enhanced/001"))
    assert enhanced.is_volume and enhanced.slices == 8 and enhanced.spacing_mm == pytest.approx(1.2, abs=1e-3)


@pytest.mark.parametrize(
    ("depths", "thickness", "expected"),
    [
        ([0, 5, 10, 15, 20], None, 0),
        ([0, 5, 10, 20, 25], None, 1),
        ([0, 10, 15, 20, 25], None, 1),
        ([0, 5, 10, 15, 25], None, 1),
        ([0, 2.5, 5, 10, 15, 20], None, 0),
        ([0, 5, 10, 15, 25], 7, 0),
        ([0, 2.5, 5, 10, 12.5], 5, 0),
        ([0, 5, 12.5, 17.5, 22.5], None, 0),
        ([0, 5, 12.6, 17.6, 22.6], None, 1),
        ([0, 5, 15, 20, 30, 35], None, 2),
    ],
)
def test_distance_rule(depths: list[float], thickness: float | None, expected: int) -> None:
    shape = series(depths, thickness=thickness)
    assert len(shape.gaps) == len(shape.holes) == expected


def test_a_gap_is_named_by_depth_where_images_have_no_number() -> None:
    assert series([0, 5, 10, 20]).gaps == (
        "Slices are missing between the slices at 10.0 mm and 20.0 mm, which are 10.0 mm apart.",
    )


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3, 4, 5], 0),
        ([5, 4, 3, 2, 1], 0),
        ([1, 3, 5, 7, 9], 0),
        ([1, 2, 3, 5, 6], 1),
        ([2, 4, 6, 10, 12], 1),
        ([7, 6, 4, 3, 1], 2),
        ([1, 2, 2, 5, 6], 0),
        ([1, 2, None, 5, 6], 0),
    ],
)
def test_a_missing_number_is_a_gap_but_no_hole_in_even_slices(numbers: list[int | None], expected: int) -> None:
    shape = series([0, 5, 10, 15, 20], numbers)
    assert len(shape.gaps) == expected
    assert shape.holes == ()


def test_a_missing_overlapping_slice_is_a_hole() -> None:
    shape = series([0, 2.5, 5, 10, 12.5], [1, 2, 3, 5, 6], thickness=5)
    assert shape.holes == shape.gaps == ("Slices are missing between images 3 and 5, which are 5.0 mm apart.",)


def test_numbers_in_another_order_than_the_slices() -> None:
    shape = series([0, 5, 10, 15, 20, 25], [1, 4, 2, 5, 3, 7])
    assert shape.gaps == ("Slices are missing between images 5 and 7.",)


def test_nothing_and_little() -> None:
    assert stack_shape([]).obstacle == "The series has no slice with a known position; at least 3 are needed."
    one = series([7.0])
    assert not one.is_volume and one.coverage_mm == 0 and one.spacing_mm is None and one.plane == "axial"
    assert series([0, 5, 10]).coverage_mm == pytest.approx(15)


def test_slices_turned_within_their_plane_are_no_stack() -> None:
    turned = SliceGeometry((0.0, 0.0, 10.0), (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    straight = [SliceGeometry((0.0, 0.0, z), AXIAL) for z in (0.0, 5.0)]
    assert not stack_shape([*straight, turned]).is_volume


def test_rounded_directions_are_one_direction_with_unit_axes() -> None:
    cosines = [(0.99999, 0.001 * i, 0.0, 0.0, 0.9998, 0.002 * i) for i in range(4)]
    slices = [SliceGeometry((0.0, 0.0, 5.0 * i), each) for i, each in enumerate(cosines)]
    axes = common_axes(slices)
    assert axes is not None
    assert np.array(axes) @ np.array(axes).T == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize(
    ("normal", "plane"),
    [
        ((0, 0, -1), "axial"),
        ((0, 0.5, 0.866), "axial"),
        ((0, 1, 0), "coronal"),
        ((-0.99, 0.1, 0.1), "sagittal"),
        ((0, 0.707, 0.707), "oblique"),
    ],
)
def test_planes(normal: tuple[float, float, float], plane: str) -> None:
    assert orientation_plane(normal) == plane


angles = st.floats(-math.pi, math.pi)
distances = st.lists(st.sampled_from([0.7, 1.0, 2.5, 3.0, 5.0, 7.0, 10.0]), min_size=3, max_size=40)


@given(distances=distances, turn=st.tuples(angles, angles, angles), seed=st.integers(0, 1000))
def test_moving_turning_and_shuffling_change_nothing(
    distances: list[float], turn: tuple[float, float, float], seed: int
) -> None:
    depths = [0.0, *np.cumsum(distances).tolist()]
    order = random.Random(seed)
    numbers = order.sample(range(len(depths) + 3), len(depths))
    straight = series(depths, list(numbers), thickness=2.5)
    rotation = rotation_matrix(*turn)
    orientation = tuple(np.concatenate([rotation[:, 0], rotation[:, 1]]).tolist())
    moved = []
    for depth, number in zip(depths, numbers, strict=True):
        x, y, z = (rotation @ [3.0, 4.0, depth] + [100, -50, 20]).tolist()
        moved.append(SliceGeometry((x, y, z), orientation, 2.5, number))
    order.shuffle(moved)
    shape = stack_shape(moved)
    assert shape.is_volume
    assert (shape.gaps, shape.holes) == (straight.gaps, straight.holes)
    assert shape.coverage_mm == pytest.approx(straight.coverage_mm, abs=1e-6)
    assert shape.spacing_mm == pytest.approx(straight.spacing_mm, abs=1e-6)


def rotation_matrix(a: float, b: float, c: float) -> np.ndarray:
    """Turns about z, y and x, radians."""
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(c), -math.sin(c)], [0, math.sin(c), math.cos(c)]])
    return np.asarray(about_z @ about_y @ about_x)


def test_the_geometry_of_one_slice() -> None:
    assert slice_geometry(ct_slice(2)) == (SliceGeometry((-10.0, -20.0, 10.0), AXIAL, 5.0, 3),)
    bare = ct_slice(2, SliceThickness="", InstanceNumber="")
    assert slice_geometry(bare) == (SliceGeometry((-10.0, -20.0, 10.0), AXIAL, None, None),)


def test_frames_have_their_own_positions_and_no_number(shared: Path) -> None:
    geometries = of_folder(shared / "dicom/enhanced/001")
    assert len({each.position for each in geometries}) == 8
    assert {each.slice_thickness_mm for each in geometries} == {1.2}
    assert {each.instance_number for each in geometries} == {None}


def test_objects_that_are_no_slice_have_no_geometry(shared: Path) -> None:
    assert slice_geometry(Dataset()) == ()
    assert of_folder(shared / "dicom/syntaxes")[0].position == (-161.399994, -148.800003, 4.7)
    for name in ("no-pixel-data.dcm", "no-pixel-spacing.dcm"):
        assert slice_geometry(read_series([shared / "dicom/syntaxes" / name])[0]) == ()
    assert slice_geometry(ct_slice(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])) == ()
    assert slice_geometry(ct_slice(0, NumberOfFrames=5)) == ()


@pytest.mark.parametrize(
    ("keyword", "written"),
    [
        ("ImagePositionPatient", b""),
        ("ImagePositionPatient", b"nan\\0\\0 "),
        ("ImagePositionPatient", b"0\\0 "),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1 "),
        ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0 "),
        ("ImageOrientationPatient", b"1\\0\\0\\1\\0\\0 "),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\2\\0 "),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_garbled_geometry_is_none(keyword: str, written: bytes) -> None:
    assert slice_geometry(garble(ct_slice(0), keyword, "DS", written)) == ()
