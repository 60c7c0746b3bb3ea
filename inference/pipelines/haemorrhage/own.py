"""Suspected intracranial haemorrhage on non-contrast head CT: five types, per voxel, per slice and per study.

The networks' averaged logits decide everything; `reading` says how they become probabilities, findings and outlines.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf

from inference.findings import ModelIdentity, Result
from inference.models.card import ModelCard, load_card
from inference.models.weights import load_networks
from inference.pipelines.base import Given
from inference.pipelines.haemorrhage.answer import Reading, answer
from inference.pipelines.haemorrhage.decisions import Decisions, decisions_of
from inference.pipelines.haemorrhage.head_grid import HeadGrid, features, triplets
from inference.pipelines.haemorrhage.network import HeadNetwork, NetworkOutput, build_network, plane_scores

BATCH_PLANES = 16


class HaemorrhagePipeline:
    """The pipeline with its weights on a device: those of the card, or those and the decisions that are given."""

    def __init__(
        self,
        device: torch.device,
        card: ModelCard | None = None,
        networks: Sequence[HeadNetwork] | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self.card = load_card("haemorrhage") if card is None else card
        self.decisions = decisions_of(self.card) if decisions is None else decisions
        self.device = device
        networks = load_networks(self.card, build_network, device) if networks is None else networks
        self._networks = [n.to(memory_format=torch.channels_last) for n in networks]  # type: ignore[call-overload]

    @property
    def model(self) -> ModelIdentity:
        """Which weights answer."""
        return self.card.identity

    def run(self, given: Given) -> Result:
        """The answer for an axial head CT; NotAnalysable where no whole head is in the images."""
        return answer(self.card, self.decisions, self.read, given.stack)

    @torch.inference_mode()
    def read(self, grid: HeadGrid) -> Reading:
        """Runs the networks over a head and averages their logits, of voxels and (once pooled) of planes.

        Every other network reads the head's mirror image. Planes are pooled before they are averaged: what pools the
        highest pixels would else fall with every network added, and the calibration was made on single networks.
        """
        three, depth = triplets(grid.image), grid.depth_mm
        voxels, planes = [], []
        for start in range(0, len(three), BATCH_PLANES):
            part = slice(start, start + BATCH_PLANES)
            images, depths = three[part].to(self.device), depth[part].to(self.device)
            answers = [self._ask(number, images, depths) for number in range(len(self._networks))]
            planes.append(torch.stack([plane_scores(each) for each in answers]).mean(0).cpu())
            logits = torch.stack([each.voxels.float() for each in answers]).mean(0)
            full = nnf.interpolate(logits, size=three.shape[2:], mode="bilinear", align_corners=False)
            voxels.append(full.softmax(1).cpu())
        return Reading(torch.cat(voxels), torch.cat(planes).numpy().astype(np.float64))

    def _ask(self, number: int, images: torch.Tensor, depths: torch.Tensor) -> NetworkOutput:
        """What a network says of planes; those of odd numbers see them mirrored."""
        mirrored = number % 2 == 1
        seen = features(images.flip(-1) if mirrored else images, depths)
        answer: NetworkOutput = self._networks[number](seen.contiguous(memory_format=torch.channels_last))
        return answer._replace(voxels=answer.voxels.flip(-1)) if mirrored else answer
