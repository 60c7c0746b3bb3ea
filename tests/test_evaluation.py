"""The evaluation: figures are right, say when they cannot be measured, and a stopped run goes on where it stopped."""

import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click import Command
from click.testing import CliRunner
from loading import load
from PIL import Image
from playwright.sync_api import Browser
from series import ROOT as SERIES_ROOT
from series import head, write

from inference.errors import ModelError
from inference.findings import Finding, Measurement, ModelIdentity, NotAnalysable, Result
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, UNTYPED, DatasetError, Entry, LabelledStudy, Truth, knowing
from inference.training.datasets.ct_ich import stack_of
from inference.training.evaluation.figures import Evaluation, Unanalysed
from inference.training.evaluation.measure import Analyst, compare
from inference.training.evaluation.metrics import Units, level
from inference.training.evaluation.page import percent
from inference.training.evaluation.pictures import MODEL_COLOUR, READER_COLOUR, contact_sheet, telling_slices
from inference.training.evaluation.records import AnswerOutcome, safe_name
from inference.training.evaluation.run import MOST_MISSED, EvaluationOptions, evaluate
from inference.training.evaluation.source import code_digest
from inference.training.evaluation.statistics import (
    Resampling,
    auc_statistic,
    bayes,
    calibration_statistic,
    ranking_statistic,
    wilson,
)
from inference.training.evaluation.summary import worst_case

ROOT = Path(__file__).parents[1]
KINDS = list(HaemorrhageType)
SLICES, SIZE, SPACING_MM = 12, 64, 3.0
MODEL = ModelIdentity("toy", "1.0", "ab" * 32)
OPTIONS = EvaluationOptions(datetime.date(2026, 1, 2), prevalences=(0.027,))


@dataclass(frozen=True, slots=True)
class Plan:
    """One study of the toy data set. `blood` are the slices with a type-`kind` bleed of 36 voxels each; `said` is what
    the analyst answers; `fails` and `no_stack` are raised on reading, `refused` and `breaks` on analysing."""

    study: str
    patient: str
    blood: tuple[int, ...] = ()
    said: float = 0.1
    kind: int = 1
    outlined: bool = False
    fails: str = ""
    refused: str = ""
    no_stack: str = ""
    breaks: Exception | None = None
    age_years: float | None = None


@dataclass(eq=False)
class ToyDataset:
    """Round heads of a few voxels; counts what was loaded."""

    plans: Sequence[Plan]
    name: str = "toy set"
    labels: str = "first"
    loaded: list[str] = field(default_factory=list)

    def entries(self) -> Sequence[Entry]:
        return [Entry(plan.study, plan.patient) for plan in self.plans]

    def labels_digest(self) -> str:
        return self.labels

    def plan(self, study_id: str) -> Plan:
        return next(plan for plan in self.plans if plan.study == study_id)

    def load(self, entry: Entry) -> LabelledStudy:
        self.loaded.append(entry.study_id)
        plan = self.plan(entry.study_id)
        if plan.fails:
            raise DatasetError(plan.fails)
        if plan.no_stack:
            with knowing(Truth(bool(plan.blood))):
                raise NotAnalysable(plan.no_stack)
        bleed = blood_of(plan)
        far = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE / 2))
        hu = np.where(far < 22, 35.0, np.where(far < 25, 1000.0, -1000.0))[None].repeat(SLICES, 0)
        hu[bleed] = 65
        marked = bleed.any((1, 2))
        slices = np.zeros((SLICES, 6), bool)
        slices[:, 0] = slices[:, plan.kind] = marked
        types = tuple(i + 1 == plan.kind and bool(plan.blood) for i in range(5))
        mask = (bleed * plan.kind).astype(np.uint8) if plan.outlined else None
        truth = Truth(bool(plan.blood), types, slices, np.ones(SLICES, bool), mask, plan.age_years)
        return LabelledStudy(entry, stack_of(hu.astype(np.float32), SPACING_MM, 5.0), truth, "HEAD 5.0")


def blood_of(plan: Plan) -> np.ndarray:
    """bool (slice, row, column)."""
    mask = np.zeros((SLICES, SIZE, SIZE), bool)
    mask[list(plan.blood), 30:36, 40:46] = True
    return mask


def analyst_of(dataset: ToyDataset, stop_at: str = "", model: ModelIdentity = MODEL) -> Analyst:
    """Answers as planned; at the study `stop_at` somebody presses Ctrl-C."""

    def answer(study: LabelledStudy) -> Result:
        plan = dataset.plan(study.entry.study_id)
        if plan.study == stop_at:
            raise KeyboardInterrupt
        if plan.refused:
            raise NotAnalysable(plan.refused)
        if plan.breaks:
            raise plan.breaks
        suspected = plan.said >= 0.5
        mask = np.zeros((SLICES, SIZE, SIZE), bool)
        mask[4:6, 30:36, 40:44] = suspected
        volume = Measurement("volume", float(mask.sum()) * SPACING_MM**2 * 5 / 1000, "mL")
        findings = [Finding(kind.value, 0.1, False) for kind in KINDS]
        if suspected:
            findings[0] = Finding("epidural", plan.said, True, mask, (volume,))
        slices = tuple(plan.said if i in (4, 5) else 0.05 for i in range(SLICES))
        return Result("haemorrhage", "toy", model, 0.5, suspected, plan.said, tuple(findings), slices, (4, 5))

    return Analyst(answer, lambda entry: 0.5, model, "A planned answer.", "v1")


PLANS = (
    Plan("a", "p1", (4, 5), 0.9, outlined=True),
    Plan("b", "p2", (4, 5), 0.8, outlined=True),
    Plan("c/1", "p3", (2, 3, 4, 5), 0.2),
    Plan("d", "p4", said=0.1),
    Plan("e", "p5", said=0.7),
    Plan("f", "p6", said=0.05),
    Plan("g", "p6", said=0.15),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """One run over all kinds of studies."""
    plans = (*PLANS, Plan("h", "p7", (3,), refused="No head."), Plan("i", "p8", fails="i/x.dcm: is damaged"))
    dataset, out = ToyDataset(plans), tmp_path_factory.mktemp("evaluated")
    return evaluate(dataset, analyst_of(dataset), out, OPTIONS, lambda line: None), out


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without plots, where only what is done again and what is counted matters: plots take most of a run."""
    monkeypatch.setattr("inference.training.evaluation.page.all_plots", lambda evaluation: {})


def resampling(patients: Sequence[str], rounds: int = 300) -> Resampling:
    return Resampling.of(patients, rounds, seed=1)


def whole(count: int) -> np.ndarray:
    return np.ones((1, count))


def test_weighted_auc_counts_repeated_pairs() -> None:
    rng = np.random.default_rng(3)
    scores, truth = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4
    weights = rng.integers(0, 4, (20, 30)).astype(float)
    found = auc_statistic(scores, truth)(weights)[:, 0]
    for row, value in zip(weights.astype(int), found, strict=True):
        positives, negatives = np.repeat(scores[truth], row[truth]), np.repeat(scores[~truth], row[~truth])
        pairs = [(a > b) + 0.5 * (a == b) for a in positives for b in negatives]
        assert value == pytest.approx(np.mean(pairs))


def test_average_precision_of_a_known_ranking() -> None:
    truth = np.array([True, False, True])
    at = np.array([0.0, 0.5, 1.0])
    ranked = ranking_statistic(np.array([0.9, 0.8, 0.7]), truth, at)(whole(3))[0]
    assert ranked == pytest.approx([0.5, 5 / 6, 0.5, 0.5, 1.0])
    tied = ranking_statistic(np.array([0.5, 0.5, 0.5]), truth, at)(whole(3))[0]
    assert tied == pytest.approx([0.5, 2 / 3, 0.0, 0.5, 1.0])


def test_wilson_and_bayes_give_published_values() -> None:
    assert wilson(23, 25) == pytest.approx((0.7503, 0.9778), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    ppv, npv = bayes(np.array([0.756]), np.array([0.921]), 0.027)
    assert (ppv[0], npv[0]) == pytest.approx((0.210, 0.993), abs=1e-3)


def test_calibration_recovers_what_was_simulated() -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 2, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-(0.4 + 0.6 * odds)))
    slope, intercept, _ = calibration_statistic(1 / (1 + np.exp(-odds)), truth)(whole(20_000))[0]
    assert (slope, intercept) == pytest.approx((0.6, 0.4), abs=0.05)
    shifted = rng.random(20_000) < 1 / (1 + np.exp(-(odds - 0.7)))
    large = calibration_statistic(1 / (1 + np.exp(-odds)), shifted)(whole(20_000))[0, 2]
    assert large == pytest.approx(-0.7, abs=0.06)


def test_calibration_of_separated_scores_is_not_measurable() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    assert np.isnan(calibration_statistic(scores, scores > 0.5)(whole(4))[0, :2]).all()


def test_intervals_go_by_patient() -> None:
    """Ten copies of every slice say nothing new, so no interval may become narrower."""
    rng = np.random.default_rng(7)
    patients = [f"p{i}" for i in range(40)]
    scores = rng.random(40)
    truth = rng.random(40) < scores
    once = Units(patients, scores, scores > 0.5, truth)
    often = Units(patients * 10, np.tile(scores, 10), np.tile(scores > 0.5, 10), np.tile(truth, 10))
    one, ten = (level(units, resampling(patients)) for units in (once, often))
    for name in ("auc", "sensitivity", "ppv", "brier", "average_precision"):
        a, b = getattr(one, name), getattr(ten, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
        assert a.low < a.value < a.high
    assert ten.sensitivity.of == 10 * one.sensitivity.of
    assert ten.sensitivity.patients == one.sensitivity.patients


def test_rates_and_counts_of_a_table_made_by_hand() -> None:
    truth = np.array([True] * 5 + [False] * 10)
    decided = np.array([True] * 4 + [False] + [True] * 3 + [False] * 7)
    patients = [str(i) for i in range(15)]
    found = level(Units(patients, decided * 0.8 + 0.1, decided, truth), resampling(patients), [0.1])
    table = (found.true_positives, found.false_negatives, found.false_positives, found.true_negatives)
    assert table == (4, 1, 3, 7)
    assert (found.sensitivity.hits, found.sensitivity.of, found.sensitivity.patients) == (4, 5, 5)
    rates = [found.sensitivity.value, found.specificity.value, found.ppv.value, found.npv.value]
    assert rates == pytest.approx([0.8, 0.7, 4 / 7, 7 / 8])
    assert found.predicted[0].ppv.value == pytest.approx(0.08 / (0.08 + 0.27))
    assert found.brier.value == pytest.approx((11 * 0.01 + 4 * 0.81) / 15)
    bins = found.calibration.bins
    assert [b.count for b in bins] == [8, 0, 0, 0, 7]
    assert bins[0].observed.value == pytest.approx(1 / 8)
    assert found.calibration.expected_error == pytest.approx((8 * abs(0.1 - 1 / 8) + 7 * abs(0.9 - 4 / 7)) / 15)


def test_what_cannot_be_measured_says_why() -> None:
    patients = ["a", "b", "c"]
    scores = np.array([0.1, 0.6, 0.2])
    found = level(Units(patients, scores, scores > 0.5, np.zeros(3, bool)), resampling(patients), [0.1])
    for figure in (found.auc, found.sensitivity, found.average_precision, found.predicted[0].ppv):
        assert np.isnan(figure.value) and np.isnan(figure.low)
        assert figure.note == "not measurable: no positives"
    assert found.specificity.value == pytest.approx(2 / 3)
    empty = level(Units([], np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)), resampling(patients))
    assert empty.auc.note == "not measurable: no cases"


def test_a_perfect_score_keeps_an_interval() -> None:
    patients = [str(i) for i in range(20)]
    truth = np.arange(20) < 10
    found = level(Units(patients, np.where(truth, 0.9, 0.1), truth, truth), resampling(patients), [0.027])
    assert (found.sensitivity.value, found.sensitivity.interval) == (1.0, "Wilson by patients")
    assert found.sensitivity.low == pytest.approx(0.7225, abs=1e-4)
    assert np.isnan(found.auc.low) and "no interval" in found.auc.note
    assert found.predicted[0].ppv.low < 0.1 < found.predicted[0].ppv.value


def test_only_known_voxels_are_compared() -> None:
    study = ToyDataset([Plan("a", "p", (4, 5, 6))]).load(Entry("a", "p"))
    drawn = blood_of(Plan("a", "p", (4, 5, 6))).astype(np.uint8)
    drawn[6] = UNKNOWN
    drawn[5][drawn[5] > 0] = 2
    predicted = np.zeros_like(drawn)
    predicted[4:8, 30:36, 40:43] = 1
    outline = compare(predicted, replace(study, truth=replace(study.truth, mask=drawn)))
    assert outline is not None and not outline.complete and outline.slices == SLICES - 1
    whole_bleed, epidural, subdural = outline.any_type, outline.types[0], outline.types[1]
    counts = (whole_bleed.true_voxels, whole_bleed.predicted_voxels, whole_bleed.shared_voxels)
    assert counts == (72, 54, 36)
    assert whole_bleed.dice == pytest.approx(2 * 36 / (72 + 54))
    assert whole_bleed.true_ml == pytest.approx(72 * 9 * 5 / 1000)
    assert epidural is not None and (epidural.true_voxels, epidural.shared_voxels) == (36, 18)
    assert subdural is not None and (subdural.true_voxels, subdural.predicted_voxels) == (36, 0)
    drawn[4][drawn[4] > 0] = UNTYPED
    untyped = compare(predicted, replace(study, truth=replace(study.truth, mask=drawn)))
    assert untyped is not None and untyped.types == (None,) * 5 and untyped.any_type == whole_bleed
    assert compare(predicted, replace(study, truth=replace(study.truth, mask=np.full_like(drawn, UNKNOWN)))) is None


def test_the_whole_run_counts_everyone_once(done: tuple[Evaluation, Path]) -> None:
    found, _ = done
    assert (found.counts.studies, found.counts.patients, found.counts.analysed) == (9, 8, 7)
    assert (found.counts.not_analysed, found.counts.errors) == (1, 1)
    assert (found.study.sensitivity.hits, found.study.sensitivity.of) == (2, 3)
    assert (found.study.specificity.hits, found.study.specificity.of, found.study.specificity.patients) == (3, 4, 3)
    assert found.slices is not None and found.slices.positives == 8
    assert (found.slices.sensitivity.hits, found.slices.sensitivity.of) == (4, 8)
    assert [each.study_id for each in found.false_negatives] == ["c/1"]
    assert [each.study_id for each in found.false_positives] == ["e"]
    assert {each.study_id: each.reason for each in found.not_analysed} == {"h": "No head.", "i": "i/x.dcm: is damaged"}
    assert (found.worst_case.sensitivity.hits, found.worst_case.sensitivity.of) == (2, 5)
    assert (found.worst_case.specificity.hits, found.worst_case.specificity.of) == (3, 5)


def test_sizes_types_and_outlines(done: tuple[Evaluation, Path]) -> None:
    found, _ = done
    assert [(b.label, b.sensitivity.hits, b.sensitivity.of) for b in found.sizes_mm][:2] == [
        ("< 15 mm", 2, 2),
        ("15 to 30 mm", 0, 1),
    ]
    assert [b.sensitivity.of for b in found.sizes_ml] == [0, 0, 2, 0, 0]
    epidural, subdural = found.types[0], found.types[1]
    assert (epidural.studies, epidural.flagged.hits, epidural.confusion) == (3, 2, (2, 0, 0, 0, 0))
    assert subdural.auc.note == "not measurable: no positives"
    assert found.outlines is not None
    assert found.outlines.dice.value == pytest.approx(2 * 48 / (72 + 48))
    assert found.outlines.bias_ml.value == pytest.approx(-24 * 9 * 5 / 1000)
    assert found.outlines.dice.note == "only 2 patients: no interval"


def test_children_and_adults_have_figures_of_their_own(tmp_path: Path) -> None:
    plans = (
        Plan("a", "1", (4, 5), 0.9, age_years=3.0),
        Plan("b", "2", (4, 5), 0.2, age_years=17.9),
        Plan("c", "3", age_years=8.0),
        Plan("d", "4", (4, 5), 0.9, age_years=18.0),
        Plan("e", "5", age_years=None),
    )
    dataset = ToyDataset(plans)
    found = evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert [group.label for group in found.ages] == ["Under 18 years", "18 to 64 years"]
    young, grown = found.ages
    assert (young.sensitivity.hits, young.sensitivity.of, young.specificity.of) == (1, 2, 1)
    assert (grown.sensitivity.hits, grown.sensitivity.of) == (1, 1)
    assert grown.specificity.note == "not measurable: no negatives"
    assert "Under 18 years" in (tmp_path / "evaluation.html").read_text()


def test_unknown_labels_count_against_both_rates() -> None:
    patients = [str(i) for i in range(4)]
    truth = np.array([True, True, False, False])
    study = level(Units(patients, np.where(truth, 0.9, 0.1), truth, truth), resampling(patients))
    worst = worst_case(
        study, [Unanalysed("x", AnswerOutcome.ERROR, "", None), Unanalysed("y", AnswerOutcome.ERROR, "", True)]
    )
    assert (worst.sensitivity.hits, worst.sensitivity.of) == (2, 4)
    assert (worst.specificity.hits, worst.specificity.of) == (2, 3)


def test_json_holds_everything_under_stable_keys(done: tuple[Evaluation, Path]) -> None:
    content = json.loads((done[1] / "evaluation.json").read_text())
    assert content["statement"] == "Research use only, not a medical device."
    assert content["run"]["model"]["sha256"] == MODEL.sha256
    assert content["run"]["method"] == "A planned answer."
    assert content["study"]["auc"].keys() >= {"value", "low", "high", "of", "patients", "positives", "note"}
    assert content["types"][1]["auc"]["value"] is None
    assert [line["study_id"] for line in content["studies"]] == [plan.study for plan in PLANS]
    assert {line["series_name"] for line in content["studies"]} == {"HEAD 5.0"}
    assert all(line["series_uid"] for line in content["studies"])


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    dataset = ToyDataset(PLANS)
    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset, analyst_of(dataset, stop_at="c/1"), tmp_path, OPTIONS, lambda line: None)
    assert not (tmp_path / "evaluation.json").exists()
    assert dataset.loaded == ["a", "b", "c/1"]
    dataset.loaded.clear()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert dataset.loaded == ["c/1", "d", "e", "f", "g"]
    resumed = (tmp_path / "evaluation.json").read_bytes()
    dataset.loaded.clear()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert dataset.loaded == []
    assert (tmp_path / "evaluation.json").read_bytes() == resumed


@pytest.mark.usefixtures("undrawn")
def test_nothing_of_another_model_or_data_set_is_reused(tmp_path: Path) -> None:
    dataset, said = ToyDataset(PLANS), list[str]()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, said.append)
    for other, model, why in (
        (ToyDataset(PLANS), replace(MODEL, sha256="cd" * 32), "made with the model toy 1.0 (abababababab), this one"),
        (
            ToyDataset(PLANS, "other set"),
            replace(MODEL, sha256="cd" * 32),
            "of the data set toy set, this one is other",
        ),
    ):
        said.clear()
        evaluate(other, analyst_of(other, model=model), tmp_path, OPTIONS, said.append)
        assert other.loaded == [plan.study for plan in PLANS]
        assert why in said[0] and said[0].startswith("7 finished studies")


@pytest.mark.usefixtures("undrawn")
def test_errors_damaged_records_and_lost_pictures_are_done_again(tmp_path: Path) -> None:
    broken = ToyDataset([*PLANS, Plan("x", "p9", fails="x.dcm: is damaged")])
    evaluate(broken, analyst_of(broken), tmp_path, OPTIONS, lambda line: None)
    (tmp_path / "studies" / "a.json").write_bytes(b'{"key": ')
    (tmp_path / "studies" / "e.png").unlink()
    mended = ToyDataset([*PLANS, Plan("x", "p9")])
    found = evaluate(mended, analyst_of(mended), tmp_path, OPTIONS, lambda line: None)
    assert mended.loaded == ["a", "e", "x"]
    assert found.counts.errors == 0


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "error", [ModelError("no fold"), RuntimeError("CUDA error"), ValueError("bad shape"), TypeError("None")]
)
def test_an_analyst_that_breaks_down_is_no_damaged_file(tmp_path: Path, error: Exception) -> None:
    plans = [*PLANS, Plan("x", "p9", (4, 5), breaks=error), Plan("y", "p10", said=0.1)]
    dataset, said = ToyDataset(plans), list[str]()
    found = evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, said.append)
    assert (found.counts.failed, found.counts.errors, found.counts.analysed) == (1, 0, 8)
    (failed,) = found.not_analysed
    assert (failed.outcome, failed.haemorrhage) == (AnswerOutcome.FAILED, True)
    assert str(error) in failed.reason and any("x  analysis failed: " in line for line in said)
    assert (found.worst_case.sensitivity.hits, found.worst_case.sensitivity.of) == (2, 4)
    assert found.worst_case.specificity.of == found.study.specificity.of
    page = (tmp_path / "evaluation.html").read_text()
    assert "Analysis failed: the program or its machine broke down" in page and "1 whose analysis failed" in page
    assert "files or labels are damaged" not in page
    mended = ToyDataset([*PLANS, Plan("x", "p9", (4, 5), 0.9), Plan("y", "p10", said=0.1)])
    assert evaluate(mended, analyst_of(mended), tmp_path, OPTIONS, said.append).counts.failed == 0
    assert mended.loaded == ["x"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("blood", "sides"), [((4, 5), (4, 4)), ((), (3, 5))])
def test_a_study_without_a_stack_counts_on_its_own_side(
    tmp_path: Path, blood: tuple[int, ...], sides: tuple[int, int]
) -> None:
    dataset = ToyDataset([*PLANS, Plan("x", "p9", blood, no_stack="Slices are missing.")])
    found = evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert found.counts.not_analysed == 1
    assert (found.worst_case.sensitivity.of, found.worst_case.specificity.of) == sides
    dataset.loaded.clear()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert dataset.loaded == []


@pytest.mark.usefixtures("undrawn")
def test_nothing_made_with_other_labels_or_code_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, said = ToyDataset(PLANS), list[str]()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, said.append)
    relabelled = ToyDataset(PLANS, labels="second")
    said.clear()
    evaluate(relabelled, analyst_of(relabelled), tmp_path, OPTIONS, said.append)
    assert len(relabelled.loaded) == 7 and said[0].endswith("are not reused: the labels have changed since")
    monkeypatch.setattr("inference.training.evaluation.run.code_digest", lambda: "other")
    relabelled.loaded.clear()
    said.clear()
    evaluate(relabelled, analyst_of(relabelled), tmp_path, OPTIONS, said.append)
    assert len(relabelled.loaded) == 7 and said[0].endswith("are not reused: the program has changed since")


def test_the_digest_of_the_program_covers_what_reads_and_answers(tmp_path: Path) -> None:
    for name in ("stack.py", "pipelines/haemorrhage.py", "training/datasets/series.py", "training/train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    first = code_digest(tmp_path)
    (tmp_path / "training" / "train.py").write_text("2\n")
    assert code_digest(tmp_path) == first
    for name in ("stack.py", "pipelines/haemorrhage.py", "training/datasets/series.py"):
        (tmp_path / name).write_text("2\n")
        assert code_digest(tmp_path) != first
        (tmp_path / name).write_text("1\n")
    assert code_digest(tmp_path) == first and len(code_digest()) == 64


def test_thousands_of_misses_make_no_larger_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run.MOST_MISSED", "page.MOST_EMBEDDED"):
        monkeypatch.setattr(f"inference.training.evaluation.{name}", 2)
    assert MOST_MISSED == 100
    dataset = ToyDataset([Plan(f"s/{i}", f"p{i}", (4,), said=0.4 - i / 100) for i in range(5)])
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    pictures = sorted((tmp_path / "studies").glob("*.png"))
    assert len(pictures) == 5
    with Image.open(tmp_path / "pictures" / "false_negatives.png") as sheet, Image.open(pictures[0]) as one:
        assert one.height < sheet.height < 1.5 * one.height
    page = (tmp_path / "evaluation.html").read_text()
    assert "The other 3 missed studies" in page and page.count("data:image/png") == 2
    for i in range(3):
        assert f'<a href="studies/{safe_name(f"s/{i}")}.png">s/{i}</a>' in page


def test_a_sheet_says_how_many_it_leaves_out(tmp_path: Path) -> None:
    Image.new("RGB", (600, 300)).save(tmp_path / "a.png")
    alone, more = contact_sheet([tmp_path / "a.png"]), contact_sheet([tmp_path / "a.png"], left_out=12)
    assert alone is not None and more is not None and alone.height == 300 < more.height
    note = np.asarray(more)[300:]
    assert len(np.unique(note.reshape(-1, 3), axis=0)) > 2


def test_study_ids_become_different_safe_file_names() -> None:
    names = [safe_name(name) for name in ("1.2.3", "a/b", "a_b", "../a", "A b", ".", "x" * 300, "x" * 301)]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 130 for name in names)
    assert names[0] == "1.2.3"


def colours_of(picture: Image.Image) -> set[tuple[int, ...]]:
    """Every RGB colour in it."""
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {tuple(map(int, colour)) for colour in np.unique(pixels, axis=0)}


def test_pictures_show_marked_slices_and_what_was_drawn(done: tuple[Evaluation, Path]) -> None:
    found, out = done
    colours = {}
    for each in (*found.false_negatives, *found.false_positives):
        assert each.picture is not None
        with Image.open(out / "studies" / each.picture) as picture:
            colours[each.study_id] = colours_of(picture)
    assert MODEL_COLOUR in colours["e"] and MODEL_COLOUR not in colours["c/1"]
    with Image.open(out / "pictures" / "false_negatives.png") as sheet:
        assert sheet.width > 500
    dataset = ToyDataset([Plan("m", "p", (1, 2, 3, 4, 5, 6, 7, 8), 0.2), Plan("n", "p", (7,), 0.2)])
    nothing = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    studies = [dataset.load(entry) for entry in dataset.entries()]
    chosen = [telling_slices(study, analyst_of(dataset).answer(study), nothing) for study in studies]
    assert len(chosen[0]) == 6 and {1, 8} < set(chosen[0]) < set(range(1, 9))
    assert chosen[1] == (6, 7, 8)


@pytest.mark.usefixtures("undrawn")
def test_readers_outline_is_drawn_on_what_was_missed(tmp_path: Path) -> None:
    dataset = ToyDataset([*PLANS, Plan("z", "p9", (4, 5), 0.2, outlined=True)])
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    with Image.open(tmp_path / "studies" / "z.png") as picture:
        assert READER_COLOUR in colours_of(picture)


@pytest.mark.parametrize(
    ("plans", "sentence"),
    [
        ((Plan("a", "p", said=0.1),), "Only 0 with haemorrhage and 1 without haemorrhage: too few"),
        ((Plan("a", "p", (4,), said=0.9),), "Of 1 study with haemorrhage 1 were flagged and 0 missed"),
        (
            (Plan("a", "p", fails="a.dcm: is damaged"),),
            "1 study got no answer (0 not analysable, 1 unreadable, 0 whose analysis failed)",
        ),
    ],
)
def test_a_page_is_made_of_next_to_nothing(tmp_path: Path, plans: tuple[Plan, ...], sentence: str) -> None:
    dataset, said = ToyDataset(plans), list[str]()
    evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, said.append)
    assert sentence in " ".join(said)
    assert "A planned answer." in (tmp_path / "evaluation.html").read_text()


def test_percentages_are_no_more_certain_than_they_are() -> None:
    assert [percent(v) for v in (0.027, 0.5, 0.9961, 0.9999, 1.0, 0.0)] == [
        "2.7 %",
        "50 %",
        "99.6 %",
        "> 99.9 %",
        "100 %",
        "0 %",
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_page_opens_in_a_browser(
    done: tuple[Evaluation, Path], browser: Browser, width: int, scheme: Literal["dark", "light"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    trouble, asked = [], []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((done[1] / "evaluation.html").as_uri())
    page.wait_for_load_state("load")
    assert not trouble
    assert [url for url in asked if not url.startswith("data:")] == [(done[1] / "evaluation.html").as_uri()]
    plots = page.locator("svg.plot")
    assert plots.count() == 11
    for plot in plots.all():
        box = plot.bounding_box()
        assert box is not None and box["width"] > 250 and box["height"] > 150
        assert plot.locator("title").first.text_content()
        assert plot.locator("text").count() > 3
    pictures = page.locator("img")
    assert pictures.count() == 2
    assert all(picture.evaluate("(image) => image.naturalWidth") > 500 for picture in pictures.all())
    assert all(picture.get_attribute("alt") for picture in pictures.all())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("th:not([scope])").count() == 0
    assert page.get_by_text("Research use only, not a medical device.").first.is_visible()
    assert page.get_by_text("i/x.dcm: is damaged").is_visible()
    page.close()


def script_main() -> Command:
    """The command of scripts/evaluate.py."""
    main = load(ROOT / "scripts" / "evaluate.py").main
    assert isinstance(main, Command)
    return main


def test_real_patients_through_the_command_line(shared: Path, tmp_path: Path) -> None:
    """Three real patients and a fourth whose picture is damaged; the second run does only the damaged one again."""
    source, data = shared / "ct_ich", tmp_path / "ct_ich"
    numbers = ("049", "051", "067", "130")
    data.mkdir()
    (data / "masks").mkdir()
    for name in ("slices.csv", "patients.csv"):
        header, *rows = (source / name).read_text().splitlines()
        kept = [row for row in rows if row.split(",")[0].zfill(3) in numbers]
        (data / name).write_text("\n".join([header, *kept]) + "\n")
    for number in numbers:
        shutil.copytree(source / number, data / number)
    damaged = data / "067" / "12_brain.jpg"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:200])
    command = [str(data), "--out", str(tmp_path / "out"), "--threads", "1", "--device", "cpu", "--prevalence", "0.027"]
    first = CliRunner().invoke(script_main(), command)
    assert first.exit_code == 0, first.output
    line = next(line for line in first.output.splitlines() if line.startswith("3/4"))
    assert "067" in line and "cannot be used" in line and "12_brain.jpg" in line
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["counts"]["analysed"] == 3 and content["counts"]["errors"] == 1
    assert content["slices"]["units"] > 80
    damaged.write_bytes(good)
    second = CliRunner().invoke(script_main(), command)
    assert second.exit_code == 0, second.output
    assert "3 of 4 studies are done already" in second.output
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["counts"]["analysed"] == 4


def test_the_command_tells_which_series_it_reads_and_fails_where_nothing_is_analysed(tmp_path: Path) -> None:
    """Two series that hold no head: which was read is told, and nothing analysed is no success."""
    write(head(8, series=1), tmp_path / "data" / "1")
    write(head(6, series=2), tmp_path / "data" / "2")
    (tmp_path / "data" / "labels.csv").write_text(f"study_uid,haemorrhage\n{SERIES_ROOT}.1,1\n")
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), str(tmp_path / "data")]
    options = ["--out", str(tmp_path / "out"), "--threads", "1", "--device", "cpu"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "is read; left out: HEAD 5.0" in done.stderr
    assert "Error: no study could be analysed" in done.stderr and "1/1" in done.stdout
    assert (tmp_path / "out" / "evaluation.html").exists()


def test_what_cannot_be_opened_is_said_without_a_traceback(tmp_path: Path) -> None:
    nothing = CliRunner().invoke(script_main(), [str(tmp_path / "nothing"), "--out", str(tmp_path / "out")])
    assert nothing.exit_code == 1 and "Error:" in nothing.output and "nothing" in nothing.output
    assert isinstance(nothing.exception, SystemExit)
