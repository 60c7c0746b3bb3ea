"""Does a model answer as a pipeline must? Tried on synthetic heads of fixed seeds, the same ones for every model.

Two heads, each without and with a large bleed: every number in its range, every mask on the image's own grid, the same
answer twice, and the bleed more probable than the same head without it. That a model passes says that it runs, not
that it is good.
"""

import math
from collections.abc import Callable

import numpy as np

from inference.errors import ModelError
from inference.findings import NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.pipelines.base import Given, TestedImage
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead, synthetic_head
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

HEADS = ((9101, HaemorrhageType.INTRAPARENCHYMAL), (9102, HaemorrhageType.SUBDURAL))
KNOWN = {each.value for each in HaemorrhageType} | {INTRACRANIAL}
SAME = 1e-3
Run = Callable[[Given], Result]


def self_test(run: Run) -> tuple[TestedImage, ...]:
    """Run a model on the heads and compare; ModelError with exactly what it got wrong."""
    told = []
    for seed, bleed in HEADS:
        normal = answer(run, synthetic_head(seed), f"normal head, seed {seed}")
        bleeding = answer(run, synthetic_head(seed, bleed), f"{bleed} bleed, seed {seed}")
        if bleeding.probability <= normal.probability:
            raise ModelError(
                f"the self-test failed: a large {bleed} bleed is answered with {bleeding.probability:.3f}, "
                f"the same head without it (seed {seed}) with {normal.probability:.3f}; it must be higher"
            )
        told.append(TestedImage(bleed.value, normal.probability, bleeding.probability))
    again = answer(run, synthetic_head(*HEADS[-1]), f"the last head again, seed {HEADS[-1][0]}")
    check_same_answer(bleeding, again)
    return tuple(told)


def answer(run: Run, head: SyntheticHead, title: str) -> Result:
    """A model's answer for a head, in order; ModelError otherwise."""
    stack = stack_of(head)
    try:
        result = run(Given(stack))
    except NotAnalysable as reason:
        raise ModelError(f"the self-test failed ({title}): the model declines the images: {reason}") from reason
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:  # the network's own code
        raise ModelError(f"the self-test failed ({title}): {type(error).__name__}: {error}") from error
    if problem := disorder(result, stack):
        raise ModelError(f"the self-test failed ({title}): {problem}")
    return result


def disorder(result: Result, stack: SliceStack) -> str:
    """What is wrong with a result whatever the images show; empty where nothing is."""
    numbers = {"the study's probability": result.probability, "the threshold": result.threshold}
    numbers |= {f"the probability of '{each.name}'": each.probability for each in result.findings}
    numbers |= {f"the probability of slice {i + 1}": p for i, p in enumerate(result.slice_probabilities)}
    for what, number in numbers.items():
        if not (math.isfinite(number) and 0 <= number <= 1):
            return f"{what} is {number}, not a number in 0..1"
    if len(result.slice_probabilities) != len(stack.hu):
        return f"{len(result.slice_probabilities)} slice probabilities for {len(stack.hu)} slices"
    if outside := [i for i in result.key_slices if not 0 <= i < len(stack.hu)]:
        return f"key slices that are not in the images: {outside}"
    if unknown := {each.name for each in result.findings} - KNOWN:
        return f"findings that no report knows: {', '.join(sorted(unknown))} (known: {', '.join(sorted(KNOWN))})"
    for finding in result.findings:
        if finding.mask is not None and (finding.mask.shape != stack.hu.shape or finding.mask.dtype != np.bool_):
            mask = finding.mask
            return f"the mask of '{finding.name}' is {mask.dtype} {mask.shape}, the images are {stack.hu.shape}"
        if not (math.isfinite(finding.volume_ml) and finding.volume_ml >= 0):
            return f"the volume of '{finding.name}' is {finding.volume_ml} ml"
    return ""


def check_same_answer(first: Result, second: Result) -> None:
    """ModelError where a model says one thing now and another then."""
    was, now = ((result.probability, *result.slice_probabilities) for result in (first, second))
    furthest = max(abs(a - b) for a, b in zip(was, now, strict=True))
    if furthest > SAME or first.suspected != second.suspected:
        raise ModelError(
            f"the self-test failed: the same images are answered with {first.probability:.4f}, then with "
            f"{second.probability:.4f} (largest difference, slices included: {furthest:.4f})"
        )


def stack_of(head: SyntheticHead) -> SliceStack:
    """A synthetic head as an axial stack: rows to posterior, columns to left, slice 0 at the skull base."""
    count, rows, columns = head.hu.shape
    slice_mm, row_mm, column_mm = head.spacing_mm
    positions = np.zeros((count, 3))
    positions[:, 0], positions[:, 1] = -(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm
    positions[:, 2] = np.arange(count) * slice_mm
    return SliceStack(
        study_uid="2.25.1",
        series_uid="2.25.2",
        hu=head.hu,
        sop_uids=tuple(f"2.25.3.{i + 1}" for i in range(count)),
        frames=(1,) * count,
        positions=positions,
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing=(row_mm, column_mm),
    )
