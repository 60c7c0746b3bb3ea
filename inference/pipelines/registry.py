"""Which pipelines there are, by the name that routes use."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from inference.pipelines.base import Pipeline


def _haemorrhage(device: torch.device) -> Pipeline:
    from inference.pipelines.haemorrhage import HaemorrhagePipeline

    return HaemorrhagePipeline(device)


PIPELINES: Mapping[str, Callable[[torch.device], Pipeline]] = MappingProxyType({"haemorrhage": _haemorrhage})
