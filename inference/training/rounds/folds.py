"""Which patient is tested in which fold: stratified, by patient, fixed by the seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.training.rounds.cases import TrainingCase


def stratum_of(cases: Sequence[TrainingCase]) -> int:
    """A patient's most frequent type on labelled planes, from 1; 0 without haemorrhage; 6 where types are unknown."""
    counts = sum((case.head.labels == 1).sum(0) for case in cases)
    if not any(case.told.haemorrhage for case in cases):
        return 0
    types = np.asarray(counts)[1:]
    return int(types.argmax()) + 1 if types.any() else 6


def assign_folds(
    cases: Sequence[TrainingCase], folds: int, seed: int, known: Mapping[str, int] | None = None
) -> dict[str, int]:
    """{person: fold}: those of one stratum are dealt out in turn; who is `known` keeps the fold named there."""
    people: dict[str, list[TrainingCase]] = {}
    for case in cases:
        people.setdefault(case.told.person, []).append(case)
    kept = {person: fold for person, fold in (known or {}).items() if person in people}
    fresh = sorted(person for person in people if person not in kept)
    order = [fresh[i] for i in np.random.default_rng(seed).permutation(len(fresh))]
    dealt = sorted(order, key=lambda person: stratum_of(people[person]))
    return kept | {person: place % folds for place, person in enumerate(dealt)}
