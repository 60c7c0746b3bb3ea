"""Test and retest: one simulated head scanned twice, and how far apart its two drawn volumes are."""

from dataclasses import replace

import numpy as np
import pytest

from inference.findings import Finding, Measurement, ModelIdentity, NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import INTRACRANIAL
from inference.training.datasets.ct_ich import stack_of
from inference.training.rounds.data import TrainingHead
from inference.training.studies.repeats import Pair, scan_pairs, volume_repeats

PAIR = Pair("subdural", 12.0, 10.0, 10.0)


def drawing(stack: SliceStack) -> Result:
    """Draws what is as bright as blood in the middle of the head, where no bone is."""
    rows, columns = stack.hu.shape[1:]
    middle = stack.hu[:, rows // 3 : -rows // 3, columns // 3 : -columns // 3]
    volume = Measurement("volume", float(((middle > 50) & (middle < 95)).sum()) * 0.005, "mL")
    finding = Finding(INTRACRANIAL, 0.9, True, None, (volume,))
    model = ModelIdentity("test", "1", "0" * 64)
    return Result("haemorrhage", "test", model, 0.5, True, 0.9, (finding,), (0.9,) * len(stack.hu), (0,))


def test_a_head_is_scanned_twice_and_not_alike() -> None:
    grid = to_grid(stack_of(synthetic_head(31).hu))
    empty = np.zeros(grid.image.shape, np.uint8)
    head = TrainingHead(
        grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), np.zeros((len(empty), 6), np.uint8),
        empty,
    )  # fmt: skip
    seen: list[SliceStack] = []

    def ask(stack: SliceStack) -> Result:
        seen.append(stack)
        if len(seen) == 1:
            raise NotAnalysable("the first scan of the first bleed is refused: no pair")
        return drawing(stack)

    (pair,) = scan_pairs({"1": head}, ask, 1)
    one, other = (stack.hu[len(stack.hu) // 2] for stack in seen[-2:])
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert pair.first_ml > 0 and pair.second_ml > 0 and len(seen) >= 4


def test_how_far_apart_pairs_are() -> None:
    """Of logarithms, about nought, whichever came first; small ones do not count."""
    apart = [replace(PAIR, second_ml=12.0), replace(PAIR, first_ml=12.0), replace(PAIR, second_ml=0.9)]
    small, large = volume_repeats([*apart, Pair("subdural", 12.0, 2.0, 4.0)])
    assert (large.from_ml, large.pairs) == (5, 2) and large.log_sd == pytest.approx(np.log(1.2))
    assert (small.from_ml, small.pairs) == (1, 1) and small.log_sd == pytest.approx(np.log(2))
    assert volume_repeats([]) == []
