"""Mimics and acquisitions: each changes only its own place, follows its seed, and labels follow the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.training.datasets.ct_ich import patients, stack_of
from inference.training.simulate.acquisition import (
    AIR_HU,
    UNSURE,
    Acquisition,
    acquire,
    random_acquisition,
    thin,
)
from inference.training.simulate.anatomy import Anatomy, anatomy
from inference.training.simulate.fields import Mask
from inference.training.simulate.mimics import Mimic, add_mimic
from inference.training.simulate.noise import noise_sd
from inference.training.simulate.rays import through_rays
from inference.training.simulate.skull import fracture, inner_table, scalp_swelling

SPACING_MM = (5.0, 1.0, 1.0)
CALCIUM = (Mimic.CALCIFIED_FALX, Mimic.CALCIFIED_CHOROID, Mimic.CALCIFIED_PINEAL, Mimic.CALCIFIED_BASAL_GANGLIA)
DARK = (Mimic.OLD_INFARCT, Mimic.HYGROMA, Mimic.ATROPHY)
INTRACRANIAL = (*CALCIUM, *DARK, Mimic.DENSE_SINUS, Mimic.DENSE_VESSEL, Mimic.CUPPING, Mimic.SKULL_BASE_PARTIAL_VOLUME)
SEEDS = st.integers(0, 2**31)
few = settings(max_examples=6)


@pytest.fixture(scope="module")
def body() -> Anatomy:
    """The anatomy of a synthetic head."""
    grid = to_grid(stack_of(synthetic_head(7).hu))
    return anatomy(grid.image.numpy(), grid.inside, SPACING_MM)


@pytest.fixture(scope="module")
def real(shared: Path) -> Anatomy:
    """The anatomy of a real normal head."""
    patient = next(p for p in patients(shared / "ct_ich") if not p.labels.any())
    grid = to_grid(stack_of(patient.hu))
    return anatomy(grid.image.numpy(), grid.inside, SPACING_MM)


def changed(body: Anatomy, mimic: Mimic, seed: int, least_hu: float = 2.0) -> Mask:
    """Where a mimic changes the head."""
    made = add_mimic(body.hu, body, mimic, np.random.default_rng(seed))
    if made is None:
        return np.zeros(body.hu.shape, bool)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    return np.asarray(np.abs(made - body.hu) > least_hu)


@pytest.mark.parametrize("mimic", list(Mimic))
def test_a_mimic_changes_something_and_follows_its_seed(body: Anatomy, mimic: Mimic) -> None:
    before = body.hu.copy()
    made = [add_mimic(body.hu, body, mimic, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert made[0] is not None and made[1] is not None
    assert made[0].tobytes() == made[1].tobytes()
    assert made[2] is None or made[0].tobytes() != made[2].tobytes()
    assert (np.abs(made[0] - before) > 5).sum() >= 3
    assert np.array_equal(body.hu, before)


@few
@given(seed=SEEDS, mimic=st.sampled_from(INTRACRANIAL))
def test_what_belongs_inside_the_skull_stays_inside(body: Anatomy, seed: int, mimic: Mimic) -> None:
    assert not (changed(body, mimic, seed) & ~body.inside).any()


@few
@given(seed=SEEDS, mimic=st.sampled_from(CALCIUM))
def test_calcium_lies_where_it_belongs(body: Anatomy, seed: int, mimic: Mimic) -> None:
    made = add_mimic(body.hu, body, mimic, np.random.default_rng(seed))
    assert made is not None
    where = made - body.hu > 25
    assert where.sum() * body.voxel_ml < 6
    side = np.abs(np.broadcast_to(body.marks.side_mm, where.shape)[where])
    along = np.broadcast_to(body.marks.along, where.shape)[where]
    below = np.broadcast_to(body.marks.below, where.shape)[where]
    if mimic is Mimic.CALCIFIED_FALX:
        assert (side < 6).all()
        return
    assert (np.abs(below - 62) < 30).all()
    if mimic is Mimic.CALCIFIED_PINEAL:
        assert (side < 9).all()
        assert (np.abs(along - 0.58) < 0.12).all()
    if mimic is Mimic.CALCIFIED_CHOROID:
        near = ndimage.binary_dilation(body.ventricles, iterations=14)
        assert (near | (np.abs(np.abs(body.marks.side_mm) - 25) < 14))[where].all()
        assert (along > 0.55).all()
    if mimic is Mimic.CALCIFIED_BASAL_GANGLIA:
        assert ((side > 4) & (side < 32)).all()
        assert (along < 0.55).all()


@few
@given(seed=SEEDS)
def test_sinuses_and_dura_lie_at_the_midline_the_inner_table_or_the_tent(body: Anatomy, seed: int) -> None:
    made = add_mimic(body.hu, body, Mimic.DENSE_SINUS, np.random.default_rng(seed))
    assert made is not None
    bright = made - body.hu > 8
    midline = np.abs(body.marks.side_mm) < 14
    tent = (body.marks.below > 50) & (body.marks.along > 0.4)
    assert not (bright & ~midline & ~tent).any()
    assert float(made[bright & (body.table_mm > 2.5)].max()) < 95


@few
@given(seed=SEEDS)
def test_vessels_are_thin_and_basal(body: Anatomy, seed: int) -> None:
    where = changed(body, Mimic.DENSE_VESSEL, seed, 8)
    assert where.sum() * body.voxel_ml < 2.5
    assert (np.broadcast_to(body.marks.below, where.shape)[where] > 60).all()


@few
@given(seed=SEEDS, mimic=st.sampled_from(DARK))
def test_old_damage_is_dark(body: Anatomy, seed: int, mimic: Mimic) -> None:
    made = add_mimic(body.hu, body, mimic, np.random.default_rng(seed))
    if made is None:
        reject()
    where = np.abs(made - body.hu) > 6
    assert float(np.median(made[where])) < 30
    brain = (body.soft > 0.9) & (body.hu > 0)
    assert float((made - body.hu)[brain].max()) < 30


@few
@given(seed=SEEDS)
def test_a_fracture_only_thins_bone(body: Anatomy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = inner_table(body, rng)
    assert at is not None
    made = fracture(body.hu, body, at, rng)
    where = np.abs(made - body.hu) > 1
    assert not (where & body.inside).any()
    assert (body.hu[where] > 100).all()
    assert (made[where] < body.hu[where]).all()


@few
@given(seed=SEEDS)
def test_a_swelling_lies_outside_the_skull(body: Anatomy, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = inner_table(body, rng)
    assert at is not None
    made = scalp_swelling(body.hu, body, at, rng)
    where = np.abs(made - body.hu) > 1
    assert not (where & (body.inside | body.bone)).any()
    head = ndimage.binary_dilation(body.bone | body.inside, iterations=48)
    assert not (where & ~head).any()
    assert made[where].max(initial=0) < 130


@few
@given(seed=SEEDS)
def test_cupping_brightens_smoothly_from_the_inner_table(body: Anatomy, seed: int) -> None:
    made = add_mimic(body.hu, body, Mimic.CUPPING, np.random.default_rng(seed))
    assert made is not None
    lift = made - body.hu
    assert lift.min() >= 0
    brain = body.soft > 0.95
    rim = float(lift[brain & (body.table_mm < 3)].mean())
    assert 1 < rim < 35
    assert rim > 2 * float(lift[brain & (body.table_mm > 12)].mean())


@few
@given(seed=SEEDS)
def test_hardening_stays_at_the_skull_base(body: Anatomy, seed: int) -> None:
    made = add_mimic(body.hu, body, Mimic.BEAM_HARDENING, np.random.default_rng(seed))
    assert made is not None
    moved = np.abs(made - body.hu)
    assert moved[body.below_mm < 60 * body.marks.size].max() == 0
    assert np.percentile(moved[body.inside], 99) < 25


def test_a_head_without_a_vault_has_no_place_for_most() -> None:
    empty = np.full((3, 60, 60), -1000, np.float32)
    nothing = anatomy(empty, np.zeros(empty.shape, bool), SPACING_MM)
    for mimic in Mimic:
        assert add_mimic(empty, nothing, mimic, np.random.default_rng(0)) is None, mimic


def test_a_real_head_takes_every_mimic(real: Anatomy) -> None:
    for mimic in Mimic:
        assert changed(real, mimic, 5).any(), mimic


def test_backprojection_returns_the_image() -> None:
    y, x = np.mgrid[-40:41, -40:41]
    disk = ndimage.gaussian_filter((np.hypot(y - 8, x + 5) < 20).astype(np.float32) * 50, 2)[None]
    angles = np.linspace(0, np.pi, 180, endpoint=False)
    again = through_rays(disk, lambda sums, _: sums, angles)
    assert np.abs(again - disk)[0, 10:-10, 10:-10].max() < 4


def ball(body: Anatomy, radius_mm: float = 16.0) -> NDArray[np.uint8]:
    """Labels of a sphere in the middle of the vault, drawn bright into a copy of the head by `with_ball`."""
    planes, rows, columns = np.indices(body.hu.shape)
    middle = body.marks.origin_mm
    at = (middle[0] / 5, middle[1] + (body.hu.shape[1] - 1) / 2 + 20, middle[2] + (body.hu.shape[2] - 1) / 2 + 25)
    far = np.sqrt(((planes - at[0]) * 5) ** 2 + (rows - at[1]) ** 2 + (columns - at[2]) ** 2)
    return np.where(far < radius_mm, 4, 0).astype(np.uint8)


def with_ball(body: Anatomy, voxels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.where(voxels == 4, np.float32(150), np.minimum(body.hu, 60)).astype(np.float32)


@few
@given(
    tilt=st.floats(-20, 20),
    plane=st.floats(3.5, 7.5),
    turn=st.floats(-10, 10),
    scale=st.floats(0.9, 1.08),
    row=st.floats(-8, 8),
)
def test_labels_follow_the_image_and_keep_their_volume(
    body: Anatomy, tilt: float, plane: float, turn: float, scale: float, row: float
) -> None:
    voxels = ball(body)
    how = Acquisition(tilt, plane, plane, turn, (row, -row), scale)
    seen = acquire(with_ball(body, voxels), voxels, body.inside, SPACING_MM, how)
    drawn = seen.voxels == 4
    before = (voxels == 4).sum() * 5.0
    assert drawn.sum() * seen.plane_mm == pytest.approx(before * scale**3, rel=0.2)
    assert (seen.hu[drawn] > 85).mean() > 0.97
    bright = (seen.hu > 120) & ndimage.binary_erosion(seen.inside, np.ones((1, 5, 5)))
    assert (drawn | (seen.voxels == UNSURE))[bright].mean() > 0.98
    assert set(np.unique(seen.voxels)) <= {0, 4, UNSURE}
    assert seen.hu.shape == seen.voxels.shape == seen.inside.shape
    assert seen.hu.shape[1:] == body.hu.shape[1:]
    assert len(seen.below_mm) == len(seen.hu)


def test_nothing_asked_for_nothing_changed(body: Anatomy) -> None:
    voxels = ball(body)
    seen = acquire(body.hu, voxels, body.inside, SPACING_MM, Acquisition(noise_hu=0.0))
    offset = len(body.hu) - len(seen.hu)
    assert offset in (0, 1, 2)
    assert (seen.voxels == 4).sum() == (voxels == 4).sum()
    again = body.hu[: len(seen.hu)] if offset == 0 else body.hu[offset // 2 :][: len(seen.hu)]
    assert np.abs(np.clip(again, AIR_HU, 3071) - seen.hu).max() < 1e-2


def test_noise_is_as_asked_and_never_less_than_the_scan_had(body: Anatomy) -> None:
    none = np.zeros(body.hu.shape, np.uint8)
    before = noise_sd(body.hu, body.inside)
    for how in (Acquisition(noise_hu=12.0), Acquisition(tilt_deg=12.0, plane_mm=4.3, thickness_mm=4.3, turn_deg=5)):
        seen = acquire(body.hu, none, body.inside, SPACING_MM, how)
        assert noise_sd(seen.hu, seen.inside) == pytest.approx(max(how.noise_hu, before), rel=0.15)
    smooth = acquire(body.hu, none, body.inside, SPACING_MM, Acquisition(kernel_mm=-1.2))
    sharp = acquire(body.hu, none, body.inside, SPACING_MM, Acquisition(kernel_mm=1.2))
    assert noise_sd(smooth.hu, smooth.inside) < 0.8 * before < before < noise_sd(sharp.hu, sharp.inside)


def test_window_field_of_view_and_steps_are_respected(body: Anatomy) -> None:
    none = np.zeros(body.hu.shape, np.uint8)
    how = Acquisition(clip_hu=(-20.0, 100.0), noise_hu=8.0, step_hu=0.5)
    seen = acquire(body.hu, none, body.inside, SPACING_MM, how)
    assert seen.hu.min() == -20
    assert seen.hu.max() == 100
    assert np.array_equal(seen.hu * 2, np.round(seen.hu * 2))
    assert (seen.hu[:, 0, 0] == -20).all()
    pressed = acquire(body.hu, none, body.inside, SPACING_MM, replace(how, jpeg=70))
    assert 0.3 < float(np.abs(pressed.hu - seen.hu)[seen.inside].mean()) < 6
    narrow = acquire(body.hu, ball(body), body.inside, SPACING_MM, Acquisition(field_of_view_mm=120.0))
    rows, columns = np.indices(narrow.hu.shape[1:])
    outside = np.hypot(rows - 103.5, columns - 87.5) > 60
    assert (narrow.hu[:, outside] == AIR_HU).all()
    assert not narrow.inside[:, outside].any()


@few
@given(seed=SEEDS)
def test_any_acquisition_is_deterministic_and_keeps_a_head(body: Anatomy, seed: int) -> None:
    how = random_acquisition(np.random.default_rng(seed))
    assert how == random_acquisition(np.random.default_rng(seed))
    assert -20 <= how.tilt_deg <= 20
    assert 3.5 <= how.plane_mm <= 7.5
    voxels = ball(body)
    one, two = (acquire(body.hu, voxels, body.inside, SPACING_MM, how) for _ in range(2))
    assert one.hu.tobytes() == two.hu.tobytes()
    assert one.voxels.tobytes() == two.voxels.tobytes()
    assert one.inside.any()
    assert (one.voxels == 4).any()


@pytest.mark.parametrize("plane_mm", [1.25, 2.5])
def test_thin_planes_are_noisier_and_show_the_same_head(body: Anatomy, plane_mm: float) -> None:
    fine, inside = thin(body.hu, body.inside, SPACING_MM, plane_mm, np.random.default_rng(1))
    every = round(5 / plane_mm)
    assert len(fine) == (len(body.hu) - 1) * every + 1
    assert np.array_equal(inside[::every], body.inside)
    wanted = noise_sd(body.hu, body.inside) * min(2.2, np.sqrt(every))
    assert noise_sd(fine, inside) == pytest.approx(wanted, rel=0.15)
    smooth = [ndimage.gaussian_filter(v[::every] if v is fine else v, (0, 4, 4)) for v in (fine, body.hu)]
    assert np.abs(smooth[0] - smooth[1])[body.inside].mean() < 1.5
