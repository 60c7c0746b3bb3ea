"""Model cards, folds and weights: what is shipped loads, and what does not belong together is refused."""

import hashlib
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.errors import ModelError
from inference.models.card import Figure, ModelCard, OperatingPoint, VolumeError, VolumeRepeat, load_card
from inference.models.weights import check_weights, load_networks
from inference.pipelines.haemorrhage.decisions import Decisions, Platt, decisions_of
from inference.pipelines.haemorrhage.folds import Fold, load_folds
from inference.pipelines.haemorrhage.network import build_network
from inference.training.release.decide import fit_platt
from inference.training.release.export import Made, Words, export

CPU = torch.device("cpu")
DECISIONS = Decisions(
    study=Platt((1.0,), -2.0),
    slice=Platt((0.8, 0.2), -0.5),
    types=tuple(Platt((1.0,), float(-i)) for i in range(5)),
    study_threshold=0.4,
    slice_threshold=0.3,
    type_thresholds=(0.5, 0.4, 0.3, 0.2, 0.1),
    voxel_threshold=0.5,
    minimum_ml=0.1,
)
WORDS = Words(
    "1.2.3",
    "a set",
    "its owner's",
    'trained "quickly"',
    "chosen",
    18.0,
    "A child\\adult.",
    ("One limit.", "Two."),
)
VOLUMES = VolumeError(64, 0.62, 1.7)
POINTS = (OperatingPoint(0.95, 0.2, Figure("sensitivity", 0.9, 0.8, 1), Figure("specificity", 0.7, 0.6, 0.8)),)
FIGURES = (Figure("study_auc", 0.9, 0.8, 0.95),)


@pytest.fixture
def card_path(tmp_path: Path) -> Path:
    """A card with the weights of a fresh network, and behind it that of a fold."""
    torch.manual_seed(5)
    return export(Made([build_network(), build_network()], DECISIONS, POINTS, (), VOLUMES), FIGURES, WORDS, tmp_path)


def test_shipped_card_and_weights_load_and_match() -> None:
    card = load_card("haemorrhage")
    assert len(load_networks(card, build_network, CPU)) == card.networks
    assert len(card.identity.sha256) == 64
    assert 0 < card.threshold < 1
    assert "not a medical device" in card.intended_use.lower()
    assert "10.13026/w8q8-ky94" in card.data
    assert card.children and card.limits


def test_weights_are_checked_without_a_network(card_path: Path) -> None:
    """By the hash of the card, and that a file called safetensors is one."""
    card = load_card(card_path)
    check_weights(card)
    place = Path(str(card.weights))
    for content, said in ((place.read_bytes()[:-1] + b"x", "not the weights of the card"), (b"x" * 99, "not a safe")):
        place.write_bytes(content)
        sha256 = card.identity.sha256 if content != b"x" * 99 else hashlib.sha256(content).hexdigest()
        with pytest.raises(ModelError, match=said):
            check_weights(replace(card, identity=replace(card.identity, sha256=sha256)))
    place.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        check_weights(card)


def test_export_round_trip(card_path: Path) -> None:
    card = load_card(card_path)
    assert decisions_of(card) == replace(DECISIONS, tells_types=False), "nobody has measured how well it names types"
    assert card.threshold == DECISIONS.study_threshold
    assert card.children == WORDS.children
    assert card.limits == WORDS.limits
    assert card.figures == FIGURES
    assert card.operating_points == POINTS
    assert card.volume_error == VOLUMES
    assert card.data == "a set" and card.licence == "its owner's"
    assert card.identity.version == "1.2.3"


def with_volume_error(card_path: Path, table: str | None) -> Path:
    """The card with another table of volume errors, or with none."""
    kept = re.sub(r"\[volume_error\]\n(\w+ ?= ?.*\n|\[\[volume_error.*\n)+", "", card_path.read_text())
    assert "[volume_error]" not in kept
    card_path.write_text(kept + (f"\n[volume_error]\n{table}\n" if table else ""))
    return card_path


def test_how_repeatable_volumes_are_stands_on_the_card_or_not(card_path: Path) -> None:
    """Cards of before say nothing of it."""
    assert load_card(card_path).volume_repeat == ()
    whole = card_path.read_text()
    for log_sd, wrong in ((0.15, ""), (0, "log_sd"), (-1, "log_sd"), ("nan", "log_sd"), ('"wide"', "log_sd")):
        tables = (f"\n[[volume_repeat]]\nfrom_ml = {ml}\npairs = 30\nlog_sd = {log_sd}\n" for ml in (5, 1))
        card_path.write_text(whole + "".join(tables))
        if not wrong:
            assert load_card(card_path).volume_repeat == (VolumeRepeat(1, 30, 0.15), VolumeRepeat(5, 30, 0.15))
            continue
        with pytest.raises(ModelError, match=r"volume_repeat\.0\.log_sd"):
            load_card(card_path)


def test_volume_error_stands_on_the_card_or_not(card_path: Path) -> None:
    assert load_card(with_volume_error(card_path, None)).volume_error is None
    given = with_volume_error(card_path, "heads = 12  # heads\nlow = 1\nhigh = 2.5")
    assert load_card(given).volume_error == VolumeError(12, 1.0, 2.5)
    sizes = "heads = 12\nlow = 0.5\nhigh = 4\n[[volume_error.sizes]]\nbelow_ml = 10\nheads = 5\nlow = 0.6\nhigh = 5"
    error = load_card(
        with_volume_error(card_path, f"{sizes}\n[[volume_error.sizes]]\nheads = 7\nlow=0.8\nhigh=1.2")
    ).volume_error
    assert error is not None
    assert [error.factors(ml) for ml in (0.99, 1, 9.99, 10, 900)] == [None, *[(0.6, 5)] * 2, *[(0.8, 1.2)] * 2]
    assert VolumeError(12, 1.0, 2.5).factors(3) == (1.0, 2.5)


@pytest.mark.parametrize(("stated", "told"), [(None, False), (0.5, False), (0.79, False), (0.8, True), (1, True)])
def test_types_are_told_from_four_fifths_on(card_path: Path, stated: float | None, told: bool) -> None:
    """A card that says nothing of it does not tell them, and neither does the shipped one."""
    line = "" if stated is None else f"types_exact = {stated}\n"
    card_path.write_text(line + card_path.read_text())
    card = load_card(card_path)
    assert (card.types_exact, card.tells_types, decisions_of(card).tells_types) == (stated, told, told)
    assert not load_card("haemorrhage").tells_types


@pytest.mark.parametrize("stated", ["1.1", "-0.1", "nan", '"many"'])
def test_a_share_of_types_that_is_none_is_refused(card_path: Path, stated: str) -> None:
    card_path.write_text(f"types_exact = {stated}\n{card_path.read_text()}")
    with pytest.raises(ModelError, match="types_exact"):
        load_card(card_path)


@pytest.mark.parametrize(
    "table",
    [
        "heads = 64\nlow = 0.0\nhigh = 1.7",
        "heads = 64\nlow = 1.8\nhigh = 1.7",
        "heads = 64\nlow = 0.6\nhigh = inf",
        "heads = 64\nlow = nan\nhigh = 1.7",
        "heads = 0\nlow = 0.6\nhigh = 1.7",
        "heads = 64\nlow = 0.6",
    ],
)
def test_a_volume_error_that_is_no_range_is_refused(card_path: Path, table: str) -> None:
    with pytest.raises(ModelError, match=r"volume_error|lacks 'high'"):
        load_card(with_volume_error(card_path, table))


def test_folds_round_trip_and_belong_to_their_weights(tmp_path: Path) -> None:
    torch.manual_seed(7)
    folds = (Fold(1, ("A/049", "B/051"), DECISIONS), Fold(2, ("A/050",), replace(DECISIONS, study_threshold=0.7)))
    networks = [build_network().eval() for _ in range(3)]
    made = Made(networks, DECISIONS, (), folds)
    card = load_card(export(made, (), WORDS, tmp_path))
    assert load_folds(card).folds == folds
    assert load_folds(card).datasets == ("A", "B")
    of_folds = load_networks(card, build_network, CPU, [fold.network for fold in folds])
    for network, loaded in zip(networks, [*load_networks(card, build_network, CPU), *of_folds], strict=True):
        assert torch.allclose(network.classifier.value.weight, loaded.classifier.value.weight, atol=1e-3)
    others = tmp_path / "others"
    export(Made([build_network()], DECISIONS, (), ()), (), WORDS, others)
    (others / "haemorrhage.folds.toml").write_text((tmp_path / "haemorrhage.folds.toml").read_text())
    with pytest.raises(ModelError, match="folds of other weights"):
        load_folds(load_card(others / "haemorrhage.toml"))
    (others / "haemorrhage.folds.toml").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_folds(load_card(others / "haemorrhage.toml"))


def test_shipped_folds_hold_every_patient_once() -> None:
    card = load_card("haemorrhage")
    people = [patient for fold in load_folds(card).folds for patient in fold.patients]
    assert len(people) == len(set(people)) == 57
    assert [fold.network for fold in load_folds(card).folds] == [1, 2, 3, 4, 5]


def test_loaded_networks_answer_like_the_exported_ones(tmp_path: Path) -> None:
    torch.manual_seed(6)
    network = build_network().eval()
    card = load_card(export(Made([network], DECISIONS, (), ()), (), WORDS, tmp_path))
    (loaded,) = load_networks(card, build_network, CPU)
    inputs = torch.randn(1, 9, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network(inputs).voxels, loaded(inputs).voxels, atol=0.02)
    assert not loaded.training


def test_a_changed_byte_is_refused(card_path: Path) -> None:
    weights = card_path.with_name("haemorrhage.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="not the weights of the card"):
        load_networks(load_card(card_path), build_network, CPU)


def test_missing_weights_name_the_file(card_path: Path) -> None:
    card_path.with_name("haemorrhage.safetensors").unlink()
    with pytest.raises(ModelError, match=r"haemorrhage\.safetensors: the weights cannot be read"):
        load_networks(load_card(card_path), build_network, CPU)


def test_a_pickle_is_not_loaded(card_path: Path) -> None:
    import hashlib

    weights = card_path.with_name("haemorrhage.safetensors")
    old = hashlib.sha256(weights.read_bytes()).hexdigest()
    torch.save({"0.x": torch.zeros(1)}, weights)
    new = hashlib.sha256(weights.read_bytes()).hexdigest()
    card_path.write_text(card_path.read_text().replace(old, new))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_networks(load_card(card_path), build_network, CPU)


def test_weights_of_another_network_are_refused(card_path: Path) -> None:
    with pytest.raises(ModelError, match="do not fit the network"):
        load_networks(load_card(card_path), lambda: torch.nn.Linear(2, 2), CPU)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("study_threshold = 0.4\n", "", "lacks 'decision.study_threshold'"),
        ("study_threshold = 0.4", "study_threshold = ", "not valid"),
        ("networks = 1", 'networks = "two"', "not valid"),
    ],
)
def test_a_broken_card_says_what_is_wrong(card_path: Path, old: str, new: str, message: str) -> None:
    text = card_path.read_text()
    assert old in text
    card_path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        load_card(card_path)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ModelError, match=r"tumour\.toml"):
        load_card("tumour")


def test_platt_is_a_logistic_curve() -> None:
    platt = Platt((2.0, -1.0), 0.5)
    assert platt(0.0, 0.5) == pytest.approx(0.5)
    assert platt(5.0, 0.0) > 0.99 > platt(1.0, 0.0) > platt(0.0, 0.0)
    with pytest.raises(ValueError):
        platt(1.0)


def test_fit_platt_recovers_a_curve() -> None:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(4000, 1, generator=rng, dtype=torch.float64)
    chance = torch.sigmoid(1.5 * inputs[:, 0] - 0.7)
    truth = torch.rand(4000, generator=rng, dtype=torch.float64) < chance
    platt = fit_platt(inputs.numpy(), truth.numpy())
    assert platt.slopes[0] == pytest.approx(1.5, abs=0.2)
    assert platt.intercept == pytest.approx(-0.7, abs=0.2)


def test_fit_platt_is_not_certain_of_few_cases() -> None:
    inputs = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    platt = fit_platt(inputs, np.array([False, False, True, True]))
    assert 0.6 < platt(2.0) < 0.99
    assert 0.01 < platt(-2.0) < 0.4


def test_every_field_of_the_card_is_filled() -> None:
    card = load_card("haemorrhage")
    optional = {"volume_error", "types_exact"}
    empty = {f.name for f in fields(ModelCard) if getattr(card, f.name) in (None, "")}
    assert empty <= optional
