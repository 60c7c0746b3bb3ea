"""Training: folds keep patients apart, figures are right, decisions never see whom they judge, runs continue."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.findings import HaemorrhageType
from inference.heads import synthetic_head
from inference.network import build_network, plane_logits
from inference.preprocess import to_grid
from inference.training.augment import Batch, augment
from inference.training.bank import Bank
from inference.training.checkpoint import CheckpointError, read_averaged, trained_steps
from inference.training.data import TrainingHead, on_grid, patients, stack_of, training_head
from inference.training.decide import choose_threshold, folds_of
from inference.training.evaluation.statistics import auc
from inference.training.folds import assign_folds
from inference.training.pool import Pool, collate
from inference.training.predict import Prediction
from inference.training.recipe import FoldTraining, Recipe
from inference.training.simulate.scene import UNSURE
from inference.training.train import loss_of, train

KINDS = list(HaemorrhageType)


@pytest.fixture(scope="module")
def normal() -> TrainingHead:
    """A synthetic normal head on the grid."""
    grid = to_grid(stack_of(synthetic_head(7).hu))
    voxels = np.zeros(grid.image.shape, np.uint8)
    labels = np.zeros((len(voxels), 5), bool)
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)


def test_a_drawing_lands_where_the_image_lands() -> None:
    head = synthetic_head(9, HaemorrhageType.INTRAPARENCHYMAL)
    plain = to_grid(stack_of(head.hu))
    plane = int((head.labels > 0).sum((1, 2)).argmax())
    drawn = on_grid(head.labels[plane] > 0, plain)
    bright = (plain.image[plane].numpy() > 48) & plain.inside[plane]
    assert drawn.sum() == pytest.approx((head.labels[plane] > 0).sum() * 0.488**2, rel=0.03)
    assert (drawn & bright).sum() > 0.9 * drawn.sum()


def test_folds_keep_patients_apart_and_balanced() -> None:
    rng = np.random.default_rng(3)
    labels = {n: (rng.random((30, 5)) < 0.1) * (n % 2 == 0) for n in range(57)}
    folds = assign_folds({n: v.astype(bool) for n, v in labels.items()}, 3, seed=1)
    assert folds == assign_folds({n: v.astype(bool) for n, v in labels.items()}, 3, seed=1)
    assert sorted(folds) == list(range(57))
    for positive in (True, False):
        sizes = Counter(fold for n, fold in folds.items() if (n % 2 == 0) == positive)
        assert max(sizes.values()) - min(sizes.values()) <= 1


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
        normal.image, normal.inside, normal.depth_mm, normal.labels, np.full(normal.image.shape, UNSURE, np.uint8)
    )
    moved = augment(collate([(unknown, k) for k in range(8, 24)]), np.random.default_rng(6))
    assert bool((moved.voxels == UNSURE).all())


def test_weakly_labelled_slices_teach_only_through_the_plane() -> None:
    voxels = torch.full((1, 32, 32), UNSURE, dtype=torch.uint8)
    labels = torch.zeros(1, 5, dtype=torch.bool)
    labels[0, 1] = True
    batch = Batch(torch.zeros(1, 3, 32, 32), voxels, labels, torch.zeros(1))
    logits = torch.zeros(1, 6, 16, 16)
    logits[0, 2, 4:8, 4:8] = 2
    logits.requires_grad_()
    known = Batch(torch.zeros(1, 3, 32, 32), torch.zeros_like(voxels), ~labels & labels, torch.zeros(1))
    both = Batch(
        *(
            torch.cat([a, b])
            for a, b in zip(
                (batch.images, batch.voxels, batch.labels, batch.depth_mm),
                (known.images, known.voxels, known.labels, known.depth_mm),
                strict=True,
            )
        )
    )
    loss_of(logits.expand(2, -1, -1, -1), both, 1.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    raised = plane_logits(logits)[0]
    assert int(raised[1:].argmax()) == 1 and raised[0] > raised[3]


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


FOLD = FoldTraining(RECIPE, 0, (3, 4), "edition", 1)


class Stopping(Bank):
    """A bank that is interrupted at one of its heads."""

    left = 5

    def head(self, carrier: int, number: int) -> TrainingHead:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().head(carrier, number)


def _pool(normal: TrainingHead, bank: Bank) -> Pool:
    labels, voxels = np.ones_like(normal.labels), np.full(normal.image.shape, UNSURE, np.uint8)
    marked = TrainingHead(normal.image, normal.inside, normal.depth_mm, labels, voxels)
    return Pool({7: normal}, [marked], [normal], bank, RECIPE, np.random.default_rng(1))


def test_a_stopped_run_continues_as_if_it_had_not_been_stopped(normal: TrainingHead, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    carriers = {7: normal}
    whole = train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), FOLD, tmp_path / "whole.safetensors")
    path = tmp_path / "fold0.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(_pool(normal, Stopping(tmp_path / "bank", carriers, 1)), FOLD, path)
    assert 0 < trained_steps(path, FOLD) < RECIPE.steps
    assert trained_steps(tmp_path / "fold1.safetensors", FOLD) == 0
    with pytest.raises(CheckpointError, match="not finished"):
        read_averaged(path, FOLD)
    with pytest.raises(CheckpointError, match="simulator has changed"):
        train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), replace(FOLD, simulator="other"), path)
    again = train(_pool(normal, Bank(tmp_path / "bank", carriers, 1)), FOLD, path)
    assert trained_steps(path, FOLD) == RECIPE.steps
    read = read_averaged(path, FOLD)
    for one, two, three in zip(whole.parameters(), again.parameters(), read.parameters(), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    fresh = build_network()
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), fresh.parameters(), strict=True))
    for other in (replace(FOLD, left_out=(3,)), replace(FOLD, recipe=replace(RECIPE, seed=9))):
        with pytest.raises(CheckpointError, match=r"fold0.safetensors: was trained with another"):
            read_averaged(path, other)


def test_the_bank_gives_the_same_head_whoever_made_it(normal: TrainingHead, tmp_path: Path) -> None:
    made = Bank(tmp_path / "one", {7: normal}, 1).head(7, 0)
    for folder in ("one", "two"):
        again = Bank(tmp_path / folder, {7: normal}, 1).head(7, 0)
        assert np.array_equal(made.image, again.image) and np.array_equal(made.inside, again.inside)
        assert made.voxels is not None and again.voxels is not None and np.array_equal(made.voxels, again.voxels)
    other = Bank(tmp_path / "one", {7: normal}, 1).head(7, 1)
    assert made.image.shape != other.image.shape or not np.array_equal(made.image, other.image)


def test_a_fold_is_decided_without_its_own_patients() -> None:
    rng = np.random.default_rng(5)
    predictions = []
    for n in range(24):
        labels = np.zeros((10, 5), bool)
        labels[4:7, n % 5] = n % 2 == 0
        planes = rng.normal(np.where(labels.any(1), 2.0, -2.0)[:, None], 1, (10, 6))
        predictions.append(Prediction(n, planes, labels, np.ones(10, bool)))
    where = {n: n % 3 for n in range(24)}
    folds = folds_of(where, predictions)
    assert [fold.patients[0] for fold in folds] == ["000", "001", "002"]
    turned = [Prediction(p.patient, -p.planes, p.labels, p.judged) if where[p.patient] == 1 else p for p in predictions]
    changed = folds_of(where, turned)
    assert changed[1].decisions == folds[1].decisions
    assert changed[0].decisions != folds[0].decisions


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
    assert (~people[52].imaged).sum() == 2


def test_labelled_slices_without_outline_have_unknown_voxels(shared: Path) -> None:
    patient = next(p for p in patients(shared / "ct_ich") if p.number == 49)
    head = training_head(patient)
    assert head.voxels is not None
    for plane in range(len(head.image)):
        known = head.labels[plane].any() or not patient.imaged[plane]
        assert bool((head.voxels[plane] == UNSURE).all()) == known
