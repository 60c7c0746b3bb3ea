"""Simulated bleeds keep their promises: volume, anatomy, mass effect, and the same bytes for the same seed."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from scipy import ndimage

from inference.pipelines.haemorrhage.head_grid import SLAB_MM, to_grid
from inference.pipelines.haemorrhage.synthetic_head import SPACING_MM, synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import Entry
from inference.training.datasets.ct_ich import CtIch, stack_of
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.bleeds import VOLUMES_ML, Lesion, lesion
from inference.training.simulate.landmarks import above_tentorium_mm, coronal_mm, lambdoid_mm, tentorium
from inference.training.simulate.ventricular import ventricular_room

SPACINGS = ((5.0, 1.0, 1.0), (7.0, 1.0, 1.0), (1.25, 2.0, 2.0))
KINDS = st.sampled_from(list(HaemorrhageType))
PUSHING = st.sampled_from([HaemorrhageType.EPIDURAL, HaemorrhageType.SUBDURAL, HaemorrhageType.INTRAPARENCHYMAL])
SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=8)


@cache
def head(spacing_mm: tuple[float, float, float] = SPACINGS[0]) -> Anatomy:
    """A whole synthetic head on the grid, or on planes and pixels of another size."""
    drawn = synthetic_head(3)
    grid = to_grid(stack_of(drawn.hu, SPACING_MM[1], SPACING_MM[0]))
    hu, inside = grid.image.numpy(), grid.inside
    zoom = tuple(have / want for have, want in zip((SLAB_MM, 1.0, 1.0), spacing_mm, strict=True))
    if zoom == (1.0, 1.0, 1.0):
        return anatomy(hu, inside, spacing_mm)
    return anatomy(ndimage.zoom(hu, zoom, order=1), ndimage.zoom(inside, zoom, order=0), spacing_mm)


def made(body: Anatomy, kind: HaemorrhageType, seed: int, volume_ml: float) -> Lesion | None:
    return lesion(body, kind, volume_ml, np.random.default_rng(seed))


def some(body: Anatomy, kind: HaemorrhageType, seed: int) -> Lesion:
    """A bleed of any volume that the head has room for; too few of them fail the test."""
    rng = np.random.default_rng(seed)
    low, high = VOLUMES_ML[kind]
    if kind is HaemorrhageType.INTRAVENTRICULAR:
        high = 0.9 * float(ventricular_room(body).sum()) * body.voxel_ml
    found = lesion(body, kind, float(np.exp(rng.uniform(np.log(low), np.log(high)))), rng)
    if found is None:
        reject()
    return found


@FEW
@given(KINDS, SEEDS, st.floats(0, 1), st.sampled_from(SPACINGS))
def test_volume_is_the_one_asked_for(
    kind: HaemorrhageType, seed: int, share: float, spacing_mm: tuple[float, float, float]
) -> None:
    body = head(spacing_mm)
    low, high = VOLUMES_ML[kind]
    if kind is HaemorrhageType.INTRAVENTRICULAR:
        high = 0.9 * float(ventricular_room(body).sum()) * body.voxel_ml
    volume_ml = low * (high / low) ** share
    bleed = lesion(body, kind, volume_ml, np.random.default_rng(seed))
    if bleed is None:
        reject()
    held = float(bleed.filled.sum()) * body.voxel_ml
    assert abs(held - volume_ml) <= max(0.15 * volume_ml, 0.05)


@pytest.mark.parametrize("kind", [k for k in HaemorrhageType if k is not HaemorrhageType.INTRAVENTRICULAR])
@pytest.mark.parametrize("volume_ml", [0.5, 3.0, 12.0])
def test_an_ordinary_head_has_a_place(kind: HaemorrhageType, volume_ml: float) -> None:
    found = [made(head(), kind, seed, volume_ml) for seed in range(4)]
    assert sum(each is not None for each in found) >= 3


def test_ventricles_hold_a_little_blood() -> None:
    assert made(head(), HaemorrhageType.INTRAVENTRICULAR, 1, 1.0) is not None


@pytest.mark.parametrize("kind", HaemorrhageType)
def test_volumes_out_of_range_find_no_place(kind: HaemorrhageType) -> None:
    low, high = VOLUMES_ML[kind]
    assert made(head(), kind, 1, low / 2) is None
    assert made(head(), kind, 1, high * 2) is None


@FEW
@given(KINDS, SEEDS)
def test_blood_and_all_it_does_stay_inside(kind: HaemorrhageType, seed: int) -> None:
    body = head()
    bleed = some(body, kind, seed)
    assert bleed.filled.min() >= 0
    assert bleed.filled.max() <= 1
    assert not bleed.filled[~body.inside].any()
    assert (bleed.filled <= body.soft + 1e-5).all()
    blood = bleed.blood_hu[bleed.filled > 0.5]
    assert not len(blood) or 10 < np.median(blood) < 90
    if bleed.oedema_hu is not None:
        assert bleed.oedema_hu.min() >= 0
        assert not bleed.oedema_hu[~body.inside].any()
    assert np.isfinite(bleed.blood_hu).all()
    assert _lies_in(body, bleed.at_mm)


def _lies_in(body: Anatomy, at_mm: np.ndarray) -> bool:
    origin = np.array([0, (body.hu.shape[1] - 1) / 2, (body.hu.shape[2] - 1) / 2])
    index = np.rint(at_mm / body.spacing_mm + origin).astype(int)
    return bool((index >= 0).all() and (index < body.hu.shape).all())


@FEW
@given(PUSHING, SEEDS)
def test_tissue_comes_from_inside_the_skull(kind: HaemorrhageType, seed: int) -> None:
    body = head()
    bleed = some(body, kind, seed)
    if bleed.push_mm is None:
        reject()
    length = np.hypot(*bleed.push_mm)
    assert not length[~body.inside].any()
    assert (length <= body.table_mm).all()


@FEW
@given(SEEDS)
def test_epidural_is_held_by_the_sutures(seed: int) -> None:
    body = head()
    bleed = some(body, HaemorrhageType.EPIDURAL, seed)
    assume(_height(body, bleed) >= max(18, float(body.marks.below.min())))
    blood = bleed.filled > 0.3
    side = body.marks.side_mm[blood]
    assert side.min() > 0 or side.max() < 0
    for suture in (coronal_mm(body.marks), lambdoid_mm(body.marks)):
        behind = np.broadcast_to(suture, blood.shape)[blood]
        assert behind.min() > -1.5 or behind.max() < 1.5


def _height(body: Anatomy, bleed: Lesion) -> float:
    """mm of an adult under the vertex of the middle of a bleed."""
    return float(body.marks.below[round(float(bleed.at_mm[0]) / body.spacing_mm[0]), 0, 0])


@FEW
@given(SEEDS)
def test_epidural_lies_on_the_inner_table(seed: int) -> None:
    body = head()
    bleed = some(body, HaemorrhageType.EPIDURAL, seed)
    pieces, count = ndimage.label(bleed.filled > 0.1)
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    assert count >= 1
    assert body.depth_mm[pieces == largest].min() < 4


@FEW
@given(SEEDS)
def test_subdural_crosses_neither_falx_nor_tentorium(seed: int) -> None:
    body = head()
    bleed = some(body, HaemorrhageType.SUBDURAL, seed)
    assert not (bleed.filled[np.abs(body.marks.side_mm) < 0.3] > 0.3).any()
    deep_in_tent = tentorium(body.marks) > 6
    over = above_tentorium_mm(body.marks)
    upper = bleed.filled[deep_in_tent & (over > 6)].sum()
    lower = bleed.filled[deep_in_tent & (over < -6)].sum()
    assert min(upper, lower) < 0.05 * (upper + lower) + 1


@FEW
@given(SEEDS)
def test_intraventricular_blood_lies_in_ventricles(seed: int) -> None:
    body = head()
    bleed = some(body, HaemorrhageType.INTRAVENTRICULAR, seed)
    assert (bleed.filled <= ventricular_room(body) + 1e-5).all()
    near = ndimage.binary_dilation(body.ventricles, np.ones((1, 3, 3)), iterations=3)
    assert not bleed.filled[~near].any()


@FEW
@given(SEEDS)
def test_subarachnoid_blood_is_not_deep_in_white_matter(seed: int) -> None:
    body = head()
    bleed = some(body, HaemorrhageType.SUBARACHNOID, seed)
    deep = (body.depth_mm > 24) & (body.csf < 0.05) & ~body.ventricles
    assert bleed.filled[deep].sum() < 0.02 * bleed.filled.sum()


@pytest.mark.parametrize("kind", HaemorrhageType)
def test_same_seed_same_bytes(kind: HaemorrhageType) -> None:
    body = head()
    one, other = made(body, kind, 7, 3.0), made(body, kind, 7, 3.0)
    assert one is not None
    assert other is not None
    assert one.filled.tobytes() == other.filled.tobytes()
    assert one.blood_hu.tobytes() == other.blood_hu.tobytes()
    different = made(body, kind, 8, 3.0)
    assert different is None or different.filled.tobytes() != one.filled.tobytes()


def test_a_large_bleed_shifts_the_midline() -> None:
    body = head()
    for seed in range(5):
        bleed = made(body, HaemorrhageType.EPIDURAL, seed, 110.0)
        if bleed is not None and bleed.push_mm is not None and _height(body, bleed) > 25:
            middle = (np.abs(body.marks.side_mm) < 1.5) & body.inside
            assert np.hypot(*bleed.push_mm)[middle].max() > 2
            return
    pytest.fail("no epidural haematoma of 110 ml found a place")


@pytest.mark.parametrize("kind", HaemorrhageType)
def test_a_real_normal_head_bleeds_too(kind: HaemorrhageType, shared: Path) -> None:
    body = real_head(shared)
    found = [bleed for seed in range(4) if (bleed := made(body, kind, seed, 1.0)) is not None]
    assert len(found) >= 3
    for bleed in found:
        assert abs(float(bleed.filled.sum()) * body.voxel_ml - 1.0) < 0.15
        assert not bleed.filled[~body.inside].any()


@cache
def real_head(shared: Path) -> Anatomy:
    """A normal head as scanned."""
    grid = to_grid(CtIch(shared / "ct_ich").load(Entry("054", "054")).stack)
    return anatomy(grid.image.numpy(), grid.inside, (SLAB_MM, 1.0, 1.0))
