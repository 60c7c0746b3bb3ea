"""Images of a series that are no slices of its stack: which they are, why, and how that is said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

LONGEST_FILE_NAME = 64
MOST_PIECES = 4


class Unfit(StrEnum):
    """Why an image is no slice of the stack that is analysed."""

    LOCALIZER = "localizer"
    UNNAMED = "no SOP Instance UID"
    NO_IMAGE = "no image"
    COLOUR = "colour"
    MODALITY = "modality"
    NO_POSITION = "no position"
    NO_SPACING = "no pixel spacing"
    SIZE = "rows or columns"
    SPACING = "pixel spacing"
    DIRECTION = "direction"
    FAR = "far away"
    COPY = "copy"
    KIND = "image type"
    SERIES = "series number or description"
    CONTRAST = "contrast agent"
    KERNEL = "kernel"
    FIELD = "reconstruction diameter"
    THICKNESS = "slice thickness"
    ENERGY = "tube voltage"
    ACQUISITION = "acquisition number"
    TIME = "acquisition time"
    REPEATED = "repeated positions"
    BLANK = "blank"
    UNITS = "no Hounsfield units"
    DAMAGED = "damaged"


# What is said of one image and of several; {detail} is what the image itself says.
_WORDS = {
    Unfit.LOCALIZER: ("is a localizer (scout)", "are localizers (scouts)"),
    Unfit.UNNAMED: ("has no identifier", "have no identifier"),
    Unfit.NO_IMAGE: ("holds no image", "hold no image"),
    Unfit.COLOUR: ("is a colour image, no slice", "are colour images, no slices"),
    Unfit.MODALITY: ("is an image of another modality ({detail})", "are images of another modality ({detail})"),
    Unfit.NO_POSITION: ("does not say where in the patient it lies", "do not say where in the patient they lie"),
    Unfit.NO_SPACING: ("does not state its pixel spacing", "do not state their pixel spacing"),
    Unfit.SIZE: ("has another number of rows or columns", "have another number of rows or columns"),
    Unfit.SPACING: ("has another pixel spacing", "have another pixel spacing"),
    Unfit.DIRECTION: ("lies in another direction", "lie in another direction"),
    Unfit.FAR: ("lies far from all others", "lie far from all others"),
    Unfit.COPY: ("is a copy of another image", "are copies of other images"),
    Unfit.KIND: ("is an image of another kind ({detail})", "are images of another kind ({detail})"),
    Unfit.SERIES: ("is named differently ({detail})", "are named differently ({detail})"),
    Unfit.CONTRAST: ("differs in contrast agent ({detail})", "differ in contrast agent ({detail})"),
    Unfit.KERNEL: ("was made with another kernel ({detail})", "were made with another kernel ({detail})"),
    Unfit.FIELD: ("shows another field of view ({detail} mm)", "show another field of view ({detail} mm)"),
    Unfit.THICKNESS: ("has another slice thickness ({detail} mm)", "have another slice thickness ({detail} mm)"),
    Unfit.ENERGY: ("was made with another tube voltage ({detail} kV)", "were made with another tube voltage"),
    Unfit.ACQUISITION: ("is of another acquisition ({detail})", "are of another acquisition ({detail})"),
    Unfit.TIME: ("was acquired at another time", "were acquired at another time"),
    Unfit.REPEATED: ("repeats the place of another image", "repeat the places of other images"),
    Unfit.BLANK: ("is blank, all its values are the same", "are blank, all their values are the same"),
    Unfit.UNITS: (
        "does not say how its values become Hounsfield units",
        "do not say how their values become Hounsfield units",
    ),
    Unfit.DAMAGED: ("is damaged, its pixels cannot be read", "are damaged, their pixels cannot be read"),
}


@dataclass(frozen=True, slots=True)
class SetAside:
    """One image that is not analysed.

    `number` is its Instance Number; `frame` counts from 1 where the instance has several. `detail` is what the image
    says of itself where that is the reason, or the name of its file where that is damaged. `gap_mm` is the distance of
    the slices on both sides, where the image leaves a gap between them that is let pass.
    """

    sop_uid: str
    reason: Unfit
    number: int | None = None
    frame: int | None = None
    detail: str = ""
    gap_mm: float | None = None


def say_set_aside(several: Iterable[SetAside]) -> tuple[str, ...]:
    """One sentence for each reason."""
    groups: dict[tuple[Unfit, str], list[SetAside]] = {}
    for each in several:
        groups.setdefault((each.reason, "" if each.reason is Unfit.DAMAGED else each.detail), []).append(each)
    return tuple(
        f"{len(group)} image{' of the series was' if len(group) == 1 else 's of the series were'} set aside: "
        f"{say_why(group)}{_say_gap(group)}."
        for group in groups.values()
    )


def say_why(group: Sequence[SetAside]) -> str:
    """Which images these are and why they are set aside, all for the reason of the first; a clause without its end."""
    words = _WORDS[group[0].reason][len(group) > 1].replace("{detail}", group[0].detail or "not stated")
    return f"{say_images(group)} {words}"


def _say_gap(group: Sequence[SetAside]) -> str:
    gaps = [each.gap_mm for each in group if each.gap_mm is not None]
    return f"; the slices on both sides are {max(gaps):.1f} mm apart" if gaps else ""


def say_damaged(each: SetAside) -> str:
    """Which file is damaged; a clause without its end. Files that a program named are named by their image."""
    if each.detail and len(each.detail) <= LONGEST_FILE_NAME:
        return f"The file {each.detail} is damaged"
    return f"The file of {say_images([each])} is damaged"


def say_images(group: Sequence[SetAside]) -> str:
    """By their numbers, e.g. "images 3, 7 and 100 to 130"."""
    noun = "frame" if all(each.frame is not None for each in group) else "image"
    known = sorted({n for each in group if (n := each.frame if each.frame is not None else each.number) is not None})
    unnumbered = sum(each.frame is None and each.number is None for each in group)
    pieces = [f"{a} to {b}" if b > a else f"{a}" for a, b in _ranges(known)]
    said = f"{noun}{'s' if len(known) > 1 else ''} {_joined(pieces)}" if pieces else ""
    if len(pieces) > MOST_PIECES:
        said = f"{len(known)} {noun}s between {known[0]} and {known[-1]}"
    without = {0: "", 1: f"one {noun} without a number"}.get(unnumbered, f"{unnumbered} {noun}s without a number")
    return " and ".join(each for each in (said, without) if each)


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers; two in a row stay apart."""
    runs: list[list[int]] = []
    for each in numbers:
        if runs and each == runs[-1][-1] + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    return [pair for run in runs for pair in ([(run[0], run[-1])] if len(run) > 2 else [(each, each) for each in run])]


def _joined(pieces: Sequence[str]) -> str:
    return pieces[0] if len(pieces) == 1 else f"{', '.join(pieces[:-1])} and {pieces[-1]}"
