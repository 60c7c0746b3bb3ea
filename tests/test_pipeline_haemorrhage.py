"""The haemorrhage pipeline with its shipped weights: consistent answers on heads with and without bleeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.engines.local import Engine
from inference.errors import DeviceError, UnknownPipelineError
from inference.findings import Finding, NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.answer import key_slices
from inference.pipelines.haemorrhage.own import HaemorrhagePipeline
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead, synthetic_head
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from inference.training.datasets.ct_ich import patients, stack_of

KINDS = list(HaemorrhageType)


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = Engine("cpu")
    made.warm_up()
    return made


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return synthetic_head(501, HaemorrhageType.EPIDURAL)


@pytest.fixture(scope="module")
def result(engine: Engine, head: SyntheticHead) -> Result:
    return engine.run("haemorrhage", Given(stack_of(head.hu)))


def check_consistent(result: Result, stack: SliceStack) -> None:
    """What every result promises, whatever it found."""
    assert [f.name for f in result.findings] == [INTRACRANIAL, *(k.value for k in KINDS)]
    assert [f.differential for f in result.findings] == [False, *(True for _ in KINDS)]
    whole, *possible = result.findings
    assert whole.probability == result.probability
    assert not result.suspected or sum(f.probability for f in possible) == pytest.approx(1, abs=1e-3)
    assert result.suspected == (result.probability >= result.threshold)
    assert len(result.slice_probabilities) == len(stack.hu)
    assert all(0 <= p <= 1 for p in (result.probability, *result.slice_probabilities))
    assert 1 <= len(result.key_slices) <= 4 and len(set(result.key_slices)) == len(result.key_slices)
    assert result.key_slices[0] == int(np.argmax(result.slice_probabilities))
    assert any(f.present for f in result.findings) == result.suspected
    masks = [f.mask for f in result.findings if f.mask is not None]
    assert result.suspected or not masks
    if masks:
        assert int(np.sum(masks, axis=0).max()) == 1
    for finding in result.findings:
        assert finding.mask is None or (finding.present and finding.mask.shape == stack.hu.shape and finding.mask.any())
        assert (finding.volume_ml > 0) == (finding.mask is not None)


def union(findings: tuple[Finding, ...]) -> np.ndarray:
    return np.asarray(np.any([f.mask for f in findings if f.mask is not None], axis=0))


def test_a_large_bleed_is_found_where_it_is(result: Result, head: SyntheticHead) -> None:
    stack = stack_of(head.hu)
    check_consistent(result, stack)
    assert result.suspected
    truth = head.labels > 0
    found = union(result.findings)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6
    assert truth[list(result.key_slices[:1])].any()
    volume = sum(f.volume_ml for f in result.findings)
    assert volume == pytest.approx(found.sum() * 5 * 0.488**2 / 1000, rel=1e-3)
    assert volume == pytest.approx(truth.sum() * 5 * 0.488**2 / 1000, rel=0.5)


def test_a_normal_head_is_not_suspected(engine: Engine) -> None:
    stack = stack_of(synthetic_head(502).hu)
    answer = engine.run("haemorrhage", Given(stack))
    check_consistent(answer, stack)
    assert not answer.suspected
    assert all(f.mask is None and not f.present for f in answer.findings)


def test_the_same_answer_twice_and_from_the_other_end(engine: Engine, head: SyntheticHead, result: Result) -> None:
    again = engine.run("haemorrhage", Given(stack_of(head.hu)))
    assert again.slice_probabilities == result.slice_probabilities
    stack = stack_of(head.hu)
    upside = replace(
        stack,
        hu=np.ascontiguousarray(stack.hu[::-1, :, ::-1]),
        positions=stack.positions[::-1] + stack.row_direction * 0.488 * 511,
        row_direction=-stack.row_direction,
    )
    other = engine.run("haemorrhage", Given(upside))
    assert np.allclose(other.slice_probabilities[::-1], result.slice_probabilities, atol=0.02)
    assert np.mean(union(other.findings)[::-1, :, ::-1] == union(result.findings)) > 0.999


def test_volume_follows_each_slice_s_own_extent(engine: Engine, head: SyntheticHead, result: Result) -> None:
    stack = stack_of(head.hu)
    positions = stack.positions.copy()
    positions[:, 2] *= 1.2
    wider = engine.run("haemorrhage", Given(replace(stack, positions=positions)))
    ratio = sum(f.volume_ml for f in wider.findings) / sum(f.volume_ml for f in result.findings)
    assert ratio == pytest.approx(1.2, abs=0.1)


def test_a_child_s_result_carries_the_card_s_words(engine: Engine, head: SyntheticHead, result: Result) -> None:
    words = HaemorrhagePipeline(torch.device("cpu")).card.children
    assert words not in result.warnings
    child = engine.run("haemorrhage", Given(replace(stack_of(head.hu), patient_age_years=4.0)))
    assert words in child.warnings
    adult = engine.run("haemorrhage", Given(replace(stack_of(head.hu), patient_age_years=44.0)))
    assert words not in adult.warnings


def test_a_cut_off_head_is_said(engine: Engine, head: SyntheticHead, result: Result) -> None:
    """At either end, and not of a whole one."""
    assert result.incomplete == ""
    for part, said in ((head.hu[:20], "top"), (head.hu[6:], "base")):
        assert said in engine.run("haemorrhage", Given(stack_of(part))).incomplete


def test_images_without_a_head_are_not_analysable(engine: Engine) -> None:
    with pytest.raises(NotAnalysable, match="No whole head"):
        engine.run("haemorrhage", Given(stack_of(np.full((30, 128, 128), -1000, np.float32))))


def test_real_patients_get_consistent_answers(engine: Engine, shared: Path) -> None:
    seen = 0
    for patient in patients(shared / "ct_ich"):
        if patient.number in (66, 67, 68):
            stack = stack_of(patient.hu)
            check_consistent(engine.run("haemorrhage", Given(stack)), stack)
            seen += 1
        if patient.number > 68:
            break
    assert seen == 3


def test_an_unknown_pipeline_is_named(engine: Engine, head: SyntheticHead) -> None:
    with pytest.raises(UnknownPipelineError, match=r"'lungs'.*haemorrhage"):
        engine.run("lungs", Given(stack_of(head.hu)))
    assert engine.model("haemorrhage").name == "haemorrhage"


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.1, 0.2, 0.9, 0.3, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1, 0.1], (2, 6)),
        ([0.1] * 20, (19, 0, 2, 4)),
        ([0.9], (0,)),
    ],
)
def test_key_slices_are_peaks(probabilities: list[float], expected: tuple[int, ...]) -> None:
    assert key_slices(np.array(probabilities)) == expected


def test_a_device_that_is_not_there_is_named() -> None:
    """One line, before any model is loaded."""
    with pytest.raises(DeviceError, match="cuda:63"):
        Engine("cuda:63")
