"""Simulated heads on demand, kept on disk: head `number` of a carrier is always the same, whoever asks first.

Folds share the bank, each asking only for its own carriers; what one process made, the next one reads.
"""

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from inference.pipelines.haemorrhage import synthetic_head
from inference.pipelines.haemorrhage.cupping import without_cupping
from inference.pipelines.haemorrhage.head_grid import GRID_MM, SLAB_MM
from inference.training.rounds.data import TrainingHead, with_any
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.scene import Scene, random_plan, simulate

SPACING_MM = (SLAB_MM, GRID_MM, GRID_MM)


def as_training_head(scene: Scene) -> TrainingHead:
    """A simulated head as the training reads it: prepared as a scanned one is."""
    level = without_cupping(torch.from_numpy(np.ascontiguousarray(scene.hu, np.float32)), scene.inside).numpy()
    return TrainingHead(level.astype(np.float16), scene.inside, scene.below_mm, with_any(scene.labels), scene.voxels)


@cache
def edition() -> str:
    """What the sources hash to that decide how a simulated head looks: heads of others are never read again."""
    here, question = Path(__file__).parent, Path(synthetic_head.__file__).parent
    beside = ("synthetic_head.py", "plain_head.py", "head_grid.py", "pose.py", "cupping.py")
    sources = [
        *sorted((here.parent / "simulate").glob("*.py")),
        here / "data.py",
        *(question / name for name in beside),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]


class Bank:
    """`carriers` are normal heads on 5 x 1 x 1 mm voxels, by study; `folder` is made where it is not there yet."""

    def __init__(self, folder: Path, carriers: Mapping[str, TrainingHead], seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._carriers = carriers
        self._seed = seed
        self._bodies: dict[str, Anatomy] = {}

    def head(self, carrier: str, number: int) -> TrainingHead:
        """Simulated head `number` of a carrier."""
        named = hashlib.sha256(carrier.encode()).hexdigest()[:12]
        path = self._folder / f"{edition()}_{self._seed}_{named}_{number}.npz"
        if path.exists():
            return _read(path)
        rng = np.random.default_rng([self._seed, int(named, 16), number])
        scene = simulate(self._body(carrier), random_plan(rng), rng)
        _write(as_training_head(scene), path)
        return as_training_head(scene)

    def _body(self, carrier: str) -> Anatomy:
        if carrier not in self._bodies:
            head = self._carriers[carrier]
            self._bodies[carrier] = anatomy(head.image.astype(np.float32), head.inside, SPACING_MM)
        return self._bodies[carrier]


def _write(head: TrainingHead, path: Path) -> None:
    draft = path.with_name(f"{path.stem}.{os.getpid()}.draft.npz")
    np.savez(
        draft,
        image=head.image,
        inside=np.packbits(head.inside, axis=-1),
        depth_mm=head.depth_mm,
        labels=head.labels,
        voxels=head.voxels,
    )
    draft.replace(path)


def _read(path: Path) -> TrainingHead:
    with np.load(path) as kept:
        image = kept["image"]
        inside = np.unpackbits(kept["inside"], axis=-1, count=image.shape[-1]).astype(bool)
        return TrainingHead(image, inside, kept["depth_mm"], kept["labels"], kept["voxels"])
