"""What another model would say of studies that the node has analysed: read, compared, and nothing written."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from dicom_node.analysis import examine
from dicom_node.tables import instances, models
from dicom_node.tables.database import Database
from dicom_node.tables.models import Answered
from inference.engines.local import Engine
from inference.findings import NotAnalysable


@dataclass(frozen=True, slots=True)
class Trial:
    """One study's answer as the node gave it and as the engine's model gives it; None and why where it gives none."""

    before: Answered
    suspected: bool | None
    probability: float | None
    seconds: float
    reason: str = ""

    @property
    def changes(self) -> bool:
        """Whether the study's flag would be another one."""
        return self.suspected is not None and self.suspected != self.before.suspected


def dry_run(database: Database, engine: Engine, question: str, sha256: str, limit: int) -> Iterator[Trial]:
    """Run the engine's model on up to `limit` stored studies that the weights `sha256` judged last, the latest first.

    Reads the database and the archive only. ModelError where the model cannot answer at all.
    """
    with database.read() as tx:
        answered = models.last_answers(tx, sha256, limit)
    for before in answered:
        with database.read() as tx:
            paths = [instance.path for instance in instances.of_series(tx, before.study_uid, before.series_uid)]
        began = perf_counter()
        try:
            result = examine(paths, question, engine).result
        except NotAnalysable as reason:
            yield Trial(before, None, None, perf_counter() - began, f"not analysed: {reason}")
        except FileNotFoundError:  # retention came first
            yield Trial(before, None, None, perf_counter() - began, "its images have left the archive")
        else:
            yield Trial(before, result.suspected, result.probability, perf_counter() - began)


def in_words(trials: list[Trial]) -> str:
    """How many flags would change, as a sentence."""
    if not trials:
        return "No stored study was analysed by the model in use: there is nothing to compare."
    judged = [each for each in trials if each.suspected is not None]
    raised = sum(each.changes for each in judged if each.suspected)
    lowered = sum(each.changes for each in judged if not each.suspected)
    told = f"{raised + lowered} of {len(judged)} flags would change"
    if raised + lowered:
        told += f": {raised} newly suspected, {lowered} no longer"
    if rest := len(trials) - len(judged):
        told += f"; {rest} could not be compared"
    return f"{told}. Nothing was written to worklist, archive or PACS."
