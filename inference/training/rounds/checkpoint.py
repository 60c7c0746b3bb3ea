"""A fold's training between two steps, in one safetensors file: tensors, and the rest as JSON in its metadata.

One file, replaced as a whole, never a pickle. It says what it was made of: a checkpoint of another recipe or of other
patients is refused, for a network would else judge patients whom it has seen.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from inference.models.weights import first_names
from inference.pipelines.haemorrhage.network import HeadNetwork, build_network
from inference.training.rounds.recipe import FoldTraining


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and says why."""


@dataclass(slots=True)
class State:
    """A run between two steps; `drawn` names the simulated heads at hand, (carrier, number) in the bank."""

    net: HeadNetwork
    averaged: HeadNetwork
    optimiser: torch.optim.AdamW
    rng: np.random.Generator
    drawn: list[tuple[str, int]]
    step: int = 0


def save_checkpoint(state: State, fold: FoldTraining, path: Path) -> None:
    """Replaces the file as a whole."""
    tensors = _tensors(state.net, "net.") | _tensors(state.averaged, "averaged.")
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{k}": v for k, v in moments.items()}
    rest = {"fold": asdict(fold), "step": state.step, "random": state.rng.bit_generator.state, "drawn": state.drawn}
    draft = path.with_suffix(".draft")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, draft, {"training": json.dumps(rest)})
    draft.replace(path)


def _tensors(network: HeadNetwork, prefix: str) -> dict[str, torch.Tensor]:
    """Each tensor once: some modules stand in the network twice, and a file must stay small enough to be carried."""
    state = network.state_dict()
    return {prefix + name: state[name] for name in dict.fromkeys(first_names(network).values())}


def _fill(network: HeadNetwork, tensors: Mapping[str, torch.Tensor], prefix: str) -> None:
    network.load_state_dict({name: tensors[prefix + first] for name, first in first_names(network).items()})


def _rest(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            content: dict[str, Any] = json.loads(file.metadata()["training"])
        return content
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this program ({error})") from error


def _agreed(path: Path, fold: FoldTraining) -> dict[str, Any]:
    """What the checkpoint holds besides tensors; CheckpointError unless it is of this recipe and these patients."""
    rest = _rest(path)
    wanted = json.loads(json.dumps(asdict(fold)))
    for name in ("recipe", "left_out", "start"):
        if rest["fold"].get(name) != wanted[name]:
            raise CheckpointError(f"{path}: was trained with another {name}; use another folder, or remove the file")
    return rest


def load_checkpoint(state: State, fold: FoldTraining, path: Path) -> None:
    """Continues with the same heads at hand and the same luck; CheckpointError where it would not be the same run."""
    rest = _agreed(path, fold)
    if rest["fold"]["simulator"] != fold.simulator and rest["step"] < fold.recipe.steps:
        raise CheckpointError(f"{path}: the simulator has changed since; use another folder, or remove the file")
    tensors = load_file(path)
    for network, prefix in ((state.net, "net."), (state.averaged, "averaged.")):
        _fill(network, tensors, prefix)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = value
    current = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": moments, "param_groups": current["param_groups"]})
    state.step = int(rest["step"])
    state.rng.bit_generator.state = rest["random"]
    state.drawn[:] = [(str(carrier), int(number)) for carrier, number in rest["drawn"]]


def trained_steps(path: Path, fold: FoldTraining) -> int:
    """How far a checkpoint was trained, 0 where there is none; CheckpointError where it is another fold's."""
    return int(_agreed(path, fold)["step"]) if path.exists() else 0


def read_averaged(path: Path, fold: FoldTraining) -> HeadNetwork:
    """The averaged network of a finished checkpoint, for inference; CheckpointError where it is another fold's."""
    if trained_steps(path, fold) < fold.recipe.steps:
        raise CheckpointError(f"{path}: the training is not finished")
    network = build_network()
    _fill(network, load_file(path), "averaged.")
    return network.eval()


def made_of(path: Path) -> tuple[str, str]:
    """The simulator's edition and the device that a checkpoint was trained with."""
    fold = _rest(path)["fold"]
    return str(fold["simulator"]), str(fold["device"])
