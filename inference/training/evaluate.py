"""Out-of-fold figures: AUC, sensitivity and specificity with bootstrap intervals by patient, and the calibration.

Whatever is fitted here (Platt calibration, operating point) is fitted on predictions for patients whom the predicting
network never saw, neither themselves nor as carriers of simulated bleeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inference.network import plane_logits
from inference.pipelines.haemorrhage import smoothed
from inference.preprocess import features, triplets
from inference.training.data import TrainingHead
from inference.training.evaluation.statistics import auc, draw, interval
from inference.weights import Figure, Platt

__all__ = [
    "Prediction",
    "auc",
    "bootstrap",
    "choose_threshold",
    "figures",
    "fit_platt",
    "nested_decisions",
    "predict",
]

Floats = NDArray[np.float64]
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """One head's out-of-fold answer and the truth: `planes` (plane, 6) log-odds, `labels` bool (plane, 5)."""

    patient: int
    planes: Floats
    labels: NDArray[np.bool_]
    judged: NDArray[np.bool_]


@torch.inference_mode()
def predict(networks: Sequence[torch.nn.Module], head: TrainingHead) -> Floats:
    """(plane, 6) pooled and smoothed log-odds of the averaged networks."""
    three = triplets(torch.from_numpy(head.image.astype(np.float32)))
    depth = torch.from_numpy(head.depth_mm)
    planes = []
    for start in range(0, len(three), 16):
        part = slice(start, start + 16)
        inputs = features(three[part], depth[part]).contiguous(memory_format=torch.channels_last)
        planes.append(torch.stack([plane_logits(net(inputs).float()) for net in networks]).mean(0))
    return smoothed(torch.cat(planes).numpy().astype(np.float64))


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


def bootstrap(
    name: str, count: int, statistic: Callable[[NDArray[np.intp]], float], seed: int, rounds: int = BOOTSTRAPS
) -> Figure:
    """The statistic over all patients, with the 95 % percentile interval of resampled patients."""
    low, high = interval(np.array([statistic(drawn) for drawn in draw(count, rounds, seed)]))
    return Figure(name, statistic(np.arange(count)), low, high)


def choose_threshold(probability: Floats, truth: NDArray[np.bool_], sensitivity: float) -> float:
    """The highest threshold, midway between two probabilities, that reaches this sensitivity."""
    needed = int(np.ceil(sensitivity * truth.sum()))
    lowest_kept = np.sort(probability[truth])[::-1][needed - 1]
    below = probability[probability < lowest_kept]
    return float((lowest_kept + below.max()) / 2) if len(below) else float(lowest_kept / 2)


def nested_decisions(scores: Floats, truth: NDArray[np.bool_], sensitivity: float) -> NDArray[np.bool_]:
    """Each patient judged by a threshold chosen on all the others."""
    out = np.zeros(len(scores), bool)
    for i in range(len(scores)):
        others = np.arange(len(scores)) != i
        out[i] = scores[i] >= choose_threshold(scores[others], truth[others], sensitivity)
    return out


def figures(
    predictions: Sequence[Prediction],
    slices: Sequence[Floats],
    study: Floats,
    decided: NDArray[np.bool_],
    slices_at: float,
    seed: int,
) -> list[Figure]:
    """Study and slice AUC, sensitivity and specificity; a slice is positive from the score `slices_at` on."""
    truth = np.array([p.labels.any() for p in predictions])
    slice_scores = [scores[p.judged] for scores, p in zip(slices, predictions, strict=True)]
    slice_truth = [p.labels[p.judged].any(1) for p in predictions]

    def joined(which: NDArray[np.intp]) -> tuple[Floats, NDArray[np.bool_]]:
        return np.concatenate([slice_scores[i] for i in which]), np.concatenate([slice_truth[i] for i in which])

    def slice_rate(which: NDArray[np.intp], positive: bool) -> float:
        scores, marked = joined(which)
        right = ((scores >= slices_at) == positive)[marked == positive]
        return float(right.mean()) if len(right) else float("nan")

    def study_rate(which: NDArray[np.intp], positive: bool) -> float:
        chosen = which[truth[which] == positive]
        return float((decided[chosen] == positive).mean()) if len(chosen) else float("nan")

    count = len(predictions)
    return [
        bootstrap("study_auc", count, lambda w: auc(study[w], truth[w]), seed),
        bootstrap("study_sensitivity", count, lambda w: study_rate(w, True), seed),
        bootstrap("study_specificity", count, lambda w: study_rate(w, False), seed),
        bootstrap("slice_auc", count, lambda w: auc(*joined(w)), seed),
        bootstrap("slice_sensitivity", count, lambda w: slice_rate(w, True), seed),
        bootstrap("slice_specificity", count, lambda w: slice_rate(w, False), seed),
    ]
