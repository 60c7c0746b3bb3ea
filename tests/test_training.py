"""Training: simulated bleeds are what they say, folds never mix patients, figures are right, and a run can continue."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.findings import HaemorrhageType
from inference.heads import synthetic_head
from inference.network import build_network, plane_logits
from inference.preprocess import to_grid
from inference.training.augment import Batch, augment
from inference.training.data import TrainingHead, on_grid, patients, stack_of, training_head
from inference.training.evaluate import (
    Prediction,
    auc,
    bootstrap,
    choose_threshold,
    figures,
    nested_decisions,
)
from inference.training.folds import assign_folds
from inference.training.simulate_old import UNSURE, Anatomy, anatomy, simulate
from inference.training.train import Recipe, collate, loss_of, make_pool, read_averaged, train, trained_seconds

KINDS = list(HaemorrhageType)


@pytest.fixture(scope="module")
def normal() -> TrainingHead:
    """A synthetic normal head on the grid."""
    grid = to_grid(stack_of(synthetic_head(7).hu))
    voxels = np.zeros(grid.image.shape, np.uint8)
    labels = np.zeros((len(voxels), 5), bool)
    return TrainingHead(grid.image.numpy().astype(np.float16), grid.inside, grid.depth_mm.numpy(), labels, voxels)


@pytest.fixture(scope="module")
def body(normal: TrainingHead) -> Anatomy:
    return anatomy(normal)


@pytest.mark.parametrize("kind", KINDS)
def test_a_simulated_bleed_is_bright_inside_the_skull(
    normal: TrainingHead, body: Anatomy, kind: HaemorrhageType
) -> None:
    drawn = 0
    for seed in range(4):
        made = simulate(normal, body, np.random.default_rng(seed), (kind,))
        assert made.voxels is not None
        where = np.asarray(made.voxels == 1 + KINDS.index(kind))
        drawn += bool(where.any())
        if not where.any():
            continue
        assert set(np.unique(made.voxels)) <= {0, UNSURE, 1 + KINDS.index(kind)}
        assert 38 < float(np.median(made.image[where])) < 85
        assert (where & body.inside).sum() == where.sum()
        assert where.sum() * 5 / 1000 < 400
        assert np.array_equal(made.labels[:, KINDS.index(kind)], where.sum((1, 2)) >= 8)
        assert np.array_equal(made.image[~body.inside], normal.image[~body.inside])
    assert drawn >= 3


def test_simulation_follows_its_seed(normal: TrainingHead, body: Anatomy) -> None:
    kinds = (KINDS[0], KINDS[3])
    one, two, other = (simulate(normal, body, np.random.default_rng(s), kinds) for s in (5, 5, 6))
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)


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
    decided = nested_decisions(probability, truth, 1.0)
    assert not decided[2]
    assert decided[7]


def test_bootstrap_holds_the_value() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200)
    figure = bootstrap("mean", 200, lambda w: float(values[w].mean()), seed=1, rounds=400)
    assert figure.low < figure.value < figure.high
    assert figure.high - figure.low == pytest.approx(4 / np.sqrt(200), rel=0.25)


def test_figures_of_perfect_and_of_useless_predictions() -> None:
    predictions = []
    for n in range(12):
        labels = np.zeros((10, 5), bool)
        labels[4:7, 0] = n % 2 == 0
        planes = np.where(labels.any(1), 3.0, -3.0)[:, None].repeat(6, 1)
        predictions.append(Prediction(n, planes, labels, np.ones(10, bool)))
    study = np.array([p.planes.max() for p in predictions])
    slices = [p.planes[:, 0] for p in predictions]
    named = {f.name: f.value for f in figures(predictions, slices, study, study > 0, 0.0, seed=1)}
    assert set(named.values()) == {1.0}
    useless = {f.name: f.value for f in figures(predictions, slices, -study, study < 0, 0.0, seed=1)}
    assert useless["study_auc"] == useless["study_sensitivity"] == useless["study_specificity"] == 0


def test_augmentation_moves_voxels_with_their_image(normal: TrainingHead) -> None:
    image = np.where(normal.inside, 60, -1000).astype(np.float16)
    head = TrainingHead(image, normal.inside, normal.depth_mm, normal.labels, normal.inside.astype(np.uint8))
    rng = np.random.default_rng(4)
    batch = collate([(head, 15), (head, 18), (head, 0), (head, 29)], rng)
    moved = augment(batch, rng)
    seen = moved.images[:2, 1] > -400
    assert float((seen == (moved.voxels[:2] == 1)).float().mean()) > 0.97
    assert not torch.equal(moved.voxels, batch.voxels)


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


def test_a_run_stops_continues_and_is_read_back(normal: TrainingHead, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    marked = TrainingHead(
        normal.image,
        normal.inside,
        normal.depth_mm,
        np.ones_like(normal.labels),
        np.full(normal.image.shape, UNSURE, np.uint8),
    )
    recipe = Recipe(
        minutes=0.05, batch_simulated=2, batch_normal=1, batch_positive=1, batch_synthetic=1, pool=2, bfloat16=False
    )
    path = tmp_path / "fold0.safetensors"
    first = train(make_pool([normal], [marked], [normal], 1), recipe, path)
    assert trained_seconds(path) >= 3 and trained_seconds(tmp_path / "fold1.safetensors") == 0
    again = train(make_pool([normal], [marked], [normal], 1), recipe, path)
    read = read_averaged(path)
    for one, two, three in zip(first.parameters(), again.parameters(), read.parameters(), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    fresh = build_network()
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), fresh.parameters(), strict=True))


def test_ct_ich_is_read_as_it_was_published(shared: Path) -> None:
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
