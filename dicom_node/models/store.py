"""A node's own models: where they lie, how one is installed, and which one answers for a pipeline.

Layout: <data>/models/NAME-VERSION-SHA8/ with card.toml, the weights and, where there were any, their folds. A model is
copied to a draft folder, synced, tested there and renamed into its place; then its row is written, and only a model
with a row is installed. The model that came with the package is always there and has neither folder nor row.
"""

import getpass
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dicom_node.derived.candidates import questions_of_pipelines
from dicom_node.durable import is_running, make_folder, sync_folder
from dicom_node.errors import CommandError
from dicom_node.models.files import (
    BUILT_IN,
    CARD,
    check_names,
    copy_model,
    described,
    file_sha256,
)
from dicom_node.settings import Settings
from dicom_node.tables import models
from dicom_node.tables.database import Database, Transaction, open_database
from dicom_node.tables.models import InstalledModel, InUse
from inference.engines.local import ADVICE, Engine
from inference.errors import ModelError, UnknownPipelineError
from inference.models.card import ModelCard, load_card, study_threshold
from inference.models.weights import check_weights
from inference.pipelines.registry import QUESTIONS, shipped_card


class ModelStore:
    """The models of one data folder; without a database (no node has run there) only the built-in one."""

    def __init__(self, data: Path, database: Database | None) -> None:
        self._root = data.absolute() / "models"
        self._database = database

    def installed(self) -> list[InstalledModel]:
        """Every installed model; its files may be damaged all the same (see `card`)."""
        if self._database is None:
            return []
        with self._database.read() as tx:
            return models.all_of_them(tx)

    def pipelines(self) -> set[str]:
        """The pipelines that rules may name."""
        return {*QUESTIONS, *(each.name for each in self.installed())}

    def answering(self, pipeline: str) -> InstalledModel | None:
        """Which model answers for a pipeline, None for the built-in one.

        UnknownPipelineError where none could, ModelError where several could and nobody has chosen.
        """
        if self._database is None:
            shipped_card(pipeline)
            return None
        with self._database.read() as tx:
            return answering(tx, pipeline)

    def uses(self, model: InstalledModel | None, routed: Collection[str]) -> list[str]:
        """The pipelines for which a model answers."""
        if self._database is None:
            return list(QUESTIONS)
        with self._database.read() as tx:
            return uses(tx, model, routed)

    def card_for(self, pipeline: str) -> ModelCard:
        """The card of the model that answers for a pipeline: what the engine asks before every study."""
        return self.card(self.answering(pipeline), pipeline)

    def card(self, model: InstalledModel | None, pipeline: str = QUESTIONS[0]) -> ModelCard:
        """An installed model's card, or the built-in one's; ModelError where it is gone or not as it was installed."""
        if model is None:
            return shipped_card(pipeline)
        place = self._root / model.model_id / CARD
        with named(model):
            card = load_card(place)
            if file_sha256(place) != model.card_sha256:
                raise ModelError(f"{place}: the card was changed after it was installed")
        return card

    def check(self, model: InstalledModel | None, pipeline: str = QUESTIONS[0]) -> ModelCard:
        """As `card`; ModelError also where the weights are gone or damaged."""
        card = self.card(model, pipeline)
        with named(model):
            check_weights(card)
        return card

    def is_whole(self, model: InstalledModel) -> bool:
        """Whether a model's files are as they were installed."""
        try:
            self.check(model)
        except ModelError:
            return False
        return True

    def chosen(self) -> list[InUse]:
        """What was chosen, pipeline by pipeline."""
        if self._database is None:
            return []
        with self._database.read() as tx:
            return models.in_use(tx)

    def find(self, text: str) -> InstalledModel | None:
        """The model of this ID, NAME, NAME@VERSION or short hash, None for built-in; CommandError unless it is one."""
        if text == BUILT_IN:
            return None
        found = [each for each in self.installed() if text in names(each)]
        if len(found) > 1:
            raise CommandError(f"several models are called {text}: {', '.join(each.model_id for each in found)}")
        if not found:
            known = ", ".join([BUILT_IN, *(each.model_id for each in self.installed())])
            raise CommandError(f"no model {text!r} is installed (there are: {known})")
        return found[0]

    def install(self, source: Path, test: Callable[[ModelCard], None], now: datetime, by: str) -> InstalledModel:
        """Copy a model, test the copy, and only then put it in its place.

        CommandError or ModelError, and nothing is left, when it is there already, its card or weights are not right
        or `test` raises. A model whose files were damaged is replaced.
        """
        card = load_card(source)
        check_names(card, source)
        made = described(card, source, now, by)
        with self._writable().read() as tx:
            before, asked = models.get(tx, made.model_id), models.questions(tx).get(made.name, made.question)
        if asked != made.question:
            raise CommandError(f"{made.name} is installed for the question {asked!r}: give this model another name")
        if before is not None and before.card_sha256 != made.card_sha256:
            raise CommandError(f"{title(before)} is installed with another card: give this one another version")
        if before is not None and self.is_whole(before):
            raise CommandError(f"{title(before)} is installed already")
        place = self._root / made.model_id
        with self._draft(source) as draft:
            test(copy_model(card, source, draft))
            if place.exists():  # damaged, or left behind by a crash before its row was written
                place.rename(self._draft_path())
            draft.rename(place)
            sync_folder(self._root)
        with self._writable().write() as tx:
            models.add(tx, made)
        return made

    def use(self, model: InstalledModel | None, pipeline: str, sensitivity: float, now: datetime, by: str) -> None:
        """Let a model answer for a pipeline from the next study on. ModelError where its files are not whole, it lacks
        the operating point that the settings ask for or answers another question; UnknownPipelineError for a pipeline
        that is none."""
        card = self.check(model, pipeline)
        study_threshold(card, sensitivity)
        with self._writable().write() as tx:
            if model is not None and models.get(tx, model.model_id) is None:
                raise CommandError(f"{title(model)} was removed meanwhile")
            known = questions_of_pipelines(tx)
            if pipeline not in known:
                raise UnknownPipelineError(f"there is no pipeline '{pipeline}'; there is: {', '.join(sorted(known))}")
            if card.question != known[pipeline]:
                raise ModelError(f"{title(model)} answers {card.question!r}, and {pipeline} asks {known[pipeline]!r}")
            models.put_in_use(tx, InUse(pipeline, model.model_id if model else None, now, by))

    def remove(self, model: InstalledModel | None, routed: Collection[str]) -> None:
        """Take a model off the disk; CommandError for the built-in one and one that answers for a pipeline, be it by
        choice or because a rule (`routed` are the rules' pipelines) names it."""
        if model is None:
            raise CommandError("the built-in model came with the package and cannot be removed")
        with self._writable().write() as tx:
            if used := uses(tx, model, routed):
                raise CommandError(
                    f"{title(model)} is in use for {', '.join(used)} and cannot be removed: "
                    "let another one answer (triage-node models use built-in), or take it out of the rules"
                )
            models.forget(tx, model.model_id)
        aside = self._draft_path()
        if (self._root / model.model_id).exists():
            (self._root / model.model_id).rename(aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _writable(self) -> Database:
        if self._database is None:
            raise CommandError("there is no database to write to")
        return self._database

    def _draft_path(self) -> Path:
        return self._root / f".draft-{os.getpid()}-{uuid.uuid4().hex}"

    @contextmanager
    def _draft(self, source: Path) -> Iterator[Path]:
        """A new folder for a model in the making; it and what killed processes left are gone afterwards.

        Errors speak of the card `source` and the files beside it: the draft is nobody's to look at.
        """
        draft = self._draft_path()
        try:
            make_folder(draft)
            yield draft
        except ModelError as error:
            said = str(error).replace(str(draft / CARD), str(source)).replace(str(draft), str(source.parent))
            raise ModelError(f"{said}; nothing was installed") from error
        except OSError as error:
            raise CommandError(f"the model cannot be copied to {self._root}: {error}") from error
        finally:
            for left in self._root.glob(".draft-*"):
                writer = int(left.name.split("-")[1])
                if writer == os.getpid() or not is_running(writer):
                    shutil.rmtree(left, ignore_errors=True)


def open_store(settings: Settings, make: bool = False) -> ModelStore:
    """The store of the node's data folder; `make` its database where no node has run there yet."""
    path = settings.database_path.absolute()
    return ModelStore(settings.node.data, open_database(path) if make or path.exists() else None)


def open_engine(settings: Settings, cards: Callable[[str], ModelCard], own_scale: bool = False) -> Engine:
    """The engine that the settings ask for; `cards` says which model answers for a pipeline.

    `own_scale`: its probabilities are on each card's own scale, on which thresholds are chosen; else at the prevalence
    of the settings.
    """
    wanted, model = settings.analyse, settings.model
    prevalence = None if own_scale else model.prevalence
    return Engine(wanted.device, wanted.threads or None, cards, model.sensitivity, prevalence)


def answering(tx: Transaction, pipeline: str) -> InstalledModel | None:
    """As the store's: the model that was chosen for a pipeline, else the built-in one, else the one of that name."""
    chosen = models.in_use_for(tx, pipeline)
    if chosen is not None and chosen.model_id is not None:
        return models.get(tx, chosen.model_id)
    if pipeline in QUESTIONS:
        return None
    versions = models.named(tx, pipeline)
    if not versions:
        known = ", ".join(sorted(questions_of_pipelines(tx)))
        raise UnknownPipelineError(f"there is no pipeline '{pipeline}'; there is: {known}")
    if len(versions) > 1:
        ids = ", ".join(each.model_id for each in versions)
        raise ModelError(
            f"several models are called {pipeline}: {ids}; choose one: triage-node models use ID --pipeline {pipeline}"
        )
    return versions[0]


def uses(tx: Transaction, model: InstalledModel | None, routed: Collection[str]) -> list[str]:
    """The pipelines for which a model answers: of those that came with the package, were chosen for or are routed."""
    chosen = {each.pipeline for each in models.in_use(tx)}
    found = []
    for pipeline in sorted(questions_of_pipelines(tx).keys() & {*QUESTIONS, *chosen, *routed}):
        try:
            if answering(tx, pipeline) == model:
                found.append(pipeline)
        except ModelError:  # several could answer: nobody has chosen
            continue
    return found


@contextmanager
def named(model: InstalledModel | None) -> Iterator[None]:
    """Errors of a model's files say which model, and what to do."""
    try:
        yield
    except (ModelError, OSError) as error:
        raise ModelError(f"the model {title(model)} cannot be used: {error}; {ADVICE}") from error


def names(model: InstalledModel) -> set[str]:
    """What a model may be called on the command line."""
    return {model.model_id, model.name, f"{model.name}@{model.version}", model.sha256[:8], model.sha256}


def title(model: InstalledModel | None) -> str:
    """A model in a sentence."""
    return f"{model.name} {model.version} ({model.model_id})" if model else BUILT_IN


def current_user() -> str:
    """Who runs this command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user ID without a name, as containers have
        return f"user {os.getuid()}"
