"""Where slices lie and whether they form one stack, from positions and orientations alone (PS3.3 C.7.6.2).

Comes in: a data set, or what the database keeps of it. Goes out: plain numbers and sentences, no arrays; quick enough
to run on every sweep. Slice Thickness may be empty (Type 2), so every distance is computed from positions. What reads
data sets is imported where one comes in: the tables keep geometry without it.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_high
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector: TypeAlias = tuple[float, float, float]
Orientation: TypeAlias = tuple[float, float, float, float, float, float]
Value = TypeVar("Value")
Plane: TypeAlias = Literal["axial", "coronal", "sagittal", "oblique"]

FEWEST_SLICES = 3
SAME_DIRECTION_COSINE = math.cos(math.radians(1))
SAME_POSITION_MM = 0.05
SLICES_PER_STRANGER = 10
GAP_RATIO = 1.5
# A missing number leaves no space where the slices on its both sides are about as close as their neighbours.
HOLE_RATIO = 1.2
ROUNDING_MM = 0.01
# A head tilted by up to 35 degrees is still read as axial.
PLANE_COSINE = math.cos(math.radians(35))


@dataclass(frozen=True, slots=True)
class SliceGeometry:
    """One slice: LPS mm of its first pixel's centre, and the direction cosines of a row and of a column."""

    position: Vector
    orientation: Orientation
    slice_thickness_mm: float | None = None
    instance_number: int | None = None


@dataclass(frozen=True, slots=True)
class StackShape:
    """What the slices form together.

    `coverage_mm` runs along the normal from the lower edge of the first slice to the upper edge of the last;
    `spacing_mm` is the median distance of neighbours. `obstacle` is the sentence why the slices are no stack, or None.
    `gaps` are sentences on what is missing by number or by distance; `holes` are those of them that leave space without
    a slice (a number may be missing because that image was something else); `below_holes` counts the slices along the
    normal and names the one below each hole. Without one common direction `normal` is None and the lengths are 0.
    """

    slices: int
    coverage_mm: float
    spacing_mm: float | None
    normal: Vector | None
    obstacle: str | None
    gaps: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    below_holes: tuple[int, ...] = ()

    @property
    def is_volume(self) -> bool:
        """At least three slices, one orientation, no position twice; there may be gaps."""
        return self.obstacle is None

    @property
    def plane(self) -> Plane | None:
        """The plane of the slices, None where they have no common one."""
        return orientation_plane(self.normal) if self.normal else None


def slice_geometry(ds: "Dataset") -> tuple[SliceGeometry, ...]:
    """The geometry of every frame.

    Empty for an object that is no slice: a report, a localizer, an image whose position or orientation is absent or
    garbled. The frames of a multi-frame image have no number of their own.
    """
    from inference.input.elements import frame_macros, integer, number, numbers

    if is_localizer(ds):
        return ()
    positions = frame_macros(ds, "PlanePositionSequence")
    orientations = frame_macros(ds, "PlaneOrientationSequence")
    measures = frame_macros(ds, "PixelMeasuresSequence")
    if not len(positions) == len(orientations) == len(measures):
        return ()
    instance_number = integer(ds, "InstanceNumber") if len(positions) == 1 else None
    result = []
    for place, direction, measure in zip(positions, orientations, measures, strict=True):
        position = numbers(place, "ImagePositionPatient", 3)
        orientation = numbers(direction, "ImageOrientationPatient", 6)
        if position is None or orientation is None or not _is_orthonormal(orientation):
            return ()
        thickness = number(measure, "SliceThickness")
        x, y, z = position
        a, b, c, d, e, f = orientation
        known = thickness if thickness is not None and thickness > 0 else None
        result.append(SliceGeometry((x, y, z), (a, b, c, d, e, f), known, instance_number))
    return tuple(result)


def is_localizer(ds: "Dataset") -> bool:
    """Whether Image Type says that this is a scout (PS3.3 C.8.2.1.1.1)."""
    from inference.input.elements import texts

    return any("LOCALIZER" in each.upper() for each in texts(ds, "ImageType"))


def stack_shape(slices: Sequence[SliceGeometry]) -> StackShape:
    """Measure the slices of a series, in any order."""
    axes = common_axes(slices)
    if axes is None:
        words = "The images of this series lie in different directions and form no single stack."
        return StackShape(len(slices), 0.0, None, None, words if slices else _too_few(0))
    normal = axes[2]
    ordered = sorted(((depth_of(each, normal), each) for each in slices), key=lambda pair: pair[0])
    depths = [depth for depth, _ in ordered]
    distances = [b - a for a, b in pairwise(depths)]
    apart = [each for each in distances if each > SAME_POSITION_MM]
    spacing = median_high(apart) if apart else None
    ends = (apart[0] + apart[-1]) / 2 if apart else 0.0
    coverage = depths[-1] - depths[0] + ends
    in_order = [each for _, each in ordered]
    obstacle = _repeated(in_order, distances) or (_too_few(len(slices)) if len(slices) < FEWEST_SLICES else None)
    gaps, below_holes = ((), {}) if obstacle else _gaps(in_order, depths)
    holes, below = tuple(below_holes.values()), tuple(below_holes)
    return StackShape(len(slices), coverage, spacing, normal, obstacle, gaps, holes, below)


def arriving_shape(slices: Sequence[SliceGeometry]) -> StackShape:
    """The shape of most slices, with a single one at each place.

    A few that lie in another direction or at the place of another one are passed over. More of them stay an obstacle:
    what is there may be a part of a second set.
    """
    directions = grouped([each.orientation for each in slices], is_same_direction)
    most = [each for each, direction in zip(slices, directions, strict=True) if direction == 0]
    axes = common_axes(most)
    if axes is None:
        return stack_shape(slices)
    ordered = sorted(most, key=lambda each: (depth_of(each, axes[2]), each.instance_number or 0))
    single = ordered[:1]
    for each in ordered[1:]:
        if depth_of(each, axes[2]) - depth_of(single[-1], axes[2]) >= SAME_POSITION_MM:
            single.append(each)
    strangers = len(slices) - len(single)
    return stack_shape(slices if strangers * SLICES_PER_STRANGER > len(single) else single)


def share_an_identifier(versions: Sequence[Sequence[SliceGeometry]]) -> int:
    """How many different images came under one SOP Instance UID, 1 where all are one image, corrected and sent again.

    A corrected image keeps its Instance Number or its position; where two versions have neither in common, or three and
    more lie in three places, they are different images of a careless sender.
    """
    single = [frames[0] for frames in versions if len(frames) == 1]
    places: list[SliceGeometry] = []
    for each in single:
        if all(math.dist(each.position, other.position) > SAME_POSITION_MM for other in places):
            places.append(each)
    numbers = {each.instance_number for each in places}
    one_number = len(numbers) == 1 and None not in numbers
    return 1 if one_number and len(places) < 3 else max(1, len(places))


def common_axes(slices: Sequence[SliceGeometry]) -> tuple[Vector, Vector, Vector] | None:
    """The row direction, column direction and normal that all slices share within one degree, as unit vectors."""
    different = {each.orientation for each in slices}
    if not different:
        return None
    middle = [median_high(each[i] for each in different) for i in range(6)]
    if not _is_orthonormal(middle):
        return None
    row = _unit((middle[0], middle[1], middle[2]))
    down = (middle[3], middle[4], middle[5])
    along = _dot(row, down)
    column = _unit((down[0] - along * row[0], down[1] - along * row[1], down[2] - along * row[2]))
    for each in different:
        if min(_dot(_unit(each[:3]), row), _dot(_unit(each[3:]), column)) < SAME_DIRECTION_COSINE:
            return None
    return row, column, _cross(row, column)


def grouped(values: Sequence[Value], alike: Callable[[Value, Value], bool]) -> list[int]:
    """The number of each value's group, in any order of the values: groups gather around the most frequent ones."""
    counts = Counter(values)
    seeds: list[Value] = []
    group: dict[Value, int] = {}
    for each in sorted(counts, key=lambda value: (-counts[value], repr(value))):
        found = next((number for number, seed in enumerate(seeds) if alike(seed, each)), len(seeds))
        if found == len(seeds):
            seeds.append(each)
        group[each] = found
    return [group[each] for each in values]


def is_same_direction(one: Orientation, other: Orientation) -> bool:
    """Whether two slices of these orientations may be of one stack."""
    return all(_dot(_unit(one[i : i + 3]), _unit(other[i : i + 3])) >= SAME_DIRECTION_COSINE for i in (0, 3))


def depth_of(one: SliceGeometry, normal: Vector) -> float:
    """Where a slice lies along the normal, mm."""
    return _dot(one.position, normal)


def orientation_plane(normal: Sequence[float]) -> Plane:
    """The anatomical plane of slices with this normal, for any tilt that a head CT has."""
    largest = max(range(3), key=lambda axis: abs(normal[axis]))
    if abs(normal[largest]) < PLANE_COSINE:
        return "oblique"
    planes: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")
    return planes[largest]


def _gaps(slices: Sequence[SliceGeometry], depths: Sequence[float]) -> tuple[tuple[str, ...], dict[int, str]]:
    """All gaps, and by the place of the slice below those that are holes; the slices are ordered by their depths."""
    distances = [b - a for a, b in pairwise(depths)]
    jumps = _number_jumps([each.instance_number for each in slices])
    gaps: list[str] = []
    holes: dict[int, str] = {}
    for i, distance in enumerate(distances):
        below, above = slices[i], slices[i + 1]
        around = distances[max(i - 1, 0) : i] + distances[i + 1 : i + 2]
        ordinary = max(below.slice_thickness_mm or 0.0, above.slice_thickness_mm or 0.0, *around)
        too_far = distance > GAP_RATIO * ordinary + ROUNDING_MM
        ends = sorted((below.instance_number or 0, above.instance_number or 0))
        jump = (ends[0], ends[1])
        if not (too_far or jump in jumps):
            continue
        where = f"{_between(below, above, depths[i], depths[i + 1])}, which are {distance:.1f} mm apart"
        gaps.append(f"Slices are missing between {where}.")
        if too_far or distance > HOLE_RATIO * min(around) + ROUNDING_MM:
            holes[i] = gaps[-1]
        jumps.discard(jump)
    gaps += [f"Slices are missing between images {lower} and {upper}." for lower, upper in sorted(jumps)]
    return tuple(gaps), holes


def _number_jumps(instance_numbers: Sequence[int | None]) -> set[tuple[int, int]]:
    """Neighbouring Instance Numbers that are further apart than most; none where a number is absent or repeated."""
    known = sorted(each for each in instance_numbers if each is not None)
    if len(known) < len(instance_numbers) or len(set(known)) < len(known):
        return set()
    steps = Counter(b - a for a, b in pairwise(known))
    usual = min(steps, key=lambda step: (-steps[step], step))
    return {(a, b) for a, b in pairwise(known) if b - a > usual}


def _repeated(slices: Sequence[SliceGeometry], distances: Sequence[float]) -> str | None:
    for i, distance in enumerate(distances):
        if distance < SAME_POSITION_MM:
            below, above = slices[i].instance_number, slices[i + 1].instance_number
            which = f" (images {min(below, above)} and {max(below, above)})" if below and above else ""
            return (
                f"Two images of this series lie at the same position{which}, as in a repeated scan or several phases."
            )
    return None


def _too_few(count: int) -> str:
    found = {0: "no slice", 1: "only 1 slice"}.get(count, f"only {count} slices")
    return f"The series has {found} with a known position; at least {FEWEST_SLICES} are needed."


def _between(below: SliceGeometry, above: SliceGeometry, depth_below: float, depth_above: float) -> str:
    first, second = below.instance_number, above.instance_number
    if first is None or second is None or first == second:
        return f"the slices at {depth_below:.1f} mm and {depth_above:.1f} mm"
    return f"images {min(first, second)} and {max(first, second)}"


def _is_orthonormal(orientation: Sequence[float]) -> bool:
    row, column = orientation[:3], orientation[3:]
    lengths = (_dot(row, row), _dot(column, column))
    return all(abs(each - 1) < 0.02 for each in lengths) and abs(_dot(row, column)) < 0.02


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _unit(a: Sequence[float]) -> Vector:
    length = math.sqrt(_dot(a, a))
    return (a[0] / length, a[1] / length, a[2] / length)
