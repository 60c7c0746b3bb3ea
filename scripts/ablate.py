"""What each idea of the training brings: scripts/ablate DATASET... --start CARD --out FOLDER writes ablation.md."""

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy; the folds are what runs side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

from inference.errors import InferenceError
from inference.network import build_network
from inference.training.ablation import (
    WHOLE,
    Outcome,
    aggregated,
    markdown,
    mean_of,
    mirrored,
    outcome,
    table,
    variants,
)
from inference.training.checkpoint import CheckpointError
from inference.training.datasets.base import DatasetError
from inference.training.datasets.recognise import open_dataset
from inference.training.run import SECOND, Options, fold_of, networks_of, prepare, train_all
from inference.weights import load_card, load_networks


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
@click.option("--steps", default=250, show_default=True, help="Steps of each fold and variant.")
@click.option("--jobs", default=2, show_default=True, help="Folds trained side by side.")
def main(datasets: tuple[Path, ...], start: Path, out: Path, steps: int, jobs: int) -> None:
    """Train every variant of the method for a few steps and say what each loses. Run again to continue after a stop.

    Example: scripts/ablate ct_ich --start trained/haemorrhage.toml --out ablated
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    whole = replace(SECOND, steps=steps, pool=120, heads_per_carrier=16)
    try:
        opened = [open_dataset(path, None, out / f"headers{i}.csv") for i, path in enumerate(datasets)]
        cases = prepare(opened, out)
        begun = load_networks(load_card(start), build_network, torch.device("cpu"))
        found: dict[str, Outcome] = {}
        others: list[Outcome] = []
        for number, (name, variant) in enumerate(variants(whole).items()):
            own = out / f"variant{number}"
            own.mkdir(exist_ok=True)
            options = Options(own, (variant.recipe,), len(begun), jobs, start=start, shared=out)
            where = fold_of(options, cases)
            train_all(options, where)
            folds = [where[case.told.person] for case in cases]
            networks = networks_of(options, where)
            found[name] = outcome(name, variant, networks, folds, cases)
            if name == WHOLE:
                found["mirrored too"] = mirrored("mirrored too", variant, networks, folds, cases)
                others = aggregated(found[WHOLE], folds, cases)
    except (CheckpointError, DatasetError, InferenceError) as error:
        raise click.ClickException(str(error)) from error
    found["two networks: segmentation and classifier"] = mean_of(
        "two networks: segmentation and classifier", [found["segmentation only"], found["plane classifier only"]]
    )
    found["slices not smoothed"] = mean_of("slices not smoothed", [found[WHOLE]], smooth=False)
    rows = table([*found.values(), *others], cases)
    (out / "ablation.json").write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    (out / "ablation.md").write_text(markdown(rows), encoding="utf-8")
    click.echo(markdown(rows))


if __name__ == "__main__":
    main()
