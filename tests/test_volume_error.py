"""How far drawn volumes are off, by size: what counts, and what is too little to be told apart."""

import math

import pytest

from inference.models.card import SizeError, VolumeError
from inference.training.evaluation.figures import StudyLine
from inference.training.release.conclude import types_exact
from inference.training.release.volumes import Drawn, table_of, volume_error


def drawn(ml: float, count: int, hu: float = 60.0) -> list[Drawn]:
    """Heads whose true volumes lie evenly between half the drawn one and twice it."""
    return [Drawn(ml * (0.5 + 1.5 * i / (count - 1)), ml, hu) for i in range(count)]


def test_sizes_have_factors_of_their_own() -> None:
    heads = drawn(2.0, 41) + [Drawn(40.0, 40.0, 60.0)] * 20
    error = volume_error(heads)
    assert error is not None and error.heads == 61
    assert [(each.below_ml, each.heads) for each in error.sizes] == [(3.0, 41), (math.inf, 20)]
    assert error.factors(2.0) == pytest.approx((0.5375, 1.9625))
    assert error.factors(300.0) == (1.0, 1.0)


def test_only_what_a_reader_is_told_counts() -> None:
    """Not what is missed, hardly drawn, or no dense blood; a few heads make no size of their own."""
    heads = drawn(20.0, 30)
    assert volume_error(heads + drawn(0.9, 9) + [Drawn(30.0, 0.0, 60.0)] + drawn(5.0, 30, hu=49.0)) == volume_error(
        heads
    )
    few = volume_error(heads + drawn(2.0, 9))
    assert few is not None and [each.below_ml for each in few.sizes] == [30.0]
    assert few.heads == 39
    assert volume_error([]) is volume_error(drawn(0.5, 5)) is None


def test_the_table_is_what_a_card_holds() -> None:
    error = VolumeError(50, 0.61234, 3.0, (SizeError(3.0, 20, 0.6, 5.0), SizeError(math.inf, 30, 0.8, 1.2)))
    assert table_of(error) == {
        "heads": 50,
        "low": 0.6123,
        "high": 3.0,
        "sizes": [{"below_ml": 3.0, "heads": 20, "low": 0.6, "high": 5.0}, {"heads": 30, "low": 0.8, "high": 1.2}],
    }


def line(suspected: bool, types: tuple[str, ...], named: tuple[str, ...]) -> StudyLine:
    return StudyLine("1", "1", True, suspected, 0.5, 0.3, types, named, 1.0, "", "")


def test_exact_types_are_counted_among_the_flagged_whose_types_are_known() -> None:
    studies = [
        line(True, ("epidural", "subdural"), ("subdural", "epidural")),
        line(True, ("epidural",), ("epidural", "subdural")),
        line(True, (), ("epidural",)),
        line(False, ("epidural",), ()),
    ]
    assert types_exact(studies) == 0.5
    assert types_exact(studies[2:]) is None
