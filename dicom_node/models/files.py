"""The files of a model that is to be installed: its card, weights and folds, checked and copied."""

import hashlib
import os
import re
import shutil
from datetime import datetime
from pathlib import Path

from dicom_node.durable import sync_folder
from dicom_node.tables.models import InstalledModel
from inference.errors import ModelError
from inference.models.card import ModelCard, load_card
from inference.models.weights import read_weights
from inference.pipelines.registry import question_of_card

BUILT_IN = "built-in"
CARD = "card.toml"
NAME_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,31}")
SHA256_FORM = re.compile(r"[0-9a-f]{64}")


def check_names(card: ModelCard, source: Path) -> None:
    """ModelError where name, version or hash cannot name a folder, or the weights do not lie beside the card."""
    name, version = card.identity.name, card.identity.version
    if not NAME_FORM.fullmatch(name) or name == BUILT_IN:
        raise ModelError(f"{source}: {name!r} cannot be a model's name (letters, digits, . _ -; not {BUILT_IN!r})")
    if not VERSION_FORM.fullmatch(version):
        raise ModelError(f"{source}: {version!r} cannot be a model's version (letters, digits, . _ + -)")
    if not SHA256_FORM.fullmatch(card.identity.sha256):
        raise ModelError(f"{source}: sha256 must be 64 hexadecimal digits in small letters")
    if Path(str(card.weights)).parent != source.parent:
        raise ModelError(f"{source}: the weights must lie beside their card; it names {card.weights}")


def described(card: ModelCard, source: Path, now: datetime, by: str) -> InstalledModel:
    """The row of a model that is about to be installed."""
    who = card.identity
    model_id = f"{who.name}-{who.version}-{who.sha256[:8]}"
    return InstalledModel(
        model_id, who.name, who.version, who.sha256, card.kind, card.question, file_sha256(source), now, by
    )


def copy_model(card: ModelCard, source: Path, draft: Path) -> ModelCard:
    """Copy card, weights and what belongs to them into a folder, durably, and check the copy; the copy's card."""
    weights = Path(str(card.weights))
    if not weights.is_file():
        raise ModelError(f"{weights}: the weights are not there")
    _copy(source, draft / CARD)
    _copy(weights, draft / weights.name)
    copied = load_card(draft / CARD)
    read_weights(copied)
    for each in companions(card):
        _copy(each, draft / each.name)
    companions(copied)
    sync_folder(draft)
    return copied


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as copied:
        os.fsync(copied.fileno())


def companions(card: ModelCard) -> tuple[Path, ...]:
    """The files beside a card's weights that belong to them; ModelError where one is damaged."""
    of_question = question_of_card(card).companions
    return of_question(card) if of_question else ()


def file_sha256(path: Path) -> str:
    """The hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
