"""The heads that a fold may see, and the batches of planes drawn from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.head_grid import HeadGrid, to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import stack_of
from inference.training.rounds.augment import Batch, augment
from inference.training.rounds.bank import Bank
from inference.training.rounds.data import TYPES, TrainingHead, on_grid, with_any
from inference.training.rounds.recipe import Recipe
from inference.training.simulate.scene import shown_types


@dataclass(slots=True)
class Pool:
    """The heads a fold may see; simulated ones are replaced one by one as training goes on.

    `normals` are heads without haemorrhage, by study. `drawn` names the simulated heads at hand, (carrier, number) in
    the bank.
    """

    normals: Mapping[str, TrainingHead]
    positives: Sequence[TrainingHead]
    synthetic: Sequence[TrainingHead]
    bank: Bank
    recipe: Recipe
    rng: np.random.Generator
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    drawn: list[tuple[str, int]] = field(default_factory=list)
    simulated: list[TrainingHead] = field(default_factory=list)

    def fill(self) -> None:
        """Has every drawn head at hand, and draws until there are as many as the recipe says."""
        while len(self.drawn) < self.recipe.pool:
            self.drawn.append(self._draw())
        self.simulated = [self.bank.head(*each) for each in self.drawn]

    def refresh(self) -> None:
        """Replaces one simulated head."""
        place = int(self.rng.integers(len(self.simulated)))
        self.drawn[place] = self._draw()
        self.simulated[place] = self.bank.head(*self.drawn[place])

    def batch(self) -> Batch:
        """A batch as the recipe mixes it, augmented."""
        return augment(collate(_items(self)).to(self.device), self.rng)

    def _draw(self) -> tuple[str, int]:
        carrier = str(self.rng.choice(sorted(self.normals)))
        return carrier, int(self.rng.integers(self.recipe.heads_per_carrier))


@cache
def synthetic_training_heads(count: int, seed: int) -> tuple[TrainingHead, ...]:
    """Synthetic heads on the grid: a quarter normal, the rest with every type, every third large, the others subtle."""
    heads = []
    for i in range(count):
        kind: HaemorrhageType | None = None if i % 4 == 0 else TYPES[i % 5]
        made = synthetic_head(seed + i, kind, "large" if i % 3 == 0 else "subtle")
        grid = to_grid(stack_of(made.hu))
        voxels = np.stack([_labels_on_grid(made.labels[k], grid) for k in range(len(made.labels))])
        image, depth = grid.image.numpy().astype(np.float16), grid.depth_mm.numpy()
        heads.append(TrainingHead(image, grid.inside, depth, with_any(shown_types(voxels)), voxels))
    return tuple(heads)


def _labels_on_grid(labels: NDArray[np.uint8], grid: HeadGrid) -> NDArray[np.uint8]:
    out = np.zeros(grid.image.shape[1:], np.uint8)
    for value in np.unique(labels[labels > 0]):
        out[on_grid(labels == value, grid)] = value
    return out


def _plane(head: TrainingHead, prefer: float, rng: np.random.Generator) -> int:
    """A plane to learn from: with probability `prefer` one that shows haemorrhage, else any."""
    marked = np.flatnonzero(head.shown)
    if len(marked) and rng.random() < prefer:
        return int(rng.choice(marked))
    return int(rng.integers(len(head.image)))


def _items(pool: Pool) -> list[tuple[TrainingHead, int]]:
    rng, recipe = pool.rng, pool.recipe
    sources: list[tuple[Sequence[TrainingHead], int, float]] = [
        (pool.simulated, recipe.batch_simulated, 0.7),
        (list(pool.normals.values()), recipe.batch_normal, 0.0),
        (pool.positives, recipe.batch_positive, 0.6),
        (pool.synthetic, recipe.batch_synthetic, 0.5),
    ]
    items = []
    for heads, count, prefer in sources:
        for _ in range(count):
            head = heads[int(rng.integers(len(heads)))]
            items.append((head, _plane(head, prefer, rng)))
    return items


def collate(items: Sequence[tuple[TrainingHead, int]]) -> Batch:
    """Triplets around the planes; neighbours beyond the ends repeat the end."""
    images, voxels, labels, depths = [], [], [], []
    for head, plane in items:
        last = len(head.image) - 1
        triple = [max(0, plane - 1), plane, min(last, plane + 1)]
        images.append(head.image[triple].astype(np.float32))
        voxels.append(head.voxels[plane])
        labels.append(head.labels[plane])
        depths.append(head.depth_mm[plane])
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(voxels)),
        torch.from_numpy(np.stack(labels)),
        torch.from_numpy(np.asarray(depths, np.float32)),
    )
