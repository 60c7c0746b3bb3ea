"""Out-of-fold predictions -> decisions: calibration and operating points, for the card and for each fold by itself.

Whatever is fitted here is fitted on predictions for patients whom the predicting network never saw, neither themselves
nor as carriers of simulated bleeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.models.card import Figure, OperatingPoint
from inference.pipelines.haemorrhage.answer import noisy_or, smoothed
from inference.pipelines.haemorrhage.decisions import Decisions, Platt
from inference.pipelines.haemorrhage.folds import Fold
from inference.training.evaluation.statistics import wilson
from inference.training.release.outlines import Agreement, voxel_threshold
from inference.training.rounds.data import TYPES
from inference.training.rounds.predict import Floats, FoldPrediction

MINIMUM_ML = 0.1
SENSITIVITY = 0.85
AIMS = (0.8, 0.85, 0.9, 0.95, 0.99)
SLICE_SENSITIVITY = 0.8
TYPE_SENSITIVITY = 0.75


def fit_platt(inputs: Floats, truth: NDArray[np.bool_], ridge: float = 1e-2) -> Platt:
    """Logistic regression on (n, feature) by Newton's method, with Platt's softened targets and a light ridge.

    The targets, (n + 1) / (n + 2) of n positives and 1 / (m + 2) of m negatives, keep few cases from certainty.
    """
    design = np.column_stack([np.ones(len(inputs)), inputs])
    positives, negatives = int(truth.sum()), int((~truth).sum())
    targets = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.zeros(design.shape[1])
    penalty = ridge * np.eye(len(weights))
    penalty[0, 0] = 1e-6
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (targets - probability) - penalty @ weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + penalty
        weights = weights + np.linalg.solve(curvature, gradient)
    return Platt(tuple(float(w) for w in weights[1:]), float(weights[0]))


def choose_threshold(scores: Floats, truth: NDArray[np.bool_], sensitivity: float) -> float:
    """The highest threshold that reaches this sensitivity: midway to the next lower score, where there is one.

    ValueError without positives, of which nothing can be asked.
    """
    if not truth.any():
        raise ValueError("a threshold cannot be chosen without positives")
    needed = int(np.ceil(sensitivity * truth.sum()))
    lowest_kept = np.sort(scores[truth])[::-1][needed - 1]
    below = scores[scores < lowest_kept]
    return float((lowest_kept + below.max()) / 2) if len(below) else float(lowest_kept)


def study_scores(predictions: Sequence[FoldPrediction]) -> Floats:
    """(study,) what the study's calibration is of."""
    return np.array([noisy_or(p.planes[:, 0]) for p in predictions])


def study_truth(predictions: Sequence[FoldPrediction]) -> NDArray[np.bool_]:
    """(study,) whether there is haemorrhage."""
    return np.array([p.told.haemorrhage for p in predictions], bool)


def calibrate_types(predictions: Sequence[FoldPrediction]) -> tuple[tuple[Platt, ...], tuple[float, ...]]:
    """Per type: calibration, and the threshold that keeps TYPE_SENSITIVITY of the studies that have it."""
    calibrations, thresholds = [], []
    for t in range(len(TYPES)):
        known = [p for p in predictions if p.told.types[t] is not None]
        highest = np.array([[noisy_or(p.planes[:, 1 + t])] for p in known]).reshape(-1, 1)
        truth = np.array([p.told.types[t] for p in known], bool)
        platt = fit_platt(highest, truth, ridge=0.1)
        chance = np.array([platt(float(v)) for v in highest[:, 0]])
        calibrations.append(platt)
        thresholds.append(min(0.5, choose_threshold(chance, truth, TYPE_SENSITIVITY)) if truth.any() else 0.5)
    return tuple(calibrations), tuple(thresholds)


def calibrate_slices(predictions: Sequence[FoldPrediction]) -> tuple[Platt, float]:
    """Calibration of a slice from its plane and its study, and the threshold for SLICE_SENSITIVITY.

    Without a single plane that somebody marked, a plane is calibrated as the study is.
    """
    rows = [
        np.column_stack([smoothed(p.planes)[:, 0], np.full(len(p.planes), noisy_or(p.planes[:, 0]))])
        for p in predictions
    ]
    inputs = np.concatenate([x[p.judged] for x, p in zip(rows, predictions, strict=True)])
    marked = np.concatenate([p.labels[p.judged, 0] == 1 for p in predictions])
    if not marked.any():
        study = fit_platt(study_scores(predictions)[:, None], study_truth(predictions))
        return Platt((study.slopes[0], 0.0), study.intercept), 0.5
    platt = fit_platt(inputs, marked)
    return platt, choose_threshold(np.array([platt(*row) for row in inputs]), marked, SLICE_SENSITIVITY)


def decide(predictions: Sequence[FoldPrediction], agreed: Sequence[Agreement] = ()) -> Decisions:
    """Calibration and operating point, fitted on these out-of-fold predictions, and agreements with outlines."""
    scores, truth = study_scores(predictions), study_truth(predictions)
    study = fit_platt(scores[:, None], truth)
    slices, slice_threshold = calibrate_slices(predictions)
    types, type_thresholds = calibrate_types(predictions)
    return Decisions(
        study=study,
        slice=slices,
        types=types,
        study_threshold=study(choose_threshold(scores, truth, SENSITIVITY)),
        slice_threshold=slice_threshold,
        type_thresholds=type_thresholds,
        voxel_threshold=voxel_threshold(agreed),
        minimum_ml=MINIMUM_ML,
        calibrated_prevalence=float(truth.mean()),
    )


def folds_of(
    predictions: Sequence[FoldPrediction], where: Mapping[str, int], agreed: Sequence[Agreement] = ()
) -> tuple[Fold, ...]:
    """Each fold's people, with the decisions fitted on the people of all other folds; its network follows the shipped
    one in the weights file."""
    folds = []
    for fold in sorted(set(where.values())):
        others = [p for p in predictions if where[p.told.person] != fold]
        agreed_by_others = [each for each in agreed if where[each.person] != fold]
        people = tuple(sorted(person for person, own in where.items() if own == fold))
        folds.append(Fold(1 + fold, people, decide(others, agreed_by_others)))
    return tuple(folds)


def operating_points(predictions: Sequence[FoldPrediction], where: Mapping[str, int]) -> tuple[OperatingPoint, ...]:
    """For each of AIMS the threshold of all predictions, and what a threshold chosen in the same way without the fold's
    own people brought there: proportions with Wilson's interval."""
    truth, scores = study_truth(predictions), study_scores(predictions)
    fold = np.array([where[p.told.person] for p in predictions])
    whole = fit_platt(scores[:, None], truth)
    points = []
    for aim in AIMS:
        flagged = np.zeros(len(predictions), bool)
        for own in np.unique(fold):
            rest, here = fold != own, fold == own
            study = fit_platt(scores[rest][:, None], truth[rest])
            least = study(choose_threshold(scores[rest], truth[rest], aim))
            flagged[here] = [study(float(score)) >= least for score in scores[here]]
        threshold = whole(choose_threshold(scores, truth, aim))
        points.append(
            OperatingPoint(
                aim,
                threshold,
                _proportion("sensitivity", flagged[truth]),
                _proportion("specificity", ~flagged[~truth]),
            )
        )
    return tuple(points)


def _proportion(name: str, right: NDArray[np.bool_]) -> Figure:
    low, high = wilson(float(right.sum()), float(len(right)))
    return Figure(name, float(right.mean()), low, high)
