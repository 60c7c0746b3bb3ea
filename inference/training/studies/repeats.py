"""How far apart the drawn volumes of two scans of one unchanged head are (test and retest), on simulated heads.

A bleed lies in a normal head on thin planes, and this head is scanned twice as the same scanner does it: slices begin
elsewhere, the head is tilted, turned and moved a little, and the noise is another. What the model errs alike in both
scans (of one bleed it sees too much or too little) is no part of it: that is `volume_error`.

    python -m inference.training.studies.repeats --data CT_ICH_FOLDER
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from inference.findings import NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.models.card import VolumeRepeat
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import open_ct_ich
from inference.training.rounds.bank import SPACING_MM
from inference.training.rounds.data import TrainingHead, training_head
from inference.training.simulate.acquisition import Acquisition, acquire, thin
from inference.training.simulate.anatomy import anatomy
from inference.training.simulate.scene import DRAWN_ML, Scene, ScenePlan, Wish, simulate
from inference.training.studies.stress import as_stack

SEED = 47_000
FINE_MM = 1.25
OFFSETS = int(SPACING_MM[0] / FINE_MM)
TILT_DEG, TURN_DEG, SHIFT_MM, NOISE_HU = 4.0, 3.0, 4.0, 3.0
WANTED_ML = (2.0, 60.0)
FROM_ML = (1.0, 5.0)  # small volumes are less repeatable


@dataclass(frozen=True, slots=True)
class Pair:
    """One bleed, and what was drawn of it in each of two scans."""

    kind: str
    true_ml: float
    first_ml: float
    second_ml: float


def scan_pairs(heads: Mapping[str, TrainingHead], ask: Callable[[SliceStack], Result], pairs: int) -> Iterator[Pair]:
    """`pairs` bleeding heads scanned twice, carriers and types in turn; those that are not suspected twice are none."""
    kinds = itertools.cycle(HaemorrhageType)
    found = 0
    for number, (name, kind) in enumerate(zip(itertools.cycle(heads), kinds, strict=False)):
        if found == pairs or number == 4 * pairs:
            return
        rng = np.random.default_rng([SEED, number])
        scene = _bleeding(heads[name], kind, rng)
        volumes = [_drawn_ml(ask, _scanned(scene, rng)) for _ in range(2)] if sum(scene.volumes_ml) else []
        if volumes and min(volumes) > 0:
            found += 1
            yield Pair(kind.value, sum(scene.volumes_ml), *volumes)


def volume_repeats(pairs: Sequence[Pair]) -> list[VolumeRepeat]:
    """The standard deviation of the logarithm of second to first volume, by the size of what was drawn in the mean.

    About nought: which scan comes first is chance. Pairs of which one is under the smallest size do not count.
    """
    told = [pair for pair in pairs if min(pair.first_ml, pair.second_ml) >= FROM_ML[0]]
    found = []
    for low, high in zip(FROM_ML, (*FROM_ML[1:], np.inf), strict=True):
        within = [pair for pair in told if low <= (pair.first_ml + pair.second_ml) / 2 < high]
        if within:
            logs = np.log([pair.second_ml / pair.first_ml for pair in within])
            found.append(VolumeRepeat(low, len(within), float(np.sqrt(np.mean(logs**2)))))
    return found


def _bleeding(head: TrainingHead, kind: HaemorrhageType, rng: np.random.Generator) -> Scene:
    low, high = max(WANTED_ML[0], DRAWN_ML[kind][0]), min(WANTED_ML[1], DRAWN_ML[kind][1])
    wanted = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    hu, inside = thin(head.image.astype(np.float32), head.inside, SPACING_MM, FINE_MM, rng)
    body = anatomy(hu, inside, (FINE_MM, *SPACING_MM[1:]))
    return simulate(body, ScenePlan((Wish(kind, wanted),)), rng)


def _scanned(scene: Scene, rng: np.random.Generator) -> SliceStack:
    """The head as one of its scans shows it."""
    begins = int(rng.integers(OFFSETS))
    how = Acquisition(
        tilt_deg=float(rng.normal(0, TILT_DEG)),
        turn_deg=float(rng.normal(0, TURN_DEG)),
        shift_mm=(float(rng.normal(0, SHIFT_MM)), float(rng.normal(0, SHIFT_MM))),
        noise_hu=NOISE_HU,
        seed=int(rng.integers(2**31)),
    )
    hu, voxels, inside = scene.hu[begins:], scene.voxels[begins:], scene.inside[begins:]
    acquired = acquire(hu, voxels, inside, (FINE_MM, *SPACING_MM[1:]), how)
    return as_stack(acquired.hu, acquired.plane_mm)


def _drawn_ml(ask: Callable[[SliceStack], Result], stack: SliceStack) -> float:
    """All that the model outlines; 0 where it suspects nothing or refuses the head."""
    try:
        result = ask(stack)
    except NotAnalysable:
        return 0.0
    return sum(finding.volume_ml for finding in result.findings)


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option("--pairs", default=80, show_default=True, help="Bleeding heads, each scanned twice.")
@click.option("--carriers", default=20, show_default=True, help="Normal heads that they lie in.")
def main(data: Path, pairs: int, carriers: int) -> None:
    """Print each pair, and the table for the model's card; about 15 minutes on one core."""
    torch.set_num_threads(1)
    dataset, pipeline = open_ct_ich(data), HaemorrhagePipeline(torch.device("cpu"))
    studies = (dataset.load(entry) for entry in dataset.entries())
    normal = (study for study in studies if not study.truth.haemorrhage)
    heads = {each.entry.patient_id: training_head(each) for each in itertools.islice(normal, carriers)}
    told = []
    for pair in scan_pairs(heads, lambda stack: pipeline.run(Given(stack)), pairs):
        told.append(pair)
        click.echo(f"{pair.kind:17} {pair.true_ml:6.1f} ml: {pair.first_ml:6.1f} ml, {pair.second_ml:6.1f} ml")
    for each in volume_repeats(told):
        click.echo(f"\n[[volume_repeat]]\nfrom_ml = {each.from_ml}\npairs = {each.pairs}\nlog_sd = {each.log_sd:.3f}")


if __name__ == "__main__":
    main()
