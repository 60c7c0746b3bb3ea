"""Label cleaning and propagation: slice labels become voxel labels.

The idea is of Sugino et al. 2021 (doi 10.1007/s11548-021-02312-5). A network that never saw this fold's patients reads
the labelled heads of the others. On a labelled slice that nobody outlined, the voxels it is sure of become voxel labels
of a labelled type; the rest stays unknown. On an unlabelled slice beside a labelled one, where readers draw the line
differently, suspicious voxels are no longer taught as normal.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.pipelines.haemorrhage.head_grid import features, triplets
from inference.pipelines.haemorrhage.network import HeadNetwork
from inference.training.datasets.base import UNKNOWN
from inference.training.rounds.data import TrainingHead

SURE = 0.6
SURELY_NOT = 0.15
FEWEST_VOXELS = 12
BATCH = 16


@torch.inference_mode()
def voxel_probabilities(network: HeadNetwork, head: TrainingHead, mirrored: bool = True) -> NDArray[np.float32]:
    """(plane, 6, row, column) at 1 mm: the network's answer; `mirrored`: averaged with that for the mirrored head."""
    device = next(network.parameters()).device
    three = triplets(torch.from_numpy(head.image.astype(np.float32)))
    depth = torch.from_numpy(head.depth_mm)
    found = []
    for start in range(0, len(three), BATCH):
        part = slice(start, start + BATCH)
        images, deep = three[part].to(device), depth[part].to(device)
        logits = network(features(images, deep)).voxels.float()
        if mirrored:
            logits = (logits + network(features(images.flip(-1), deep)).voxels.flip(-1).float()) / 2
        full = torch.nn.functional.interpolate(logits, size=three.shape[2:], mode="bilinear", align_corners=False)
        found.append(full.softmax(1).cpu())
    return torch.cat(found).numpy()


def propagated(head: TrainingHead, probabilities: NDArray[np.float32]) -> TrainingHead:
    """The head with what its labels and these `probabilities` (plane, 6, row, column) say of its voxels.

    Of a bleeding study without slice labels, the planes on which the network is sure become labelled ones.
    """
    voxels, labels = head.voxels.copy(), head.labels.copy()
    bleeding = 1 - probabilities[:, 0]
    undrawn = (head.labels[:, 0] != 0) & (head.voxels == UNKNOWN).all((1, 2))
    for plane in np.flatnonzero(undrawn):
        sure = (bleeding[plane] > SURE) & head.inside[plane]
        if sure.sum() < FEWEST_VOXELS:
            continue
        of_type = np.where(labels[plane, 1:, None, None] != 0, probabilities[plane, 1:], -1.0).argmax(0)
        drawn = np.where(bleeding[plane] < SURELY_NOT, 0, UNKNOWN)
        voxels[plane] = np.where(sure, 1 + of_type, drawn)
        labels[plane, 0] = 1
    for plane in np.flatnonzero(ndimage.binary_dilation(head.shown) & (head.labels[:, 0] == 0)):
        voxels[plane][bleeding[plane] > 0.5] = UNKNOWN
    return replace(head, voxels=voxels, labels=labels)
