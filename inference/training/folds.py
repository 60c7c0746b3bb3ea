"""Which patient is tested in which fold: stratified, by patient, fixed by the seed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def assign_folds(labels: Mapping[int, NDArray[np.bool_]], folds: int, seed: int) -> dict[int, int]:
    """{patient: fold}; patients with the same most frequent type (or none) are dealt out in turn."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(labels))
    stratum = {int(p): int(labels[p].sum(0).argmax()) + 1 if labels[p].any() else 0 for p in order}
    dealt = sorted((int(p) for p in order), key=lambda p: stratum[p])
    return {patient: place % folds for place, patient in enumerate(dealt)}
