"""How far drawn volumes are from true ones, by size, on simulated heads whose masks are known and that nobody has seen.

Each head's carrier is a normal head that was left out of the training of the network that reads it. Only what a reader
would be told counts: heads that are flagged, with at least SMALLEST_ML drawn. And only dense blood: of chronic or
diluted blood the model often draws a small part, and no range that holds this says anything of a volume.

    python -m inference.training.release.volumes --data CT_ICH_FOLDER
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import tomli_w
import torch

from inference.findings import NotAnalysable
from inference.models.card import SMALLEST_ML, ModelCard, SizeError, VolumeError, load_card
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import open_ct_ich
from inference.training.release.unseen import Unseen
from inference.training.rounds.bank import SPACING_MM
from inference.training.rounds.cases import TrainingCase, gather
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.scene import DRAWN_ML, KIND_SHARES, Scene, ScenePlan, Wish, simulate
from inference.training.studies.stress import as_stack

SEED = (31_000, 2)
PER_CARRIER = 3
HEADS = 458
LEAST_WANTED_ML, MOST_WANTED_ML = 0.5, 200.0
DENSE_HU = 50.0
BOUNDS_ML = (3.0, 10.0, 30.0, float("inf"))
FEWEST = 10
TYPES = tuple(HaemorrhageType)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One simulated head: its true volume and the drawn one, 0 where it is not flagged; the median HU of its blood."""

    true_ml: float
    drawn_ml: float
    blood_hu: float


def draw_heads(
    pipeline_of: Callable[[TrainingCase], HaemorrhagePipeline], cases: Sequence[TrainingCase], heads: int
) -> Iterator[Drawn]:
    """Up to `heads` bleeding heads, the normal cases in turn, each read by the network that never saw the case."""
    made = 0
    for turn in range(1 + heads // max(1, len(cases))):
        for place, case in enumerate(cases):
            if case.told.haemorrhage:
                continue
            body = anatomy(case.head.image.astype(np.float32), case.head.inside, SPACING_MM)
            for number in range(PER_CARRIER):
                if made == heads:
                    return
                if (drawn := _drawn(body, [*SEED, turn, place, number], pipeline_of(case))) is not None:
                    made += 1
                    yield drawn


def _drawn(body: Anatomy, seed: Sequence[int], pipeline: HaemorrhagePipeline) -> Drawn | None:
    """One bleed and what is drawn of it; None where the anatomy has no place for it, or the head is refused."""
    rng = np.random.default_rng(seed)
    kind = TYPES[int(rng.choice(len(TYPES), p=KIND_SHARES))]
    most = min(MOST_WANTED_ML, 1.2 * DRAWN_ML[kind][1])
    wanted = float(np.exp(rng.uniform(np.log(LEAST_WANTED_ML), np.log(most))))
    scene = simulate(body, ScenePlan((Wish(kind, wanted),)), rng)
    if not sum(scene.volumes_ml):
        return None
    try:
        result = pipeline.run(Given(as_stack(scene.hu, scene.plane_mm)))
    except NotAnalysable:
        return None
    return Drawn(sum(scene.volumes_ml), sum(each.volume_ml for each in result.findings), _blood_hu(scene))


def _blood_hu(scene: Scene) -> float:
    blood = (scene.voxels > 0) & (scene.voxels <= len(TYPES))
    return float(np.median(scene.hu[blood])) if blood.any() else 0.0


def volume_error(drawn: Sequence[Drawn]) -> VolumeError | None:
    """Between which multiples of the drawn volume 95 % of the true ones lie, by size; None where nothing was drawn.

    A size with fewer than FEWEST heads is not told apart.
    """
    seen = [each for each in drawn if each.drawn_ml >= SMALLEST_ML and each.blood_hu >= DENSE_HU]
    if not seen:
        return None
    sizes, lower = [], 0.0
    for bound in BOUNDS_ML:
        within = [each for each in seen if lower <= each.drawn_ml < bound]
        if len(within) >= FEWEST:
            sizes.append(SizeError(bound, len(within), *_factors(within)))
            lower = bound
    return VolumeError(len(seen), *_factors(seen), tuple(sizes))


def _factors(drawn: Sequence[Drawn]) -> tuple[float, float]:
    low, high = np.percentile([each.true_ml / each.drawn_ml for each in drawn], [2.5, 97.5])
    return float(low), float(high)


def one_turn(cases: Sequence[TrainingCase]) -> int:
    """How many heads there are when every normal case has carried its bleeds once."""
    return PER_CARRIER * sum(not case.told.haemorrhage for case in cases)


def measure(card: ModelCard, cases: Sequence[TrainingCase], heads: int) -> VolumeError | None:
    """The volume error of a card's networks by its own folds."""
    unseen = Unseen(card, torch.device("cpu"))
    return volume_error(
        list(draw_heads(lambda case: unseen.pipeline(case.told.dataset, case.told.patient_id), cases, heads))
    )


def table_of(error: VolumeError) -> dict[str, object]:
    """The card's table `volume_error`; the last size has no bound."""
    sizes = [
        ({} if np.isinf(each.below_ml) else {"below_ml": each.below_ml}) | _row(each.heads, each.low, each.high)
        for each in error.sizes
    ]
    return _row(error.heads, error.low, error.high) | ({"sizes": sizes} if sizes else {})


def _row(heads: int, low: float, high: float) -> dict[str, object]:
    return {"heads": heads, "low": float(f"{low:.4g}"), "high": float(f"{high:.4g}")}


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option("--heads", default=HEADS, show_default=True, help="Simulated bleeding heads.")
def main(data: Path, heads: int) -> None:
    """Print the table `volume_error` of the shipped model's card; about twenty minutes on one core."""
    torch.set_num_threads(1)
    error = measure(load_card("haemorrhage"), gather([open_ct_ich(data)]), heads)
    click.echo(tomli_w.dumps({"volume_error": table_of(error)}) if error else "nothing was drawn")


if __name__ == "__main__":
    main()
