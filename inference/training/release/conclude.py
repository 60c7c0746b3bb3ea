"""From the finished networks of all folds to what is shipped: decisions, weights, card with figures, pages."""

import datetime
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from inference.models.card import Figure, ModelCard, load_card
from inference.pipelines.haemorrhage.network import HeadNetwork
from inference.training.datasets.base import Dataset
from inference.training.evaluation.figures import StudyLine
from inference.training.evaluation.metrics import Estimate
from inference.training.evaluation.run import EvaluationOptions, evaluate
from inference.training.release.decide import SENSITIVITY, decide, folds_of, operating_points
from inference.training.release.export import Before, Made, Words, export
from inference.training.release.outlines import agreements, has_outlined_blood
from inference.training.release.run import TrainingOptions, checkpoint_path
from inference.training.release.unseen import Unseen
from inference.training.release.volumes import measure, one_turn
from inference.training.rounds.cases import TrainingCase
from inference.training.rounds.checkpoint import made_of
from inference.training.rounds.predict import predict_cases

ADULT_YEARS = 18.0
CT_ICH = (
    "CT-ICH 1.0.0 (Hssayeni, Croock, Al-Ani, Al-khafaji, Yahya; PhysioNet, doi 10.13026/w8q8-ky94), {patients} of its "
    "82 patients, Creative Commons Attribution 4.0"
)
LIMITS = (
    "A result without suspicion does not exclude haemorrhage.",
    "Not for scans with contrast, after surgery, with metal, or of other body parts; beam hardening at the skull base, "
    "calcifications and bright sinuses cause false alarms.",
)
CT_ICH_LIMITS = (
    "One hospital, trauma patients only, mean age 28 years, 5 mm slices; nothing is known of other sites and scanners.",
    "Few subarachnoid, intraventricular and intraparenchymal bleeds; hardly any chronic or isodense subdural ones.",
    "HU were rebuilt from windowed 8-bit pictures (-20 to 100 HU), pixel spacing is nominal: volumes are estimates.",
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Release:
    """How the model is called; the figures of the card `before` are measured again, beside the new ones."""

    version: str
    date: datetime.date
    before: Path | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a card, and the share of flagged patients with haemorrhage who were given exactly their types."""

    figures: tuple[Figure, ...]
    types_exact: float | None


def types_exact(studies: Sequence[StudyLine]) -> float | None:
    """Of the flagged studies with haemorrhage whose types readers named; None where there are none."""
    told = [each for each in studies if each.haemorrhage and each.suspected and each.types]
    return sum(set(each.types) == set(each.types_named) for each in told) / len(told) if told else None


def measured(card: ModelCard, datasets: Sequence[Dataset], out: Path, date: datetime.date) -> Measured:
    """The card's figures, out of fold by its own folds, as `scripts/evaluate` measures them; pages lie in `out`.

    With several data sets each figure begins with its data set's name.
    """
    figures: list[Figure] = []
    studies: list[StudyLine] = []
    unseen = Unseen(card, torch.device("cpu"))
    for dataset in datasets:
        folder = out / dataset.name if len(datasets) > 1 else out
        found = evaluate(dataset, unseen.analyst(dataset), folder, EvaluationOptions(date), log.info)
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
        if found.drawings is not None:
            drawn = (
                ("dice_slice", found.drawings.dice_slice),
                ("dice_patient", found.drawings.dice_patient),
                ("volume_within_factor_2", found.drawings.volumes.within_factor_2),
                ("types_exact_patients", found.drawings.types_exact_flagged),
            )
            named += [each for each in drawn if not math.isnan(each[1].low)]
        prefix = f"{dataset.name} " if len(datasets) > 1 else ""
        figures += [Figure(prefix + name, value.value, value.low, value.high) for name, value in named]
        studies += found.studies
    return Measured(tuple(figures), types_exact(studies))


def children_words(cases: Sequence[TrainingCase]) -> str:
    """What a child's result says."""
    young = [case.told for case in cases if case.told.age_years is not None and case.told.age_years < ADULT_YEARS]
    bleeding = sum(told.haemorrhage for told in young)
    return (
        f"The patient is a child. The network learned from only {len(young)} children, {bleeding} of them with "
        "haemorrhage; open sutures, growing sinuses and the immature brain look different. Its answer is less certain "
        "here."
    )


def data_words(cases: Sequence[TrainingCase]) -> tuple[str, str, tuple[str, ...]]:
    """What the card says of data, licence and limits."""
    people = {name: len({c.told.person for c in cases if c.told.dataset == name}) for name in _names(cases)}
    said = [
        CT_ICH.format(patients=count) if name == "CT-ICH" else f"{name} ({count} patients)"
        for name, count in people.items()
    ]
    data = "; ".join([*said, "simulated bleeds in their normal scans", "synthetic heads"])
    if "CT-ICH" not in people:
        return data, "Of these weights: as their owner decides.", LIMITS
    return data, "Apache-2.0; attribution of CT-ICH as under data.", CT_ICH_LIMITS + LIMITS


def _names(cases: Sequence[TrainingCase]) -> list[str]:
    return list(dict.fromkeys(case.told.dataset for case in cases))


def words(options: TrainingOptions, release: Release, cases: Sequence[TrainingCase]) -> Words:
    """The card's words for this run."""
    last = len(options.rounds) - 1
    made = [made_of(checkpoint_path(options.out, last, number)) for number in range(options.folds)]
    editions, devices = (", ".join(dict.fromkeys(each[i] for each in made)) for i in (0, 1))
    recipe, patients = options.rounds[last], len({case.told.person for case in cases})
    rounds = " then ".join(f"{r.steps} steps at {r.learning_rate:g}" for r in options.rounds)
    begun = (
        f"started from the networks of {load_card(options.start).identity.sha256[:12]}" if options.start else "fresh"
    )
    data, licence, limits = data_words(cases)
    outlined = len({case.told.person for case in cases if has_outlined_blood(case.head)})
    labels = f"outlines of {outlined} patients, slice labels" if outlined else "slice labels"
    drawn = ", and in the last round through voxel labels that its start was sure of" if recipe.propagate else ""
    training = (
        f"{options.folds}-fold cross-validation by patient over {patients} patients, one network of 1.0 M parameters "
        f"(2.5D U-Net with a plane classifier, three planes in) per fold, {begun}; {rounds}, {recipe.batch} planes "
        f"each, seed {recipe.seed}, {'bfloat16' if recipe.bfloat16 else 'float32'} ({devices}). The network that is "
        "shipped learned in the same way from all patients. Simulated bleeds of five types and mimics in the fold's "
        f"own normal scans under varied acquisition (simulator {editions}); of real bleeds {labels} through top-k "
        f"pooling{drawn}."
    )
    point = (
        f"Chosen for a sensitivity of {SENSITIVITY:g} on out-of-fold predictions of single networks. The figures are "
        "out of fold: each patient is judged by the one network that never saw the patient, with calibration and "
        "thresholds fitted on the predictions for the patients of the other folds (which came from networks that had "
        "seen the patient). The smoothing over neighbouring planes and the step from planes to the study (noisy-or, "
        "not the mean of the highest) were chosen on out-of-fold predictions for the same patients. Intervals: 95 %, "
        "bootstrap by patient. The network that is shipped has no figures of its own, for no patient is new to it."
    )
    return Words(release.version, data, licence, training, point, ADULT_YEARS, children_words(cases), limits)


def conclude(
    options: TrainingOptions,
    release: Release,
    networks: Sequence[HeadNetwork],
    where: Mapping[str, int],
    cases: Sequence[TrainingCase],
    datasets: Sequence[Dataset],
) -> Path:
    """Writes weights, card and folds into `out`, with figures measured on the data sets; the card's path.

    `networks` are those of `networks_of`.
    """
    of_folds = networks[:-1]
    predictions = predict_cases(of_folds, [where[case.told.person] for case in cases], cases)
    agreed = agreements(cases, where, of_folds)
    made = Made(
        [networks[-1], *of_folds],
        decide(predictions, agreed),
        operating_points(predictions, where),
        folds_of(predictions, where, agreed),
    )
    said = words(options, release, cases)
    card = load_card(export(made, (), said, options.out))
    found = measured(card, datasets, options.out / "evaluation", release.date)
    made = replace(made, volume_error=measure(card, cases, one_turn(cases)), types_exact=found.types_exact)
    before = None
    if release.before is not None:
        old = load_card(release.before)
        before = Before(old.identity, measured(old, datasets, options.out / "evaluation_before", release.date).figures)
    return export(made, found.figures, said, options.out, before)
