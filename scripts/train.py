"""Makes a haemorrhage model from labelled studies: scripts/train DATASET... --out FOLDER."""

import datetime
import logging
import math
import os
from dataclasses import replace
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy; the folds are what runs side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

from inference.errors import InferenceError
from inference.training.datasets.base import DatasetError
from inference.training.datasets.recognise import LAYOUTS, open_dataset
from inference.training.release.conclude import Release, conclude
from inference.training.release.run import (
    FIRST,
    SECOND,
    TrainingOptions,
    fold_of,
    heads_path,
    networks_of,
    prepare,
    train_all,
)
from inference.training.rounds.cases import TrainingCase, unpack
from inference.training.rounds.checkpoint import CheckpointError


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Checkpoints, weights, card, log."
)
@click.option("--layout", type=click.Choice(list(LAYOUTS)), help="How DATASETS are laid out; recognised if not given.")
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A card whose networks are fine-tuned; from scratch if not given.",
)
@click.option("--steps", default=FIRST.steps, show_default=True, help="Steps of each fold's first round.")
@click.option("--second-steps", default=SECOND.steps, show_default=True, help="Steps of the second round; 0 for none.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(min=2))
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Folds trained side by side.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="CPU threads of each.")
@click.option("--device", default="auto", show_default=True, help="auto (a GPU where there is one), cpu, cuda, cuda:N.")
@click.option("--seed", default=FIRST.seed, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop training after so long; run again to continue.")
@click.option("--release", default="0.3.0", show_default=True, help="Version in the card.")
@click.option(
    "--bfloat16/--float32", default=True, help="Arithmetic of the training; bfloat16 is quick where the CPU has it."
)
@click.option(
    "--before",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A card whose figures are measured again and stand beside the new ones.",
)
@click.option("--pack-only", is_flag=True, help="Only write OUT/heads.npz: what another machine needs to train.")
def main(
    datasets: tuple[Path, ...],
    out: Path,
    layout: str | None,
    start: Path | None,
    steps: int,
    second_steps: int,
    folds: int,
    jobs: int,
    threads: int,
    device: str,
    seed: int,
    minutes: float | None,
    release: str,
    bfloat16: bool,
    before: Path | None,
    pack_only: bool,
) -> None:
    """Train on the labelled studies in DATASETS, measure out of fold and write weights and card into OUT.

    Run again to continue after a stop. OUT/training.html shows the progress. DATASETS are of the layouts that
    scripts/evaluate takes, or one heads.npz of --pack-only: then only the training is done, and the same command with
    the data sets themselves concludes it. Research use only, not a medical device.

    Example: scripts/train ct_ich --out trained
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    first, second = (replace(r, seed=seed, bfloat16=bfloat16) for r in (FIRST, SECOND))
    rounds = [] if start else [replace(first, steps=steps)]
    rounds += [replace(second, steps=second_steps)] if second_steps else []
    if not rounds:
        raise click.UsageError("nothing to train: give --second-steps, or no --start")
    where_to = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    options = TrainingOptions(out, tuple(rounds), folds, jobs, threads, where_to, start, minutes or math.inf)
    packed = len(datasets) == 1 and datasets[0].suffix == ".npz"
    try:
        opened = (
            [] if packed else [open_dataset(path, layout, out / f"headers{i}.csv") for i, path in enumerate(datasets)]
        )
        cases = _packed(datasets[0], out) if packed else prepare(opened, out)
        if pack_only:
            click.echo(f"wrote {heads_path(out)}: {len(cases)} studies, {heads_path(out).stat().st_size / 1e6:.0f} MB")
            return
        where = fold_of(options, cases)
        if not train_all(options, where):
            click.echo("the time is over before the training is; run the same command again to continue")
            return
        if packed:
            click.echo(f"trained; now run it with the data sets themselves and --out {out}")
            return
        named = Release(release, datetime.date.today(), before)
        card = conclude(options, named, networks_of(options, where), where, cases, opened)
    except (CheckpointError, DatasetError, InferenceError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {card} and the weights beside it")


def _packed(path: Path, out: Path) -> list[TrainingCase]:
    cases = unpack(path)
    out.mkdir(parents=True, exist_ok=True)
    if path.resolve() != heads_path(out).resolve():
        heads_path(out).write_bytes(path.read_bytes())
    return cases


if __name__ == "__main__":
    main()
