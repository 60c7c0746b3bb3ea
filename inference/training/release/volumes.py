"""How far drawn volumes are from true ones, on simulated heads whose masks are known and that no network has seen.

Each head's carrier is a normal head that was left out of the training of the network that reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.models.card import VolumeError
from inference.pipelines.haemorrhage.head_grid import GRID_MM
from inference.pipelines.haemorrhage.network import HeadNetwork
from inference.training.release.decide import VOXEL_THRESHOLD
from inference.training.rounds.bank import SPACING_MM
from inference.training.rounds.cases import TrainingCase
from inference.training.rounds.data import TrainingHead
from inference.training.rounds.propagate import voxel_probabilities
from inference.training.simulate.anatomy import anatomy
from inference.training.simulate.scene import Scene, ScenePlan, random_plan, simulate

SEED = 31_000
PER_CARRIER = 3
SMALLEST_ML = 1.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One simulated head: its true volume and the drawn one."""

    true_ml: float
    drawn_ml: float


def draw_heads(networks: Sequence[HeadNetwork], where: Mapping[str, int], cases: Sequence[TrainingCase]) -> list[Drawn]:
    """PER_CARRIER bleeding heads of every normal case, each read by the network that never saw the case."""
    drawn = []
    for place, case in enumerate(cases):
        if case.told.haemorrhage:
            continue
        head = case.head
        body = anatomy(head.image.astype(np.float32), head.inside, SPACING_MM)
        rng = np.random.default_rng([SEED, place])
        plans = (plan for _ in range(100) if (plan := random_plan(rng)).bleeds)
        for plan, _ in zip(plans, range(PER_CARRIER), strict=False):
            scene = simulate(body, ScenePlan(plan.bleeds, plan.mimics), rng)
            if sum(scene.volumes_ml) >= SMALLEST_ML:
                drawn.append(_drawn(scene, networks[where[case.told.person]]))
    return drawn


def _drawn(scene: Scene, network: HeadNetwork) -> Drawn:
    nothing = np.zeros((len(scene.hu), 6), np.uint8)
    head = TrainingHead(scene.hu.astype(np.float16), scene.inside, scene.below_mm, nothing, scene.voxels)
    bleeding = 1 - voxel_probabilities(network, head)[:, 0]
    voxel_ml = scene.plane_mm * GRID_MM**2 / 1000
    mask = bleeding > VOXEL_THRESHOLD
    return Drawn(sum(scene.volumes_ml), float(mask.sum()) * voxel_ml)


def volume_error(drawn: Sequence[Drawn]) -> VolumeError | None:
    """Between which multiples of the drawn volume 95 % of the true ones lie, where at least SMALLEST_ML was drawn."""
    ratios = [each.true_ml / each.drawn_ml for each in drawn if each.drawn_ml >= SMALLEST_ML]
    if not ratios:
        return None
    low, high = np.percentile(ratios, [2.5, 97.5])
    return VolumeError(len(ratios), float(low), float(high))
