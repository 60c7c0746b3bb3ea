"""Out-of-fold predictions -> decisions: calibration and operating points, for the card and for each fold by itself."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.pipelines.haemorrhage import top_mean
from inference.training.data import TYPES
from inference.training.evaluate import Prediction, choose_threshold, fit_platt
from inference.weights import Decisions, Fold, Platt

VOXEL_THRESHOLD = 0.5
MINIMUM_ML = 0.1
SENSITIVITY = 0.9
SLICE_SENSITIVITY = 0.8
TYPE_SENSITIVITY = 0.75


def calibrate_types(predictions: Sequence[Prediction]) -> tuple[tuple[Platt, ...], tuple[float, ...]]:
    """Per type: calibration, and the threshold that keeps TYPE_SENSITIVITY of the studies that have it."""
    calibrations, thresholds = [], []
    for t in range(len(TYPES)):
        highest = np.array([[top_mean(p.planes[:, 1 + t])] for p in predictions])
        truth = np.array([p.labels[:, t].any() for p in predictions])
        platt = fit_platt(highest, truth, ridge=0.1)
        chance = np.array([platt(float(v)) for v in highest[:, 0]])
        calibrations.append(platt)
        thresholds.append(min(0.5, choose_threshold(chance, truth, TYPE_SENSITIVITY)))
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
