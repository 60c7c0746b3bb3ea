"""The whole way from the CT-ICH folder to weights and card: folds, training, out-of-fold figures, export."""

import logging
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.pipelines.haemorrhage import top_mean
from inference.training.data import TYPES, TrainingHead, patients, training_head
from inference.training.evaluate import (
    Prediction,
    auc,
    bootstrap,
    choose_threshold,
    fit_platt,
    predict,
)
from inference.training.export import Fold, Words, export
from inference.training.folds import assign_folds
from inference.training.train import Recipe, make_pool, read_averaged, synthetic_training_heads, train, trained_seconds
from inference.weights import Decisions, Figure, Platt

log = logging.getLogger(__name__)

VOXEL_THRESHOLD = 0.5
MINIMUM_ML = 0.1
SENSITIVITY = 0.9
SLICE_SENSITIVITY = 0.8
SYNTHETIC_SEED = 100_000
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
    """What the command line decides."""

    data: Path
    out: Path
    recipe: Recipe
    folds: int = 3
    jobs: int = 2
    threads: int = 1
    version: str = "0.1.0"


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


def checkpoint_path(out: Path, fold: int) -> Path:
    """Where a fold's checkpoint lies."""
    return out / f"fold{fold}.safetensors"


def train_fold(options: Options, fold: int) -> None:
    """Trains one fold in this process; returns at once when its checkpoint is complete."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    if trained_seconds(checkpoint_path(options.out, fold)) >= options.recipe.minutes * 60:
        return
    cases = load_cases(options.data)
    where = assign_folds({n: c.head.labels for n, c in cases.items()}, options.folds, options.recipe.seed)
    heads = [case.head for number, case in cases.items() if where[number] != fold]
    normals = [head for head in heads if not head.labels.any()]
    positives = [head for head in heads if head.labels.any()]
    log.info("fold %d: %d normal and %d positive heads", fold, len(normals), len(positives))
    synthetic = synthetic_training_heads(options.recipe.synthetic_heads, SYNTHETIC_SEED)
    seed = options.recipe.seed + fold
    train(make_pool(normals, positives, synthetic, seed), options.recipe, checkpoint_path(options.out, fold))


def out_of_fold(options: Options, cases: Mapping[int, Case]) -> list[Prediction]:
    """Every patient predicted by the network of its own fold."""
    where = assign_folds({n: c.head.labels for n, c in cases.items()}, options.folds, options.recipe.seed)
    networks = [read_averaged(checkpoint_path(options.out, fold)) for fold in range(options.folds)]
    return [
        Prediction(number, predict([networks[where[number]]], case.head), case.head.labels, case.imaged)
        for number, case in cases.items()
    ]


def is_child(case: Case) -> bool:
    """Younger than an adult, where the age is known."""
    return case.age_years is not None and case.age_years < ADULT_YEARS


def age_figure(name: str, predictions: Sequence[Prediction]) -> Figure:
    """Study AUC among some of the patients."""
    truth = np.array([p.labels.any() for p in predictions])
    highest = np.array([top_mean(p.planes[:, 0]) for p in predictions])
    return bootstrap(name, len(predictions), lambda w: auc(highest[w], truth[w]), seed=1)


def children_words(cases: Mapping[int, Case]) -> str:
    """What a child's result says."""
    young = [case for case in cases.values() if is_child(case)]
    bleeding = sum(bool(c.head.labels.any()) for c in young)
    return (
        f"The patient is a child. The network learned from only {len(young)} children, {bleeding} of them with "
        "haemorrhage, most of it epidural after an injury; open sutures, growing sinuses and the immature brain look "
        "different. Its answer is less certain here."
    )


def words(options: Options, cases: Mapping[int, Case]) -> Words:
    """The card's words for this run."""
    r, count = options.recipe, len(cases)
    training = (
        f"{options.folds}-fold cross-validation by patient over {count} patients, one network of 1.0 M parameters "
        f"(2.5D U-Net, three planes in) per fold, {r.minutes:g} minutes each on {options.threads} CPU thread(s), seed "
        f"{r.seed}; the shipped model averages the logits of all folds' networks. Simulated bleeds of five types in "
        "the fold's own normal scans, real slice labels through top-k pooling, synthetic heads."
    )
    point = (
        f"Chosen for a sensitivity of {SENSITIVITY:g} on out-of-fold predictions of single networks. The figures are "
        "out of fold; study sensitivity and specificity are nested (threshold chosen on all other patients), "
        "the slices' calibration and threshold are not, and the smoothing over neighbouring planes was chosen on "
        "predictions for two thirds of the same patients. Intervals: 95 %, bootstrap by patient. The averaged networks "
        "themselves have no figures, for no patient is new to all of them."
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
    predictions = out_of_fold(options, cases)
    decisions, measured = decide(predictions)
    for name, young in (("study_auc_children", True), ("study_auc_adults", False)):
        measured.append(age_figure(name, [p for p in predictions if is_child(cases[p.patient]) == young]))
    for figure in measured:
        log.info("%s %.3f (%.3f to %.3f)", figure.name, figure.value, figure.low, figure.high)
    networks = [read_averaged(checkpoint_path(options.out, fold)) for fold in range(options.folds)]
    return export(networks, decisions, measured, words(options, cases), options.out)
