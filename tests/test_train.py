"""A whole training on a site's own studies: any layout in, weights, card, folds and pages out; again from a card."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from loading import load

from dicom_node.commands.phantom import write_series
from inference.models.card import load_card
from inference.models.weights import load_networks
from inference.pipelines.haemorrhage.folds import load_folds
from inference.pipelines.haemorrhage.network import build_network
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import Dataset, DatasetError
from inference.training.datasets.recognise import open_dataset
from inference.training.release.conclude import Release, conclude
from inference.training.release.run import (
    TrainingOptions,
    checkpoint_path,
    fold_named,
    fold_of,
    heads_path,
    networks_of,
    prepare,
    train_all,
)
from inference.training.rounds.cases import TrainingCase, unpack
from inference.training.rounds.checkpoint import CheckpointError
from inference.training.rounds.progress import Progress, note, read_notes, write_page
from inference.training.rounds.recipe import Recipe

ROOT = Path(__file__).parents[1]
SMALL = Recipe(
    steps=2,
    batch_simulated=1,
    batch_normal=1,
    batch_positive=1,
    batch_synthetic=1,
    pool=2,
    heads_per_carrier=1,
    synthetic_heads=4,
    keep_steps=1,
    bfloat16=False,
)
DAY = datetime.date(2026, 11, 20)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's folder: eight studies, half of them with a bleed, and a table that knows the studies only."""
    folder = tmp_path_factory.mktemp("site")
    rows = ["accession_number,haemorrhage,subdural"]
    for number in range(8):
        bleed = HaemorrhageType.SUBDURAL if number % 2 else None
        write_series(synthetic_head(500 + number, bleed), folder / str(number), number)
        rows.append(f"{number},{number % 2},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def made(
    site: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path]:
    """A finished training from scratch, in two rounds."""
    out = tmp_path_factory.mktemp("made")
    datasets = [open_dataset(site)]
    cases = prepare(datasets, out)
    options = TrainingOptions(out, (SMALL, replace(SMALL, propagate=True)), folds=2, jobs=2)
    where = fold_of(options, cases)
    assert train_all(options, where)
    card = conclude(options, Release("1.0", DAY), networks_of(options, where), where, cases, datasets)
    return options, cases, datasets, card


def test_a_site_gets_weights_card_folds_and_pages(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path],
) -> None:
    options, cases, (dataset,), path = made
    card = load_card(path)
    shipped, *_ = networks_of(options, fold_of(options, cases))[::-1]
    (loaded,) = load_networks(card, build_network, torch.device("cpu"))
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(loaded.parameters(), shipped.parameters(), strict=True))
    folds = load_folds(card)
    assert [fold.network for fold in folds.folds] == [1, 2]
    assert folds.datasets == (dataset.name,)
    assert sorted(p for fold in folds.folds for p in fold.patients) == sorted(c.told.person for c in cases)
    assert {figure.name for figure in card.figures} == {"study_auc", "study_sensitivity", "study_specificity"}
    assert [point.aim for point in card.operating_points] == sorted(point.aim for point in card.operating_points)
    assert card.volume_error is None or card.volume_error.heads > 0
    assert dataset.name in card.data and "CT-ICH" not in card.data
    assert "4 patients" not in card.data and "8 patients" in card.data
    assert (options.out / "evaluation" / "evaluation.html").exists()
    page = (options.out / "training.html").read_text()
    assert "not a medical device" in page and "round2_fold1" in page and "<svg" in page


def test_a_finished_training_is_not_done_again(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path],
) -> None:
    options, cases, datasets, _ = made
    before = {path: path.stat().st_mtime_ns for path in options.out.glob("*.safetensors")}
    packed = heads_path(options.out).stat().st_mtime_ns
    again = prepare(datasets, options.out)
    assert heads_path(options.out).stat().st_mtime_ns == packed
    assert all(np.array_equal(a.head.labels, b.head.labels) for a, b in zip(again, cases, strict=True))
    assert train_all(options, fold_of(options, again))
    assert before == {path: path.stat().st_mtime_ns for path in options.out.glob("*.safetensors")}
    other = replace(options, rounds=(replace(SMALL, seed=1), *options.rounds[1:]))
    with pytest.raises(CheckpointError, match="another"):
        networks_of(other, fold_of(other, again))


def test_fine_tuning_keeps_who_was_left_out(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path], tmp_path: Path
) -> None:
    options, cases, _, card = made
    tuned = TrainingOptions(tmp_path, (SMALL,), folds=2, start=card, shared=options.out, minutes=0.0)
    where = fold_of(replace(tuned, rounds=(replace(SMALL, seed=99),)), cases)
    folds = load_folds(load_card(card)).folds
    assert where == {person: number for number, fold in enumerate(folds) for person in fold.patients}
    assert not train_all(tuned, where)
    assert train_all(replace(tuned, minutes=5.0), where)
    before = load_networks(load_card(card), build_network, torch.device("cpu"), [1, 2, 0])
    for began, ended in zip(before, networks_of(tuned, where), strict=True):
        near = [(a - b).abs().mean() for a, b in zip(began.parameters(), ended.parameters(), strict=True)]
        far = [(a - b).abs().mean() for a, b in zip(build_network().parameters(), ended.parameters(), strict=True)]
        assert 0 < sum(near) < sum(far) / 3


def test_the_network_that_is_shipped_learns_from_everybody(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path],
) -> None:
    options, cases, _, _ = made
    where = fold_of(options, cases)
    left_out = [set(fold_named(options, where, number, 0).left_out) for number in range(options.folds + 1)]
    assert left_out[-1] == set() and set.union(*left_out) == {case.told.person for case in cases}


def test_a_training_that_is_not_finished_gives_no_networks(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path], tmp_path: Path
) -> None:
    options, cases, _, card = made
    tuned = TrainingOptions(tmp_path, (SMALL,), folds=2, start=card, shared=options.out)
    where = fold_of(tuned, cases)
    with pytest.raises(CheckpointError, match="not finished"):
        networks_of(replace(tuned, out=tmp_path / "other"), where)


def test_too_few_patients_are_said(made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path]) -> None:
    options, cases, _, _ = made
    normals = [case for case in cases if not case.told.haemorrhage]
    with pytest.raises(DatasetError, match="would learn from 0 patients with haemorrhage"):
        fold_of(options, normals)


def test_packed_heads_train_elsewhere(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path], site: Path, tmp_path: Path
) -> None:
    _, cases, _, _ = made
    main = load(ROOT / "scripts" / "train.py").main
    packed = CliRunner().invoke(main, [str(site), "--out", str(tmp_path / "packed"), "--pack-only"])
    assert packed.exit_code == 0, packed.output
    assert "8 studies" in packed.output
    again = unpack(heads_path(tmp_path / "packed"))
    assert [case.told for case in again] == [case.told for case in cases]
    nothing = CliRunner().invoke(main, [str(tmp_path / "packed"), "--out", str(tmp_path / "out")])
    assert nothing.exit_code == 1 and "no layout that is known" in nothing.output


def test_progress_survives_a_cut_off_line(tmp_path: Path) -> None:
    first = Progress("round1_fold0", 100, 300, 2.5, 1.5, 1.0, 1e-3, 0.4)
    note(first, tmp_path / "log")
    note(replace(first, step=200, loss=1.5), tmp_path / "log")
    with (tmp_path / "log" / "round1_fold0.jsonl").open("a") as lines:
        lines.write('{"fold": "round1_')
    assert [each.step for each in read_notes(tmp_path / "log")["round1_fold0"]] == [100, 200]
    write_page(tmp_path / "log", tmp_path / "training.html")
    assert "200 of 300" in (tmp_path / "training.html").read_text()
    assert "100 of 300" not in (tmp_path / "training.html").read_text()
    assert "1 min left" in first.words
    write_page(tmp_path / "none", tmp_path / "empty.html")
    assert "No step is done yet" in (tmp_path / "empty.html").read_text()


def test_checkpoints_are_small_enough_to_be_carried(
    made: tuple[TrainingOptions, list[TrainingCase], Sequence[Dataset], Path],
) -> None:
    options, *_ = made
    assert checkpoint_path(options.out, 1, 0).stat().st_size < 16 * 2**20
