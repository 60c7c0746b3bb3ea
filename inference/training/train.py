"""Trains one fold's network: simulated bleeds in normal heads, synthetic heads, and real slice labels through pooling.

Voxels of simulated bleeds, of unlabelled real slices and of the few outlined ones teach by cross-entropy and Dice; real
labelled slices teach only through the pooled log-odds of the plane (top-k pooling: weak labels). Single process, a
fixed number of steps; a stopped run continues as if it had not been stopped.
"""

import copy
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf

from inference.network import Answer, HeadNetwork, build_network, plane_logits
from inference.preprocess import features
from inference.training.augment import Batch
from inference.training.checkpoint import State, load_checkpoint, save_checkpoint
from inference.training.pool import Pool
from inference.training.recipe import FoldTraining
from inference.training.simulate.scene import UNSURE

log = logging.getLogger(__name__)


def voxel_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over known voxels, and Dice of any haemorrhage over planes of which some voxels are known."""
    full = nnf.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
    weights = torch.tensor([1.0, 3, 3, 3, 3, 3], device=full.device)
    entropy = nnf.cross_entropy(full, torch.where(known, target, 0), weights, reduction="none")
    bleed = 1 - full.softmax(1)[:, 0]
    truth = (known & (target > 0)).float()
    overlap = (bleed * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 20) / ((bleed * known).sum((1, 2)) + truth.sum((1, 2)) + 20)
    some = known.flatten(1).any(1)
    return 4 * (entropy * known).sum() / known.sum().clamp(min=1) + 0.5 * (dice * some).sum() / some.sum().clamp(min=1)


def loss_of(answer: Answer, batch: Batch, weak_weight: float) -> torch.Tensor:
    """Where voxels are known, `voxel_loss` of the answer and of its coarse step; of every judged plane, cross-entropy of
    the pooled log-odds and of the classifier's."""
    target = batch.voxels.long()
    known = target != UNSURE
    shapes = voxel_loss(answer.voxels.float(), target, known)
    coarse = voxel_loss(answer.coarse.float(), target[:, 1::4, 1::4], known[:, 1::4, 1::4])

    wholly_unknown = ~known.flatten(1).any(1)
    any_label = batch.labels.any(1)
    doubtful = ~any_label & ~known.flatten(1).all(1)
    weight = torch.where(wholly_unknown, weak_weight, 1.0) * (~doubtful)
    wanted = torch.cat([any_label[:, None], batch.labels], 1).float()
    planes = torch.zeros((), device=weight.device)
    for odds, share in ((plane_logits(answer.voxels.float()), 0.6), (answer.planes, 0.3)):
        each = nnf.binary_cross_entropy_with_logits(odds, wanted, reduction="none")
        planes = planes + share * ((each[:, 0] + 0.4 * each[:, 1:].mean(1)) * weight).mean()
    return shapes + 0.3 * coarse + planes


def _fresh(pool: Pool, start: HeadNetwork | None) -> State:
    recipe = pool.recipe
    torch.manual_seed(recipe.seed)
    net = build_network() if start is None else copy.deepcopy(start)
    averaged = copy.deepcopy(net)
    net = net.to(pool.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    return State(net, averaged.to(pool.device), optimiser, pool.rng, pool.drawn)


def _step(state: State, pool: Pool) -> torch.Tensor:
    recipe = pool.recipe
    progress = state.step / recipe.steps
    warm = min(1.0, (state.step + 1) / 100)
    rate = recipe.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * progress))))
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    batch = pool.batch()
    inputs = features(batch.images, batch.depth_mm).contiguous(memory_format=torch.channels_last)
    with torch.autocast(pool.device.type, torch.bfloat16, enabled=recipe.bfloat16):
        answer = state.net(inputs)
    loss = loss_of(answer, batch, recipe.weak_weight)
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
    return loss.detach()


def train(pool: Pool, fold: FoldTraining, checkpoint: Path, start: HeadNetwork | None = None) -> HeadNetwork:
    """Trains to the recipe's last step and returns the averaged network; continues a checkpoint of the same fold.

    `start` is the network to begin with, fresh weights where there is none.
    """
    state, steps = _fresh(pool, start), fold.recipe.steps
    if checkpoint.exists():
        load_checkpoint(state, fold, checkpoint)
        log.info("%s: continuing at step %d", checkpoint.stem, state.step)
    state.net.train()
    if state.step < steps:
        pool.fill()
    recent = 0.0
    while state.step < steps:
        loss = float(_step(state, pool))
        recent = loss if recent == 0 else 0.98 * recent + 0.02 * loss
        state.step += 1
        if state.step % fold.recipe.refresh_steps == 0:
            pool.refresh()
        if state.step % 100 == 0:
            log.info("%s: step %d of %d, loss %.3f", checkpoint.stem, state.step, steps, recent)
        if state.step % fold.recipe.keep_steps == 0 or state.step == steps:
            save_checkpoint(state, fold, checkpoint)
    return state.averaged.eval()
