"""The 2.5D network: a small U-Net (MONAI DynUNet) that segments a plane, and a classifier of the plane on its bottom.

In: features of plane triplets (n, CHANNELS, row, column) at 1 mm. Out: logits of voxels at 2 mm and of planes; class 0
of voxels = no haemorrhage, 1..5 in the order of HaemorrhageType.
"""

from typing import NamedTuple

import torch
from monai.networks.nets.dynunet import DynUNet

from inference.pipelines.haemorrhage.head_grid import CHANNELS

CLASSES = 6
TOP_PIXELS = 16
FILTERS = (32, 48, 64, 96, 128)
STRIDES = (2, 2, 2, 2, 1)


class NetworkOutput(NamedTuple):
    """`voxels` logits (n, 6, row / 2, column / 2); `planes` (n, 6) the classifier's log-odds of any haemorrhage, then
    of each type; `coarse` logits (n, 6, row / 4, column / 4) of the decoder's second-last step, for deep supervision.
    """

    voxels: torch.Tensor
    planes: torch.Tensor
    coarse: torch.Tensor


class PlaneClassifier(torch.nn.Module):
    """Attention over places, one map for each answer (Ilse et al. 2018, doi 10.48550/arXiv.1802.04712)."""

    def __init__(self, channels: int, answers: int) -> None:
        super().__init__()
        self.mix = torch.nn.Sequential(torch.nn.Conv2d(channels, 64, 1), torch.nn.LeakyReLU(0.01))
        self.attention = torch.nn.Conv2d(64, answers, 1)
        self.value = torch.nn.Conv2d(64, answers, 1)

    def forward(self, deep: torch.Tensor) -> torch.Tensor:
        """(n, channel, row, column) -> (n, answer) log-odds."""
        mixed = self.mix(deep)
        weights = self.attention(mixed).flatten(2).float().softmax(2)
        values = self.value(mixed).flatten(2).float()
        return torch.sum(weights * values, 2)


class HeadNetwork(DynUNet):
    """DynUNet's own blocks, with what they know at the bottom and on the way up read out as well."""

    def __init__(self) -> None:
        super().__init__(
            spatial_dims=2,
            in_channels=CHANNELS,
            out_channels=CLASSES,
            kernel_size=[3] * len(FILTERS),
            strides=list(STRIDES),
            upsample_kernel_size=list(STRIDES[1:]),
            filters=list(FILTERS),
            norm_name="batch",
        )
        self.classifier = PlaneClassifier(FILTERS[-1], CLASSES)
        self.coarse_block = torch.nn.Conv2d(FILTERS[1], CLASSES, 1)

    def forward(self, inputs: torch.Tensor) -> NetworkOutput:
        """The answer for features (n, CHANNELS, row, column); rows and columns are multiples of 16."""
        ways = [self.input_block(inputs)]
        for down in self.downsamples:
            ways.append(down(ways[-1]))
        bottom = self.bottleneck(ways[-1])
        steps = [bottom]
        for up, way in zip(self.upsamples, reversed(ways), strict=True):
            steps.append(up(steps[-1], way))
        return NetworkOutput(self.output_block(steps[-1]), self.classifier(bottom), self.coarse_block(steps[-2]))


def build_network() -> HeadNetwork:
    """The network with fresh weights, about 1.06 M parameters."""
    return HeadNetwork()


def plane_scores(answer: NetworkOutput) -> torch.Tensor:
    """(n, 6) log-odds of planes: the mean of what their voxels and the classifier say."""
    return (plane_logits(answer.voxels.float()) + answer.planes.float()) / 2


def plane_logits(logits: torch.Tensor) -> torch.Tensor:
    """(n, 6): log-odds that a plane shows any haemorrhage, then each type; means of the TOP_PIXELS highest pixels.

    A pixel's log-odds of a type are against no haemorrhage; of any, against the sum of all types.
    """
    none, types = logits[:, :1].flatten(2), logits[:, 1:].flatten(2)
    odds = torch.cat([torch.logsumexp(types, 1, keepdim=True), types], 1) - none
    return odds.topk(TOP_PIXELS, dim=2).values.mean(2)
