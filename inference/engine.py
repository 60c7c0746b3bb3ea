"""Where a pipeline runs: in this process, on the CPU or a CUDA device; pipelines are loaded once, on first use."""

import os
import threading

import torch

from inference.errors import DeviceError, UnknownPipelineError
from inference.findings import ModelIdentity, Result
from inference.pipelines.base import Pipeline
from inference.pipelines.registry import PIPELINES
from inference.stack import SliceStack


class Engine:
    """Keeps loaded pipelines. `device` is "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".

    `threads` sets how many CPU threads torch uses in this whole process; None takes half of the cores, since a node's
    other processes need some too: threads that wait for one another on busy cores made a study five times slower.
    DeviceError where the device is not there.
    """

    def __init__(self, device: str = "auto", threads: int | None = None) -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(chosen)
        if self.device.type == "cuda" and (self.device.index or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"there is no device {chosen}: torch {torch.__version__} sees {count} GPUs")
        torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // 2))
        self._pipelines: dict[str, Pipeline] = {}
        self._loading = threading.Lock()

    def run(self, pipeline_name: str, stack: SliceStack) -> Result:
        """The pipeline's answer; UnknownPipelineError, ModelError, or NotAnalysable from the pipeline."""
        return self._pipeline(pipeline_name).run(stack)

    def model(self, pipeline_name: str) -> ModelIdentity:
        """Which weights the pipeline uses."""
        return self._pipeline(pipeline_name).model

    def warm_up(self) -> None:
        """Loads every pipeline, so that the first study does not wait for it."""
        for name in PIPELINES:
            self._pipeline(name)

    def _pipeline(self, name: str) -> Pipeline:
        if name not in PIPELINES:
            raise UnknownPipelineError(f"there is no pipeline '{name}'; there is: {', '.join(sorted(PIPELINES))}")
        with self._loading:
            if name not in self._pipelines:
                self._pipelines[name] = PIPELINES[name](self.device)
            return self._pipelines[name]
