"""How far heads are from each limit of the check for a plain head CT: real ones, and ones made unlike most.

The check refuses what is no head; a limit that a head of some kind comes near would refuse a bleeding one. For every
limit and every kind of head: its middle, the head that is nearest, and by what share of the limit it stays off.

    python -m inference.training.studies.head_check --data CT_ICH_FOLDER
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from scipy import ndimage

from inference.input.stack import SliceStack, build_stack, read_series
from inference.pipelines.haemorrhage import plain_head
from inference.pipelines.haemorrhage.head_grid import labels_to_source, slabs_of, to_grid
from inference.pipelines.haemorrhage.head_numbers import Numbers
from inference.pipelines.haemorrhage.measured_head import BRIGHTEST_BRAIN_HU
from inference.pipelines.haemorrhage.plain_head import Verdict, look_at
from inference.pipelines.haemorrhage.skull_ring import OPEN_RING
from inference.training.datasets.ct_ich import SLICE_MM, SPACING_MM, open_ct_ich, stack_of
from inference.training.simulate.unusual_heads import ScannedHead, Unusual, unusual

REAL = "as scanned"
HALVED = 2  # pixels are joined: what is looked at has 2 mm


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of what a head may measure; `of` gives the number, None where the rule does not speak of this head."""

    name: str
    of: Callable[[Numbers], float | None]
    value: float
    is_least: bool

    def margin(self, numbers: Numbers) -> float | None:
        """By what share of the limit a head stays on the right side; negative where it is refused."""
        number = self.of(numbers)
        if number is None:
            return None
        return (number - self.value if self.is_least else self.value - number) / abs(self.value)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the check said of one head of one kind."""

    kind: str
    head: str
    verdict: Verdict


def _least_brain(n: Numbers) -> float:
    dark = n.dark_share / plain_head.LEAST_DARK_BRAIN
    is_told = n.structure is not None and plain_head.has_structure(n.structure)
    return max(n.brain_share / plain_head.LEAST_BRAIN, dark if is_told else 0)


def _structure(n: Numbers) -> float | None:
    if n.structure is None:
        return None
    told = max(n.structure.hu / plain_head.SURE_STRUCTURE_HU, n.structure.agreement / plain_head.LEAST_AGREEMENT)
    return min(n.structure.hu / plain_head.LEAST_STRUCTURE_HU, told)


def _height(n: Numbers) -> float | None:
    return None if n.is_cut_sideways else n.height / plain_head.least_height(n)


def _sharpness(n: Numbers) -> float:
    return min(n.noise_hu / plain_head.SHARP_NOISE_HU, max(0.0, n.darker_hu) / plain_head.DARKER_RIM_HU)


LIMITS = (
    Limit("the skull holds, ml", lambda n: n.held_ml, OPEN_RING.smallest_ml, True),
    Limit("the skull holds at most, ml", lambda n: n.held_ml, plain_head.LARGEST_ML, False),
    Limit("air, HU", lambda n: n.air_hu, plain_head.BRIGHTEST_AIR_HU, False),
    Limit("spread within the skull, HU", lambda n: n.spread_hu, plain_head.LEAST_SPREAD_HU, True),
    Limit("median within the skull, HU", lambda n: n.level_hu, BRIGHTEST_BRAIN_HU, False),
    Limit("brain, in least shares", _least_brain, 1.0, True),
    Limit("skull's share of the head", lambda n: n.filling, plain_head.LEAST_FILLING, True),
    Limit("skull over what it holds, HU", lambda n: n.rise_hu, plain_head.LEAST_RISE_HU, True),
    Limit("height, in least heights", _height, 1.0, True),
    Limit("area of the smaller end", lambda n: n.smaller_end, plain_head.MOST_CUT_OFF, False),
    Limit("structure of the brain, in least ones", _structure, 1.0, True),
    Limit("noise, HU", lambda n: n.noise_hu, plain_head.MOST_NOISE_HU, False),
    Limit("sharp kernel", _sharpness, 1.0, False),
    Limit("rim at the inner table, HU", lambda n: n.rim_hu, plain_head.DARKEST_RIM_HU, True),
    Limit("bright vessels in a plane", lambda n: n.vessels, plain_head.MOST_VESSELS, False),
    Limit("planes with a bright sinus", lambda n: n.sinuses, plain_head.MOST_SINUSES, False),
)


def verdict_of(stack: SliceStack) -> Verdict:
    """What the check says of a stack."""
    of = slabs_of(stack)
    return look_at(of.low.numpy(), of.slab_mm, of.hu, of.spacing)


def scanned_head(hu: np.ndarray) -> ScannedHead:
    """A patient of CT-ICH with its intracranial space, at half the resolution."""
    slices, rows, columns = hu.shape
    half = hu.reshape(slices, rows // HALVED, HALVED, columns // HALVED, HALVED).mean((2, 4), dtype=np.float32)
    grid = to_grid(stack_of(half, SPACING_MM * HALVED))
    inside = labels_to_source(grid.inside.astype(np.uint8), grid) > 0
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in inside])
    return ScannedHead(half, inside, (SLICE_MM, SPACING_MM * HALVED, SPACING_MM * HALVED))


def as_stack(head: ScannedHead) -> SliceStack:
    """The head as a series of slices."""
    return stack_of(head.hu, head.spacing_mm[1], head.spacing_mm[0])


def made_of(head: ScannedHead, kind: Unusual, number: int) -> ScannedHead:
    """The head of this kind; the seed follows from the patient and the kind."""
    return unusual(head, kind, np.random.default_rng([number, list(Unusual).index(kind)]))


def look(data: Path, dicom: Path | None, limit: int | None) -> Iterator[Seen]:
    """Every head as scanned; the first `limit` of CT-ICH of every unusual kind, too."""
    if dicom is not None:
        yield Seen(REAL, dicom.name, verdict_of(build_stack(read_series(sorted(dicom.rglob("*.dcm"))))))
    dataset = open_ct_ich(data)
    for at, entry in enumerate(dataset.entries()):
        number = int(entry.patient_id)
        hu = dataset.patient(number).hu
        yield Seen(REAL, entry.patient_id, verdict_of(stack_of(hu)))
        if limit is None or at < limit:
            head = scanned_head(hu)
            for kind in Unusual:
                yield Seen(kind.value, entry.patient_id, verdict_of(as_stack(made_of(head, kind, number))))


def lines(seen: list[Seen]) -> Iterator[str]:
    """The report: limit by limit, then what is refused."""
    kinds = [REAL, *(kind.value for kind in Unusual)]
    for limit in LIMITS:
        yield f"\n{limit.name}: {'at least' if limit.is_least else 'less than'} {limit.value:g}"
        for kind in kinds:
            told = [(e.head, e.verdict.numbers) for e in seen if e.kind == kind and e.verdict.numbers is not None]
            yield from _line(limit, kind, [(h, n, m) for h, n in told if (m := limit.margin(n)) is not None])
    refused = [each for each in seen if each.verdict.reason is not None]
    yield f"\n{len(refused)} of {len(seen)} are refused"
    yield from (f"  {each.head}, {each.kind}: {each.verdict.reason}" for each in refused)


def _line(limit: Limit, kind: str, told: list[tuple[str, Numbers, float]]) -> Iterator[str]:
    if told:
        numbers = [limit.of(numbers) for _, numbers, _ in told]
        low, middle, high = np.percentile(np.array(numbers, np.float64), [0, 50, 100])
        head, _, margin = min(told, key=lambda each: each[2])
        yield (
            f"  {kind:22} {low:8.2f} {middle:8.2f} {high:8.2f}   nearest {head:18} {margin:+.0%} ({len(told)} heads)"
        )


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option("--dicom", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another head, a series.")
@click.option("--heads", type=click.IntRange(1), help="Only so many heads are made unusual; all of them else.")
def main(data: Path, dicom: Path | None, heads: int | None) -> None:
    """Print least, middle and most of every number by kind of head, and the nearest head; two minutes of one core."""
    torch.set_num_threads(1)
    click.echo("\n".join(lines(list(look(data, dicom, heads)))))


if __name__ == "__main__":
    main()
