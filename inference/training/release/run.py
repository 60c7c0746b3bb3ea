"""The whole way from labelled data sets to weights and card: folds, rounds of training, then `conclude`.

A network for each fold never sees the fold's people, and tells how good the recipe is; one more learns from everybody
in the same way, and is what is shipped. It has the number after the last fold's.

The first round starts from fresh weights; the second from those of the first (or of a card that is fine-tuned), with
voxel labels that its start has made. A run that was stopped, or ran out of its minutes, goes on where it was.
"""

import hashlib
import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from inference.models.card import load_card
from inference.models.weights import load_networks
from inference.pipelines.haemorrhage.folds import load_folds
from inference.pipelines.haemorrhage.network import HeadNetwork, build_network
from inference.training.datasets.base import Dataset, DatasetError
from inference.training.rounds.bank import Bank, edition
from inference.training.rounds.cases import TrainingCase, gather, pack, signature_of, unpack
from inference.training.rounds.checkpoint import read_averaged, trained_steps
from inference.training.rounds.data import TrainingHead
from inference.training.rounds.folds import assign_folds
from inference.training.rounds.pool import Pool, synthetic_training_heads
from inference.training.rounds.progress import Progress, note, write_page
from inference.training.rounds.propagate import propagated, voxel_probabilities
from inference.training.rounds.recipe import FoldTraining, Recipe
from inference.training.rounds.train import train

FIRST = Recipe()
SECOND = Recipe(steps=3400, learning_rate=1e-3, propagate=True)
FEWEST = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What the command line decides. `start` is the card that is fine-tuned, if any; `minutes` end the training.

    `shared` is where the packed heads and the bank lie, if not in `out`.
    """

    out: Path
    rounds: tuple[Recipe, ...]
    folds: int = 5
    jobs: int = 2
    threads: int = 1
    device: str = "cpu"
    start: Path | None = None
    minutes: float = math.inf
    shared: Path | None = None


def heads_path(out: Path) -> Path:
    """Where the packed heads lie."""
    return out / "heads.npz"


def checkpoint_path(out: Path, round_: int, fold: int) -> Path:
    """Where a fold's checkpoint of a round (from 0) lies."""
    return out / f"round{round_ + 1}_fold{fold}.safetensors"


def prepare(datasets: Sequence[Dataset], out: Path) -> list[TrainingCase]:
    """The cases of the data sets, packed in `out`; read anew only where data or program have changed."""
    out.mkdir(parents=True, exist_ok=True)
    signature = signature_of(datasets)
    if heads_path(out).exists():
        try:
            return unpack(heads_path(out), signature)
        except DatasetError as changed:
            log.info("%s; reading the data sets", changed)
    cases = gather(datasets)
    pack(cases, signature, heads_path(out))
    return cases


def fold_of(options: TrainingOptions, cases: Sequence[TrainingCase]) -> dict[str, int]:
    """{person: the fold that leaves the person out}; people whom the start has seen keep the fold that never did."""
    known: Mapping[str, int] = {}
    if options.start is not None:
        seen = load_folds(load_card(options.start)).folds
        known = {person: number for number, fold in enumerate(seen) for person in fold.patients}
    where = assign_folds(cases, options.folds, options.rounds[0].seed, known)
    for number in range(options.folds):
        for haemorrhage in (False, True):
            kept = {
                c.told.person for c in cases if where[c.told.person] != number and c.told.haemorrhage == haemorrhage
            }
            if len(kept) < FEWEST:
                kind = "with" if haemorrhage else "without"
                raise DatasetError(
                    f"fold {number} would learn from {len(kept)} patients {kind} haemorrhage; "
                    f"at least {FEWEST} of each are needed beside those who are left out"
                )
    return where


def fold_named(options: TrainingOptions, where: Mapping[str, int], number: int, round_: int) -> FoldTraining:
    """What makes this fold's network of a round what it is."""
    left_out = tuple(sorted(person for person, fold in where.items() if fold == number))
    device = f"{options.device}, {threads_of(options, number)} threads"
    start = fingerprint(begun) if (begun := starting_network(options, where, number, round_)) is not None else ""
    return FoldTraining(options.rounds[round_], number, left_out, edition(), device, start)


def starting_network(
    options: TrainingOptions, where: Mapping[str, int], number: int, round_: int
) -> HeadNetwork | None:
    """What a fold's round begins with; None for fresh weights. CheckpointError while the round before is not done."""
    if round_ > 0:
        before = fold_named(options, where, number, round_ - 1)
        return read_averaged(checkpoint_path(options.out, round_ - 1, number), before)
    if options.start is None:
        return None
    card = load_card(options.start)
    of_folds = [fold.network for fold in load_folds(card).folds]
    shipped = 0 if card.networks == 1 else of_folds[0]
    own = shipped if number == options.folds else of_folds[number % len(of_folds)]
    (network,) = load_networks(card, build_network, torch.device("cpu"), [own])
    return network


def fingerprint(network: HeadNetwork) -> str:
    """Of the weights, whatever file they lie in."""
    state = network.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()[:16]


def threads_of(options: TrainingOptions, fold: int) -> int:
    """CPU threads for a fold: those of the last turn share what the folds that are missing there leave."""
    networks = options.folds + 1
    last_turn = networks % options.jobs
    if last_turn and fold >= networks - last_turn:
        return options.threads * options.jobs // last_turn
    return options.threads


def train_fold(options: TrainingOptions, where: Mapping[str, int], number: int, until: float) -> bool:
    """Trains a fold's rounds in this process; whether all of them are finished."""
    torch.set_num_threads(threads_of(options, number))
    rounds = range(len(options.rounds))
    done = [_finished(options, where, number, round_) for round_ in rounds]
    if all(done):
        return True
    heads = {
        c.told.study: c for c in unpack(heads_path(options.shared or options.out)) if where[c.told.person] != number
    }
    return all(done[round_] or _train_round(options, where, number, round_, heads, until) for round_ in rounds)


def _finished(options: TrainingOptions, where: Mapping[str, int], number: int, round_: int) -> bool:
    path = checkpoint_path(options.out, round_, number)
    if not path.exists():
        return False
    return trained_steps(path, fold_named(options, where, number, round_)) >= options.rounds[round_].steps


def sides(cases: Iterable[TrainingCase]) -> tuple[dict[str, TrainingHead], list[TrainingHead]]:
    """Heads without haemorrhage by study, and heads with."""
    normals = {case.told.study: case.head for case in cases if not case.told.haemorrhage}
    return normals, [case.head for case in cases if case.told.haemorrhage]


def drawn_by(network: HeadNetwork, heads: Iterable[TrainingHead]) -> list[TrainingHead]:
    """The heads with the voxel labels that a network is sure of."""
    return [propagated(head, voxel_probabilities(network, head)) for head in heads]


def pool_of(
    options: TrainingOptions,
    recipe: Recipe,
    normals: Mapping[str, TrainingHead],
    positives: Sequence[TrainingHead],
    luck: Sequence[int],
) -> Pool:
    """What a fold may see; `luck` seeds it beside the recipe's own seed."""
    return Pool(
        normals,
        positives,
        synthetic_training_heads(recipe.synthetic_heads, recipe.synthetic_seed),
        Bank((options.shared or options.out) / "bank", normals, recipe.seed),
        recipe,
        np.random.default_rng([recipe.seed, *luck]),
        torch.device(options.device),
    )


def teller(folder: Path) -> Callable[[Progress], None]:
    """Writes what it is told into the folder's files and the log."""

    def tell(progress: Progress) -> None:
        note(progress, folder)
        log.info("%s", progress.words)

    return tell


def _train_round(
    options: TrainingOptions,
    where: Mapping[str, int],
    number: int,
    round_: int,
    cases: Mapping[str, TrainingCase],
    until: float,
) -> bool:
    recipe, fold = options.rounds[round_], fold_named(options, where, number, round_)
    start = starting_network(options, where, number, round_)
    normals, positives = sides(cases.values())
    if recipe.propagate and start is not None:
        positives = drawn_by(start, positives)
    pool = pool_of(options, recipe, normals, positives, (number, round_))
    checkpoint = checkpoint_path(options.out, round_, number)
    return train(pool, fold, checkpoint, start, until, teller(options.out / "log"))


def train_all(options: TrainingOptions, where: Mapping[str, int]) -> bool:
    """Trains what is not trained yet, folds side by side; whether everything is finished. The page is kept up."""
    until = time.monotonic() + options.minutes * 60
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=log_to_console) as executor:
        waiting: set[Future[bool]] = {
            executor.submit(train_fold, options, where, number, until) for number in range(options.folds + 1)
        }
        finished = []
        while waiting:
            done, waiting = wait(waiting, timeout=20)
            finished += [each.result() for each in done]
            write_page(options.out / "log", options.out / "training.html")
    return all(finished)


def log_to_console() -> None:
    """In each process that trains."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def networks_of(options: TrainingOptions, where: Mapping[str, int]) -> list[HeadNetwork]:
    """The averaged network of every fold's last round, and behind them the one that learned from everybody."""
    last = len(options.rounds) - 1
    return [
        read_averaged(checkpoint_path(options.out, last, number), fold_named(options, where, number, last))
        for number in range(options.folds + 1)
    ]
