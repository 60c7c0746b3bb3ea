"""Out-of-fold predictions -> decisions: calibration and operating points, for the card and for each fold by itself.

Whatever is fitted here is fitted on predictions for patients whom the predicting network never saw, neither themselves
nor as carriers of simulated bleeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.pipelines.reading import top_mean
from inference.training.data import TYPES
from inference.training.predict import Floats, Prediction
from inference.weights import Decisions, Fold, Platt

VOXEL_THRESHOLD = 0.5
MINIMUM_ML = 0.1
SENSITIVITY = 0.9
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


def calibrate_types(predictions: Sequence[Prediction]) -> tuple[tuple[Platt, ...], tuple[float, ...]]:
    """Per type: calibration, and the threshold that keeps TYPE_SENSITIVITY of the studies that have it."""
    calibrations, thresholds = [], []
    for t in range(len(TYPES)):
        highest = np.array([[top_mean(p.planes[:, 1 + t])] for p in predictions])
        truth = np.array([p.labels[:, t].any() for p in predictions])
        platt = fit_platt(highest, truth, ridge=0.1)
        chance = np.array([platt(float(v)) for v in highest[:, 0]])
        calibrations.append(platt)
        thresholds.append(min(0.5, choose_threshold(chance, truth, TYPE_SENSITIVITY)) if truth.any() else 0.5)
    return tuple(calibrations), tuple(thresholds)


def decide(predictions: Sequence[Prediction]) -> Decisions:
    """Calibration and operating point, fitted on these out-of-fold predictions."""
    truth = np.array([p.labels.any() for p in predictions])
    highest = np.array([top_mean(p.planes[:, 0]) for p in predictions])
    study = fit_platt(highest[:, None], truth)
    slice_inputs = [
        np.column_stack([p.planes[:, 0], np.full(len(p.planes), top)])
        for p, top in zip(predictions, highest, strict=True)
    ]
    marked = np.concatenate([p.labels[p.judged].any(1) for p in predictions])
    slices = fit_platt(np.concatenate([x[p.judged] for x, p in zip(slice_inputs, predictions, strict=True)]), marked)
    scores = [np.array([slices(*row) for row in rows]) for rows in slice_inputs]
    judged = np.concatenate([s[p.judged] for s, p in zip(scores, predictions, strict=True)])
    types, type_thresholds = calibrate_types(predictions)
    return Decisions(
        study=study,
        slice=slices,
        types=types,
        study_threshold=study(choose_threshold(highest, truth, SENSITIVITY)),
        slice_threshold=choose_threshold(judged, marked, SLICE_SENSITIVITY),
        type_thresholds=type_thresholds,
        voxel_threshold=VOXEL_THRESHOLD,
        minimum_ml=MINIMUM_ML,
    )


def folds_of(where: Mapping[int, int], predictions: Sequence[Prediction]) -> tuple[Fold, ...]:
    """Each fold's patients, with the decisions fitted on the patients of all other folds."""
    folds = []
    for fold in sorted(set(where.values())):
        others = [p for p in predictions if where[p.patient] != fold]
        people = tuple(f"{n:03d}" for n, own in sorted(where.items()) if own == fold)
        folds.append(Fold(fold, people, decide(others)))
    return tuple(folds)
