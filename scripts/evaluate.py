"""Measures a model on a labelled data set: scripts/evaluate DATASET --out FOLDER writes evaluation.html and .json."""

import datetime
import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import click
import torch

from inference.engines.local import Engine
from inference.errors import DeviceError, ModelError
from inference.models.card import ModelCard, load_card
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.decisions import decisions_of
from inference.pipelines.haemorrhage.folds import folds_path, load_folds
from inference.training.datasets.base import Dataset, DatasetError
from inference.training.datasets.recognise import LAYOUTS, open_dataset
from inference.training.evaluation.measure import Analyst, told_by
from inference.training.evaluation.peak import WatchedPipeline
from inference.training.evaluation.peer import Peer
from inference.training.evaluation.run import EvaluationOptions, evaluate
from inference.training.release.unseen import Unseen


def analyst_for(dataset: Dataset, card: ModelCard, device: torch.device) -> Analyst:
    """Who answers: for the data set that the model was made from its folds, for all others the model as it is shipped.

    ModelError where the card's folds are there and cannot be used.
    """
    if folds_path(card).exists() and dataset.name in load_folds(card).datasets:
        return Unseen(card, device).analyst(dataset)
    pipeline = WatchedPipeline(device, card, decisions=replace(decisions_of(card), tells_types=True))
    return Analyst(
        answer=lambda study: pipeline.run(Given(study.stack)),
        slice_threshold=lambda entry: pipeline.decisions.slice_threshold,
        model=card.identity,
        method=(
            f"The model as it is shipped ({card.networks} networks averaged, the card's own calibration and "
            f"thresholds) on every study of {dataset.name}. Valid only if the model never saw these patients."
        ),
        signature=hashlib.sha256(repr((pipeline.decisions, told_by(card))).encode()).hexdigest()[:16],
        card=card,
        peak=lambda study: pipeline.peak,
    )


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Page, JSON, pictures.")
@click.option("--layout", type=click.Choice(list(LAYOUTS)), help="How DATASET is laid out; recognised if not given.")
@click.option("--model", type=click.Path(dir_okay=False, path_type=Path), help="A card; the shipped one if not given.")
@click.option(
    "--prevalence",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Predict PPV and NPV at this share of studies with haemorrhage, e.g. 0.027; may be repeated.",
)
@click.option(
    "--peer",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of BLAST-CT's labels of outlined slices, PATIENT.npz: shown beside the model.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores if not given.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many studies.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def main(
    dataset: Path,
    out: Path,
    layout: str | None,
    model: Path | None,
    prevalence: tuple[float, ...],
    peer: Path | None,
    threads: int | None,
    limit: int | None,
    device: str,
) -> None:
    """Measure the haemorrhage model on the labelled studies in DATASET. Run again to continue after a stop.

    Writes evaluation.html, evaluation.json, pictures/ and studies/ into OUT. Research use only, not a medical device.

    Example: scripts/evaluate ct_ich --out evaluated --prevalence 0.027
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("inference").setLevel(logging.INFO)
    try:
        out.mkdir(parents=True, exist_ok=True)
        opened = open_dataset(dataset, layout, out / "headers.csv")
        where = Engine(device, threads or len(os.sched_getaffinity(0))).device
        analyst = analyst_for(opened, load_card(model or "haemorrhage"), where)
        options = EvaluationOptions(
            datetime.date.today(), str(where), prevalence, limit, peer=Peer(peer) if peer else None
        )
        found = evaluate(opened, analyst, out, options, click.echo)
    except (DatasetError, ModelError, DeviceError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out / 'evaluation.html'}")
    if not found.counts.analysed:
        raise click.ClickException("no study could be analysed; the page says why")


if __name__ == "__main__":
    main()
