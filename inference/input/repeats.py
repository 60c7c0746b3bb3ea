"""Images that lie at the same place -> one whole set of them, and the others set aside, from their headers.

Two kernels, a repeated scan, several phases or a picture of a slice in one series: what tells the images apart parts
them, coarse things first, and only what is a whole gap-free stack by itself may be chosen (`one_at_each_place`). Of
several the first by `preference` is taken: axial CT without contrast agent, soft kernel, about 5 mm, original, the
first acquisition.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from pydicom.dataset import Dataset

from inference.input.candidates import Candidate, Left
from inference.input.elements import integer, number, text, texts
from inference.input.geometry import SAME_POSITION_MM, StackShape, common_axes, depth_of, stack_shape
from inference.input.kernels import sharpness_of
from inference.input.set_aside import Unfit

ENOUGH_MM = 120.0  # what covers this much may be a whole head
NEARLY_ALL = 0.9
FURTHEST_NEIGHBOUR_MM = 12.0
MOST_AT_ONE_PLACE = 6  # more is a scan over time, as in perfusion
PROJECTIONS = {"MIP", "MINIP", "MIN IP", "VRT", "3D", "VOLREN", "PROJECTION IMAGE", "CSA 3D EDITOR"}
USUAL_KV = 120.0

Content = Callable[[int], bytes | None]
Told = Callable[[Candidate], Hashable]

# What tells images at the same place apart, in the order in which it is tried, and how it is said.
_DIFFERENCES: dict[Unfit, Callable[[Dataset], tuple[str, ...]]] = {
    Unfit.KIND: lambda ds: texts(ds, "ImageType") or texts(ds, "SOPClassUID"),
    Unfit.SERIES: lambda ds: (text(ds, "SeriesDescription") or text(ds, "SeriesNumber"),),
    Unfit.CONTRAST: lambda ds: texts(ds, "ContrastBolusAgent"),
    Unfit.KERNEL: lambda ds: texts(ds, "ConvolutionKernel"),
    Unfit.FIELD: lambda ds: texts(ds, "ReconstructionDiameter"),
    Unfit.THICKNESS: lambda ds: texts(ds, "SliceThickness"),
    Unfit.ENERGY: lambda ds: texts(ds, "KVP"),
    Unfit.ACQUISITION: lambda ds: texts(ds, "AcquisitionNumber"),
    Unfit.TIME: lambda ds: (text(ds, "AcquisitionDateTime") or text(ds, "AcquisitionTime") or text(ds, "ContentTime"),),
}


def covered_mm(slices: Sequence[Candidate]) -> float:
    """How much of the normal the slices cover without holes; 0 without one common direction."""
    return sum(each for each in _distances(slices) if each <= FURTHEST_NEIGHBOUR_MM)


def is_repeated(slices: Sequence[Candidate]) -> bool:
    """Whether two of the slices lie at the same place."""
    return any(each < SAME_POSITION_MM for each in _distances(slices))


def is_whole(shape: StackShape, covered: float, wanted: float) -> bool:
    """Whether this is a gap-free stack that covers nearly all that is wanted, or enough for a head."""
    return shape.is_volume and not shape.holes and covered >= NEARLY_ALL * min(wanted, ENOUGH_MM)


def is_other_plane(shape: StackShape) -> bool:
    """Whether the slices are not axial."""
    return shape.plane != "axial"


def without_copies(slices: Sequence[Candidate], content: Content) -> tuple[list[Candidate], list[Left]]:
    """Each image once: of those at the same place that hold the same pixels the first in number and time stays."""
    kept: list[Candidate] = []
    left: list[Left] = []
    if not is_repeated(slices):
        return list(slices), []
    for place in _places(slices):
        different: list[Candidate] = []
        for each in sorted(place, key=lambda one: (_in_order(one), _time(one), one.sop_uid)):
            if any(_is_copy(each, other, content) for other in different):
                left.append(each.left(Unfit.COPY))
            else:
                different.append(each)
        kept += different
    return kept, left


def one_at_each_place(slices: Sequence[Candidate]) -> tuple[list[Candidate], list[Left]]:
    """The best whole set of the slices, and the others; all of them where no set is whole, or there are too many."""
    if not is_repeated(slices) or median(map(len, _places(slices))) > MOST_AT_ONE_PLACE:
        return list(slices), []
    found = _whole_sets(slices, tuple(_DIFFERENCES), covered_mm(slices))
    if not found:
        return list(slices), []
    chosen = min(found, key=preference)
    return chosen, [_as_other(each, chosen) for each in slices if each not in chosen]


def preference(slices: Sequence[Candidate]) -> tuple[Any, ...]:
    """What is analysed rather: the lowest. The last places only make sure that two sets never are alike."""
    one = min(slices, key=_in_order)
    ds, shape = one.header, stack_shape([each.geometry for each in slices])
    spacing, kind = shape.spacing_mm or 0.0, [each.upper() for each in texts(ds, "ImageType")]
    return (
        text(ds, "Modality") != "CT",
        is_other_plane(shape),
        bool(PROJECTIONS & set(kind)),
        bool(text(ds, "ContrastBolusAgent")),
        sharpness_of(text(ds, "ConvolutionKernel")),
        0 if 2.5 <= spacing < 8 else 1 if spacing < 2.5 else 2,
        kind[:1] != ["ORIGINAL"],
        abs((number(ds, "KVP") or USUAL_KV) - USUAL_KV),
        integer(ds, "AcquisitionNumber") or 0,
        _time(one),
        -len(slices),
        _in_order(one),
        [say(ds) for say in _DIFFERENCES.values()],
    )


def _whole_sets(slices: Sequence[Candidate], keys: tuple[Unfit, ...], wanted: float) -> list[list[Candidate]]:
    """Every whole stack among the slices that parting them by some of these differences gives."""
    shape = stack_shape([each.geometry for each in slices])
    if is_whole(shape, covered_mm(slices), wanted):
        return [list(slices)]
    if not is_repeated(slices):
        return []
    found: list[list[Candidate]] = []
    for i, key in enumerate(keys):
        parts = parted(slices, lambda each, key=key: _DIFFERENCES[key](each.header))  # type: ignore[misc]
        if len(parts) > 1:
            found += [each for part in parts for each in _whole_sets(part, keys[i + 1 :], wanted)]
    if found:
        return found
    return [
        run for run in _runs(slices) if is_whole(stack_shape([each.geometry for each in run]), covered_mm(run), wanted)
    ]


def parted(slices: Sequence[Candidate], told: Told) -> list[list[Candidate]]:
    """The slices in groups that are told alike."""
    groups: dict[Hashable, list[Candidate]] = {}
    for each in slices:
        groups.setdefault(told(each), []).append(each)
    return list(groups.values())


def _runs(slices: Sequence[Candidate]) -> list[list[Candidate]]:
    """By their numbers, or by their times: one phase after the other, or one image of each phase at every place."""
    found: list[list[Candidate]] = []
    for told in (_number, _time):
        order = {each: told(each) for each in slices}
        if "" in order.values() or None in order.values():
            continue
        in_turn = [sorted(place, key=order.__getitem__) for place in _places(slices)]
        distinct = all(len({order[each] for each in place}) == len(place) for place in in_turn)
        if distinct and len({len(place) for place in in_turn}) == 1:
            found += [list(layer) for layer in zip(*in_turn, strict=True)]
        if len(set(order.values())) == len(slices):
            found += _one_way(sorted(slices, key=order.__getitem__), _depths(slices))
    return found


def _one_way(ordered: Sequence[Candidate], depths: dict[Candidate, float]) -> list[list[Candidate]]:
    """Parts of a sequence that go on in the direction in which most of it goes."""
    steps = [depths[b] - depths[a] for a, b in pairwise(ordered)]
    upwards = sum(step > 0 for step in steps) >= len(steps) / 2
    runs = [[ordered[0]]]
    for step, each in zip(steps, ordered[1:], strict=True):
        if abs(step) >= SAME_POSITION_MM and (step > 0) is upwards:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def _number(one: Candidate) -> Any:
    return integer(one.header, "InstanceNumber")


def _time(one: Candidate) -> Any:
    return _DIFFERENCES[Unfit.TIME](one.header)[0]


def _places(slices: Sequence[Candidate]) -> list[list[Candidate]]:
    """The slices that share one place, place by place along the normal."""
    depth = _depths(slices)
    places: list[list[Candidate]] = []
    last = None
    for each in sorted(slices, key=lambda one: depth[one]):
        if last is None or depth[each] - last >= SAME_POSITION_MM:
            places.append([])
        places[-1].append(each)
        last = depth[each]
    return places


def _depths(slices: Sequence[Candidate]) -> dict[Candidate, float]:
    axes = common_axes([each.geometry for each in slices])
    if axes is None:
        return {}
    return {each: depth_of(each.geometry, axes[2]) for each in slices}


def _distances(slices: Sequence[Candidate]) -> list[float]:
    return [b - a for a, b in pairwise(sorted(_depths(slices).values()))]


def _in_order(one: Candidate) -> tuple[int, int]:
    return integer(one.header, "InstanceNumber") or 0, one.frame


def _is_copy(one: Candidate, other: Candidate, content: Content) -> bool:
    if one.of_several or other.of_several or one.geometry.position != other.geometry.position:
        return False
    if any(say(one.header) != say(other.header) for key, say in _DIFFERENCES.items() if key is not Unfit.TIME):
        return False
    pixels = content(one.instance)
    return pixels is not None and pixels == content(other.instance)


def _as_other(one: Candidate, chosen: Sequence[Candidate]) -> Left:
    """Set aside for the first thing that none of the chosen has in common with it."""
    for key, say in _DIFFERENCES.items():
        if say(one.header) not in {say(each.header) for each in chosen}:
            return one.left(key, "\\".join(say(one.header)))
    return one.left(Unfit.REPEATED)
