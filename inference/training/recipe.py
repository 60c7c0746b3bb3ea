"""Everything that decides how a fold is trained, besides its heads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a run; every fold of it has the same."""

    seed: int = 2026
    steps: int = 3000
    batch_simulated: int = 8
    batch_normal: int = 4
    batch_positive: int = 3
    batch_synthetic: int = 1
    pool: int = 240
    refresh_steps: int = 4
    heads_per_carrier: int = 48
    synthetic_heads: int = 24
    synthetic_seed: int = 100_000
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


@dataclass(frozen=True, slots=True)
class FoldTraining:
    """What makes a fold's network what it is: the recipe, the patients left out, the simulator's edition, threads, and
    the weights that it started from (the SHA-256 of what they hold; "" = fresh ones)."""

    recipe: Recipe
    number: int
    left_out: tuple[int, ...]
    simulator: str
    threads: int
    start: str = ""
