"""A node's steps one after the other, with an engine that says what a test wants it to say; everything else is real."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pydicom.dataset import Dataset
from reports_support import MODEL, result_for
from series import Core

from dicom_node.routes import load_rules
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from inference.engines.local import Engine
from inference.findings import ModelIdentity, Result
from inference.pipelines.base import Given, Question
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.pipelines.registry import question_of

LONG_AFTER = 1e12
Answer = bool | Exception | Callable[[], object]  # suspected or not, an error, or what happens first (then: suspected)


class ScriptedEngine(Engine):
    """Answers one stack after another with what the script says."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)

    def run(self, pipeline: str, given: Given) -> Result:
        """The next answer: suspected or not, an error, or something that happens first (then: suspected)."""
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer()
        stack = given.stack
        mask = stack.hu > 40
        masks = {HaemorrhageType.SUBDURAL: mask} if answer else {}
        return result_for(stack, masks, bool(answer))

    def question(self, pipeline: str) -> Question:
        """It says what is read of the images."""
        return question_of(pipeline)

    def model(self, pipeline: str) -> ModelIdentity:
        """The model of the results."""
        return MODEL


def route(node: Core, explain: bool = False) -> None:
    """Complete and route everything that has come."""
    complete_due(node.database, node.settings.complete, LONG_AFTER)
    route_due(node.database, load_rules(), datetime.now(UTC), explain)


def analysed(node: Core, images: Sequence[Dataset], answer: Answer) -> None:
    """Receive the images in one association, route what has come, and run the job with this answer."""
    node.receive(images)
    route(node)
    work(node, answer)


def work(node: Core, *script: Answer) -> None:
    """Run queued jobs with these answers."""
    engine = ScriptedEngine(*script)
    for _ in script:
        assert analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None)
    assert not engine.script
