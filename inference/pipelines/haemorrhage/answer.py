"""What a network says of a head -> the result of the haemorrhage question: the same decisions for every network.

Log-odds of planes, calibrated (Platt), are the probabilities: of a slice those of its plane, smoothed over the
neighbouring ones; of the study that any of its planes shows blood (noisy-or). Voxels are exclusive among types. A
reading without voxels outlines nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import Finding, Measurement, NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.models.card import ModelCard
from inference.pipelines.haemorrhage.decisions import Decisions
from inference.pipelines.haemorrhage.head_grid import GRID_MM, HeadGrid, labels_to_source, to_grid
from inference.pipelines.haemorrhage.place import place_of
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

KEY_SLICES = 4
SPECKS = 0.05
FEWEST_PLANES = 8
CUT_SHARE, LOW_SHARE = 0.35, 0.8
LARGEST_SHARE = 1 / 3  # of the intracranial space: hardly anybody with more is scanned


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What networks say of a head: `voxels` (plane, 1 + kind, row, column) probabilities at 1 mm on the grid, 0 none,
    or None of a network that outlines nothing; `planes` (plane, 1 + kind) log-odds: any haemorrhage, then each
    of `kinds`: names of HaemorrhageType in its order, or INTRACRANIAL alone where no types are told."""

    voxels: torch.Tensor | None
    planes: NDArray[np.float64]
    kinds: tuple[str, ...] = tuple(HaemorrhageType)


def smoothed(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(plane, 1 + kind) with a quarter of each neighbour: a bleed seldom shows in one plane alone."""
    padded = np.concatenate([planes[:1], planes, planes[-1:]])
    return np.asarray(0.25 * padded[:-2] + 0.5 * planes + 0.25 * padded[2:])


def noisy_or(odds: NDArray[np.float64]) -> float:
    """Log-odds that at least one of the planes shows it, from each plane's log-odds, as if planes were independent."""
    none = max(float(np.logaddexp(0, odds).sum()), 1e-300)
    return float(none + np.log(-np.expm1(-none)))


def key_slices(probabilities: NDArray[np.float64], count: int = KEY_SLICES) -> tuple[int, ...]:
    """Up to `count` slice indices: local maxima first, the highest first, then the best of what is left, spread out."""
    padded = np.concatenate([[-1.0], probabilities, [-1.0]])
    peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]))
    chosen: list[int] = []
    apart = max(1, len(probabilities) // 15)
    for pool in (peaks, np.arange(len(probabilities))):
        for i in sorted(pool, key=lambda k: -probabilities[k]):
            worthy = not chosen or probabilities[i] >= 0.3 * probabilities[chosen[0]]
            if len(chosen) < count and worthy and all(abs(int(i) - k) > apart for k in chosen):
                chosen.append(int(i))
    return tuple(chosen)


def answer(card: ModelCard, decide: Decisions, read: Callable[[HeadGrid], Reading], stack: SliceStack) -> Result:
    """The answer for an axial head CT that `read` reads; NotAnalysable where no whole head is in the images."""
    grid = to_grid(stack)
    if len(grid.image) < FEWEST_PLANES:
        raise NotAnalysable("There are too few slices of the head to analyse.")
    reading = read(grid)
    study = noisy_or(reading.planes[:, 0])
    probability = decide.study(study)
    suspected = probability >= decide.study_threshold
    by_plane = np.array([decide.slice(float(odds), study) for odds in smoothed(reading.planes)[:, 0]])
    in_order = by_plane[grid.plane_of_slice]
    by_slice = in_order[::-1] if grid.orientation.flip_slices else in_order
    return Result(
        question=card.question,
        pipeline=card.question,
        model=card.identity,
        threshold=decide.study_threshold,
        suspected=suspected,
        probability=probability,
        findings=_findings(reading, grid, card, decide, probability, stack),
        slice_probabilities=tuple(float(p) for p in by_slice),
        key_slices=key_slices(by_slice),
        warnings=_warnings(card, stack, grid),
        incomplete=_cut_off(grid),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of haemorrhage in a study; `probable` ones may be drawn and named, the likeliest always."""

    name: str
    probability: float
    probable: bool


def _kinds(reading: Reading, decide: Decisions, probability: float) -> list[_Kind]:
    """The reading's kinds with their probabilities; where no types are told, the study's own."""
    if reading.kinds == (INTRACRANIAL,):
        return [_Kind(INTRACRANIAL, probability, True)]
    places = [list(HaemorrhageType).index(HaemorrhageType(name)) for name in reading.kinds]
    chances = [decide.types[at](noisy_or(odds)) for at, odds in zip(places, reading.planes[:, 1:].T, strict=True)]
    likeliest = int(np.argmax(chances))
    return [
        _Kind(name, chances[i], i == likeliest or chances[i] >= decide.type_thresholds[places[i]])
        for i, name in enumerate(reading.kinds)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    """Labels, 0 or the place of a kind plus one, on the head grid and on the source's own voxels."""

    on_grid: NDArray[np.uint8]
    on_source: NDArray[np.uint8]


def _findings(
    reading: Reading, grid: HeadGrid, card: ModelCard, decide: Decisions, probability: float, stack: SliceStack
) -> tuple[Finding, ...]:
    """One finding for each kind; where types are not told, all blood together and the kinds as its differential."""
    kinds = _kinds(reading, decide, probability)
    suspected = probability >= decide.study_threshold
    drawing = (
        _draw(reading.voxels.numpy(), reading, kinds, grid, decide)
        if suspected and reading.voxels is not None
        else None
    )
    if decide.tells_types or reading.kinds == (INTRACRANIAL,):
        return _stated(kinds, suspected, drawing, _Measure(card, grid, stack))
    whole = Finding(INTRACRANIAL, probability, present=suspected)
    if drawing is not None and drawing.on_source.any():
        whole = _Measure(card, grid, stack).drawn(INTRACRANIAL, probability, drawing.on_grid > 0, drawing.on_source > 0)
    chances = _shares(reading, drawing) or [kind.probability for kind in kinds]
    possible = (
        Finding(kind.name, chance, present=False, differential=True)
        for kind, chance in zip(kinds, chances, strict=True)
    )
    return (whole, *possible)


def _stated(
    kinds: Sequence[_Kind], suspected: bool, drawing: _Drawing | None, measure: "_Measure"
) -> tuple[Finding, ...]:
    """The kinds as findings; drawn where the study is suspected and the network outlines."""
    if not suspected:
        return tuple(Finding(kind.name, kind.probability, present=False) for kind in kinds)
    if drawing is None:
        return tuple(Finding(kind.name, kind.probability, present=kind.probable) for kind in kinds)
    if not drawing.on_source.any():
        likeliest = max(kinds, key=lambda kind: kind.probability)
        return tuple(Finding(kind.name, kind.probability, present=kind is likeliest) for kind in kinds)
    return tuple(
        measure.drawn(kind.name, kind.probability, drawing.on_grid == number, drawing.on_source == number)
        for number, kind in enumerate(kinds, start=1)
    )


def _shares(reading: Reading, drawing: _Drawing | None) -> list[float]:
    """What share of the outlined blood is of each kind, as the voxels say; empty where nothing is outlined."""
    if drawing is None or reading.voxels is None or not drawing.on_source.any():
        return []
    blood = reading.voxels.numpy()[:, 1:].transpose(0, 2, 3, 1)[drawing.on_grid > 0]
    shares = blood / np.maximum(blood.sum(1, keepdims=True), 1e-12)
    return [min(float(share), 1.0) for share in shares.mean(0)]


@dataclass(frozen=True, slots=True, eq=False)
class _Measure:
    """Makes findings of what is drawn in one head."""

    card: ModelCard
    grid: HeadGrid
    stack: SliceStack

    def drawn(self, name: str, probability: float, on_grid: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Finding:
        """A finding with its place; its mask and volume on the source's own voxels."""
        if not mask.any():
            return Finding(name, probability, present=False)
        volume = float((mask.sum((1, 2)) * self.stack.voxels_ml).sum())
        return Finding(name, probability, True, mask, (self._volume(volume),), place_of(on_grid, self.grid))

    def _volume(self, volume_ml: float) -> Measurement:
        """A drawn volume, with what the card says of how far it is off and how repeatable it is.

        The range holds the volume, and ends where the skull has no more room.
        """
        error, repeat_sd = self.card.volume_error, _repeat_sd(volume_ml, self.card)
        factors = error.factors(volume_ml) if error else None
        if factors is None:
            return Measurement("volume", volume_ml, "mL", repeat_sd=repeat_sd)
        most_ml = LARGEST_SHARE * float((self.grid.inside.sum((1, 2)) * self.grid.slab_mm).sum()) * GRID_MM**2 / 1000
        low, high = min(factors[0], 1) * volume_ml, min(max(factors[1], 1) * volume_ml, max(most_ml, volume_ml))
        return Measurement("volume", volume_ml, "mL", low, high, repeat_sd)


def _repeat_sd(volume_ml: float, card: ModelCard) -> float | None:
    """The card's figure for volumes of this size; that of the smallest measured ones for smaller ones."""
    reached = [each.log_sd for each in card.volume_repeat if each.from_ml <= volume_ml]
    return reached[-1] if reached else next((each.log_sd for each in card.volume_repeat), None)


def _draw(
    voxels: NDArray[np.float32], reading: Reading, kinds: Sequence[_Kind], grid: HeadGrid, decide: Decisions
) -> _Drawing:
    """What the network outlines; only probable kinds."""
    bleeding = 1 - voxels[:, 0]
    mask = bleeding > decide.voxel_threshold
    smallest = decide.minimum_ml * 1000 / (GRID_MM**2 * float(np.median(grid.slab_mm)))
    bodies = _large_bodies(mask, smallest)
    if not bodies.any():
        bodies = _around_peak(bleeding, int(np.argmax(reading.planes[:, 0])))
    kind_of = _kinds_of_bodies(voxels, bodies, np.array([kind.probable for kind in kinds]))
    labels = kind_of[bodies]
    return _Drawing(labels, labels_to_source(labels, grid))


def _cut_off(grid: HeadGrid) -> str:
    """Which end of the brain is not in the images.

    Of 57 whole heads the last planes have at most 0.26 (top) and 0.11 (base) of the widest one's area. A base that is
    wide tells of a cut only where the brain is low, too: some phantoms end flat.
    """
    areas = grid.inside.sum((1, 2))
    widest = float(areas.max())
    height_mm = float(grid.slab_mm[areas > 0.01 * widest].sum())
    is_low = height_mm < LOW_SHARE * 2 * GRID_MM * float(np.sqrt(widest / np.pi))
    ends = {"top": areas[-1] > CUT_SHARE * widest, "base": is_low and areas[0] > CUT_SHARE * widest}
    cut = [name for name, is_cut in ends.items() if is_cut]
    if not cut:
        return ""
    return f"The {' and the '.join(cut)} of the head {'is' if len(cut) == 1 else 'are'} not in the images."


def _warnings(card: ModelCard, stack: SliceStack, grid: HeadGrid) -> tuple[str, ...]:
    said = list(grid.warnings)
    age = stack.patient_age_years
    if age is not None and age < card.children_below_years:
        said.append(card.children)
    if float(grid.slab_mm.max()) > 8:
        said.append("The slices are more than 8 mm apart; small bleeds can lie between them.")
    return tuple(said)


def _large_bodies(mask: NDArray[np.bool_], smallest: float) -> NDArray[np.int32]:
    """Connected bodies (through planes too) of at least `smallest` voxels, numbered."""
    bodies, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(bodies.ravel(), minlength=count + 1)
    return np.where(sizes[bodies] >= smallest, bodies, 0).astype(np.int32)


def _around_peak(bleeding: NDArray[np.float32], plane: int) -> NDArray[np.int32]:
    """One body: the surroundings of the highest voxel of a plane, down to half its probability."""
    body = np.zeros(bleeding.shape, np.int32)
    near, _ = ndimage.label(bleeding[plane] >= bleeding[plane].max() / 2)
    body[plane] = near == near.flat[int(bleeding[plane].argmax())]
    return body


def _kinds_of_bodies(
    voxels: NDArray[np.float32], bodies: NDArray[np.int32], allowed: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """(1 + body,) the place of each body's kind plus one: of the allowed ones that which its voxels say most of.

    A kind that would have less than SPECKS of the blood is no kind of this head: its bodies are of another one.
    """
    count = int(bodies.max())
    sizes = np.bincount(bodies.ravel(), minlength=1 + count)[1:]
    within = [np.bincount(bodies.ravel(), voxels[:, 1 + kind].ravel(), 1 + count)[1:] for kind in range(len(allowed))]
    said = np.where(allowed, np.stack(within, 1), -1.0)
    of_kind = np.bincount(said.argmax(1), sizes, len(allowed))
    said[:, of_kind < SPECKS * sizes.sum()] = -2.0
    return np.concatenate([[0], 1 + said.argmax(1)]).astype(np.uint8)
