"""Trains one fold's network: simulated bleeds in normal heads, synthetic heads, and real heads with what is known.

Voxels of simulated bleeds, of unlabelled real slices and of the few outlined ones teach by cross-entropy and Dice; real
labelled slices teach only through the pooled log-odds of the plane (top-k pooling: weak labels). Single process, a
fixed number of steps; a stopped run continues as if it had not been stopped.
"""

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as nnf

from inference.pipelines.haemorrhage.head_grid import features
from inference.pipelines.haemorrhage.network import HeadNetwork, NetworkOutput, build_network, plane_logits
from inference.training.datasets.base import UNKNOWN, UNTYPED
from inference.training.rounds.augment import Batch
from inference.training.rounds.checkpoint import State, load_checkpoint, save_checkpoint
from inference.training.rounds.pool import Pool
from inference.training.rounds.progress import Progress
from inference.training.rounds.recipe import FoldTraining, Recipe

BLEED_WEIGHT = 3.0
TELL_STEPS = 100


def voxel_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over known voxels, and Dice of any haemorrhage over planes of which some voxels are known."""
    full = nnf.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
    said = full.log_softmax(1)
    untyped = target == UNTYPED
    of_type = said.gather(1, torch.where(known & ~untyped, target, 0)[:, None])[:, 0]
    of_any = torch.logsumexp(said[:, 1:], 1)
    entropy = -torch.where(untyped, of_any, of_type) * torch.where(target > 0, BLEED_WEIGHT, 1.0)
    bleed = 1 - said[:, 0].exp()
    truth = (known & (target > 0)).float()
    overlap = (bleed * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 20) / ((bleed * known).sum((1, 2)) + truth.sum((1, 2)) + 20)
    some = known.flatten(1).any(1)
    return 4 * (entropy * known).sum() / known.sum().clamp(min=1) + 0.5 * (dice * some).sum() / some.sum().clamp(min=1)


class Losses(NamedTuple):
    """`total` is what is minimised."""

    total: torch.Tensor
    voxels: torch.Tensor
    planes: torch.Tensor


def loss_of(answer: NetworkOutput, batch: Batch, recipe: Recipe) -> Losses:
    """Where voxels are known, `voxel_loss` of the answer and of its coarse step; of every judged plane, cross-entropy
    of the pooled log-odds and of the classifier's."""
    target = batch.voxels.long()
    known = target != UNKNOWN
    shapes = voxel_loss(answer.voxels.float(), target, known)
    coarse = voxel_loss(answer.coarse.float(), target[:, 1::4, 1::4], known[:, 1::4, 1::4])

    wholly_unknown = ~known.flatten(1).any(1)
    doubtful = (batch.labels[:, 0] == 0) & ~known.flatten(1).all(1)
    trust = torch.where(wholly_unknown, recipe.weak_weight, 1.0) * ~doubtful
    weight = trust[:, None] * (batch.labels != UNKNOWN)
    wanted = (batch.labels == 1).float()

    def of_planes(odds: torch.Tensor) -> torch.Tensor:
        each = nnf.binary_cross_entropy_with_logits(odds, wanted, reduction="none") * weight
        return (each[:, 0] + 0.4 * each[:, 1:].mean(1)).mean()

    pooled = of_planes(plane_logits(answer.voxels.float()))
    planes = recipe.pooled_share * pooled + recipe.classifier_share * of_planes(answer.planes)
    total = recipe.voxel_share * shapes + recipe.coarse_share * coarse + planes
    return Losses(total, shapes.detach(), planes.detach())


def _begin(pool: Pool, start: HeadNetwork | None) -> State:
    recipe = pool.recipe
    torch.manual_seed(recipe.seed)
    net = build_network() if start is None else copy.deepcopy(start)
    averaged = copy.deepcopy(net).to(pool.device)
    net = net.to(pool.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    return State(net, averaged, optimiser, pool.rng, pool.drawn)


def learning_rate(recipe: Recipe, step: int) -> float:
    """A hundred steps of warming up, then a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / 100)
    return recipe.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


def _step(state: State, pool: Pool) -> Losses:
    recipe = pool.recipe
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, state.step)
    batch = pool.batch()
    inputs = features(batch.images, batch.depth_mm, recipe.blind).contiguous(memory_format=torch.channels_last)
    with torch.autocast(pool.device.type, torch.bfloat16, enabled=recipe.bfloat16):
        answer = state.net(inputs)
    losses = loss_of(answer, batch, recipe)
    state.optimiser.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 5.0)
    state.optimiser.step()
    decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        own = state.averaged.state_dict()
        for name, value in state.net.state_dict().items():
            if value.dtype.is_floating_point:
                own[name].lerp_(value, 1 - decay)
    return losses._replace(total=losses.total.detach())


def train(
    pool: Pool,
    fold: FoldTraining,
    checkpoint: Path,
    start: HeadNetwork | None = None,
    until: float = math.inf,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> bool:
    """Trains to the recipe's last step, or until `until` (time.monotonic); whether it is finished.

    Continues a checkpoint of the same fold; else begins with `start`, with fresh weights where there is none. `tell`
    hears of every hundredth step.
    """
    state, steps = _begin(pool, start), fold.recipe.steps
    if checkpoint.exists():
        load_checkpoint(state, fold, checkpoint)
    state.net.train()
    if state.step < steps:
        pool.fill()
    sums, began, first = [0.0, 0.0, 0.0], time.monotonic(), state.step
    while state.step < steps and time.monotonic() < until:
        sums = [total + float(each) for total, each in zip(sums, _step(state, pool), strict=True)]
        state.step += 1
        if state.step % fold.recipe.refresh_steps == 0:
            pool.refresh()
        if state.step % TELL_STEPS == 0 or state.step == steps:
            done, now = state.step - first, time.monotonic()
            loss, voxels, planes = (total / done for total in sums)
            rate = learning_rate(fold.recipe, state.step)
            tell(Progress(checkpoint.stem, state.step, steps, loss, voxels, planes, rate, (now - began) / done))
            sums, began, first = [0.0, 0.0, 0.0], now, state.step
        if state.step % fold.recipe.keep_steps == 0:
            save_checkpoint(state, fold, checkpoint)
    save_checkpoint(state, fold, checkpoint)
    return state.step >= steps
