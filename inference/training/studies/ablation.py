"""What each idea of the method brings: short second rounds with one idea left out, all from the same networks.

Each variant trains every fold for the same few steps and is judged out of fold, by slice and by study; what is lost
against the whole method comes with an interval, paired by patient. Ideas that need no training (mirroring, averaging,
smoothing over planes) are left out when the whole method's networks answer. Short rounds tell the ideas' order, not
their full worth: the networks that all variants start from have learned with most of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from inference.pipelines.haemorrhage.answer import noisy_or, smoothed
from inference.pipelines.haemorrhage.head_grid import features, triplets
from inference.pipelines.haemorrhage.network import HeadNetwork, NetworkOutput, plane_logits, plane_scores
from inference.training.datasets.base import UNKNOWN
from inference.training.evaluation.statistics import Resampling, auc_statistic, interval
from inference.training.release.decide import fit_platt
from inference.training.rounds.cases import TrainingCase
from inference.training.rounds.recipe import Recipe

Floats = NDArray[np.float64]
Score = Callable[[NetworkOutput], torch.Tensor]
BATCH = 16
ROUNDS = 2000
HIGHEST = 8
WHOLE = "the whole method"


def _pooled(answer: NetworkOutput) -> torch.Tensor:
    return plane_logits(answer.voxels.float())


def _classified(answer: NetworkOutput) -> torch.Tensor:
    return answer.planes.float()


@dataclass(frozen=True, slots=True)
class Variant:
    """A method with something left out: its recipe, and what of the networks' answers is the plane's score."""

    recipe: Recipe
    score: Score = plane_scores


def variants(whole: Recipe) -> Mapping[str, Variant]:
    """Every variant that is trained, by what it leaves out."""
    return MappingProxyType(
        {
            WHOLE: Variant(whole),
            "no label propagation": Variant(replace(whole, propagate=False)),
            "segmentation only": Variant(replace(whole, classifier_share=0.0), _pooled),
            "plane classifier only": Variant(
                replace(whole, voxel_share=0.0, coarse_share=0.0, pooled_share=0.0, classifier_share=1.0), _classified
            ),
            "no neighbouring planes": Variant(replace(whole, blind=(0, 2))),
            "no other hemisphere": Variant(replace(whole, blind=(5,))),
            "no simulated heads": Variant(replace(whole, batch_simulated=0, batch_normal=8, batch_positive=7)),
        }
    )


@dataclass(frozen=True, slots=True, eq=False)
class AblationOutcome:
    """A variant's out-of-fold scores: (plane, 6) of every case in order, not smoothed. `studies` (case,) are the
    studies' scores where they are not the noisy-or of the planes."""

    name: str
    planes: tuple[Floats, ...]
    smooth: bool = True
    studies: Floats | None = None

    @property
    def seen(self) -> tuple[Floats, ...]:
        """As the pipeline reads them."""
        return tuple(smoothed(each) for each in self.planes) if self.smooth else self.planes

    @property
    def of_studies(self) -> Floats:
        """(case,)"""
        return np.array([noisy_or(each[:, 0]) for each in self.planes]) if self.studies is None else self.studies


@torch.inference_mode()
def read(network: HeadNetwork, case: TrainingCase, variant: Variant, mirrored: bool = False) -> Floats:
    """(plane, 6) what a variant's network says of a case's planes, or of its mirror image's."""
    three, depth = triplets(torch.from_numpy(case.head.image.astype(np.float32))), torch.from_numpy(case.head.depth_mm)
    three = three.flip(-1) if mirrored else three
    found = []
    for start in range(0, len(three), BATCH):
        part = slice(start, start + BATCH)
        inputs = features(three[part], depth[part], variant.recipe.blind).contiguous(memory_format=torch.channels_last)
        found.append(variant.score(network(inputs)))
    return torch.cat(found).numpy().astype(np.float64)


def mean_of(name: str, outcomes: Sequence[AblationOutcome], smooth: bool = True) -> AblationOutcome:
    """The average of several variants' scores."""
    pairs = zip(*(each.planes for each in outcomes), strict=True)
    return AblationOutcome(name, tuple(np.mean(each, axis=0) for each in pairs), smooth)


def aggregated(whole: AblationOutcome, folds: Sequence[int], cases: Sequence[TrainingCase]) -> list[AblationOutcome]:
    """Other ways from planes to a study; the learned one is fitted on the other folds' predictions."""
    highest = np.array([np.sort(each[:, 0])[-HIGHEST:][::-1] for each in whole.planes])
    truth, fold = np.array([case.told.haemorrhage for case in cases]), np.array(folds)
    learned = np.zeros(len(cases))
    for own in np.unique(fold):
        fit = fit_platt(highest[fold != own], truth[fold != own], ridge=1.0)
        learned[fold == own] = highest[fold == own] @ np.array(fit.slopes) + fit.intercept
    ways = {
        "study: the highest plane alone": highest[:, 0],
        "study: mean of the three highest smoothed planes": np.array(
            [np.sort(s[:, 0])[-3:].mean() for s in whole.seen]
        ),
        f"study: learned from the {HIGHEST} highest planes": learned,
    }
    return [replace(whole, name=name, studies=scores) for name, scores in ways.items()]


@dataclass(frozen=True, slots=True)
class AblationRow:
    """A line of the table: AUC by slice and by study, and what is lost of each against the whole method."""

    name: str
    slice_auc: float
    slice_lost: tuple[float, float, float]
    study_auc: float
    study_lost: tuple[float, float, float]


def table(outcomes: Sequence[AblationOutcome], cases: Sequence[TrainingCase], seed: int = 1) -> list[AblationRow]:
    """One row for each outcome; the first is what the others are compared with, paired over resampled patients."""
    people = [case.told.person for case in cases]
    sampling = Resampling.of(people, ROUNDS, seed)
    whole = _aucs(outcomes[0], cases, sampling)
    rows = []
    for each in outcomes:
        slices, studies = _aucs(each, cases, sampling)
        losses = [_lost(of_whole, own) for of_whole, own in zip(whole, (slices, studies), strict=True)]
        rows.append(AblationRow(each.name, float(slices[0]), losses[0], float(studies[0]), losses[1]))
    return rows


def _aucs(one: AblationOutcome, cases: Sequence[TrainingCase], sampling: Resampling) -> tuple[Floats, Floats]:
    """(round + 1,) of slices and of studies."""
    people = [case.told.person for case in cases]
    judged = [case.head.labels[:, 0] != UNKNOWN for case in cases]
    slices = np.concatenate([seen[known, 0] for seen, known in zip(one.seen, judged, strict=True)])
    marked = np.concatenate([case.head.labels[known, 0] == 1 for case, known in zip(cases, judged, strict=True)])
    owners = [person for person, known in zip(people, judged, strict=True) for _ in range(int(known.sum()))]
    bleeding = np.array([case.told.haemorrhage for case in cases])
    return (
        sampling.values(owners, auc_statistic(slices, marked))[:, 0],
        sampling.values(people, auc_statistic(one.of_studies, bleeding))[:, 0],
    )


def _lost(whole: Floats, own: Floats) -> tuple[float, float, float]:
    lost = whole - own
    return float(lost[0]), *interval(lost[1:])


def markdown(rows: Sequence[AblationRow]) -> str:
    """The table for a reader."""
    lines = [
        "| variant | slice AUC | lost (95 %) | study AUC | lost (95 %) |",
        "|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.slice_auc:.3f} | {_words(row.slice_lost)} | {row.study_auc:.3f} | "
            f"{_words(row.study_lost)} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def _words(lost: tuple[float, float, float]) -> str:
    value, low, high = lost
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})" if value or low or high else ""
