"""Heads of every kind are analysed; what is no plain head CT is refused, each for its own reason."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from not_heads import (
    Volume,
    abdomen,
    angiogram,
    as_series,
    bone_kernel,
    bone_only,
    chest,
    enhanced,
    filled_skull,
    intracranial,
    knee,
    localizers,
    mr_like,
    neck,
    noisy,
    pelvis,
    perfusion_map,
    plain_head,
    qa_phantom,
    recoloured,
    spine,
    water_phantom,
)
from series import read_all

from inference.findings import NotAnalysable
from inference.input.stack import build_stack
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import patients, stack_of

NO_HEAD, NOT_WHOLE, NOT_HU = "No whole head", "brain is not wholly", "not Hounsfield units"
BLEEDING = (94, 52)


def reason(volume: Volume) -> str | None:
    """Why the volume is refused after the way through DICOM, or None."""
    try:
        to_grid(build_stack(as_series(volume)))
    except NotAnalysable as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def head() -> Volume:
    return plain_head()


@cache
def _patients(folder: Path) -> dict[int, Volume]:
    return {each.number: Volume(each.hu.astype(np.float16), 5.0, 0.488) for each in patients(folder / "ct_ich")}


@pytest.fixture(scope="module")
def real(shared: Path) -> Callable[[int], Volume]:
    """A patient's head by number."""
    volumes = _patients(shared)
    return lambda number: replace(volumes[number], hu=volumes[number].hu.astype(np.float32))


@pytest.mark.timeout(400)
def test_every_patient_is_analysed(shared: Path) -> None:
    refused = []
    for number, volume in _patients(shared).items():
        try:
            to_grid(stack_of(volume.hu.astype(np.float32)))
        except NotAnalysable as error:
            refused.append((number, str(error)))
    assert len(_patients(shared)) == 57 and not refused


def test_the_tilted_head_is_analysed(shared: Path) -> None:
    to_grid(build_stack(read_all(shared / "dicom" / "gantry_tilt_head")))


@pytest.mark.parametrize("bleed", [None, *HaemorrhageType])
def test_synthetic_heads_are_analysed(bleed: HaemorrhageType | None) -> None:
    to_grid(stack_of(synthetic_head(1, bleed).hu))


def metal(volume: Volume) -> Volume:
    """Two clips with streaks through their planes."""
    hu = volume.hu.copy()
    side = (np.arange(hu.shape[1]) - hu.shape[1] / 2) * volume.pixel_mm
    for plane, y, x in ((15, 10, 20), (18, -25, -15)):
        away, angle = np.hypot(side[:, None] - y, side[None] - x), np.arctan2(side[:, None] - y, side[None] - x)
        hu[plane : plane + 3] += 300 * np.sin(12 * angle) * np.exp(-away / 40)
        hu[plane : plane + 3, away < 4] = 3000
    return replace(volume, hu=np.clip(hu, -1024, 3071))


def calcified(volume: Volume) -> Volume:
    """Twenty calcifications of 2 to 5 mm at random places of the brain."""
    hu, rng, inside = volume.hu.copy(), np.random.default_rng(3), np.argwhere(intracranial(volume))
    rows, columns = np.indices(hu.shape[1:])
    for plane, row, column in inside[rng.integers(0, len(inside), 20)]:
        disk = np.hypot(rows - row, columns - column) * volume.pixel_mm < rng.uniform(1, 2.5)
        hu[plane, disk] = rng.uniform(120, 900)
    return replace(volume, hu=hu)


def truncated(volume: Volume, share: float = 0.075) -> Volume:
    """A field of view that cuts the scalp (or, from 0.12, the skull), padded outside its circle."""
    cut = int(volume.hu.shape[1] * share)
    hu = volume.hu[:, cut:-cut, cut:-cut].copy()
    side = np.arange(hu.shape[1]) - (hu.shape[1] - 1) / 2
    hu[:, np.hypot(side[:, None], side[None]) > hu.shape[1] / 2] = -3024
    return replace(volume, hu=hu)


def denser_blood(volume: Volume) -> Volume:
    """All that is as dense as blood is as dense as blood can be."""
    dense = intracranial(volume) & (volume.hu > 55) & (volume.hu < 100)
    return replace(volume, hu=np.where(dense, np.minimum(volume.hu + 35, 100), volume.hu))


HARD_BUT_HEADS: dict[str, Callable[[Volume], Volume]] = {
    "higher": lambda v: replace(v, hu=v.hu + 8),
    "lower": lambda v: replace(v, hu=v.hu - 8),
    "low dose": lambda v: noisy(v, 20, blur=0.8),
    "thin and noisy": lambda v: noisy(Volume(v.hu[:, ::2, ::2].repeat(4, 0), 1.25, 0.976), 25),
    "metal": metal,
    "calcified": calcified,
    "truncated": truncated,
    "skull cut off": lambda v: truncated(v, 0.15),
    "top missing": lambda v: replace(v, hu=v.hu[:-4]),
    "dense blood": denser_blood,
}


@pytest.mark.parametrize("name", HARD_BUT_HEADS)
@pytest.mark.parametrize("number", BLEEDING)
def test_hard_heads_are_analysed(real: Callable[[int], Volume], number: int, name: str) -> None:
    volume = HARD_BUT_HEADS[name](real(number))
    to_grid(stack_of(volume.hu, volume.pixel_mm, volume.slice_mm))


@pytest.mark.parametrize("turn", [{"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, {"flip": True}])
def test_a_head_lying_otherwise_is_analysed(head: Volume, turn: dict[str, object]) -> None:
    if turn.pop("flip", False):
        flipped = replace(head, hu=head.hu[:, ::-1])
        series = as_series(flipped, ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    else:
        series = as_series(replace(head, hu=head.hu.transpose(0, 2, 1)), **turn)
    to_grid(build_stack(series))


@pytest.mark.parametrize("make", [chest, abdomen, neck, knee, spine, water_phantom, qa_phantom, pelvis])
def test_bodies_and_phantoms_are_refused(make: Callable[[], Volume]) -> None:
    assert re_any(reason(make()), NO_HEAD, NOT_WHOLE)


def re_any(text: str | None, *parts: str) -> bool:
    """Whether there is a reason and it holds one of these."""
    return text is not None and any(part in text for part in parts)


@pytest.mark.parametrize(
    ("fill_hu", "said"),
    [
        (-1000, "holds air"),
        (0, "0 HU"),
        (15, "15 HU"),
        (35, "uniform"),
        (45, "uniform"),
        (80, "80 HU"),
        (120, "120 HU"),
    ],
)
def test_a_filled_skull_is_refused(head: Volume, fill_hu: float, said: str) -> None:
    assert said in (reason(filled_skull(head, fill_hu)) or "")


@pytest.mark.parametrize(("blank_hu", "said"), [(-1024, "all but bone was removed"), (0, "all but bone was removed")])
def test_bone_alone_is_refused(head: Volume, blank_hu: float, said: str) -> None:
    assert said in (reason(bone_only(head, blank_hu)) or "")


@pytest.mark.parametrize("number", [65, 56])
def test_a_bone_kernel_is_refused(real: Callable[[int], Volume], number: int) -> None:
    assert "sharp kernel" in (reason(bone_kernel(real(number))) or "")


OTHER_NUMBERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "offset": (lambda hu: hu + 1024, NOT_HU),
    "halved": (lambda hu: hu * 0.5, NOT_HU),
    "doubled": (lambda hu: hu * 2, NO_HEAD),
    "inverted": (lambda hu: -hu, NOT_HU),
    "constant": (lambda hu: hu * 0 + 40, "blank"),
    "8 bit": (lambda hu: np.clip((hu + 40) / 160 * 255, 0, 255), NOT_HU),
    "MR": (mr_like, NOT_HU),
    "iodine": (lambda hu: np.where(hu > -200, (hu - 35) * 0.1 + np.where(hu > 200, 50, 2), 0), ""),
}


@pytest.mark.parametrize("name", OTHER_NUMBERS)
def test_other_numbers_than_hounsfield_units_are_refused(real: Callable[[int], Volume], name: str) -> None:
    change, said = OTHER_NUMBERS[name]
    why = reason(recoloured(real(65), change))
    assert why is not None and said in why


@pytest.mark.parametrize("part", [slice(-12, None), slice(0, 12), slice(0, 15), slice(15, None)])
def test_a_part_of_a_head_is_refused(real: Callable[[int], Volume], part: slice) -> None:
    whole = real(65)
    assert re_any(reason(replace(whole, hu=whole.hu[part])), NOT_WHOLE, NO_HEAD)


@pytest.mark.parametrize("slices", [9, 10, 12])
@pytest.mark.parametrize("number", [89, 91, 94])
def test_the_face_and_the_lowest_part_of_a_brain_are_refused(
    real: Callable[[int], Volume], number: int, slices: int
) -> None:
    face = replace(real(number), hu=real(number).hu[:slices])
    assert re_any(reason(face), NOT_WHOLE, NO_HEAD)


def test_blank_slices_are_refused(real: Callable[[int], Volume]) -> None:
    whole = real(65)
    hu = whole.hu.copy()
    hu[14:22] = -1024
    assert "images 15 to 22 are blank" in (reason(replace(whole, hu=hu)) or "")


@pytest.mark.parametrize("make", [perfusion_map, localizers])
def test_maps_and_projections_are_refused(head: Volume, make: Callable[[Volume], Volume]) -> None:
    assert re_any(reason(make(head)), NOT_HU, NO_HEAD)


@pytest.mark.parametrize("number", [65, 94])
@pytest.mark.parametrize(("artery_hu", "vein_hu"), [(380, 180), (300, 70), (450, 300)])
def test_angiograms_are_refused(real: Callable[[int], Volume], number: int, artery_hu: float, vein_hu: float) -> None:
    assert "contrast medium" in (reason(angiogram(real(number), artery_hu, vein_hu)) or "")


@pytest.mark.parametrize("number", [65, 61])
@pytest.mark.parametrize("vessel_hu", [150])
def test_heads_after_contrast_are_refused(real: Callable[[int], Volume], number: int, vessel_hu: float) -> None:
    assert "contrast medium" in (reason(enhanced(real(number), vessel_hu)) or "")


def test_a_synthetic_angiogram_is_refused(head: Volume) -> None:
    assert "contrast medium" in (reason(angiogram(head)) or "")


def test_the_pipeline_says_nothing_of_an_angiogram(head: Volume) -> None:
    pipeline = HaemorrhagePipeline(torch.device("cpu"))
    with pytest.raises(NotAnalysable, match="contrast medium"):
        pipeline.run(Given(build_stack(as_series(angiogram(head)))))
