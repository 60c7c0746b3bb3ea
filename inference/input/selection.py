"""Which images of a series form the stack that is analysed, and which are set aside, from their headers.

One stranger must not cost a head its analysis: a scout, a screen save, a copy, a second kernel or phase. Whatever comes
in, the same images give the same choice: it rests on what they say of themselves, never on UIDs, names or arrival.
What is no slice is set aside (`candidates.py`); the others are parted by modality, rows and columns, pixel spacing and
direction, of which a stack has one each; of what lies at the same place one whole set is taken (`repeats.py`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pydicom.dataset import Dataset

from inference.input.candidates import Candidate, Left, Unusable, find_candidates
from inference.input.elements import integer, text, texts
from inference.input.geometry import (
    FEWEST_SLICES,
    StackShape,
    common_axes,
    depth_of,
    grouped,
    is_same_direction,
    stack_shape,
)
from inference.input.holes import explained, let_pass, with_gaps
from inference.input.repeats import (
    ENOUGH_MM,
    NEARLY_ALL,
    Content,
    covered_mm,
    is_other_plane,
    is_whole,
    one_at_each_place,
    parted,
    preference,
    without_copies,
)
from inference.input.set_aside import SetAside, Unfit, say_why

SAME_SPACING_RATIO = 1e-3
FAR_MM = 50.0
MOST_FAR = 2
FEWEST_WITHOUT_FAR = 10
SPEAKING = (
    *("Modality", "SOPClassUID", "ImageType", "ConvolutionKernel", "ContrastBolusAgent", "BodyPartExamined"),
    *("StudyDescription", "SeriesDescription", "ProtocolName"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The slices that form the stack, in no order that matters, and what was set aside.

    `shape.obstacle` or `shape.holes` say in a sentence each why the slices are no stack, where they are none. `typical`
    is the header that speaks for the slices, or for all images where there is no slice; None without images.
    """

    slices: tuple[Candidate, ...]
    set_aside: tuple[SetAside, ...]
    shape: StackShape
    typical: Dataset | None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all slices of a stack have in common; spacing and direction are numbers of groups."""

    modality: str
    size: tuple[int | None, int | None]
    spacing: int
    direction: int

    def difference(self, other: "_Kind") -> tuple[Unfit, str]:
        """The first thing that tells this one from the other, and the detail."""
        if self.modality != other.modality:
            return Unfit.MODALITY, self.modality
        if self.size != other.size:
            return Unfit.SIZE, ""
        return (Unfit.SPACING if self.spacing != other.spacing else Unfit.DIRECTION), ""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Slices of one kind, what was set aside among them, and what the slices form."""

    kind: _Kind
    slices: list[Candidate]
    left: list[Left]
    shape: StackShape
    covered_mm: float


def select_slices(
    images: Sequence[Dataset], content: Content = lambda instance: None, unusable: Unusable | None = None
) -> Selection:
    """Choose among the images of one series; their pixels are not needed.

    `content` gives an image's pixel data by its place, or None; it is asked only about images that lie at the same
    place and whose headers do not tell them apart. `unusable` are frames that are no slices for another reason.
    """
    fit, unfit = find_candidates(images, unusable or {})
    kinds = _kinds(fit)
    parts = [_resolved(kinds[part[0]], part, kinds, unfit, content) for part in parted(fit, kinds.__getitem__)]
    chosen = _chosen(parts, len(fit))
    if chosen is None:
        return Selection(
            tuple(fit), _in_order(unfit), explained(_obstacle(fit, unfit), fit, unfit), _typical(fit, images)
        )
    settled = {*chosen.slices, *(each.candidate for each in chosen.left)}
    other = [each.left(*kinds[each].difference(chosen.kind)) for each in fit if each not in settled]
    left = with_gaps([*unfit, *chosen.left, *other], chosen.slices)
    return Selection(
        slices=tuple(chosen.slices),
        set_aside=_in_order(left),
        shape=explained(chosen.shape, chosen.slices, left),
        typical=_typical(chosen.slices, images),
    )


def _kinds(fit: Sequence[Candidate]) -> dict[Candidate, _Kind]:
    spacings = grouped([each.pixel_spacing for each in fit], _same_spacing)
    directions = grouped([each.geometry.orientation for each in fit], is_same_direction)
    return {
        each: _Kind(
            modality=text(each.header, "Modality"),
            size=(integer(each.header, "Rows"), integer(each.header, "Columns")),
            spacing=spacing,
            direction=direction,
        )
        for each, spacing, direction in zip(fit, spacings, directions, strict=True)
    }


def _same_spacing(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) <= SAME_SPACING_RATIO * min(a, b) for a, b in zip(one, other, strict=True))


def _resolved(
    kind: _Kind, part: Sequence[Candidate], kinds: dict[Candidate, _Kind], unfit: Sequence[Left], content: Content
) -> _Part:
    """What is left of slices of one kind when each place has one and those far from all others are gone."""
    slices, copies = without_copies(part, content)
    slices, repeated = one_at_each_place(slices)
    slices, far = _without_far(slices)
    others = [one.left(*its.difference(kind)) for one, its in kinds.items() if its != kind]
    shape = let_pass(stack_shape([each.geometry for each in slices]), slices, [*unfit, *others])
    return _Part(kind, slices, [*copies, *repeated, *far], shape, covered_mm(slices))


def _without_far(slices: Sequence[Candidate]) -> tuple[list[Candidate], list[Left]]:
    """Without one or two images that lie far from all others, as where a scan was planned or contrast is watched."""
    axes = common_axes([each.geometry for each in slices])
    if axes is None:
        return list(slices), []
    depths = {each: depth_of(each.geometry, axes[2]) for each in slices}
    ordered = sorted(slices, key=lambda one: depths[one])
    blocks = [ordered[:1]]
    for below, above in pairwise(ordered):
        if depths[above] - depths[below] > FAR_MM:
            blocks.append([])
        blocks[-1].append(above)
    near = max(blocks, key=len)
    if len(near) < FEWEST_WITHOUT_FAR or len(slices) - len(near) > MOST_FAR:
        return list(slices), []
    return near, [each.left(Unfit.FAR) for each in slices if each not in near]


def _chosen(parts: Sequence[_Part], count: int) -> _Part | None:
    """The best whole stack; without one, that part of the images which is most of them or at least a volume."""

    def incomplete(part: _Part) -> bool:
        return not is_whole(part.shape, part.covered_mm, _there_mm(part, parts))

    large = [part for part in parts if part.covered_mm >= NEARLY_ALL * min(_there_mm(part, parts), ENOUGH_MM)]
    most = max((part.covered_mm for part in large), default=0.0)
    large = [part for part in large if part.covered_mm >= NEARLY_ALL * min(most, ENOUGH_MM)]
    for part in sorted(large, key=lambda one: (is_other_plane(one.shape), incomplete(one), preference(one.slices))):
        if not incomplete(part) or part.shape.is_volume or len(part.slices) > max(count / 2, FEWEST_SLICES - 1):
            return part
    return None


def _there_mm(part: _Part, parts: Sequence[_Part]) -> float:
    """How much all images of the part's modality and plane cover: one that is scanned in two blocks is no whole."""
    alike = [one for one in parts if (one.kind.modality, one.shape.plane) == (part.kind.modality, part.shape.plane)]
    return sum(
        covered_mm([each for one in alike if one.kind.direction == direction for each in one.slices])
        for direction in {one.kind.direction for one in alike}
    )


def _obstacle(fit: Sequence[Candidate], unfit: Sequence[Left]) -> StackShape:
    """The shape of all images together, with the reason why they are no stack."""
    shape = stack_shape([each.geometry for each in fit])
    if not fit and unfit:
        reason = Counter(each.image.reason for each in unfit).most_common(1)[0][0]
        alike = [each.image for each in unfit if each.image.reason is reason]
        return replace(shape, obstacle=f"The series holds no slices: {say_why(alike)}.")
    if shape.is_volume:
        return replace(shape, obstacle="The images of this series differ in size or pixel spacing.")
    return shape


def _in_order(left: Sequence[Left]) -> tuple[SetAside, ...]:
    order = list(Unfit)
    images = [each.image for each in left]
    return tuple(sorted(images, key=lambda one: (order.index(one.reason), one.number or 0, one.frame or 0)))


def _typical(slices: Sequence[Candidate], images: Sequence[Dataset]) -> Dataset | None:
    """The header of a slice in the middle, of those that say of themselves what most say."""
    axes = common_axes([each.geometry for each in slices])
    if axes is not None:
        in_order = [each.header for each in sorted(slices, key=lambda one: depth_of(one.geometry, axes[2]))]
    else:
        several = [each.header for each in slices] or list(images)
        in_order = sorted(several, key=lambda ds: (integer(ds, "InstanceNumber") or 0, _spoken(ds)))
    counts = Counter(map(_spoken, in_order))
    most = max(sorted(counts), key=counts.__getitem__, default=None)
    alike = [ds for ds in in_order if _spoken(ds) == most]
    return alike[len(alike) // 2] if alike else None


def _spoken(ds: Dataset) -> tuple[tuple[str, ...], ...]:
    return tuple(texts(ds, keyword) for keyword in SPEAKING)
