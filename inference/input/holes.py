"""Holes that images which are set aside leave in a stack: which are let pass, and how the others are explained."""

from collections.abc import Sequence
from dataclasses import replace

from inference.input.candidates import Candidate, Left
from inference.input.geometry import (
    FEWEST_SLICES,
    SAME_POSITION_MM,
    SliceGeometry,
    StackShape,
    Vector,
    depth_of,
    stack_shape,
)
from inference.input.set_aside import SetAside, Unfit, say_damaged, say_why

WIDEST_GAP_MM = 10.5  # one slice of 5 mm
FEWEST_SLICES_PER_GAP = 10
# A damaged file may be sent again whole: the hole that it leaves stays one. So does one that a foreign image leaves.
PASSABLE = frozenset(
    {Unfit.BLANK, Unfit.UNITS, Unfit.SIZE, Unfit.SPACING, Unfit.UNNAMED, Unfit.NO_POSITION, Unfit.NO_SPACING}
)
# Only these can be a slice that is missing.
LOST = PASSABLE | {Unfit.DAMAGED, Unfit.NO_IMAGE, Unfit.COLOUR, Unfit.MODALITY, Unfit.DIRECTION}
# What may have been slices, so that the stack is only a part where there are many of them.
PERHAPS_SLICES = frozenset({Unfit.DAMAGED, Unfit.UNNAMED, Unfit.NO_POSITION, Unfit.NO_SPACING, Unfit.UNITS})
FEWEST_SLICES_PER_LOST = 10


def let_pass(shape: StackShape, slices: Sequence[Candidate], left: Sequence[Left]) -> StackShape:
    """The shape without the holes in which an image lies that is of no use, where they are narrow and few."""
    if shape.normal is None or not shape.holes:
        return shape
    ordered = _in_order(slices, shape.normal)
    useless = [each for each in left if each.image.reason in PASSABLE]
    passed = {
        below
        for below in shape.below_holes
        if _apart(ordered, below, shape.normal) <= WIDEST_GAP_MM
        and any(_fills(each, ordered[below], ordered[below + 1], shape.normal) for each in useless)
    }
    if len(passed) * FEWEST_SLICES_PER_GAP > len(slices):
        return shape
    holes = list(zip(shape.holes, shape.below_holes, strict=True))
    closed = {hole for hole, below in holes if below in passed}
    return replace(
        shape,
        gaps=tuple(each for each in shape.gaps if each not in closed),
        holes=tuple(hole for hole, below in holes if below not in passed),
        below_holes=tuple(below for below in shape.below_holes if below not in passed),
    )


def with_gaps(several: Sequence[Left], slices: Sequence[Candidate]) -> list[Left]:
    """The same; those that leave a place of the stack empty say how far apart the slices on both sides are."""
    shape = stack_shape([each.geometry for each in slices])
    if shape.normal is None or not shape.holes:
        return list(several)
    ordered = _in_order(slices, shape.normal)
    result = []
    for each in several:
        for below in shape.below_holes if each.image.reason in PASSABLE else ():
            if _fills(each, ordered[below], ordered[below + 1], shape.normal):
                gap_mm = _apart(ordered, below, shape.normal)
                each = replace(each, image=replace(each.image, gap_mm=gap_mm))
        result.append(each)
    return result


def _in_order(slices: Sequence[Candidate], normal: Vector) -> list[SliceGeometry]:
    return sorted((each.geometry for each in slices), key=lambda one: depth_of(one, normal))


def _apart(ordered: Sequence[SliceGeometry], below: int, normal: Vector) -> float:
    return depth_of(ordered[below + 1], normal) - depth_of(ordered[below], normal)


def explained(shape: StackShape, slices: Sequence[Candidate], left: Sequence[Left]) -> StackShape:
    """The shape whose sentences name the images that would have filled a hole, or been the slices that lack.

    Where more than a tenth may have been slices that are lost, that is the obstacle.
    """
    if shape.obstacle:
        lost = [each for each in left if each.image.reason in LOST]
        lacking = 0 < len(slices) < FEWEST_SLICES and bool(lost)
        return replace(shape, obstacle=_because(shape.obstacle, lost)) if lacking else shape
    perhaps = [each.image for each in left if each.image.reason in PERHAPS_SLICES and not each.made]
    if len(perhaps) * FEWEST_SLICES_PER_LOST > len(slices) and not shape.holes:
        return replace(shape, obstacle=_say_lost(perhaps))
    if shape.normal is None or not shape.holes:
        return shape
    normal = shape.normal
    ordered = _in_order(slices, normal)
    holes = []
    for hole, below in zip(shape.holes, shape.below_holes, strict=True):
        ends = ordered[below], ordered[below + 1]
        holes.append(_because(hole, [each for each in left if _fills(each, *ends, normal)]))
    gaps = tuple(dict(zip(shape.holes, holes, strict=True)).get(each, each) for each in shape.gaps)
    return replace(shape, gaps=gaps, holes=tuple(holes))


def _fills(left: Left, below: SliceGeometry, above: SliceGeometry, normal: Vector) -> bool:
    """Whether the image lies between two slices; where it does not say where it lies, whether its number does."""
    if left.image.reason not in LOST:
        return False
    if left.candidate is not None and left.image.reason is not Unfit.DIRECTION:
        at = depth_of(left.candidate.geometry, normal)
        return depth_of(below, normal) + SAME_POSITION_MM < at < depth_of(above, normal) - SAME_POSITION_MM
    ends = below.instance_number, above.instance_number
    if left.image.number is None or ends[0] is None or ends[1] is None:
        return False
    return min(ends[0], ends[1]) < left.image.number < max(ends[0], ends[1])


def _say_lost(lost: Sequence[SetAside]) -> str:
    if lost[0].reason is Unfit.DAMAGED:
        return f"{say_damaged(lost[0])}."
    said = say_why([each for each in lost if each.reason is lost[0].reason])
    return f"{said[0].upper()}{said[1:]}."


def _because(sentence: str, lost: Sequence[Left]) -> str:
    """The sentence with the images that are the cause, those of the first one's reason."""
    if not lost:
        return sentence
    first = lost[0].image
    if first.reason is Unfit.DAMAGED:
        return f"{say_damaged(first)}, and without it {sentence[0].lower()}{sentence[1:]}"
    same = [each.image for each in lost if (each.image.reason, each.image.detail) == (first.reason, first.detail)]
    return f"{sentence.removesuffix('.')}: {say_why(same)}."
