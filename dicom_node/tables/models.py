"""A site's own models as they were installed, and which one answers for each pipeline: set when, and by whom."""

from dataclasses import dataclass
from datetime import datetime

from dicom_node.tables.database import Transaction


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model under the node's data folder; `model_id` is the name of its folder, `sha256` is of its weights."""

    model_id: str
    name: str
    version: str
    sha256: str
    kind: str
    question: str
    card_sha256: str
    installed_at: datetime
    installed_by: str


@dataclass(frozen=True, slots=True)
class InUse:
    """Which model answers for a pipeline; `model_id` None is the one that came with the package."""

    pipeline: str
    model_id: str | None
    set_at: datetime
    set_by: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model said last of a study: which series it read, and its answer."""

    study_uid: str
    series_uid: str
    accession: str
    suspected: bool
    probability: float


def add(tx: Transaction, model: InstalledModel) -> None:
    """Record a model whose files lie in their place; it replaces a row of the same ID."""
    tx.put("models", model, key=("model_id",), timespec="seconds")


def get(tx: Transaction, model_id: str) -> InstalledModel | None:
    """The model, or None."""
    return tx.one(InstalledModel, "SELECT * FROM models WHERE model_id = :id", id=model_id)


def all_of_them(tx: Transaction) -> list[InstalledModel]:
    """Every installed model, by name and then in the order in which they came."""
    return tx.all(InstalledModel, "SELECT * FROM models ORDER BY name, installed_at, model_id")


def questions(tx: Transaction) -> dict[str, str]:
    """The question that each installed model answers, by the model's name: rules may name it as a pipeline."""
    return {each.name: each.question for each in all_of_them(tx)}


def named(tx: Transaction, name: str) -> list[InstalledModel]:
    """All versions of a model, in the order in which they came."""
    return [each for each in all_of_them(tx) if each.name == name]


def forget(tx: Transaction, model_id: str) -> None:
    """Drop a model's row; it must not be in use."""
    tx.run("DELETE FROM models WHERE model_id = :id", id=model_id)


def put_in_use(tx: Transaction, chosen: InUse) -> None:
    """Let a model answer for a pipeline from now on."""
    tx.put("models_in_use", chosen, key=("pipeline",), timespec="seconds")


def in_use(tx: Transaction) -> list[InUse]:
    """What was chosen, pipeline by pipeline; for one that is not there nobody has ever chosen."""
    return tx.all(InUse, "SELECT * FROM models_in_use ORDER BY pipeline")


def in_use_for(tx: Transaction, pipeline: str) -> InUse | None:
    """What was chosen for a pipeline, None where nobody has."""
    return next((each for each in in_use(tx) if each.pipeline == pipeline), None)


def last_answers(tx: Transaction, sha256: str, limit: int) -> list[Answered]:
    """The studies whose latest result these weights gave and whose images are still there, the latest first."""
    return tx.all(
        Answered,
        "SELECT study_uid, series_uid, studies.accession, suspected, probability FROM analyses AS one"
        " JOIN studies USING (study_uid) WHERE model_sha256 = :sha256"
        " AND version = (SELECT max(version) FROM analyses AS other WHERE other.study_uid = one.study_uid"
        " AND other.question = one.question)"
        " AND EXISTS (SELECT 1 FROM instances WHERE instances.series_uid = one.series_uid AND current)"
        " ORDER BY made_at DESC LIMIT :limit",
        sha256=sha256,
        limit=limit,
    )
