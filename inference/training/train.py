"""Trains one fold's network: simulated bleeds in normal heads, synthetic heads, and real slice labels through pooling.

Voxels of simulated bleeds, of unlabelled real slices and of the few outlined ones teach by cross-entropy and Dice; real
labelled slices teach only through the pooled log-odds of the plane (top-k pooling: weak labels). Single process, a
fixed number of steps; a stopped run continues as if it had not been stopped: a checkpoint holds tensors (safetensors)
and numbers (JSON), never a pickle.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from inference.findings import HaemorrhageType
from inference.heads import synthetic_head
from inference.network import build_network, plane_logits
from inference.preprocess import HeadGrid, features, to_grid
from inference.training.augment import Batch, augment
from inference.training.bank import Bank
from inference.training.data import TYPES, TrainingHead, on_grid, stack_of
from inference.training.simulate.scene import UNSURE

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a fold is trained, besides its data."""

    seed: int = 2026
    steps: int = 3000
    batch_simulated: int = 8
    batch_normal: int = 3
    batch_positive: int = 3
    batch_synthetic: int = 2
    pool: int = 240
    refresh_steps: int = 4
    heads_per_carrier: int = 48
    synthetic_heads: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    ema: float = 0.998
    weak_weight: float = 0.5
    keep_steps: int = 300
    bfloat16: bool = True

    @property
    def batch(self) -> int:
        """Planes in a step."""
        return self.batch_simulated + self.batch_normal + self.batch_positive + self.batch_synthetic


@dataclass(slots=True)
class Pool:
    """The heads a fold may see; simulated ones are replaced one by one as training goes on.

    `drawn` names the simulated heads at hand, (carrier, number) in the bank.
    """

    normals: Mapping[int, TrainingHead]
    positives: Sequence[TrainingHead]
    synthetic: Sequence[TrainingHead]
    bank: Bank
    recipe: Recipe
    rng: np.random.Generator
    drawn: list[tuple[int, int]] = field(default_factory=list)
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

    def _draw(self) -> tuple[int, int]:
        carrier = int(self.rng.choice(sorted(self.normals)))
        return carrier, int(self.rng.integers(self.recipe.heads_per_carrier))


@cache
def synthetic_training_heads(count: int, seed: int) -> tuple[TrainingHead, ...]:
    """Synthetic heads on the grid: a quarter normal, the rest with every type, large and subtle in turn."""
    heads = []
    for i in range(count):
        kind: HaemorrhageType | None = None if i % 4 == 0 else TYPES[i % 5]
        made = synthetic_head(seed + i, kind, "large" if i % 3 == 0 else "subtle")
        grid = to_grid(stack_of(made.hu))
        voxels = np.stack([_labels_on_grid(made.labels[k], grid) for k in range(len(made.labels))])
        labels = np.stack([(voxels == 1 + t).sum((1, 2)) >= 8 for t in range(len(TYPES))], 1)
        depth = grid.depth_mm.numpy()
        heads.append(TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, depth, labels, voxels))
    return tuple(heads)


def _labels_on_grid(labels: NDArray[np.uint8], grid: HeadGrid) -> NDArray[np.uint8]:
    out = np.zeros(grid.image.shape[1:], np.uint8)
    for value in np.unique(labels[labels > 0]):
        out[on_grid(labels == value, grid)] = value
    return out


def _plane(head: TrainingHead, prefer: float, rng: np.random.Generator) -> int:
    """A plane to learn from: with probability `prefer` one that shows haemorrhage, else any."""
    marked = np.flatnonzero(head.labels.any(1))
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
        drawn = head.voxels
        voxels.append(np.full(head.image.shape[1:], UNSURE, np.uint8) if drawn is None else drawn[plane])
        labels.append(head.labels[plane])
        depths.append(head.depth_mm[plane])
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(voxels)),
        torch.from_numpy(np.stack(labels)),
        torch.from_numpy(np.asarray(depths, np.float32)),
    )


def loss_of(logits: torch.Tensor, batch: Batch, weak_weight: float) -> torch.Tensor:
    """Voxel cross-entropy and Dice where voxels are known, and the pooled log-odds of every judged plane."""
    target = batch.voxels.long()
    known = target != UNSURE
    full = nnf.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
    weights = torch.tensor([1.0, 3, 3, 3, 3, 3])
    entropy = nnf.cross_entropy(full, torch.where(known, target, 0), weights, reduction="none")
    voxel_loss = (entropy * known).sum() / known.sum().clamp(min=1)
    bleed = 1 - full.softmax(1)[:, 0]
    truth = (known & (target > 0)).float()
    overlap = (bleed * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 20) / ((bleed * known).sum((1, 2)) + truth.sum((1, 2)) + 20)

    wholly_unknown = ~known.flatten(1).any(1)
    any_label = batch.labels.any(1)
    doubtful = ~any_label & (target == UNSURE).flatten(1).any(1)
    weight = torch.where(wholly_unknown, weak_weight, 1.0) * (~doubtful)
    wanted = torch.cat([any_label[:, None], batch.labels], 1).float()
    planes = nnf.binary_cross_entropy_with_logits(plane_logits(logits), wanted, reduction="none")
    plane_loss = ((planes[:, 0] + 0.4 * planes[:, 1:].mean(1)) * weight).mean()
    return 4 * voxel_loss + 0.5 * dice[~wholly_unknown].mean() + 0.6 * plane_loss


@dataclass(slots=True)
class State:
    """A run between two steps."""

    net: torch.nn.Module
    averaged: torch.nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0


def _fresh(recipe: Recipe) -> State:
    torch.manual_seed(recipe.seed)
    net = build_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = build_network()
    averaged.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    return State(net, averaged, optimiser)


def save_checkpoint(state: State, pool: Pool, path: Path) -> None:
    """Networks and optimiser moments as safetensors, the rest as JSON beside it; each replaced atomically."""
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in state.averaged.state_dict().items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{k}": v for k, v in moments.items()}
    draft = path.with_suffix(".draft")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, draft)
    draft.replace(path)
    rest = {"step": state.step, "random": pool.rng.bit_generator.state, "drawn": pool.drawn}
    draft.write_text(json.dumps(rest))
    draft.replace(path.with_suffix(".json"))


def load_checkpoint(state: State, pool: Pool, path: Path) -> None:
    """Continues from a checkpoint, with the same heads at hand and the same luck."""
    tensors = load_file(path)
    for module, prefix in ((state.net, "net."), (state.averaged, "averaged.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = value
    current = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": moments, "param_groups": current["param_groups"]})
    rest = json.loads(path.with_suffix(".json").read_text())
    state.step = int(rest["step"])
    pool.rng.bit_generator.state = rest["random"]
    pool.drawn = [(int(carrier), int(number)) for carrier, number in rest["drawn"]]


def trained_steps(checkpoint: Path) -> int:
    """How far a checkpoint was trained; 0 where there is none."""
    rest = checkpoint.with_suffix(".json")
    return int(json.loads(rest.read_text())["step"]) if rest.exists() else 0


def _step(state: State, pool: Pool) -> float:
    recipe = pool.recipe
    progress = state.step / recipe.steps
    warm = min(1.0, (state.step + 1) / 100)
    rate = recipe.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * progress))))
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    batch = augment(collate(_items(pool)), pool.rng)
    inputs = features(batch.images, batch.depth_mm).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        logits = state.net(inputs)
    loss = loss_of(logits.float(), batch, recipe.weak_weight)
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 5.0)
    state.optimiser.step()
    decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        own = state.averaged.state_dict()
        for name, value in state.net.state_dict().items():
            if value.dtype.is_floating_point:
                own[name].lerp_(value, 1 - decay)
    return float(loss.detach())


def train(pool: Pool, checkpoint: Path) -> torch.nn.Module:
    """Trains to the recipe's last step and returns the averaged network; continues a checkpoint."""
    state = _fresh(pool.recipe)
    if checkpoint.exists():
        load_checkpoint(state, pool, checkpoint)
        log.info("%s: continuing at step %d", checkpoint.stem, state.step)
    state.net.train()
    if state.step < pool.recipe.steps:
        pool.fill()
    recent = 0.0
    while state.step < pool.recipe.steps:
        loss = _step(state, pool)
        recent = loss if recent == 0 else 0.98 * recent + 0.02 * loss
        state.step += 1
        if state.step % pool.recipe.refresh_steps == 0:
            pool.refresh()
        if state.step % 100 == 0:
            log.info("%s: step %d of %d, loss %.3f", checkpoint.stem, state.step, pool.recipe.steps, recent)
        if state.step % pool.recipe.keep_steps == 0 or state.step == pool.recipe.steps:
            save_checkpoint(state, pool, checkpoint)
    return state.averaged.eval()


def make_pool(
    normals: Mapping[int, TrainingHead],
    positives: Sequence[TrainingHead],
    synthetic: Sequence[TrainingHead],
    bank: Bank,
    recipe: Recipe,
    seed: int,
) -> Pool:
    """The pool of one fold; only its own normal heads carry simulated bleeds."""
    return Pool(normals, positives, synthetic, bank, recipe, np.random.default_rng(seed))


def read_averaged(checkpoint: Path) -> torch.nn.Module:
    """The averaged network of a checkpoint, for inference."""
    network = build_network()
    tensors = load_file(checkpoint)
    own = {k.removeprefix("averaged."): v for k, v in tensors.items() if k.startswith("averaged.")}
    network.load_state_dict(own)
    return network.eval()
