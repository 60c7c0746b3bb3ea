"""Makes the shipped weights: scripts/train --data CT_ICH_FOLDER --out FOLDER; its files belong in config/models."""

import datetime
import logging
import os
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy; the folds are what runs side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from inference.training.checkpoint import CheckpointError
from inference.training.datasets.base import DatasetError
from inference.training.recipe import Recipe
from inference.training.run import Options, run


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Checkpoints, weights, card."
)
@click.option("--steps", default=Recipe().steps, show_default=True, help="Training steps of each fold.")
@click.option("--folds", default=5, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Folds trained at once.")
@click.option("--threads", default=1, show_default=True, help="CPU threads of each.")
@click.option("--seed", default=2026, show_default=True)
@click.option("--release", default="0.2.0", show_default=True, help="Version in the card.")
@click.option(
    "--bfloat16/--float32", default=True, help="Arithmetic of the training; bfloat16 is quick where the CPU has it."
)
@click.option(
    "--before",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A card whose figures are measured again and stand beside the new ones.",
)
def main(
    data: Path,
    out: Path,
    steps: int,
    folds: int,
    jobs: int,
    threads: int,
    seed: int,
    release: str,
    bfloat16: bool,
    before: Path | None,
) -> None:
    """Train, measure out of fold and export the haemorrhage model. Run again to continue after a stop.

    Example: scripts/train --data ct_ich --out trained
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(seed=seed, steps=steps, bfloat16=bfloat16)
    options = Options(data, out, recipe, datetime.date.today(), folds, jobs, threads, release, before)
    try:
        card = run(options)
    except (CheckpointError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {card} and the weights beside it")


if __name__ == "__main__":
    main()
