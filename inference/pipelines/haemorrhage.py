"""Suspected intracranial haemorrhage on non-contrast head CT: five types, per voxel, per slice and per study.

The networks' averaged logits decide everything: pooled per plane, smoothed over neighbouring planes and calibrated
(Platt) they are the probability of each slice, and the mean of the highest planes is the study's; voxels are exclusive
among types.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from scipy import ndimage

from inference.findings import Finding, HaemorrhageType, Measurement, ModelIdentity, NotAnalysable, Result
from inference.network import HeadNetwork, build_network, plane_logits
from inference.preprocess import GRID_MM, HeadGrid, features, labels_to_source, to_grid, triplets
from inference.stack import SliceStack
from inference.weights import ModelCard, load_card, load_networks

BATCH_PLANES = 16
KEY_SLICES = 4
TOP_PLANES = 3
MINORITY = 0.25
FEWEST_PLANES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the networks say of a head: `voxels` (plane, 6, row, column) probabilities at 1 mm on the grid;
    `planes` (plane, 6) pooled and smoothed log-odds: any haemorrhage, then each type."""

    voxels: torch.Tensor
    planes: NDArray[np.float64]


def smoothed(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(plane, 6) with a quarter of each neighbour: a bleed seldom shows in one plane alone."""
    padded = np.concatenate([planes[:1], planes, planes[-1:]])
    return np.asarray(0.25 * padded[:-2] + 0.5 * planes + 0.25 * padded[2:])


def top_mean(values: NDArray[np.float64]) -> float:
    """Mean of the TOP_PLANES highest."""
    return float(np.sort(values)[-TOP_PLANES:].mean())


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


class HaemorrhagePipeline:
    """The pipeline with its weights on a device: those of the card, or `networks` with the card's decisions."""

    def __init__(
        self, device: torch.device, card: ModelCard | None = None, networks: Sequence[HeadNetwork] | None = None
    ) -> None:
        self.card = load_card("haemorrhage") if card is None else card
        self.device = device
        networks = load_networks(self.card, build_network, device) if networks is None else networks
        self._networks = [n.to(memory_format=torch.channels_last) for n in networks]  # type: ignore[call-overload]

    @property
    def model(self) -> ModelIdentity:
        """Which weights answer."""
        return self.card.identity

    def run(self, stack: SliceStack) -> Result:
        """The answer for an axial head CT; NotAnalysable where no whole head is in the images."""
        grid = to_grid(stack)
        if len(grid.image) < FEWEST_PLANES:
            raise NotAnalysable("There are too few slices of the head to analyse.")
        reading = self.read(grid)
        card, decide = self.card, self.card.decisions
        highest = top_mean(reading.planes[:, 0])
        probability = decide.study(highest)
        suspected = probability >= decide.study_threshold
        by_plane = np.array([decide.slice(float(odds), highest) for odds in reading.planes[:, 0]])
        in_order = by_plane[grid.plane_of_slice]
        by_slice = in_order[::-1] if grid.orientation.flip_slices else in_order
        types = [platt(top_mean(reading.planes[:, 1 + i])) for i, platt in enumerate(decide.types)]
        labels = self._labels(reading, types, grid) if suspected else None
        return Result(
            pipeline="haemorrhage",
            model=card.identity,
            threshold=decide.study_threshold,
            suspected=suspected,
            probability=probability,
            findings=tuple(_finding(i, p, labels, stack, suspected, types) for i, p in enumerate(types)),
            slice_probabilities=tuple(float(p) for p in by_slice),
            key_slices=key_slices(by_slice),
            warnings=self._warnings(stack, grid),
        )

    @torch.inference_mode()
    def read(self, grid: HeadGrid) -> Reading:
        """Runs the networks over a head and averages their logits, of voxels and (once pooled) of planes.

        Planes are pooled before they are averaged: what pools the highest pixels would else fall with every network
        added, and the calibration was made on single networks.
        """
        three, depth = triplets(grid.image), grid.depth_mm
        voxels, planes = [], []
        for start in range(0, len(three), BATCH_PLANES):
            part = slice(start, start + BATCH_PLANES)
            inputs = features(three[part].to(self.device), depth[part].to(self.device))
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            logits = [network(inputs).voxels.float() for network in self._networks]
            planes.append(torch.stack([plane_logits(each) for each in logits]).mean(0).cpu())
            full = nnf.interpolate(
                torch.stack(logits).mean(0), size=three.shape[2:], mode="bilinear", align_corners=False
            )
            voxels.append(full.softmax(1).cpu())
        return Reading(torch.cat(voxels), smoothed(torch.cat(planes).numpy().astype(np.float64)))

    def _labels(self, reading: Reading, types: list[float], grid: HeadGrid) -> NDArray[np.uint8]:
        """Labels 0..5 on the source's grid; only probable types, and the most probable one at least."""
        allowed = [p >= t for p, t in zip(types, self.card.decisions.type_thresholds, strict=True)]
        allowed[int(np.argmax(types))] = True
        voxels = reading.voxels.numpy()
        bleeding = 1 - voxels[:, 0]
        mask = bleeding > self.card.decisions.voxel_threshold
        smallest = self.card.decisions.minimum_ml * 1000 / (GRID_MM**2 * float(np.median(grid.slab_mm)))
        bodies = _large_bodies(mask, smallest)
        if not bodies.any():
            bodies = _around_peak(bleeding, int(np.argmax(reading.planes[:, 0])))
        ranked = np.where(np.array(allowed)[None, :, None, None], voxels[:, 1:], -1.0)
        labels = np.where(bodies > 0, 1 + ranked.argmax(1), 0).astype(np.uint8)
        return labels_to_source(_one_type_each(labels, bodies), grid)

    def _warnings(self, stack: SliceStack, grid: HeadGrid) -> tuple[str, ...]:
        said = []
        age = stack.patient_age_years
        if age is not None and age < self.card.children_below_years:
            said.append(self.card.children)
        areas = grid.inside.sum((1, 2))
        if areas[-1] > 0.3 * areas.max():
            said.append("The top of the head is not in the images.")
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


def _one_type_each(labels: NDArray[np.uint8], bodies: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Within a body, types with less than a quarter of its voxels give way to its most frequent one."""
    for number, where in enumerate(ndimage.find_objects(bodies), start=1):
        if where is None:
            continue
        within = bodies[where] == number
        counts = np.bincount(labels[where][within], minlength=6)
        small = [t for t in range(1, 6) if counts[t] < MINORITY * counts.sum()]
        labels[where][within & np.isin(labels[where], small)] = int(counts.argmax())
    return labels


def _finding(
    index: int,
    probability: float,
    labels: NDArray[np.uint8] | None,
    stack: SliceStack,
    suspected: bool,
    types: list[float],
) -> Finding:
    """One type's finding; its mask and volume on the source's own voxels."""
    name = list(HaemorrhageType)[index].value
    mask = labels == index + 1 if labels is not None else None
    if mask is None or not mask.any():
        return Finding(name, probability, present=suspected and index == int(np.argmax(types)) and not _any(labels))
    per_voxel = stack.pixel_spacing[0] * stack.pixel_spacing[1] * stack.extents_mm / 1000
    volume = float((mask.sum((1, 2)) * per_voxel).sum())
    return Finding(name, probability, True, mask, (Measurement("volume", volume, "mL"),))


def _any(labels: NDArray[np.uint8] | None) -> bool:
    return labels is not None and bool(labels.any())
