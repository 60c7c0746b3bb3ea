"""Real bleeds in other heads: blood stays at the skull that it hugs, labels follow, a draw gives the same again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_ROWS
from inference.training.datasets.base import UNKNOWN, UNTYPED
from inference.training.rounds.bank import Bank
from inference.training.rounds.data import TrainingHead, with_any
from inference.training.rounds.pool import OF, Pool
from inference.training.rounds.recipe import Recipe
from inference.training.rounds.transplant import has_blood_to_give, transplanted

BLOOD_HU, BRAIN_HU = 65, 30
SUBDURAL, INTRAPARENCHYMAL = 2, 4


def ellipse(rows: float, columns: float, middle: tuple[float, float] = (104, 88)) -> NDArray[np.bool_]:
    """Bool (row, column) of the grid's plane: an ellipse of these half axes, mm."""
    y, x = np.indices((GRID_ROWS, GRID_COLUMNS))
    return np.asarray(((y - middle[0]) / rows) ** 2 + ((x - middle[1]) / columns) ** 2 <= 1)


def head_of(rows: float, columns: float, planes: int = 6) -> TrainingHead:
    """A head without haemorrhage whose intracranial space is an ellipse, in a skull of 6 mm."""
    inside = ellipse(rows, columns)
    plane = np.where(inside, BRAIN_HU, np.where(ellipse(rows + 6, columns + 6), 900, -1000)).astype(np.float16)
    voxels = np.zeros((planes, GRID_ROWS, GRID_COLUMNS), np.uint8)
    return TrainingHead(
        np.repeat(plane[None], planes, 0),
        np.repeat(inside[None], planes, 0),
        np.arange(planes, dtype=np.float32) * 5,
        with_any(np.zeros((planes, 5), bool)),
        voxels,
    )


def bleeding(head: TrainingHead, where: NDArray[np.bool_], kind: int, planes: slice = slice(2, 4)) -> TrainingHead:
    """The head with outlined blood of a kind in some planes."""
    image, voxels, labels = head.image.copy(), head.voxels.copy(), head.labels.copy()
    image[planes, where], voxels[planes, where] = BLOOD_HU, kind
    labels[planes, 0] = 1
    if kind != UNTYPED:
        labels[planes, kind] = 1
    return replace(head, image=image, voxels=voxels, labels=labels)


def rim(rows: float, columns: float) -> NDArray[np.bool_]:
    """The left half of the outermost 5 mm of the intracranial space."""
    left = np.indices((GRID_ROWS, GRID_COLUMNS))[1] > 100
    return np.asarray(ellipse(rows, columns) & ~ellipse(rows - 5, columns - 5) & left)


@pytest.mark.parametrize("seed", range(6))
def test_blood_at_the_skull_stays_at_the_skull_of_another_shape(seed: int) -> None:
    donor, carrier = bleeding(head_of(85, 60), rim(85, 60), SUBDURAL), head_of(72, 66)
    made = transplanted(donor, carrier, np.random.default_rng(seed))
    blood = made.voxels > 0
    assert set(np.unique(made.voxels)) == {0, SUBDURAL} and not (blood & ~made.inside).any()
    plane = int(blood.sum((1, 2)).argmax())
    depth = ndimage.distance_transform_edt(made.inside[plane])[blood[plane]]
    assert depth.min() < 2 and depth.max() < 8
    assert 0.5 < blood.any((1, 2)).sum() / 2 <= 1.5 and 0.6 < blood[plane].sum() / rim(85, 60).sum() < 1.5
    assert np.median(made.image[blood]) == pytest.approx(BLOOD_HU, abs=12)
    untouched = ~ndimage.binary_dilation(blood, iterations=6)
    assert np.array_equal(made.image[untouched], carrier.image[untouched])
    assert np.array_equal(made.labels[:, 1 + SUBDURAL - 1] == 1, blood.any((1, 2)))
    assert np.array_equal(made.labels[:, 0], made.labels[:, SUBDURAL])


def test_half_of_the_bleeds_change_sides_and_the_carrier_is_not_changed() -> None:
    body = ellipse(12, 10, (90, 115))
    donor, carrier = bleeding(head_of(85, 65), body, INTRAPARENCHYMAL), head_of(85, 65)
    image, sides = carrier.image.copy(), set()
    for seed in range(12):
        made = transplanted(donor, carrier, np.random.default_rng(seed))
        columns = np.nonzero(made.voxels)[2]
        if len(columns):
            sides.add(bool(columns.mean() > (GRID_COLUMNS - 1) / 2))
    assert sides == {True, False} and np.array_equal(carrier.image, image) and not carrier.voxels.any()


def test_what_is_not_outlined_or_fits_nowhere_gives_nothing() -> None:
    normal = head_of(85, 65)
    unknown = replace(normal, voxels=np.full_like(normal.voxels, UNKNOWN))
    assert not has_blood_to_give(normal) and not has_blood_to_give(unknown)
    far = bleeding(head_of(85, 65), ellipse(9, 9), INTRAPARENCHYMAL)
    assert has_blood_to_give(far)
    far = replace(far, depth_mm=far.depth_mm + 200)
    small = bleeding(head_of(40, 30), ellipse(9, 9), INTRAPARENCHYMAL)
    for donor in (unknown, far, small):
        made = transplanted(donor, normal, np.random.default_rng(1))
        assert np.array_equal(made.image, normal.image) and not made.labels.any() and not made.voxels.any()


def test_blood_of_no_type_keeps_its_types_open() -> None:
    donor = bleeding(head_of(85, 65), ellipse(15, 15), UNTYPED)
    made = transplanted(donor, head_of(85, 65), np.random.default_rng(2))
    shown = (made.voxels == UNTYPED).any((1, 2))
    assert shown.any() and (made.labels[shown, 0] == 1).all() and (made.labels[shown, 1:] == UNKNOWN).all()
    assert not made.labels[~shown].any()


def test_a_pool_draws_the_same_again_and_only_from_its_own_heads(tmp_path: Path) -> None:
    normals = {"A": head_of(85, 65), "B": head_of(80, 60)}
    donor = bleeding(head_of(85, 65), ellipse(15, 15), INTRAPARENCHYMAL)
    recipe = Recipe(pool=8, transplanted=1.0, heads_per_carrier=3)
    pools = [
        Pool(normals, [normals["A"], donor], (), Bank(tmp_path, normals, 1), recipe, np.random.default_rng(4))
        for _ in range(2)
    ]
    for pool in pools:
        pool.fill()
        pool.refresh()
    assert {name for name, _ in pools[0].drawn} == {f"A{OF}1", f"B{OF}1"} and not list(tmp_path.iterdir())
    again = Pool(normals, [normals["A"], donor], (), Bank(tmp_path, normals, 1), recipe, np.random.default_rng(9))
    again.drawn = list(pools[0].drawn)
    again.fill()
    for one, two, three in zip(pools[0].simulated, pools[1].simulated, again.simulated, strict=True):
        assert np.array_equal(one.image, two.image) and np.array_equal(one.voxels, three.voxels)
