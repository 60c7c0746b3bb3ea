"""A simulated head: labels agree with the image, nothing else changed, bone stays bone, and seeds decide everything."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import ndimage

from inference.pipelines.haemorrhage.head_grid import SLAB_MM, to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import Entry
from inference.training.datasets.ct_ich import CtIch, stack_of
from inference.training.simulate.acquisition import AIR_HU, Acquisition, acquire, thin
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.bleeds import VOLUMES_ML, Lesion, lesion
from inference.training.simulate.blood import Age
from inference.training.simulate.fields import below_vertex_mm
from inference.training.simulate.mimics import Mimic
from inference.training.simulate.noise import noise_sd
from inference.training.simulate.scene import (
    DRAWN_ML,
    FAINT_HU,
    FILLED,
    UNSURE,
    ScenePlan,
    Wish,
    bleed_into,
    random_plan,
    simulate,
)
from inference.training.simulate.skull import child_skull
from inference.training.simulate.subdural import ISODENSE_FROM_ML, _age

SPACING_MM = (SLAB_MM, 1.0, 1.0)
EXTRA_AXIAL = (HaemorrhageType.EPIDURAL, HaemorrhageType.SUBDURAL)
KINDS = list(HaemorrhageType)
FEW = settings(max_examples=12)


@cache
def head() -> Anatomy:
    """A synthetic head as a real kernel shows it: bone reaches into the pixels along the inner table."""
    grid = to_grid(stack_of(synthetic_head(3).hu))
    hu = grid.image.numpy()
    noise = 3 * np.random.default_rng(0).standard_normal(hu.shape)
    return anatomy((ndimage.gaussian_filter(hu, (0, 0.7, 0.7)) + noise).astype(np.float32), grid.inside, SPACING_MM)


def bleed(kind: HaemorrhageType, volume_ml: float, seed: int, body: Anatomy | None = None) -> Lesion:
    """The first such bleed from this seed on."""
    for tried in range(seed, seed + 10):
        found = lesion(body or head(), kind, volume_ml, np.random.default_rng(tried))
        if found is not None:
            return found
    raise AssertionError(f"no place for {volume_ml} ml {kind}")


@FEW
@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.floats(0, 0.6))
def test_labels_and_image_agree_and_all_else_stays(kind: HaemorrhageType, seed: int, share: float) -> None:
    body = head()
    low, high = DRAWN_ML[kind]
    volume_ml = low * (high / low) ** (share if kind is not HaemorrhageType.INTRAVENTRICULAR else share / 2)
    drawn = lesion(body, kind, volume_ml, np.random.default_rng(seed))
    if drawn is None:
        reject()
    scene = simulate(body, ScenePlan((Wish(kind, volume_ml),)), np.random.default_rng(seed))
    assert scene.volumes_ml[KINDS.index(kind)] == pytest.approx(float(drawn.filled.sum()) * body.voxel_ml)

    oedema = np.zeros_like(body.hu) if drawn.oedema_hu is None else drawn.oedema_hu
    push = np.zeros_like(body.hu) if drawn.push_mm is None else np.hypot(*drawn.push_mm)
    core = scene.voxels == 1 + KINDS.index(kind)
    assert set(np.unique(scene.voxels)) <= {0, 1 + KINDS.index(kind), UNSURE}
    assert (drawn.filled[core] > FILLED).all()
    assert not (drawn.filled[scene.voxels == 0] > FILLED).any()
    blood = drawn.blood_hu + body.grain
    nearer = np.abs(scene.hu - blood) <= np.abs(body.hu - blood) + oedema + 1
    assert nearer[core & (push == 0)].all()
    assert nearer[core].mean() > 0.9 or not core.any()

    untouched = body.inside & (drawn.filled == 0) & (oedema == 0) & (push == 0)
    assert untouched.any()
    assert np.abs(scene.hu - body.hu)[untouched].max() < 1e-3


@pytest.mark.parametrize("kind", EXTRA_AXIAL)
def test_bone_shows_along_the_inner_table_under_blood_as_it_did_before(kind: HaemorrhageType) -> None:
    body = head()
    drawn = bleed(kind, 20.0, 0)
    hu, _ = bleed_into(body.hu, body, [drawn])
    rim = (drawn.filled > 0.95) & (body.table_mm == 1)
    before, after = (body.hu - body.smooth)[rim], (hu - drawn.blood_hu)[rim]
    assert rim.sum() > 200
    assert before.mean() > 5
    assert after.mean() == pytest.approx(before.mean(), rel=0.25)
    assert after.std() > 0.7 * before.std()
    assert abs(float((hu - drawn.blood_hu)[(drawn.filled > 0.95) & (body.table_mm > 4)].mean())) < 2


def test_a_real_rim_is_as_rough_under_blood_as_without(shared: Path) -> None:
    grid = to_grid(CtIch(shared / "ct_ich").load(Entry("054", "054")).stack)
    body = anatomy(grid.image.numpy(), grid.inside, SPACING_MM)
    drawn = bleed(HaemorrhageType.EPIDURAL, 25.0, 0, body)
    hu, _ = bleed_into(body.hu, body, [drawn])
    rim = (drawn.filled > 0.95) & (body.table_mm == 1)
    excess = (hu - drawn.blood_hu)[rim]
    assert 12 < excess.mean() < 30
    assert 10 < excess.std() < 25


def test_two_large_bleeds_together_pull_no_bone_into_the_brain() -> None:
    body = head()
    drawn = bleed(HaemorrhageType.EPIDURAL, 90.0, 0)
    assert drawn.push_mm is not None
    twice = [drawn, drawn, bleed(HaemorrhageType.SUBDURAL, 90.0, 0)]
    white = replace(body, smooth=np.where(body.inside, 35, 1500).astype(np.float32))
    white = replace(white, hu=white.smooth, grain=np.zeros_like(body.hu))
    hu, _ = bleed_into(white.hu, white, [replace(each, filled=np.zeros_like(each.filled)) for each in twice])
    assert hu[body.inside].max() < 36


def test_isodense_blood_is_only_known_where_it_pushes() -> None:
    body = head()
    drawn = bleed(HaemorrhageType.SUBDURAL, 12.0, 0)
    assert drawn.push_mm is not None
    isodense = replace(drawn, blood_hu=body.smooth)
    t = 1 + KINDS.index(HaemorrhageType.SUBDURAL)
    assert (bleed_into(body.hu, body, [replace(drawn, blood_hu=body.smooth + 20)])[1] == t).any()
    assert (bleed_into(body.hu, body, [isodense])[1] == t).any()
    _, voxels = bleed_into(body.hu, body, [replace(isodense, push_mm=None)])
    assert not (voxels == t).any()
    assert (voxels == UNSURE).any()
    assert FAINT_HU > 0


def test_little_blood_is_never_isodense() -> None:
    rng = np.random.default_rng(0)
    assert Age.ISODENSE not in {_age("convexity", ISODENSE_FROM_ML / 2, rng) for _ in range(300)}
    assert Age.ISODENSE in {_age("convexity", ISODENSE_FROM_ML * 2, rng) for _ in range(300)}


def test_same_seed_same_bytes_with_everything() -> None:
    plan = ScenePlan(
        (Wish(HaemorrhageType.EPIDURAL, 20.0), Wish(HaemorrhageType.SUBARACHNOID, 5.0)),
        tuple(Mimic),
        Acquisition(tilt_deg=7, plane_mm=4.5, turn_deg=3, scale=0.9, noise_hu=5, kernel_mm=0.4, jpeg=80, seed=5),
    )
    one, two, other = (simulate(head(), plan, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.hu.tobytes() == two.hu.tobytes()
    assert one.voxels.tobytes() == two.voxels.tobytes()
    assert one.volumes_ml == two.volumes_ml
    assert one.hu.shape != other.hu.shape or one.hu.tobytes() != other.hu.tobytes()
    assert {0, 1, 3} <= set(np.unique(one.voxels))


def test_plans_follow_their_seed_and_half_of_them_bleed() -> None:
    plans = [random_plan(np.random.default_rng(seed)) for seed in range(600)]
    assert plans == [random_plan(np.random.default_rng(seed)) for seed in range(600)]
    assert 0.42 < np.mean([bool(plan.bleeds) for plan in plans]) < 0.58
    for wish in (wish for plan in plans for wish in plan.bleeds):
        low, high = VOLUMES_ML[wish.kind]
        assert low <= wish.volume_ml <= high


def test_a_childs_head_has_a_childs_size() -> None:
    plans = [random_plan(np.random.default_rng(seed)) for seed in range(600)]
    children = [plan for plan in plans if Mimic.CHILD_HEAD in plan.mimics]
    assert len(children) > 10
    assert all(plan.acquisition is not None and 0.75 <= plan.acquisition.scale <= 0.92 for plan in children)


def test_a_smaller_head_is_smaller_in_every_direction() -> None:
    body = head()
    none = np.zeros(body.hu.shape, np.uint8)
    volumes = []
    for scale in (1.0, 0.8):
        seen = acquire(body.hu, none, body.inside, SPACING_MM, Acquisition(scale=scale))
        volumes.append(seen.inside.sum() * seen.plane_mm)
    assert volumes[1] / volumes[0] == pytest.approx(0.8**3, rel=0.06)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_what_swells_over_a_childs_bleed_lies_on_its_skull(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = dict.fromkeys(HaemorrhageType, 1.0)
    monkeypatch.setattr("inference.training.simulate.scene.SWELLING_OVER", shares)
    monkeypatch.setattr("inference.training.simulate.scene.FRACTURE_OVER", shares)
    body = head()
    rng = np.random.default_rng(seed)
    scene = simulate(body, ScenePlan((Wish(HaemorrhageType.EPIDURAL, 15.0),), (Mimic.CHILD_HEAD,)), rng)
    assert scene.volumes_ml[0] > 0
    above = body.marks.below[:, 0, 0] < 60
    floating = sum(_floating(plane) for plane in scene.hu[above])
    assert floating < 60
    again = child_skull(scene.hu, body, rng)
    assert again is not None
    assert np.array_equal(again[body.inside], scene.hu[body.inside])


def _floating(plane: np.ndarray) -> int:
    """Pixels of soft tissue that hang on nothing."""
    pieces, count = ndimage.label(plane > -250)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    return int(sizes.sum() - sizes.max()) if count else 0


def test_thin_planes_slant_evenly_under_a_slanting_skull() -> None:
    z, y, x = np.ogrid[:12, -70:70, -70:70]
    away = np.hypot(y, x)
    inside = away < 64 - 4 * z
    hu = np.where(inside, 35, np.where(away < 72 - 4 * z, 1000, AIR_HU)).astype(np.float32)
    fine, within = thin(hu, inside, SPACING_MM, 1.25, np.random.default_rng(0))
    areas = (within & (fine < 110)).sum((1, 2))
    radii = np.sqrt(areas / np.pi)
    assert np.abs(np.diff(radii) + 1).max() < 0.5


def test_the_slope_of_the_skull_does_not_jump_from_thin_plane_to_thin_plane() -> None:
    _, y, x = np.ogrid[:1, -70:70, -70:70]
    radii = 64 - np.cumsum(np.tile([1, 7], 6))
    inside = np.hypot(y, x) < radii[:, None, None]
    hu = np.where(inside, 35, 1000).astype(np.float32)
    fine, within = thin(hu, inside, SPACING_MM, 1.25, np.random.default_rng(0))
    rise = anatomy(fine, within, (1.25, 1.0, 1.0)).rise[8:-8, 70, 80:100]
    assert rise.mean() == pytest.approx(-0.8, abs=0.15)
    assert np.abs(np.diff(rise, axis=0)).max() < 0.2


def test_blood_on_thin_planes_is_as_noisy_as_what_lies_around_it() -> None:
    body = head()
    hu, inside = thin(body.hu, body.inside, SPACING_MM, 1.25, np.random.default_rng(0))
    fine = anatomy(hu, inside, (1.25, 1.0, 1.0))
    drawn = bleed(HaemorrhageType.INTRAPARENCHYMAL, 30.0, 0, fine)
    bled, _ = bleed_into(fine.hu, fine, [drawn])
    within = (drawn.filled > 0.98) & (fine.table_mm > 6)
    assert within.sum() > 1000
    around = noise_sd(hu, inside)
    assert around > 5.5
    assert float((bled - drawn.blood_hu)[within].std()) > 0.72 * around


def test_the_vertex_is_the_highest_plane_of_some_size() -> None:
    inside = np.zeros((5, 40, 40), bool)
    inside[:3, :30, :30] = True
    inside[3, 0, :3] = True
    assert below_vertex_mm(inside, SPACING_MM).tolist() == [10, 5, 0, -5, -10]
