"""Stress sets and contact sheet: cases follow their seeds, a stopped run goes on, tables count what was answered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.findings import Finding, ModelIdentity, NotAnalysable, Result
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.ct_ich import stack_of
from inference.training.rounds.data import TrainingHead
from inference.training.simulate.mimics import Mimic
from inference.training.studies import stress as stress_module
from inference.training.studies.contact_sheet import ACROSS, contact_sheet
from inference.training.studies.stress import (
    DETECTION,
    MIMIC,
    PLAIN,
    Ask,
    HeadAnswer,
    Stress,
    StressCase,
    read_answers,
    run_stress,
)
from inference.training.studies.stress_tables import detection_table, mimic_table, stress_text, thickness_table

MODEL = ModelIdentity("test", "1", "0" * 64)


def head_of(seed: int) -> TrainingHead:
    grid = to_grid(stack_of(synthetic_head(seed).hu))
    voxels = np.zeros(grid.image.shape, np.uint8)
    labels = np.zeros((len(voxels), 6), np.uint8)
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)


@pytest.fixture(scope="module")
def heads() -> dict[int, TrainingHead]:
    return {1: head_of(31), 2: head_of(32)}


def result(stack: SliceStack, probability: float, mask: np.ndarray | None = None) -> Result:
    findings = tuple(Finding(k.value, probability, mask is not None, mask) for k in HaemorrhageType)
    slices = (probability,) * len(stack.hu)
    return Result("haemorrhage", "test", MODEL, 0.5, probability >= 0.5, probability, findings, slices, (0,))


def bright(stack: SliceStack) -> Result:
    """Draws all that is as bright as blood within the head's middle."""
    return result(stack, 0.9, (stack.hu > 48) & (stack.hu < 95))


def quiet(number: int, stack: SliceStack) -> Result:
    return result(stack, 0.1)


def run(heads: dict[int, TrainingHead], ask: Ask, kept: Path) -> list[HeadAnswer]:
    stress = Stress(heads, ask)
    return run_stress(lambda cases: map(stress.answer, cases), sorted(heads), 1, kept)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One volume, thick slices only."""
    monkeypatch.setattr(stress_module, "STEPS_ML", (10.0,))
    monkeypatch.setattr(stress_module, "SLICES_MM", (5.0,))
    monkeypatch.setattr(stress_module, "MIMICS", (Mimic.FRACTURE, Mimic.DENSE_SINUS))


def test_a_bleed_is_made_alike_each_time_and_found_where_it_is(heads: dict[int, TrainingHead]) -> None:
    seen: list[np.ndarray] = []

    def ask(number: int, stack: SliceStack) -> Result:
        seen.append(stack.hu)
        return bright(stack)

    case = StressCase(DETECTION, "intraparenchymal", 10.0, 5.0, 1)
    one, two = (Stress(heads, ask).answer(case) for _ in range(2))
    assert one == two and one is not None
    assert np.array_equal(seen[0], seen[1])
    assert one.volume_ml == pytest.approx(10, rel=0.2)
    assert one.suspected and one.located and one.typed
    blind = Stress(heads, quiet).answer(case)
    assert blind is not None and not (blind.suspected or blind.located or blind.typed)


def test_thin_slices_hold_the_same_volume(heads: dict[int, TrainingHead]) -> None:
    shapes: list[int] = []

    def ask(number: int, stack: SliceStack) -> Result:
        shapes.append(len(stack.hu))
        assert float(np.median(stack.extents_mm)) == pytest.approx(1.25)
        return bright(stack)

    answer = Stress(heads, ask).answer(StressCase(DETECTION, "epidural", 10.0, 1.25, 1))
    assert answer is not None and answer.volume_ml == pytest.approx(10, rel=0.2)
    assert shapes[0] > 3 * len(heads[1].image)
    assert 3 < answer.thickest_mm < 40


def test_flagged_carriers_carry_nothing(few: None, heads: dict[int, TrainingHead], tmp_path: Path) -> None:
    def ask(number: int, stack: SliceStack) -> Result:
        return result(stack, 0.9 if number == 2 else 0.1)

    answers = run(heads, ask, tmp_path / "answers.jsonl")
    assert {a.carrier for a in answers if a.stress == PLAIN} == {1, 2}
    assert {a.carrier for a in answers if a.stress != PLAIN} == {1}


def test_a_stopped_run_asks_only_what_is_missing(few: None, heads: dict[int, TrainingHead], tmp_path: Path) -> None:
    kept = tmp_path / "answers.jsonl"
    asked: list[int] = []

    def stopping(at: int) -> Ask:
        def ask(number: int, stack: SliceStack) -> Result:
            if len(asked) == at:
                raise KeyboardInterrupt
            asked.append(number)
            return quiet(number, stack)

        return ask

    with pytest.raises(KeyboardInterrupt):
        run(heads, stopping(4), kept)
    assert len(read_answers(kept)) == 4
    whole = kept.read_text()
    kept.write_text(whole + whole.splitlines()[0][:40])
    answers = run(heads, stopping(-1), kept)
    assert kept.read_text().startswith(whole)
    assert len(asked) == len(answers) == len(read_answers(kept))
    assert answers == run(heads, stopping(len(asked)), kept)


def test_a_head_that_is_not_analysed_says_so(heads: dict[int, TrainingHead]) -> None:
    def ask(number: int, stack: SliceStack) -> Result:
        raise NotAnalysable("No head.")

    answer = Stress(heads, ask).answer(StressCase(MIMIC, Mimic.METAL.value, 0.0, 5.0, 1))
    assert answer is not None and answer.not_analysed == "No head." and not answer.suspected


def test_tables_count(heads: dict[int, TrainingHead]) -> None:
    hit = Stress(heads, lambda n, stack: bright(stack)).answer(StressCase(DETECTION, "epidural", 10.0, 5.0, 1))
    assert hit is not None
    miss = replace(hit, suspected=False, located=False, typed=False, carrier=2)
    alarm = replace(hit, stress=MIMIC, what=Mimic.METAL.value)
    refused = replace(alarm, suspected=False, not_analysed="No head.")
    answers = [hit, miss, alarm, refused]
    row = next(line for line in detection_table(answers, 5.0) if line.startswith("| epidural"))
    assert row.split(" | ")[4].startswith("1/2 (0.09–0.91)")
    assert row.count("1/2") == 3
    assert "1/2" in next(line for line in thickness_table(answers) if line.startswith("| epidural"))
    metal = next(line for line in mimic_table(answers) if line.startswith("| metal"))
    assert "1/2" in metal and metal.rstrip(" |").endswith("1")
    text = stress_text(answers, MODEL, "How.")
    assert "not a medical device" in text and "How." in text


def test_the_contact_sheet_shows_every_type(heads: dict[int, TrainingHead]) -> None:
    marked = replace(heads[2], labels=np.ones_like(heads[2].labels))
    sheet = contact_sheet({1: heads[1], 2: marked}, seed=3)
    tile = heads[1].image.shape[2]
    assert sheet.width >= ACROSS * tile and sheet.height > 13 * heads[1].image.shape[1]
    assert np.asarray(sheet).std() > 20
    again = contact_sheet({1: heads[1], 2: marked}, seed=3)
    assert np.array_equal(np.asarray(sheet), np.asarray(again))
