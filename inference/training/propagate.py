"""Label cleaning and propagation (Sugino et al. 2021, doi 10.1007/s11548-021-02312-5): slice labels become voxel labels.

A network that never saw this fold's patients reads the labelled heads of the others. On a labelled slice that nobody
outlined, the voxels it is sure of become voxel labels of a labelled type; the rest stays unknown. On an unlabelled
slice beside a labelled one, where readers draw the line differently, suspicious voxels are no longer taught as
normal.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from inference.network import HeadNetwork
from inference.preprocess import features, triplets
from inference.training.data import TrainingHead
from inference.training.datasets.base import UNKNOWN

SURE = 0.6
SURELY_NOT = 0.15
FEWEST_VOXELS = 12
BATCH = 16


@torch.inference_mode()
def voxel_probabilities(network: HeadNetwork, head: TrainingHead) -> NDArray[np.float32]:
    """(plane, 6, row, column) at 1 mm: the network's answer, averaged with its answer for the mirrored head."""
    device = next(network.parameters()).device
    three = triplets(torch.from_numpy(head.image.astype(np.float32)))
    depth = torch.from_numpy(head.depth_mm)
    found = []
    for start in range(0, len(three), BATCH):
        part = slice(start, start + BATCH)
        images, deep = three[part].to(device), depth[part].to(device)
        plain = network(features(images, deep)).voxels
        mirrored = network(features(images.flip(-1), deep)).voxels.flip(-1)
        full = torch.nn.functional.interpolate(
            (plain + mirrored).float() / 2, size=three.shape[2:], mode="bilinear", align_corners=False
        )
        found.append(full.softmax(1).cpu())
    return torch.cat(found).numpy()


def propagated(head: TrainingHead, probabilities: NDArray[np.float32]) -> TrainingHead:
    """The head with what its slice labels and these `probabilities` (plane, 6, row, column) say of its voxels."""
    voxels = head.voxels.copy()
    bleeding = 1 - probabilities[:, 0]
    labelled: NDArray[np.bool_] = np.asarray(head.labels.any(1))
    for plane in np.flatnonzero(labelled & (head.voxels == UNKNOWN).all((1, 2))):
        sure = (bleeding[plane] > SURE) & head.inside[plane]
        if sure.sum() < FEWEST_VOXELS:
            continue
        of_type = np.where(head.labels[plane][:, None, None], probabilities[plane, 1:], -1.0).argmax(0)
        drawn = np.where(bleeding[plane] < SURELY_NOT, 0, UNKNOWN)
        voxels[plane] = np.where(sure, 1 + of_type, drawn)
    beside = ndimage.binary_dilation(labelled) & ~labelled
    for plane in np.flatnonzero(beside):
        voxels[plane][bleeding[plane] > 0.5] = UNKNOWN
    return replace(head, voxels=voxels)
