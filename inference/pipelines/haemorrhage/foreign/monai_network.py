"""MONAI's networks from an allow-list, built from plain numbers and words of a card, with weights of safetensors.

A name that is not in NETWORKS, or an argument that its table does not have, is refused; nothing of a MONAI bundle
(`_target_`, `$` expressions, Python) is ever read. Pretrained weights are never fetched.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.flexible_unet import FlexibleUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.unet import UNet
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from inference.errors import ModelError
from inference.models.weights import first_names
from inference.pipelines.haemorrhage.foreign.contract import LARGEST_BYTES, Contract, Listed, Network, Table, said

Count = Annotated[int, Field(ge=1, le=1024)]
Blocks = Annotated[int, Field(ge=0, le=16)]
Size = Annotated[int, Field(ge=1, le=11)]
Sizes = Size | Annotated[tuple[Size, Size], Field(strict=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
ActName = Annotated[str, Field(pattern=r"(?i)^(elu|relu|relu6|leakyrelu|prelu|selu|celu|gelu|swish|memswish|mish)$")]
NormName = Annotated[str, Field(pattern=r"(?i)^(batch|instance|group)$")]


class ActOptions(Table):
    """What may be said of an activation."""

    negative_slope: float | None = None
    inplace: bool | None = None


class NormOptions(Table):
    """What may be said of a normalisation."""

    affine: bool | None = None
    eps: Annotated[float, Field(gt=0)] | None = None
    momentum: Share | None = None
    num_groups: Count | None = None
    track_running_stats: bool | None = None


Act = ActName | Annotated[tuple[ActName, ActOptions], Field(strict=False)]
Norm = NormName | Annotated[tuple[NormName, NormOptions], Field(strict=False)]


class UNetTable(Table):
    """Arguments of UNet."""

    name: Literal["UNet"]
    channels: Listed[Count]
    strides: Listed[Size]
    kernel_size: Sizes | None = None
    up_kernel_size: Sizes | None = None
    num_res_units: Blocks | None = None
    act: Act | None = None
    norm: Norm | None = None
    dropout: Share | None = None
    bias: bool | None = None
    adn_ordering: Annotated[str, Field(pattern="^[NDA]{1,3}$")] | None = None


class AttentionUnetTable(Table):
    """Arguments of AttentionUnet."""

    name: Literal["AttentionUnet"]
    channels: Listed[Count]
    strides: Listed[Size]
    kernel_size: Sizes | None = None
    up_kernel_size: Sizes | None = None
    dropout: Share | None = None


class DynUNetTable(Table):
    """Arguments of DynUNet."""

    name: Literal["DynUNet"]
    kernel_size: Listed[Sizes]
    strides: Listed[Sizes]
    upsample_kernel_size: Listed[Sizes]
    filters: Listed[Count] | None = None
    dropout: Share | None = None
    norm_name: Norm | None = None
    act_name: Act | None = None
    deep_supervision: bool | None = None
    deep_supr_num: Count | None = None
    res_block: bool | None = None
    trans_bias: bool | None = None


class SegResNetTable(Table):
    """Arguments of SegResNet."""

    name: Literal["SegResNet"]
    init_filters: Count | None = None
    blocks_down: Listed[Blocks] | None = None
    blocks_up: Listed[Blocks] | None = None
    dropout_prob: Share | None = None
    act: Act | None = None
    norm: Norm | None = None
    use_conv_final: bool | None = None
    upsample_mode: Literal["deconv", "nontrainable", "pixelshuffle"] | None = None


class BasicUNetTable(Table):
    """Arguments of BasicUNet."""

    name: Literal["BasicUNet"]
    features: Listed[Count] | None = None
    act: Act | None = None
    norm: Norm | None = None
    bias: bool | None = None
    dropout: Share | None = None
    upsample: Literal["deconv", "nontrainable", "pixelshuffle"] | None = None


class FlexibleUNetTable(Table):
    """Arguments of FlexibleUNet; its weights are the file's alone."""

    name: Literal["FlexibleUNet"]
    backbone: Annotated[str, Field(pattern="^efficientnet-b[0-7]$")]
    decoder_channels: Listed[Count] | None = None
    norm: Norm | None = None
    act: Act | None = None
    dropout: Share | None = None
    decoder_bias: bool | None = None
    upsample: Literal["deconv", "nontrainable", "pixelshuffle"] | None = None


class DenseNet121Table(Table):
    """Arguments of DenseNet121; its weights are the file's alone."""

    name: Literal["DenseNet121"]
    init_features: Count | None = None
    growth_rate: Count | None = None
    block_config: Listed[Count] | None = None
    bn_size: Count | None = None
    act: Act | None = None
    norm: Norm | None = None
    dropout_prob: Share | None = None


Build = Callable[..., torch.nn.Module]
NETWORKS: Mapping[str, tuple[Build, type[Table]]] = MappingProxyType(
    {
        "UNet": (UNet, UNetTable),
        "AttentionUnet": (AttentionUnet, AttentionUnetTable),
        "DynUNet": (DynUNet, DynUNetTable),
        "SegResNet": (SegResNet, SegResNetTable),
        "BasicUNet": (BasicUNet, BasicUNetTable),
        "FlexibleUNet": (partial(FlexibleUNet, pretrained=False), FlexibleUNetTable),
        "DenseNet121": (partial(DenseNet121, pretrained=False), DenseNet121Table),
    }
)


def build_monai(contract: Contract, who: str) -> torch.nn.Module:
    """The network that the card names, with fresh weights; ModelError where it is none of NETWORKS or ill described."""
    name = contract.network.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ModelError(f"{who}: network.name is {name!r}; there are: {', '.join(NETWORKS)}")
    build, table = NETWORKS[name]
    try:
        arguments = table.model_validate(contract.network).model_dump(exclude_unset=True, exclude={"name"})
    except ValidationError as error:
        raise ModelError(f"{who}: network {name}: {said(error)}") from None
    channels, classes = contract.input.channels, len(contract.output.classes)
    make = partial(build, spatial_dims=2, in_channels=channels, out_channels=classes, **arguments)
    try:
        with torch.device("meta"):  # how large it would be, without its memory
            size = sum(4 * each.numel() for each in make().parameters())
        if size > LARGEST_BYTES:
            raise ModelError(
                f"{who}: this {name} has {size / 1e6:.0f} MB; weights may have {LARGEST_BYTES / 1e6:.0f} MB"
            )
        return make()
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{who}: MONAI cannot build this {name} ({_line(error)})") from error


def load_monai(content: bytes, contract: Contract, device: torch.device, who: str) -> Network:
    """The card's network with the weights of a safetensors file, on a device; ModelError where they do not fit."""
    module = build_monai(contract, who)
    try:
        tensors = load(content)
    except SafetensorError as error:
        hint = "checkpoints of PyTorch are converted first"
        raise ModelError(f"{who}: not a safetensors file; {hint} ({error})") from error
    names = first_names(module)  # safetensors' own save_model keeps one name, any one, of a tensor that has several
    held = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    tensors |= {name: held[first] for name, first in names.items() if name not in tensors and first in held}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{who}: the weights do not fit the network ({_line(error)})") from error
    module = module.eval().to(device)

    @torch.inference_mode()
    def network(planes: torch.Tensor) -> torch.Tensor:
        try:
            return torch.as_tensor(module(planes.to(device))).float().cpu()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{who}: the network cannot take these planes ({_line(error)})") from error

    return network


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
