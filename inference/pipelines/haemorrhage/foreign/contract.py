"""What a network of another house must take and give to be run here; CONTRACT.md says it to whoever has one.

In: the tables `network`, `input` and `output` of a model card. Out: the contract, checked; the planes of a head as the
network gets them; and whether what it gives is what it promised.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.errors import ModelError
from inference.models.card import ModelCard
from inference.models.weights import read_weights
from inference.pipelines.haemorrhage.decisions import Decisions
from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_ROWS
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType

LARGEST_BYTES = 500_000_000
NONE, ANY = "none", "any"
TABLES = ("network", "input", "output")  # of the card
TYPES = tuple(each.value for each in HaemorrhageType)

Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=8)]
Hounsfield = Annotated[float, Field(ge=-1024, le=3071)]
Window = Annotated[tuple[Hounsfield, Hounsfield], Field(strict=False)]
Network = Callable[[torch.Tensor], torch.Tensor]
"""Float32 planes (n, channel, row, column) -> its answer, both on the CPU; ModelError where it breaks down."""


class Table(BaseModel):
    """A table of a card: no unknown key, and a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Input(Table):
    """What the network gets: `planes` neighbouring planes in each of the HU windows, scaled linearly to `range`."""

    windows: Listed[Window]
    planes: Literal[1, 3, 5] = 1
    range: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(low >= high for low, high in (*self.windows, self.range)):
            raise ValueError("a window and the range go from the lower to the higher number")
        return self

    @property
    def channels(self) -> int:
        """The network's input channels: the planes of the first window, then of the next."""
        return len(self.windows) * self.planes

    def of_planes(self, image: torch.Tensor, part: slice) -> torch.Tensor:
        """(n, channel, row, column) of some planes of a head (plane, row, column) in HU; the ends are repeated."""
        reach = self.planes // 2
        near = torch.arange(len(image))[part, None] + torch.arange(-reach, reach + 1)
        stacked = image[near.clamp(0, len(image) - 1)]
        low, high = self.range
        scaled = [
            low + (stacked.clamp(*window) - window[0]) * ((high - low) / (window[1] - window[0]))
            for window in self.windows
        ]
        return torch.cat(scaled, 1).contiguous()


class Output(Table):
    """What the network gives: logits of every pixel, or log-odds of whole planes; and of what, channel by channel."""

    gives: Literal["voxels", "planes"]
    classes: Listed[str]

    @model_validator(mode="after")
    def _named(self) -> Self:
        first = NONE if self.gives == "voxels" else ANY
        named = self.classes[1:]
        if self.classes[0] != first:
            raise ValueError(f"the first class of a network that gives {self.gives} is '{first}'")
        if len(set(named)) < len(named):
            raise ValueError("a class stands there twice")
        if self.gives == "voxels" and named == (ANY,):
            return self
        unknown = [name for name in named if name not in TYPES]
        if unknown or (self.gives == "voxels" and not named):
            alone = ", or 'any' alone" if self.gives == "voxels" else ""
            raise ValueError(
                f"after '{first}' come names of {', '.join(TYPES)}{alone}; not {', '.join(unknown) or 'none'}"
            )
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the findings, in the order of HaemorrhageType; INTRACRANIAL where no types are told."""
        return tuple(each for each in TYPES if each in self.classes) or (INTRACRANIAL,)

    @property
    def order(self) -> list[int]:
        """The channels in the order in which a reading has them: none or any haemorrhage, then each of `kinds`."""
        if self.kinds == (INTRACRANIAL,):
            return [0, len(self.classes) - 1]
        return [0, *(self.classes.index(each) for each in self.kinds)]


class Contract(Table):
    """The whole contract; `network` is MONAI's alone, and is checked by the network that it names."""

    input: Input
    output: Output
    network: dict[str, Any] = {}


def read_contract(card: ModelCard, decide: Decisions) -> Contract:
    """The contract of a card; ModelError, with every key that is not right."""
    try:
        contract = Contract.model_validate({name: card.tables[name] for name in TABLES if name in card.tables})
    except ValidationError as error:
        raise ModelError(f"{card.place}: {said(error)}") from None
    slopes = {
        "study": (decide.study, 1),
        "slice": (decide.slice, 2),
        **{n: (p, 1) for n, p in zip(TYPES, decide.types, strict=True)},
    }
    wrong = [
        f"calibration.{name} needs {count} slopes"
        for name, (platt, count) in slopes.items()
        if len(platt.slopes) != count
    ]
    if card.networks != 1:
        wrong.append("networks must be 1")
    if contract.network and card.kind != "monai":
        wrong.append("the table network is for networks of MONAI only")
    if wrong:
        raise ModelError(f"{card.place}: {'; '.join(wrong)}")
    return contract


def said(error: ValidationError) -> str:
    """Every key that is not right and why, on one line."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the card"
        text = "there is no such key" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{key}: {text.removeprefix('Value error, ')}")
    return "; ".join(lines)


def read_bytes(card: ModelCard) -> bytes:
    """The weights with the card's SHA-256; ModelError where they are others, or more than LARGEST_BYTES."""
    place = Path(str(card.weights))
    if place.is_file() and place.stat().st_size > LARGEST_BYTES:
        raise ModelError(f"{place}: {place.stat().st_size / 1e6:.0f} MB; weights may have {LARGEST_BYTES / 1e6:.0f} MB")
    return read_weights(card)


def check_network(network: Network, contract: Contract, who: str) -> None:
    """Runs the network on drawn planes; ModelError where it does not take or give what the contract says.

    A plane's answer must not change with the planes beside it in a batch, nor from one run to the next.
    """
    low, high = contract.input.range
    drawn = torch.rand(
        (3, contract.input.channels, GRID_ROWS, GRID_COLUMNS), generator=torch.Generator().manual_seed(0)
    )
    planes = low + (high - low) * drawn
    together, alone = network(planes), network(planes[1:2])
    check_answer(together, planes, contract, who)
    check_answer(alone, planes[1:2], contract, who)
    size = float(together.abs().max()) + 1e-6
    if float((together[1:2] - alone).abs().max()) > 1e-2 * size:
        raise ModelError(f"{who}: a plane's answer depends on the other planes of its batch, or on chance")


def check_answer(answer: torch.Tensor, planes: torch.Tensor, contract: Contract, who: str) -> None:
    """ModelError where an answer has not the contract's shape or is not finite."""
    count, classes = len(planes), len(contract.output.classes)
    rows, columns = planes.shape[2:]
    shapes: list[tuple[int, ...]] = [(count, classes)]
    if contract.output.gives == "voxels":
        shapes = [(count, classes, rows, columns), (count, classes, rows // 2, columns // 2)]
    if tuple(answer.shape) not in shapes:
        given, wanted = tuple(answer.shape), " or ".join(map(str, shapes))
        raise ModelError(f"{who}: for {count} planes the network gives {given}; its card says {wanted}")
    if not torch.isfinite(answer).all():
        raise ModelError(f"{who}: the network gives numbers that are not finite")
