"""The 2.5D network: a small residual-free U-Net (MONAI DynUNet) and what its logits say about a plane.

In: features of plane triplets (n, CHANNELS, row, column) at 1 mm. Out: logits at 2 mm, (n, 6, row / 2, column / 2),
class 0 = no haemorrhage, 1..5 in the order of HaemorrhageType.
"""

import torch
from monai.networks.nets.dynunet import DynUNet

from inference.preprocess import CHANNELS

CLASSES = 6
TOP_PIXELS = 16
FILTERS = (32, 48, 64, 96, 128)
STRIDES = (2, 2, 2, 2, 1)


def build_network() -> torch.nn.Module:
    """The network with fresh weights, about 1.05 M parameters."""
    net: torch.nn.Module = DynUNet(
        spatial_dims=2,
        in_channels=CHANNELS,
        out_channels=CLASSES,
        kernel_size=[3] * len(FILTERS),
        strides=list(STRIDES),
        upsample_kernel_size=list(STRIDES[1:]),
        filters=list(FILTERS),
        norm_name="batch",
    )
    return net


def plane_logits(logits: torch.Tensor) -> torch.Tensor:
    """(n, 6): log-odds that a plane shows any haemorrhage, then each type; means of the TOP_PIXELS highest pixels.

    A pixel's log-odds of a type are against no haemorrhage; of any, against the sum of all types.
    """
    none, types = logits[:, :1].flatten(2), logits[:, 1:].flatten(2)
    odds = torch.cat([torch.logsumexp(types, 1, keepdim=True), types], 1) - none
    return odds.topk(TOP_PIXELS, dim=2).values.mean(2)
