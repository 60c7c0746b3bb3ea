"""The engine: which device and how many threads, pipelines loaded once, unknown ones named."""

import os

import pytest
import torch

from inference.engines.local import Engine
from inference.errors import UnknownPipelineError
from inference.pipelines.registry import QUESTIONS


def test_threads_are_the_caller_s_or_half_of_the_cores() -> None:
    Engine("cpu", threads=3)
    assert torch.get_num_threads() == 3
    Engine("cpu")
    assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) // 2)


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert Engine().device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_pipeline_is_loaded_once() -> None:
    engine = Engine("cpu")
    engine.warm_up()
    assert all(engine.model(name) is engine.model(name) for name in QUESTIONS)
    assert len(engine.model("haemorrhage").sha256) == 64


def test_an_unknown_pipeline_is_named() -> None:
    with pytest.raises(UnknownPipelineError, match=r"no pipeline 'lungs'; there is: haemorrhage"):
        Engine("cpu").model("lungs")
