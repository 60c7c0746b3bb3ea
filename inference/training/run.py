"""The whole way from the CT-ICH folder to weights and card: folds, training, decisions, out-of-fold figures, export."""

import datetime
import logging
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.network import HeadNetwork
from inference.training.bank import Bank, edition
from inference.training.checkpoint import made_of, read_averaged, trained_steps
from inference.training.data import TrainingHead, training_head
from inference.training.datasets.ct_ich import open_ct_ich, patients
from inference.training.decide import SENSITIVITY, decide, folds_of
from inference.training.evaluation.metrics import Estimate
from inference.training.evaluation.run import Options as EvaluationOptions
from inference.training.evaluation.run import evaluate
from inference.training.export import Before, Words, export
from inference.training.folds import assign_folds
from inference.training.pool import Pool, synthetic_training_heads
from inference.training.predict import Prediction, predict
from inference.training.recipe import FoldTraining, Recipe
from inference.training.train import train
from inference.training.unseen import Unseen
from inference.weights import Figure, ModelCard, load_card

log = logging.getLogger(__name__)

ADULT_YEARS = 18.0
LIMITS = (
    "One hospital, trauma patients only, mean age 28 years, 5 mm slices; nothing is known of other sites and scanners.",
    "Few subarachnoid, intraventricular and intraparenchymal bleeds; hardly any chronic or isodense subdural ones.",
    "HU were rebuilt from windowed 8-bit pictures (-20 to 100 HU), pixel spacing is nominal: volumes are estimates.",
    "Not for scans with contrast, after surgery, with metal, or of other body parts; beam hardening at the skull base, "
    "calcifications and bright sinuses cause false alarms.",
    "On another scanner it was tried on one head only (GE, tilted gantry, 4 and 7 mm slices, no haemorrhage seen): a "
    "false alarm along the inner table, where beam hardening brightens the brain.",
    "A result without suspicion does not exclude haemorrhage.",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides; the figures of the card `before` are measured again, beside the new ones."""

    data: Path
    out: Path
    recipe: Recipe
    date: datetime.date
    folds: int = 5
    jobs: int = 2
    threads: int = 1
    version: str = "0.2.0"
    before: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A patient's head, which of its planes have a picture of their own, and the age."""

    head: TrainingHead
    imaged: NDArray[np.bool_]
    age_years: float | None


def load_cases(data: Path) -> dict[int, Case]:
    """Every patient's head on the grid, by number."""
    return {
        patient.number: Case(training_head(patient), patient.imaged, patient.age_years) for patient in patients(data)
    }


def fold_of(options: Options, cases: Mapping[int, Case]) -> dict[int, int]:
    """{patient: the fold that leaves the patient out}."""
    return assign_folds({n: c.head.labels for n, c in cases.items()}, options.folds, options.recipe.seed)


def fold_named(options: Options, cases: Mapping[int, Case], number: int) -> FoldTraining:
    """What makes this fold's network what it is."""
    left_out = sorted(patient for patient, fold in fold_of(options, cases).items() if fold == number)
    return FoldTraining(options.recipe, number, tuple(left_out), edition(), threads_of(options, number))


def checkpoint_path(out: Path, fold: int) -> Path:
    """Where a fold's checkpoint lies."""
    return out / f"fold{fold}.safetensors"


def threads_of(options: Options, fold: int) -> int:
    """CPU threads for a fold: those of the last round share what the folds that are missing there leave."""
    last_round = options.folds % options.jobs
    if last_round and fold >= options.folds - last_round:
        return options.threads * options.jobs // last_round
    return options.threads


def train_fold(options: Options, number: int) -> None:
    """Trains one fold in this process; returns at once when its checkpoint is complete."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cases, recipe = load_cases(options.data), options.recipe
    fold, checkpoint = fold_named(options, cases, number), checkpoint_path(options.out, number)
    if trained_steps(checkpoint, fold) >= recipe.steps:
        return
    torch.set_num_threads(fold.threads)
    heads = {patient: case.head for patient, case in cases.items() if patient not in fold.left_out}
    normals = {patient: head for patient, head in heads.items() if not head.labels.any()}
    positives = [head for head in heads.values() if head.labels.any()]
    log.info("fold %d: %d normal and %d positive heads", number, len(normals), len(positives))
    synthetic = synthetic_training_heads(recipe.synthetic_heads, recipe.synthetic_seed)
    bank = Bank(options.out / "bank", normals, recipe.seed)
    rng = np.random.default_rng(recipe.seed + number)
    train(Pool(normals, positives, synthetic, bank, recipe, rng), fold, checkpoint)


def finished(options: Options, cases: Mapping[int, Case]) -> list[HeadNetwork]:
    """The averaged network of every fold."""
    return [
        read_averaged(checkpoint_path(options.out, number), fold_named(options, cases, number))
        for number in range(options.folds)
    ]


def out_of_fold(
    networks: Sequence[HeadNetwork], where: Mapping[int, int], cases: Mapping[int, Case]
) -> list[Prediction]:
    """Every patient predicted by the network of its own fold."""
    return [
        Prediction(number, predict([networks[where[number]]], case.head), case.head.labels, case.imaged)
        for number, case in cases.items()
    ]


def measured(card: ModelCard, options: Options, out: Path) -> list[Figure]:
    """The card's figures, out of fold by its own folds, as `scripts/evaluate` measures them; pages lie in `out`."""
    dataset = open_ct_ich(options.data)
    analyst = Unseen(card, torch.device("cpu")).analyst([entry.patient_id for entry in dataset.entries()])
    found = evaluate(dataset, analyst, out, EvaluationOptions(options.date), log.info)
    named: list[tuple[str, Estimate]] = [
        ("study_auc", found.study.auc),
        ("study_sensitivity", found.study.sensitivity),
        ("study_specificity", found.study.specificity),
    ]
    if found.slices is not None:
        named += [
            ("slice_auc", found.slices.auc),
            ("slice_sensitivity", found.slices.sensitivity),
            ("slice_specificity", found.slices.specificity),
        ]
    return [Figure(name, value.value, value.low, value.high) for name, value in named]


def children_words(cases: Mapping[int, Case]) -> str:
    """What a child's result says."""
    young = [case for case in cases.values() if case.age_years is not None and case.age_years < ADULT_YEARS]
    bleeding = sum(bool(c.head.labels.any()) for c in young)
    return (
        f"The patient is a child. The network learned from only {len(young)} children, {bleeding} of them with "
        "haemorrhage, most of it epidural after an injury; open sutures, growing sinuses and the immature brain look "
        "different. Its answer is less certain here."
    )


def words(options: Options, cases: Mapping[int, Case]) -> Words:
    """The card's words for this run."""
    r, count = options.recipe, len(cases)
    made = [made_of(checkpoint_path(options.out, number)) for number in range(options.folds)]
    editions, threads = (", ".join(dict.fromkeys(str(each[i]) for each in made)) for i in (0, 1))
    training = (
        f"{options.folds}-fold cross-validation by patient over {count} patients, one network of 1.0 M parameters "
        f"(2.5D U-Net, three planes in) per fold, {r.steps} steps of {r.batch} planes each, seed {r.seed}, "
        f"{'bfloat16' if r.bfloat16 else 'float32'} on the CPU ({threads} threads); the shipped model averages the "
        "logits of all folds' networks. Simulated bleeds of five types and mimics in the fold's own normal scans under "
        f"varied acquisition (simulator {editions}), real slice labels through top-k pooling, synthetic heads."
    )
    point = (
        f"Chosen for a sensitivity of {SENSITIVITY:g} on out-of-fold predictions of single networks. The figures are "
        "out of fold: each patient is judged by the one network that never saw the patient, with calibration and "
        "thresholds fitted on the predictions for the patients of the other folds (which came from networks that had "
        "seen the patient). The smoothing over neighbouring planes was chosen on early predictions for two thirds of "
        "the same patients. Intervals: 95 %, bootstrap by patient. The averaged networks themselves have no figures, "
        "for no patient is new to all of them."
    )
    return Words(options.version, training, point, ADULT_YEARS, children_words(cases), LIMITS)


def run(options: Options) -> Path:
    """Trains what is not trained yet, measures, and writes weights and card into `out`; the card's path."""
    options.out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as executor:
        for done in [executor.submit(train_fold, options, fold) for fold in range(options.folds)]:
            done.result()
    cases = load_cases(options.data)
    networks, where = finished(options, cases), fold_of(options, cases)
    predictions = out_of_fold(networks, where, cases)
    decisions, folds = decide(predictions), folds_of(where, predictions)

    def write(figures: Sequence[Figure], before: Before | None) -> Path:
        return export(networks, decisions, figures, words(options, cases), options.out, folds, before)

    card = load_card(write((), None))
    figures = measured(card, options, options.out / "evaluation")
    before = None
    if options.before is not None:
        old = load_card(options.before)
        before = Before(old.identity, tuple(measured(old, options, options.out / "evaluation_before")))
    return write(figures, before)
