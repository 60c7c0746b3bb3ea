"""A card's weights: safetensors, whose SHA-256 is checked on every load. No pickle is ever loaded.

Torch is imported where networks are made: whoever only checks files does not wait for it.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from inference.errors import ModelError
from inference.models.card import ModelCard

if TYPE_CHECKING:
    import torch

SAFETENSORS = ".safetensors"
Network = TypeVar("Network", bound="torch.nn.Module")


def first_names(network: "torch.nn.Module") -> dict[str, str]:
    """For every name in the network's state, the first name of the same tensor: some modules stand in it twice."""
    seen: dict[int, str] = {}
    return {name: seen.setdefault(value.data_ptr(), name) for name, value in network.state_dict().items()}


def read_weights(card: ModelCard) -> bytes:
    """The card's weights file; ModelError where it cannot be read or its SHA-256 is not the card's."""
    try:
        content = card.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"{card.weights}: the weights cannot be read ({error.strerror or error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.identity.sha256:
        raise ModelError(
            f"{card.weights}: these are not the weights of the card (SHA-256 {digest[:12]}…, the card says "
            f"{card.identity.sha256[:12]}…)"
        )
    return content


def check_weights(card: ModelCard) -> None:
    """ModelError where the weights cannot be read, are not the card's, or are called safetensors and are none."""
    from safetensors import SafetensorError, deserialize

    content = read_weights(card)
    if card.weights.name.endswith(SAFETENSORS):
        try:
            deserialize(content)  # type: ignore[no-untyped-call]  # safetensors says no types here
        except SafetensorError as error:
            raise ModelError(f"{card.weights}: not a safetensors file ({error})") from error


def load_networks(
    card: ModelCard, build: Callable[[], Network], device: "torch.device", numbers: Sequence[int] | None = None
) -> tuple[Network, ...]:
    """The card's networks, or those of these numbers in its file, ready for inference in float32.

    ModelError when the weights are not the card's. Behind the networks that answer, a file may hold those of the folds.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_weights(card)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ModelError(f"{card.weights}: not a safetensors file ({error})") from error
    networks = []
    for number in range(card.networks) if numbers is None else numbers:
        network = build()
        names = first_names(network)
        try:
            network.load_state_dict({name: tensors[f"{number}.{first}"] for name, first in names.items()})
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"{card.weights}: the weights do not fit the network ({error})") from error
        networks.append(network.eval().to(device))
    return tuple(networks)
