"""Everything that decides how a fold is trained, besides its heads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a round; every fold of it has the same.

    `propagate`: voxel labels are made from slice labels with the network that the round starts from. The shares weigh
    the losses: of voxels, of deep supervision, of the planes pooled from voxels, and of the plane classifier. `blind`
    names input channels that the network does not get, for ablations.
    """

    seed: int = 2026
    steps: int = 3000
    batch_simulated: int = 7
    batch_normal: int = 4
    batch_positive: int = 4
    batch_synthetic: int = 1
    pool: int = 240
    refresh_steps: int = 4
    heads_per_carrier: int = 16
    synthetic_heads: int = 24
    synthetic_seed: int = 100_000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    ema: float = 0.998
    weak_weight: float = 0.5
    voxel_share: float = 1.0
    coarse_share: float = 0.3
    pooled_share: float = 0.6
    classifier_share: float = 0.3
    propagate: bool = False
    blind: tuple[int, ...] = ()
    keep_steps: int = 300
    bfloat16: bool = True

    @property
    def batch(self) -> int:
        """Planes in a step."""
        return self.batch_simulated + self.batch_normal + self.batch_positive + self.batch_synthetic


@dataclass(frozen=True, slots=True)
class FoldTraining:
    """What makes a fold's network what it is: the recipe, the people left out, the simulator's edition, where it was
    trained, and the weights that it started from (their fingerprint; "" = fresh ones)."""

    recipe: Recipe
    number: int
    left_out: tuple[str, ...]
    simulator: str
    device: str
    start: str = ""
