"""Where a pipeline runs: in this process, on the CPU or a CUDA device; loaded on first use, and again with a new model.

Which model answers for a pipeline is asked before every run, so that a change is taken up without a restart while what
runs ends with the model it began with.
"""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from inference.errors import DeviceError, ModelError
from inference.findings import ModelIdentity, Result
from inference.input.set_aside import say_set_aside
from inference.models.card import ModelCard, study_threshold
from inference.models.operating import band_of
from inference.models.prevalence import at_prevalence
from inference.pipelines.base import Given, Pipeline, Question
from inference.pipelines.registry import QUESTIONS, load_pipeline, question_of_card, shipped_card

ADVICE = "install it again, or let another one answer (triage-node models use built-in)"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline, and the card that it was made from."""

    card: ModelCard
    pipeline: Pipeline[Any]


class Engine:
    """Keeps loaded pipelines. `device` is "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".

    `threads` sets how many CPU threads torch uses in this whole process; None takes half of the cores, since a node's
    other processes need some too: threads that wait for one another on busy cores made a study five times slower.
    `models` says which card answers for a pipeline's name (UnknownPipelineError where none does); `sensitivity` which
    of the card's operating points is taken, 0 its own; `prevalence` which share of studies with the finding the
    probabilities assume, None that of the model's data. DeviceError where the device is not there.
    """

    def __init__(
        self,
        device: str = "auto",
        threads: int | None = None,
        models: Callable[[str], ModelCard] = shipped_card,
        sensitivity: float = 0.0,
        prevalence: float | None = None,
    ) -> None:
        import torch  # here, since whoever only names a model does not wait for it

        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(chosen)
        if self.device.type == "cuda" and (self.device.index or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"there is no device {chosen}: torch {torch.__version__} sees {count} GPUs")
        torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // 2))
        self._models = models
        self._sensitivity = sensitivity
        self._prevalence = prevalence
        self._loaded: dict[str, Loaded] = {}
        self._loading = threading.Lock()

    def run(self, pipeline_name: str, given: Given) -> Result:
        """The pipeline's answer, with what was set aside among its warnings.

        UnknownPipelineError, ModelError, or NotAnalysable from the pipeline.
        """
        loaded = self._held(pipeline_name)
        result = loaded.pipeline.run(given)
        warnings = (*say_set_aside(given.stack.set_aside), *result.warnings)
        band = band_of(loaded.card, result.probability, result.threshold)
        told = replace(result, pipeline=pipeline_name, warnings=warnings, band=band)
        return at_prevalence(told, loaded.card, self._prevalence)

    def question(self, pipeline_name: str) -> Question:
        """The question that the pipeline answers: it says what the pipeline must be given."""
        return question_of_card(self._models(pipeline_name))

    def model(self, pipeline_name: str) -> ModelIdentity:
        """Which weights the pipeline uses."""
        return self._pipeline(pipeline_name).model

    def warm_up(self, pipeline_names: Iterable[str] = tuple(QUESTIONS)) -> None:
        """Loads these pipelines, so that the first study does not wait for it."""
        for name in pipeline_names:
            self._pipeline(name)

    def _pipeline(self, name: str) -> Pipeline[Any]:
        return self._held(name).pipeline

    def _held(self, name: str) -> Loaded:
        card = self._models(name)
        with self._loading:
            held = self._loaded.get(name)
            if held is None or held.card != card:
                self._loaded.pop(name, None)  # never the old one in its place, and never both in memory
                held = self._loaded[name] = Loaded(card, self._load(name, card))
            return held

    def _load(self, name: str, card: ModelCard) -> Pipeline[Any]:
        threshold = study_threshold(card, self._sensitivity)
        try:
            return load_pipeline(card, self.device, threshold)
        except ModelError as error:
            who = f"{card.identity.name} {card.identity.version}"
            raise ModelError(f"the model {who} cannot answer for the pipeline '{name}': {error}; {ADVICE}") from error
