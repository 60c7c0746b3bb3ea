"""Checkpoints of PyTorch -> safetensors, without running anything that stands in them.

A `.pt` is a pickle, and a pickle can run any code. `torch.load(weights_only=True)` builds tensors and plain values and
refuses the rest; TorchScript archives hold code by design and are refused before.
"""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from inference.errors import ModelError
from inference.pipelines.haemorrhage.foreign.contract import LARGEST_BYTES

STATES = ("state_dict", "model", "network")
PREFIX = "module."


def convert_checkpoint(source: Path, target: Path) -> str:
    """Writes the weights of a `.pt` file as safetensors and returns their SHA-256, as the card needs it.

    Weights are the file's whole content or stand under one of STATES; "module." of parallel training is taken off.
    ModelError where the file holds anything that is not plain data.
    """
    if not source.is_file():
        raise ModelError(f"{source}: there is no such file")
    if source.stat().st_size > LARGEST_BYTES:
        raise ModelError(f"{source}: weights may have {LARGEST_BYTES / 1e6:.0f} MB")
    _refuse_torchscript(source)
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{source}: holds more than tensors, and what else stands in a pickle could run any code; it was not read. "
            "Save the weights alone, torch.save(network.state_dict(), file), where they were trained"
        ) from error
    except (EOFError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{source}: not a checkpoint of PyTorch ({' '.join(str(error).split())[:200]})") from error
    content = save(_tensors(found, source))
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _refuse_torchscript(source: Path) -> None:
    if not zipfile.is_zipfile(source):
        return
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise ModelError(
            f"{source}: a TorchScript archive holds the network's code beside its weights, and no code of a file is "
            "ever run here; save network.state_dict() or export the network as ONNX"
        )


def _tensors(found: object, source: Path) -> dict[str, torch.Tensor]:
    """The state of a network, each tensor with memory of its own."""
    for name in STATES:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found:
        raise ModelError(f"{source}: no weights stand in it, neither alone nor under {', '.join(STATES)}")
    wrong = [str(name) for name, value in found.items() if not _plain(value)]
    if wrong:
        raise ModelError(f"{source}: these are no plain tensors: {', '.join(wrong[:5])}")
    prefix = PREFIX if all(str(name).startswith(PREFIX) for name in found) else ""
    return {str(name).removeprefix(prefix): value.contiguous().clone() for name, value in found.items()}


def _plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized
