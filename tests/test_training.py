"""Training: folds keep patients apart, figures are right, decisions never see whom they judge, runs continue."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.network import NetworkOutput, build_network, plane_logits
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, UNTYPED, DatasetError, Entry, LabelledStudy
from inference.training.datasets.ct_ich import open_ct_ich, patients, stack_of
from inference.training.evaluation.statistics import auc
from inference.training.release.decide import (
    SENSITIVITY,
    choose_threshold,
    decide,
    folds_of,
    operating_points,
)
from inference.training.rounds.augment import Batch, augment
from inference.training.rounds.bank import Bank
from inference.training.rounds.cases import Told, TrainingCase, pack, unpack
from inference.training.rounds.checkpoint import CheckpointError, read_averaged, trained_steps
from inference.training.rounds.data import TrainingHead, on_grid, training_head, with_any
from inference.training.rounds.folds import assign_folds
from inference.training.rounds.pool import Pool, collate
from inference.training.rounds.predict import FoldPrediction
from inference.training.rounds.progress import Progress
from inference.training.rounds.propagate import propagated
from inference.training.rounds.recipe import FoldTraining, Recipe
from inference.training.rounds.train import loss_of, train

KINDS = list(HaemorrhageType)


@pytest.fixture(scope="module")
def normal() -> TrainingHead:
    """A synthetic normal head on the grid."""
    grid = to_grid(stack_of(synthetic_head(7).hu))
    voxels = np.zeros(grid.image.shape, np.uint8)
    labels = np.zeros((len(voxels), 6), np.uint8)
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)


def test_a_drawing_lands_where_the_image_lands() -> None:
    head = synthetic_head(9, HaemorrhageType.INTRAPARENCHYMAL)
    plain = to_grid(stack_of(head.hu))
    plane = int((head.labels > 0).sum((1, 2)).argmax())
    drawn = on_grid(head.labels[plane] > 0, plain)
    bright = (plain.image[plane].numpy() > 48) & plain.inside[plane]
    assert drawn.sum() == pytest.approx((head.labels[plane] > 0).sum() * 0.488**2, rel=0.03)
    assert (drawn & bright).sum() > 0.9 * drawn.sum()


def _case(number: int, labels: np.ndarray, study: str = "") -> TrainingCase:
    """A study of patient `number` with an image that nobody looks at."""
    shown = tuple(bool(column.any()) for column in (labels[:, 1:] == 1).T)
    told = Told("Set", f"{number:03d}", study or f"{number:03d}", bool((labels[:, 0] == 1).any()), shown, None)
    nothing = np.zeros((0, 1, 1))
    head = TrainingHead(
        nothing.astype(np.float16), nothing.astype(bool), np.zeros(0, np.float32), labels, nothing.astype(np.uint8)
    )
    return TrainingCase(told, head)


def test_folds_keep_patients_apart_and_balanced() -> None:
    rng = np.random.default_rng(3)
    cases = [_case(n, with_any((rng.random((30, 5)) < 0.1) & (n % 2 == 0))) for n in range(57)]
    again = [_case(n, with_any(np.zeros((30, 5), bool)), "later") for n in (3, 4)]
    folds = assign_folds(cases + again, 3, seed=1)
    assert folds == assign_folds([*again, *reversed(cases)], 3, seed=1)
    assert sorted(folds) == [f"Set/{n:03d}" for n in range(57)]
    for positive in (True, False):
        sizes = Counter(folds[case.told.person] for case in cases if case.told.haemorrhage == positive)
        assert max(sizes.values()) - min(sizes.values()) <= 1
    pinned = assign_folds(cases, 3, seed=1, known={"Set/007": 2, "Other/001": 1})
    assert pinned["Set/007"] == 2 and "Other/001" not in pinned


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 6, 40).astype(float)
    truth = rng.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    assert auc(scores, truth) == pytest.approx(float(np.mean(pairs)))
    assert np.isnan(auc(scores, np.ones(40, bool)))


def test_threshold_reaches_its_sensitivity() -> None:
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    truth = np.array([0, 0, 1, 0, 1, 1, 0, 1], bool)
    assert choose_threshold(probability, truth, 1.0) == pytest.approx(0.25)
    assert choose_threshold(probability, truth, 0.75) == pytest.approx(0.45)
    low = np.array([-3.0, -2.0])
    assert choose_threshold(low, np.ones(2, bool), 0.9) == -3
    with pytest.raises(ValueError, match="without positives"):
        choose_threshold(low, np.zeros(2, bool), 0.9)


def test_augmentation_moves_voxels_with_their_image(normal: TrainingHead) -> None:
    image = np.where(normal.inside, 60, -1000).astype(np.float16)
    head = TrainingHead(image, normal.inside, normal.depth_mm, normal.labels, normal.inside.astype(np.uint8))
    rng = np.random.default_rng(4)
    batch = collate([(head, 15), (head, 18), (head, 0), (head, 29)])
    moved = augment(batch, rng)
    seen = moved.images[:2, 1] > -400
    assert float((seen == (moved.voxels[:2] == 1)).float().mean()) > 0.97
    assert not torch.equal(moved.voxels, batch.voxels)


def test_a_plane_of_unknown_voxels_stays_unknown_through_augmentation(normal: TrainingHead) -> None:
    unknown = TrainingHead(
        normal.image, normal.inside, normal.depth_mm, normal.labels, np.full(normal.image.shape, UNKNOWN, np.uint8)
    )
    moved = augment(collate([(unknown, k) for k in range(8, 24)]), np.random.default_rng(6))
    assert bool((moved.voxels == UNKNOWN).all())


def _answer(logits: torch.Tensor) -> NetworkOutput:
    """An answer of these voxel logits; the classifier and the coarse step say nothing."""
    count = len(logits)
    return NetworkOutput(logits, torch.zeros(count, 6), torch.zeros(count, 6, 8, 8))


def _batch(voxel: int, labels: list[int]) -> Batch:
    """A plane whose voxels are all alike."""
    voxels = torch.full((1, 32, 32), voxel, dtype=torch.uint8)
    return Batch(torch.zeros(1, 3, 32, 32), voxels, torch.tensor([labels], dtype=torch.uint8), torch.zeros(1))


def test_weakly_labelled_slices_teach_only_through_the_plane() -> None:
    logits = torch.zeros(1, 6, 16, 16)
    logits[0, 2, 4:8, 4:8] = 2
    logits.requires_grad_()
    losses = loss_of(_answer(logits), _batch(UNKNOWN, [1, 0, 1, 0, 0, 0]), Recipe())
    assert losses.voxels == 0
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    touched = (logits.grad != 0).any(1)[0]
    assert bool(touched[4:8, 4:8].all())
    assert bool((logits.grad[0, 2, 4:8, 4:8] < 0).all())
    raised = plane_logits(logits)[0]
    assert int(raised[1:].argmax()) == 1 and raised[0] > raised[3]


def test_what_nobody_said_teaches_nothing() -> None:
    logits = torch.randn(1, 6, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    nothing = loss_of(_answer(logits), _batch(UNKNOWN, [UNKNOWN] * 6), Recipe())
    assert nothing.total.item() == 0
    untyped = loss_of(_answer(logits), _batch(UNKNOWN, [1, *[UNKNOWN] * 5]), Recipe())
    typed = loss_of(_answer(logits), _batch(UNKNOWN, [1, 1, 0, 0, 0, 0]), Recipe())
    assert 0 < float(untyped.planes) < float(typed.planes)


def test_blood_of_unknown_type_asks_for_any_type() -> None:
    logits = torch.zeros(1, 6, 16, 16)
    logits[:, 4] = 5
    sure = loss_of(_answer(logits), _batch(UNTYPED, [1, *[UNKNOWN] * 5]), Recipe())
    wrong = loss_of(_answer(logits), _batch(1, [1, 1, 0, 0, 0, 0]), Recipe())
    assert float(sure.voxels) < 0.5 < float(wrong.voxels)


def test_a_sure_network_turns_slice_labels_into_voxel_labels(normal: TrainingHead) -> None:
    labels, voxels = normal.labels.copy(), normal.voxels.copy()
    labels[10:13, [0, 2]] = 1
    voxels[10:13] = UNKNOWN
    head = replace(normal, labels=labels, voxels=voxels)
    said = np.zeros((len(voxels), 6, *voxels.shape[1:]), np.float32)
    said[:, 0] = 1
    where = np.argwhere(normal.inside[10])
    row, column = where[len(where) // 2]
    body = (slice(row - 3, row + 3), slice(column - 3, column + 3))
    for plane in (9, 10, 12):
        said[(plane, 0, *body)] = 0.1
        said[(plane, 1, *body)] = 0.6
        said[(plane, 2, *body)] = 0.3
    made = propagated(head, said)
    assert set(np.unique(made.voxels[10])) == {0, 2} and (made.voxels[10] == 2).sum() == 36
    assert (made.voxels[11] == UNKNOWN).all()
    assert set(np.unique(made.voxels[9])) == {0, UNKNOWN} and (made.voxels[9] == UNKNOWN).sum() == 36
    assert np.array_equal(made.labels, labels) and np.array_equal(head.voxels, voxels)
    study = replace(head, labels=np.full_like(labels, UNKNOWN), voxels=np.full_like(voxels, UNKNOWN))
    found = propagated(study, said)
    assert list(np.flatnonzero(found.shown)) == [9, 10, 12] and set(np.unique(found.voxels[9])) == {0, 1}


def test_packed_heads_are_the_heads(normal: TrainingHead, tmp_path: Path) -> None:
    labels = normal.labels.copy()
    labels[3] = UNKNOWN
    told = Told("Set", "007", "a study", True, (None, True, False, None, None), 7.5)
    pack([TrainingCase(told, replace(normal, labels=labels))], "one", tmp_path / "heads.npz")
    (again,) = unpack(tmp_path / "heads.npz", "one")
    assert again.told == told and np.array_equal(again.head.labels, labels)
    assert np.array_equal(again.head.inside, normal.inside) and np.array_equal(again.head.voxels, normal.voxels)
    off = np.abs(again.head.image.astype(np.float32) - normal.image.astype(np.float32))
    brain = (normal.image > -100) & (normal.image < 200)
    assert off[brain].max() <= 0.5 and off.max() <= 8.5
    with pytest.raises(DatasetError, match="packed from other data"):
        unpack(tmp_path / "heads.npz", "two")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DatasetError, match="no packed file"):
        unpack(tmp_path / "text.npz")


RECIPE = Recipe(
    steps=6,
    batch_simulated=2,
    batch_normal=1,
    batch_positive=1,
    batch_synthetic=1,
    pool=2,
    refresh_steps=1,
    heads_per_carrier=2,
    keep_steps=2,
    bfloat16=False,
)


FOLD = FoldTraining(RECIPE, 0, ("Set/003", "Set/004"), "edition", "cpu")


class Stopping(Bank):
    """A bank that is interrupted at one of its heads."""

    left = 5

    def head(self, carrier: str, number: int) -> TrainingHead:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().head(carrier, number)


def _pool(normal: TrainingHead, bank: Bank) -> Pool:
    labels, voxels = np.ones_like(normal.labels), np.full(normal.image.shape, UNKNOWN, np.uint8)
    marked = TrainingHead(normal.image, normal.inside, normal.depth_mm, labels, voxels)
    return Pool({"7": normal}, [marked], [normal], bank, RECIPE, np.random.default_rng(1))


def test_a_stopped_run_continues_as_if_it_had_not_been_stopped(normal: TrainingHead, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    carriers = {"7": normal}
    told: list[Progress] = []
    whole_path = tmp_path / "whole.safetensors"
    assert train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), FOLD, whole_path, tell=told.append)
    assert [each.step for each in told] == [6] and told[0].loss > 0
    whole = read_averaged(whole_path, FOLD)
    path = tmp_path / "fold0.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(_pool(normal, Stopping(tmp_path / "bank", carriers, 1)), FOLD, path)
    assert 0 < trained_steps(path, FOLD) < RECIPE.steps
    assert trained_steps(tmp_path / "fold1.safetensors", FOLD) == 0
    with pytest.raises(CheckpointError, match="not finished"):
        read_averaged(path, FOLD)
    with pytest.raises(CheckpointError, match="simulator has changed"):
        train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), replace(FOLD, simulator="other"), path)
    assert not train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), FOLD, path, until=0.0)
    assert train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), FOLD, path)
    assert trained_steps(path, FOLD) == RECIPE.steps
    read = read_averaged(path, FOLD)
    for one, two in zip(whole.parameters(), read.parameters(), strict=True):
        assert torch.equal(one, two)
    fresh = build_network()
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), fresh.parameters(), strict=True))
    for other in (
        replace(FOLD, left_out=("Set/003",)),
        replace(FOLD, start="other"),
        replace(FOLD, recipe=replace(RECIPE, seed=9)),
    ):
        with pytest.raises(CheckpointError, match=r"fold0.safetensors: was trained with another"):
            read_averaged(path, other)


def test_the_bank_gives_the_same_head_whoever_made_it(normal: TrainingHead, tmp_path: Path) -> None:
    made = Bank(tmp_path / "one", {"7": normal}, 1).head("7", 0)
    for folder in ("one", "two"):
        again = Bank(tmp_path / folder, {"7": normal}, 1).head("7", 0)
        assert np.array_equal(made.image, again.image) and np.array_equal(made.inside, again.inside)
        assert made.voxels is not None and again.voxels is not None and np.array_equal(made.voxels, again.voxels)
    other = Bank(tmp_path / "one", {"7": normal}, 1).head("7", 1)
    assert made.image.shape != other.image.shape or not np.array_equal(made.image, other.image)


def _predictions(rng: np.random.Generator) -> list[FoldPrediction]:
    predictions = []
    for n in range(24):
        types = np.zeros((10, 5), bool)
        types[4:7, n % 5] = n % 2 == 0
        case = _case(n, with_any(types))
        planes = rng.normal(np.where(types.any(1), 2.0, -2.0)[:, None], 1, (10, 6))
        predictions.append(FoldPrediction(case.told, planes, case.head.labels))
    return predictions


def test_a_fold_is_decided_without_its_own_patients() -> None:
    predictions = _predictions(np.random.default_rng(5))
    where = {p.told.person: n % 3 for n, p in enumerate(predictions)}
    folds = folds_of(predictions, where)
    assert [fold.patients[0] for fold in folds] == ["Set/000", "Set/001", "Set/002"]
    turned = [replace(p, planes=-p.planes) if where[p.told.person] == 1 else p for p in predictions]
    changed = folds_of(turned, where)
    assert changed[1].decisions == folds[1].decisions
    assert changed[0].decisions != folds[0].decisions


def test_operating_points_rise_with_their_aim() -> None:
    predictions = _predictions(np.random.default_rng(6))
    where = {p.told.person: n % 3 for n, p in enumerate(predictions)}
    points = operating_points(predictions, where)
    assert [point.aim for point in points] == sorted(point.aim for point in points)
    assert all(a.threshold >= b.threshold for a, b in pairwise(points))
    assert all(a.sensitivity.value <= b.sensitivity.value for a, b in pairwise(points))
    own = next(point for point in points if point.aim == SENSITIVITY)
    assert own.threshold == pytest.approx(decide(predictions).study_threshold)
    assert all(p.sensitivity.low <= p.sensitivity.value <= p.sensitivity.high for p in points)


def test_studies_without_slice_labels_are_decided_too() -> None:
    predictions = [
        replace(p, labels=np.full_like(p.labels, UNKNOWN)) if p.told.haemorrhage else p
        for p in _predictions(np.random.default_rng(7))
    ]
    decisions = decide(predictions)
    assert decisions.slice.slopes[1] == 0 and 0 < decisions.study_threshold < 1


def test_ct_ich_is_read_from_its_rearranged_files(shared: Path) -> None:
    people = {}
    for patient in patients(shared / "ct_ich"):
        people[patient.number] = patient
        if patient.number >= 52:
            break
    assert list(people) == [49, 50, 51, 52]
    child = people[50]
    assert child.age_years == pytest.approx(0.583, abs=0.01)
    assert child.hu.shape == (26, 512, 512)
    assert child.labels[:, KINDS.index(HaemorrhageType.INTRAPARENCHYMAL)].sum() == 12
    assert people[52].labels[:, KINDS.index(HaemorrhageType.EPIDURAL)].sum() == 9
    brain = people[52].hu[15][200:300, 200:300]
    assert 20 < float(np.median(brain)) < 45
    assert people[52].imaged.all()
    assert sorted(people[52].outlines) == list(np.flatnonzero(people[52].labels.any(1)))


def test_labelled_slices_without_outline_have_unknown_voxels(shared: Path) -> None:
    with_outlines = open_ct_ich(shared / "ct_ich")
    dataset = replace(with_outlines, layout=replace(with_outlines.layout, beside=""))
    patient = dataset.patient(49)
    assert patient.labels.any() and not patient.imaged.all() and not patient.outlines
    head = training_head(dataset.load(Entry("049", "049")))
    for plane in range(len(head.image)):
        known = patient.labels[plane].any() or not patient.imaged[plane]
        assert bool((head.voxels[plane] == UNKNOWN).all()) == known
        expected = patient.labels[plane] if patient.imaged[plane] else np.full(5, UNKNOWN)
        assert np.array_equal(head.labels[plane, 1:], expected.astype(np.uint8))


def test_labels_follow_a_stack_that_lies_the_other_way_round(shared: Path) -> None:
    dataset = open_ct_ich(shared / "ct_ich")
    study = next(s for e in dataset.entries() if (s := dataset.load(e)).truth.mask is not None and _outlined(s))
    stack, truth = study.stack, study.truth
    assert truth.slices is not None and truth.mask is not None
    turned = replace(
        study,
        stack=replace(
            stack,
            hu=np.ascontiguousarray(stack.hu[::-1, :, ::-1]),
            positions=stack.positions[::-1] * [-1, 1, 1],
            row_direction=-stack.row_direction,
            sop_uids=stack.sop_uids[::-1],
        ),
        truth=replace(truth, slices=truth.slices[::-1], judged=truth.judged[::-1], mask=truth.mask[::-1, :, ::-1]),
    )
    one, two = training_head(study), training_head(turned)
    assert np.array_equal(one.labels, two.labels) and np.array_equal(one.voxels, two.voxels)
    assert ((one.voxels > 0) & (one.voxels < UNTYPED)).any()


def _outlined(study: LabelledStudy) -> bool:
    mask = study.truth.mask
    return mask is not None and bool(((mask > 0) & (mask < UNTYPED)).any())
