"""What a scanner left bright under the skull is taken off; a bleed there, and a head without cupping, stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from series import read_all

from inference.input.stack import SliceStack, build_stack
from inference.pipelines.haemorrhage.cupping import STEP, USUAL_HU, profile_hu, to_skull_mm, without_cupping
from inference.pipelines.haemorrhage.head_grid import HeadGrid, to_grid
from inference.training.datasets.ct_ich import CtIch, open_ct_ich
from inference.training.rounds.data import training_head


@pytest.fixture(scope="module")
def dataset(shared: Path) -> CtIch:
    return open_ct_ich(shared / "ct_ich")


def stack_of_patient(dataset: CtIch, patient: str) -> SliceStack:
    return dataset.load(next(each for each in dataset.entries() if each.patient_id == patient)).stack


def seen(grid: HeadGrid) -> NDArray[np.float32]:
    """HU at every second row and column, where the rings are measured."""
    return grid.image[:, ::STEP, ::STEP].numpy()


def cupped(stack: SliceStack, most_hu: float) -> SliceStack:
    """The stack with soft tissue brightened under the skull, as beam hardening does, falling off over 6 mm."""
    grid = to_grid(stack, keep_cupping=True)
    distance = np.repeat(np.repeat(to_skull_mm(grid.inside[:, ::STEP, ::STEP]), STEP, 1), STEP, 2)
    surplus = np.where(distance > 0, most_hu * np.exp(-distance / 6), 0).astype(np.float32)
    return replace(
        stack,
        hu=(grid.image.numpy() + surplus).astype(np.float32),
        pixel_spacing=(1.0, 1.0),
        positions=np.array([[-87.5, -103.5, 5.0 * k] for k in range(len(surplus))]),
        sop_uids=tuple(f"2.25.{k}" for k in range(len(surplus))),
        frames=(1,) * len(surplus),
    )


@pytest.mark.parametrize("patient", ["054", "122", "130"])
@pytest.mark.parametrize("most_hu", [6.0, 14.0])
def test_cupping_is_taken_off(dataset: CtIch, patient: str, most_hu: float) -> None:
    stack = stack_of_patient(dataset, patient)
    plain, bright = to_grid(cupped(stack, 0.0)), cupped(stack, most_hu)
    left, kept = to_grid(bright), to_grid(bright, keep_cupping=True)
    distance = to_skull_mm(plain.inside[:, ::STEP, ::STEP])
    for ring in ((distance > 2.5) & (distance < 4.5), (distance > 4.5) & (distance < 8.5)):
        before, after, usual = (float(np.median(seen(grid)[ring])) for grid in (kept, left, plain))
        assert before - usual > 0.2 * most_hu
        assert after < max(usual, float(np.median(seen(plain)[distance > 20])) + USUAL_HU[1]) + 1.0


def test_a_head_without_cupping_stays_as_it_is(dataset: CtIch) -> None:
    """Of the heads that the usual profile was measured on none changes by much, and what is deep never does."""
    for patient in ("055", "106", "099"):
        stack = stack_of_patient(dataset, patient)
        plain, kept = to_grid(stack).image, to_grid(stack, keep_cupping=True).image
        change = (kept - plain).numpy()
        assert change.min() >= 0 and np.abs(change).mean() < 0.5
        deep = to_skull_mm(to_grid(stack).inside[:, ::STEP, ::STEP]) > 20
        assert np.abs(change[:, ::STEP, ::STEP][deep]).max() < 1e-3


@pytest.mark.parametrize("patient", ["051", "081", "077"])
def test_a_bleed_under_the_skull_keeps_its_contrast(dataset: CtIch, patient: str) -> None:
    """A subdural over a hemisphere and epidurals: outlined blood against the tissue of its own depth elsewhere."""
    study = dataset.load(next(each for each in dataset.entries() if each.patient_id == patient))
    head = training_head(study)
    blood = (head.voxels > 0) & (head.voxels < 7)
    image, kept = head.image.astype(np.float32), to_grid(study.stack, keep_cupping=True).image.numpy()
    lost = float(np.median(kept[blood]) - np.median(image[blood]))
    assert 0 <= lost < 4.0
    assert np.median(image[blood]) > 45


def test_the_head_of_another_scanner_comes_nearer_to_what_is_usual(shared: Path) -> None:
    stack = build_stack(read_all(shared / "dicom" / "gantry_tilt_head"))
    profiles = []
    for grid in (to_grid(stack, keep_cupping=True), to_grid(stack)):
        distance = to_skull_mm(grid.inside[:, ::STEP, ::STEP])
        profile = profile_hu(grid.image[:, ::STEP, ::STEP].numpy(), distance)
        assert profile is not None
        profiles.append(profile)
    assert profiles[0][1] - profiles[1][1] > 3


def test_too_little_tissue_tells_nothing() -> None:
    image, inside = torch.full((3, 40, 40), 35.0), np.zeros((3, 40, 40), bool)
    inside[:, 18:22, 18:22] = True
    assert without_cupping(image, inside) is image
    assert without_cupping(image, np.zeros_like(inside)) is image


def test_levels_that_are_far_off_are_brought_back(dataset: CtIch) -> None:
    """A head whose values all lie 15 HU too high or too low looks the same to the network."""
    stack = stack_of_patient(dataset, "054")
    usual = to_grid(stack)
    tissue = usual.inside & (usual.image.numpy() > 15) & (usual.image.numpy() < 50)
    for off in (-12.0, 15.0):
        image = to_grid(replace(stack, hu=(stack.hu + off).astype(np.float32))).image
        assert abs(float((image - usual.image).numpy()[tissue].mean())) < 2.0
