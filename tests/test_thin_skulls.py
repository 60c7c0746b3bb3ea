"""Heads whose skull is thin, soft, open or wrapped up are analysed, with a warning; what is no head stays refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from not_heads import Mask, Volume, angiogram, bone_kernel, filled_skull, intracranial, noisy
from thin_skulls import bandaged, newborn, smaller, softened, thinned, without_flap

from inference.findings import NotAnalysable
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.head_grid import HeadGrid, to_grid
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.training.datasets.ct_ich import open_ct_ich, stack_of

INFANT_WITH_SWELLING, BLEEDING, SMALL = 50, 94, 67
THIN = "skull is thin, soft or open"
Real = Callable[[int], tuple[Volume, Mask]]


@cache
def _head(folder: Path, number: int) -> tuple[Volume, Mask]:
    volume = Volume(open_ct_ich(folder / "ct_ich").patient(number).hu.astype(np.float32), 5.0, 0.488)
    return volume, intracranial(volume)


@pytest.fixture
def real(shared: Path) -> Real:
    """A patient's head by number, and its intracranial space."""
    return lambda number: _head(shared, number)


def grid_of(volume: Volume) -> HeadGrid:
    return to_grid(stack_of(volume.hu, volume.pixel_mm, volume.slice_mm))


def held_ml(grid: HeadGrid) -> float:
    return float((grid.inside.sum((1, 2)) * grid.slab_mm).sum()) / 1000


UNUSUAL: dict[str, Callable[[Volume, Mask], Volume]] = {
    "newborn": newborn,
    "newborn, hardly any bone": lambda v, i: newborn(v, i, bone_hu=220, gap_mm=8),
    "newborn, wide sutures": lambda v, i: newborn(v, i, bone_hu=400, gap_mm=10),
    "premature": lambda v, i: newborn(v, i, 0.58, 250, 8, 10),
    "infant": lambda v, i: newborn(v, i, 0.8, 350, 3),
    "swollen": lambda v, i: newborn(v, i, water_hu=14),
    "low dose": lambda v, i: noisy(newborn(v, i), 20, blur=0.8),
    "brittle": lambda v, i: softened(v, 250),
    "thin": lambda v, i: thinned(softened(v, 400), i, 2.0, 200),
    "frontal flaps missing": lambda v, i: without_flap(v, i, 140, towards=0),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("number", [INFANT_WITH_SWELLING, BLEEDING])
def test_an_unusual_skull_is_analysed_with_a_warning(real: Real, number: int, name: str) -> None:
    volume, inside = real(number)
    made = UNUSUAL[name](volume, inside)
    grid = grid_of(made)
    assert any(THIN in warning for warning in grid.warnings)
    true_ml = inside.sum() * volume.slice_mm * volume.pixel_mm**2 / 1000 * (made.pixel_mm / volume.pixel_mm) ** 3
    assert 0.7 < held_ml(grid) / true_ml < 1.6


@pytest.mark.parametrize("degrees", [60, 90, 150])
@pytest.mark.parametrize("number", [INFANT_WITH_SWELLING, BLEEDING])
def test_a_missing_flap_is_analysed(real: Real, number: int, degrees: float) -> None:
    volume, inside = real(number)
    grid_of(without_flap(volume, inside, degrees))


def test_a_dressing_is_analysed_with_a_warning(real: Real) -> None:
    grid = grid_of(bandaged(real(BLEEDING)[0], 35, -80))
    assert grid.warnings == ("Much lies around the skull, as a dressing or swelling does.",)


def test_a_premature_head_of_a_fifth_of_a_litre_is_analysed(real: Real) -> None:
    grid = grid_of(newborn(*real(SMALL), 0.52, 350))
    assert 120 < held_ml(grid) < 250
    assert any("premature" in warning for warning in grid.warnings)


def test_a_head_like_most_has_no_warning(real: Real) -> None:
    assert all(grid_of(real(number)[0]).warnings == () for number in (INFANT_WITH_SWELLING, BLEEDING, SMALL))


def test_the_result_carries_the_warning(real: Real) -> None:
    made = newborn(*real(BLEEDING))
    result = HaemorrhagePipeline(torch.device("cpu")).run(Given(stack_of(made.hu, made.pixel_mm, made.slice_mm)))
    assert any(THIN in warning for warning in result.warnings)


NO_HEADS: dict[str, tuple[Callable[[Volume, Mask], Volume], str]] = {
    "a part": (lambda v, i: replace(newborn(v, i), hu=newborn(v, i).hu[:15]), "not wholly in the images"),
    "bone kernel": (lambda v, i: bone_kernel(newborn(v, i)), "sharp kernel"),
    "bone kernel, flap missing": (lambda v, i: bone_kernel(without_flap(v, i, 90)), "sharp kernel"),
    "angiogram, flap missing": (lambda v, i: angiogram(without_flap(v, i, 90)), "contrast medium"),
    "angiogram, brittle": (lambda v, i: angiogram(softened(v, 250)), "contrast medium"),
    "water in a soft shell": (lambda v, i: filled_skull(softened(v, 250), 0), "No whole head"),
    "resin in a soft shell": (lambda v, i: filled_skull(softened(v, 400), 35), "uniform"),
    "no bone": (lambda v, i: replace(v, hu=np.minimum(v.hu, 60)), "show no skull"),
    "too small": (lambda v, i: smaller(v, 0.35), "No whole head"),
}


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_is_no_plain_head_stays_refused(real: Real, name: str) -> None:
    make, said = NO_HEADS[name]
    with pytest.raises(NotAnalysable, match=said):
        grid_of(make(*real(BLEEDING)))
