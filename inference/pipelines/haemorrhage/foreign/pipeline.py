"""The haemorrhage question answered by a network of another house: an ONNX file, or a network of MONAI.

It sees the same planes as our own and is judged by the same decisions; a network that tells no types has the one
finding INTRACRANIAL, and one that gives log-odds of planes outlines nothing. Loaded, it has kept the contract (see
`contract`) on drawn planes; an answer that breaks it later is a ModelError and no result.
"""

import numpy as np
import torch
import torch.nn.functional as nnf

from inference.findings import ModelIdentity, Result
from inference.models.card import ModelCard
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.answer import Reading, answer
from inference.pipelines.haemorrhage.decisions import decisions_of
from inference.pipelines.haemorrhage.foreign.contract import (
    Contract,
    Network,
    check_answer,
    check_network,
    read_bytes,
    read_contract,
)
from inference.pipelines.haemorrhage.foreign.monai_network import load_monai
from inference.pipelines.haemorrhage.foreign.onnx_network import load_onnx
from inference.pipelines.haemorrhage.head_grid import HeadGrid
from inference.pipelines.haemorrhage.network import plane_logits

BATCH_PLANES = 16


class ForeignPipeline:
    """The pipeline with a card's network on a device; ModelError where card, weights and contract do not agree."""

    def __init__(self, device: torch.device, card: ModelCard) -> None:
        self.card = card
        self._who = str(card.weights)
        self.decisions = decisions_of(card)
        self._contract = read_contract(card, self.decisions)
        self._network = _load(card, self._contract, device, self._who)
        check_network(self._network, self._contract, self._who)

    @property
    def model(self) -> ModelIdentity:
        """Which weights answer."""
        return self.card.identity

    def run(self, given: Given) -> Result:
        """The answer for an axial head CT; NotAnalysable where no whole head is in the images."""
        return answer(self.card, self.decisions, self.read, given.stack)

    def read(self, grid: HeadGrid) -> Reading:
        """Runs the network over a head; ModelError where its answer is not finite or not of the contract's shape."""
        output, parts = self._contract.output, []
        for start in range(0, len(grid.image), BATCH_PLANES):
            planes = self._contract.input.of_planes(grid.image, slice(start, start + BATCH_PLANES))
            logits = self._network(planes)
            check_answer(logits, planes, self._contract, self._who)
            parts.append(logits[:, output.order])
        logits = torch.cat(parts)
        if output.gives == "planes":
            return Reading(None, _array(logits), output.kinds)
        whole, half = _both_sizes(logits, grid.image.shape[1:])
        return Reading(whole.softmax(1), _array(plane_logits(half)), output.kinds)


def _load(card: ModelCard, contract: Contract, device: torch.device, who: str) -> Network:
    content = read_bytes(card)
    if card.kind == "onnx":
        return load_onnx(content, contract, device, who)
    return load_monai(content, contract, device, who)


def _both_sizes(logits: torch.Tensor, size: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at 1 mm, for outlines, and at 2 mm, where planes are pooled as our own network's are."""
    if logits.shape[2:] == size:
        return logits, nnf.avg_pool2d(logits, 2)
    return nnf.interpolate(logits, size=size, mode="bilinear", align_corners=False), logits


def _array(planes: torch.Tensor) -> np.ndarray:
    return planes.numpy().astype(np.float64)
