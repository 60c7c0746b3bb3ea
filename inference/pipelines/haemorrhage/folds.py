"""The folds of a card's cross-validation: which patients a network never saw."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from inference.errors import ModelError
from inference.models.card import ModelCard
from inference.pipelines.haemorrhage.decisions import Decisions, read_decisions


@dataclass(frozen=True, slots=True)
class Fold:
    """The patients, as "data set/patient", whom network `network` never saw; the decisions fitted on all others."""

    network: int
    patients: tuple[str, ...]
    decisions: Decisions


@dataclass(frozen=True, slots=True)
class Folds:
    """The data sets that a card's networks were made from, and their patients fold by fold."""

    datasets: tuple[str, ...]
    folds: tuple[Fold, ...]


def folds_path(card: ModelCard) -> Path:
    """Where the folds of the card's weights lie, if they are there at all."""
    return Path(str(card.weights)).with_suffix(".folds.toml")


def load_folds(card: ModelCard) -> Folds:
    """The folds beside the card's weights; ModelError where they cannot be read, or are those of other weights."""
    place = folds_path(card)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
        folds = tuple(
            Fold(int(each["network"]), tuple(str(p) for p in each["patients"]), read_decisions(each))
            for each in content["folds"]
        )
        datasets, sha256 = tuple(str(name) for name in content["datasets"]), str(content["sha256"])
    except OSError as error:
        raise ModelError(f"{place}: the folds cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: the folds are not valid ({error})") from error
    if sha256 != card.identity.sha256:
        raise ModelError(f"{place}: these are the folds of other weights (SHA-256 {sha256[:12]}…)")
    return Folds(datasets, folds)
