"""Synthetic heads: always the same for the same seed, head-like HU, and the bleed they were asked for."""

import subprocess
import sys

import numpy as np
import pytest

from inference.pipelines.haemorrhage.synthetic_head import SIZE, SLICES, synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType

KINDS = list(HaemorrhageType)
ML = 5.0 * 0.488 * 0.488 / 1000


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return synthetic_head(11).hu


def test_the_same_seed_gives_the_same_head(normal: np.ndarray) -> None:
    assert np.array_equal(normal, synthetic_head(11).hu)
    assert not np.array_equal(normal, synthetic_head(12).hu)


def test_a_normal_head_has_air_bone_and_brain(normal: np.ndarray) -> None:
    made = synthetic_head(11)
    assert made.hu.shape == (SLICES, SIZE, SIZE) and made.hu.dtype == np.float32
    assert made.spacing_mm == (5.0, 0.488, 0.488)
    assert not made.labels.any()
    assert normal.min() >= -1024 and normal.max() <= 3071
    brain_ml = ((normal > 15) & (normal < 50)).sum() * ML
    assert 700 < brain_ml < 2200
    assert (normal > 500).sum() * ML > 150
    assert (normal[:, :20] < -900).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_bleed_is_where_its_label_is(kind: HaemorrhageType) -> None:
    large, subtle = synthetic_head(4, kind), synthetic_head(4, kind, "subtle")
    value = 1 + KINDS.index(kind)
    for made in (large, subtle):
        assert set(np.unique(made.labels)) == {0, value}
        assert 45 < float(np.median(made.hu[made.labels == value])) < 75
    assert (large.labels > 0).sum() > 1.5 * (subtle.labels > 0).sum() > 0
    assert (subtle.labels > 0).sum() * ML < 30


def test_heads_need_no_torch() -> None:
    code = "import sys, inference.pipelines.haemorrhage.synthetic_head; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
