"""Trains the variants of an ablation: fold by fold all of them, from the same network, heads and luck.

A variant's answers for the people whom its fold leaves out lie in `out` as soon as they are there, so that a stopped
run goes on with the next variant.
"""

import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from inference.training.release.run import (
    TrainingOptions,
    drawn_by,
    fingerprint,
    heads_path,
    log_to_console,
    pool_of,
    sides,
    starting_network,
    teller,
)
from inference.training.rounds.bank import edition
from inference.training.rounds.cases import TrainingCase, unpack
from inference.training.rounds.checkpoint import read_averaged
from inference.training.rounds.recipe import FoldTraining, Recipe
from inference.training.rounds.train import train
from inference.training.studies.ablation import WHOLE, AblationOutcome, Floats, aggregated, mean_of, read, variants

MIRRORED = "its mirror image read, too"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AblationPlan:
    """What an ablation does: how the variants are trained (one round, from `options.start`), and which folds count."""

    options: TrainingOptions
    whole: Recipe
    folds: tuple[int, ...]


def run_ablation(plan: AblationPlan, where: Mapping[str, int], cases: Sequence[TrainingCase]) -> list[AblationOutcome]:
    """Everything that the table compares, the whole method first; only cases of the plan's folds may be given."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.options.jobs, mp_context=context, initializer=log_to_console) as executor:
        for done in [executor.submit(ablate_fold, plan, where, fold) for fold in plan.folds]:
            done.result()
    names = list(variants(plan.whole))
    found = {name: _collected(plan, name, names.index(name), where, cases) for name in names}
    mirror = _collected(plan, MIRRORED, len(names), where, cases)
    two = [found["segmentation only"], found["plane classifier only"]]
    return [
        *found.values(),
        mean_of("two networks: segmentation and classifier", two),
        mean_of(MIRRORED, [found[WHOLE], mirror]),
        mean_of("slices not smoothed", [found[WHOLE]], smooth=False),
        *aggregated(found[WHOLE], [where[case.told.person] for case in cases], cases),
    ]


def ablate_fold(plan: AblationPlan, where: Mapping[str, int], number: int) -> None:
    """Trains and asks every variant of a fold that has not answered yet."""
    options, made = plan.options, variants(plan.whole)
    todo = [(i, each) for i, each in enumerate(made.values()) if not _answers(options.out, i, number).exists()]
    if not todo:
        return
    torch.set_num_threads(options.threads)
    cases = unpack(heads_path(options.out))
    normals, positives = sides([case for case in cases if where[case.told.person] != number])
    start = starting_network(options, where, number, 0)
    assert start is not None
    drawn = drawn_by(start, positives)
    left_out = tuple(sorted(person for person, fold in where.items() if fold == number))
    for place, variant in todo:
        recipe, path = variant.recipe, options.out / f"variant{place}_fold{number}.safetensors"
        fold = FoldTraining(recipe, number, left_out, edition(), options.device, fingerprint(start))
        pool = pool_of(options, recipe, normals, drawn if recipe.propagate else positives, (number,))
        train(pool, fold, path, start, tell=teller(options.out / "log"))
        network = read_averaged(path, fold)
        own = [case for case in cases if where[case.told.person] == number]
        if place == 0:
            mirror = {case.told.study: read(network, case, variant, mirrored=True) for case in own}
            _keep(_answers(options.out, len(made), number), mirror)
        _keep(_answers(options.out, place, number), {case.told.study: read(network, case, variant) for case in own})


def _answers(out: Path, place: int, fold: int) -> Path:
    return out / f"variant{place}_fold{fold}.npz"


def _keep(path: Path, planes: Mapping[str, Floats]) -> None:
    draft = path.with_name(f"{path.stem}.{os.getpid()}.draft.npz")
    studies = np.array(list(planes))
    np.savez(draft, allow_pickle=False, studies=studies, **{str(i): each for i, each in enumerate(planes.values())})
    draft.replace(path)


def _collected(
    plan: AblationPlan, name: str, place: int, where: Mapping[str, int], cases: Sequence[TrainingCase]
) -> AblationOutcome:
    planes: dict[str, Floats] = {}
    for fold in plan.folds:
        with np.load(_answers(plan.options.out, place, fold), allow_pickle=False) as kept:
            planes |= {str(study): kept[str(i)] for i, study in enumerate(kept["studies"])}
    return AblationOutcome(name, tuple(planes[case.told.study] for case in cases))
