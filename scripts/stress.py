"""Makes both stress tables: scripts/stress --data CT_ICH_FOLDER --out FOLDER"""

import hashlib
import json
import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click

# numpy's own threads wait for one another where cores are busy; here processes run side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

from inference.errors import InferenceError
from inference.models.card import ModelCard, load_card
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.folds import load_folds
from inference.training.datasets.base import DatasetError
from inference.training.datasets.ct_ich import open_ct_ich
from inference.training.release.unseen import Unseen
from inference.training.rounds.bank import edition
from inference.training.rounds.cases import gather
from inference.training.rounds.data import TrainingHead
from inference.training.studies.stress import HeadAnswer, Stress, StressCase, run_stress
from inference.training.studies.stress_tables import stress_text

DATASET = "CT-ICH"
METHOD = "Each carrier is a normal CT-ICH head, judged by the network that never saw its patient."

stress: Stress


def begin(heads: dict[int, TrainingHead], card: ModelCard) -> None:
    """What each process keeps."""
    global stress
    torch.set_num_threads(1)
    judges = Unseen(card, torch.device("cpu"))
    stress = Stress(heads, lambda number, stack: judges.pipeline(DATASET, f"{number:03d}").run(Given(stack)))


def answer(case: StressCase) -> HeadAnswer | None:
    """One answer, in one of the processes."""
    return stress.answer(case)


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="CT-ICH.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Answers and tables.")
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Card; else the shipped.")
@click.option(
    "--per-cell",
    default=8,
    show_default=True,
    help="Heads for each type, volume and slice thickness; twice as many for each mimic.",
)
@click.option("--jobs", default=2, show_default=True, help="Processes.")
def main(data: Path, out: Path, model: Path | None, per_cell: int, jobs: int) -> None:
    """Ask the model about simulated bleeds by type, volume and slice thickness, and about mimics.

    Run again to continue after a stop; answers of other weights or of another simulator are kept apart.

    Example: scripts/stress --data ct_ich --out stress
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        card = load_card(model or "haemorrhage")
        folds = load_folds(card)
        cases = gather([open_ct_ich(data)])
        heads = {int(c.told.patient_id): c.head for c in cases if not c.told.haemorrhage}
    except (InferenceError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    decided = hashlib.sha256(repr(folds).encode()).hexdigest()[:6]
    folder = out / f"{card.identity.sha256[:12]}_{decided}_{edition()}"
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=begin, initargs=(heads, card)) as executor:
        answers = run_stress(
            lambda cases: executor.map(answer, cases), sorted(heads), per_cell, folder / "answers.jsonl"
        )
    (folder / "stress.json").write_text(json.dumps([asdict(a) for a in answers], indent=1), encoding="utf-8")
    (folder / "stress.md").write_text(stress_text(answers, card.identity, METHOD), encoding="utf-8")
    click.echo(f"wrote {folder / 'stress.md'} and stress.json beside it")


if __name__ == "__main__":
    main()
