"""What is drawn of a network's answer: each connected body is of one kind, and specks name no kind of their own."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.findings import Result
from inference.models.card import load_card
from inference.pipelines.haemorrhage.answer import Reading, answer
from inference.pipelines.haemorrhage.decisions import decisions_of
from inference.pipelines.haemorrhage.head_grid import HeadGrid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import stack_of

KINDS = tuple(kind.value for kind in HaemorrhageType)
Chances = tuple[float, float, float, float, float]
Bodies = Mapping[tuple[int, int, int, int], Chances]


def drawn(bodies: Bodies, probable: tuple[str, ...] = KINDS) -> Result:
    """The answer where a network sees these bodies: (first row, rows, first column, columns) on planes 10 and 11, and
    how probable each kind is in their voxels."""

    def read(grid: HeadGrid) -> Reading:
        voxels = np.zeros((len(grid.image), 6, *grid.image.shape[1:]), np.float32)
        voxels[:, 0] = 1
        for (row, rows, column, columns), chances in bodies.items():
            where = (slice(row, row + rows), slice(column, column + columns))
            for plane in (10, 11):
                voxels[(plane, 0, *where)] = 1 - sum(chances)
                for kind, chance in enumerate(chances, start=1):
                    voxels[(plane, kind, *where)] = chance
        return Reading(torch.from_numpy(voxels), np.full((len(grid.image), 6), 3.0))

    decide = decisions_of(load_card("haemorrhage"))
    thresholds = tuple(0.0 if kind in probable else 1.1 for kind in KINDS)
    decide = replace(decide, tells_types=True, study_threshold=0.0, type_thresholds=thresholds, voxel_threshold=0.5)
    return answer(load_card("haemorrhage"), decide, read, stack_of(synthetic_head(7).hu))


def volumes(result: Result) -> dict[str, float]:
    """{kind: drawn ml} of the kinds that are present."""
    return {each.name: each.volume_ml for each in result.findings if each.present}


def test_a_body_is_of_the_kind_that_its_voxels_say_most_of() -> None:
    left, right = (0.5, 0.3, 0.0, 0.1, 0.0), (0.2, 0.6, 0.0, 0.1, 0.0)
    found = volumes(drawn({(90, 20, 60, 14): left, (90, 20, 74, 6): right}))
    assert list(found) == ["epidural"] and found["epidural"] == pytest.approx(20 * 20 * 10 / 1000, rel=0.15)
    found = volumes(drawn({(90, 20, 60, 8): left, (90, 20, 68, 12): right}))
    assert list(found) == ["subdural"]


def test_bodies_apart_keep_their_own_kinds() -> None:
    found = volumes(drawn({(60, 20, 50, 20): (0.8, 0.1, 0, 0, 0), (120, 16, 90, 20): (0, 0, 0.1, 0.7, 0.1)}))
    assert list(found) == ["epidural", "intraparenchymal"]
    assert found["epidural"] > found["intraparenchymal"] > 2


def test_specks_name_no_kind_of_their_own_and_are_drawn_as_what_else_they_look_like() -> None:
    large, deep = (0.8, 0.1, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.9, 0.0)
    speck = (0.1, 0.0, 0.5, 0.2, 0.0)
    found = volumes(drawn({(60, 20, 50, 20): large, (120, 16, 90, 20): deep, (100, 5, 60, 5): speck}))
    assert list(found) == ["epidural", "intraparenchymal"]
    alone = volumes(drawn({(100, 5, 60, 5): speck}))
    assert list(alone) == ["subarachnoid"]
    assert found["intraparenchymal"] == pytest.approx((16 * 20 + 25) / 100, rel=0.15)


def test_only_probable_kinds_are_drawn() -> None:
    body = {(90, 20, 60, 20): (0.5, 0.4, 0.0, 0.0, 0.0)}
    assert list(volumes(drawn(body, probable=("subdural", "intraventricular")))) == ["subdural"]
