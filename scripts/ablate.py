"""What each idea of the training brings: scripts/ablate DATASET... --start CARD --out FOLDER writes ablation.md."""

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy; the folds are what runs side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from inference.errors import InferenceError
from inference.models.card import load_card
from inference.training.datasets.base import DatasetError
from inference.training.datasets.recognise import open_dataset
from inference.training.release.run import SECOND, TrainingOptions, fold_of, prepare
from inference.training.rounds.checkpoint import CheckpointError
from inference.training.studies.ablation import markdown, table
from inference.training.studies.ablation_run import AblationPlan, run_ablation


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--start",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The card whose networks every variant starts from.",
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Checkpoints and the table."
)
@click.option("--steps", default=200, show_default=True, help="Steps of each fold and variant.")
@click.option("--folds", type=click.IntRange(min=1), help="Only the first so many folds of the card.")
@click.option("--jobs", default=2, show_default=True, help="Folds trained side by side.")
def main(datasets: tuple[Path, ...], start: Path, out: Path, steps: int, folds: int | None, jobs: int) -> None:
    """Train every variant of the method for a few steps and say what each loses. Run again to continue after a stop.

    Example: scripts/ablate ct_ich --start trained/haemorrhage.toml --out ablated
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    whole = replace(SECOND, steps=steps, pool=120, heads_per_carrier=16, synthetic_heads=8)
    try:
        opened = [open_dataset(path, None, out / f"headers{i}.csv") for i, path in enumerate(datasets)]
        cases = prepare(opened, out)
        options = TrainingOptions(out, (whole,), load_card(start).networks, jobs, start=start)
        where = fold_of(options, cases)
        plan = AblationPlan(options, whole, tuple(range(options.folds))[:folds])
        judged = [case for case in cases if where[case.told.person] in plan.folds]
        rows = table(run_ablation(plan, where, judged), judged)
    except (CheckpointError, DatasetError, InferenceError) as error:
        raise click.ClickException(str(error)) from error
    (out / "ablation.json").write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    (out / "ablation.md").write_text(markdown(rows), encoding="utf-8")
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
