"""What a clinical question is, and what every pipeline that answers one is: the contract, without any disease.

A question is a package `inference.pipelines.<name>` whose module `question` holds one `Question`, and a file of words
`reports.vocabulary.<name>`; the registry lists its name. CONTRACT.md beside this file says how one is added.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from inference.change import Change, Volume
from inference.findings import ModelIdentity, Result
from inference.models.card import ModelCard

if TYPE_CHECKING:
    import torch
    from pydicom.dataset import Dataset

    from inference.input.stack import SliceStack


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a pipeline is given: the slices of one series.

    A question that needs more (an earlier result, other series, later a waveform or a video) extends this class, and
    its `prepare` makes one.
    """

    stack: "SliceStack"


Needed = TypeVar("Needed", bound=Given, contravariant=True)


class Pipeline(Protocol[Needed]):
    """Answers one question by one method."""

    @property
    def model(self) -> ModelIdentity:
        """Which weights answer."""
        ...

    def run(self, given: Needed) -> Result:
        """The answer; NotAnalysable, with a sentence a radiologist understands, where there cannot be one."""
        ...


@dataclass(frozen=True, slots=True)
class TestedImage:
    """A test image's probability without and with what the question looks for."""

    title: str
    without: float
    with_it: float


@dataclass(frozen=True, slots=True)
class Question:
    """One clinical question: what it needs, which models answer it, and what follows from two answers.

    `prepare` makes what its pipelines are given of the data sets of the chosen series (with pixels, in any order), or
    raises NotAnalysable. `load` makes the pipeline that runs a card's model on a device; ModelError where it cannot.
    `compare` marks what has changed between the volumes of an earlier and a later scan, by finding; None where change
    has no meaning. `self_test` tries a loaded pipeline on images of known content; None where nothing can be tried.
    `card` gives the model that comes with the package. `companions` are the files beside a card's weights that belong
    to them; ModelError where one is damaged. Where the question is `urgent`, a positive answer puts the study first.
    """

    name: str
    prepare: Callable[[Sequence["Dataset"]], Given]
    load: Callable[[ModelCard, "torch.device"], Pipeline[Any]]
    card: Callable[[], ModelCard]
    compare: Callable[[Mapping[str, Volume], Mapping[str, Volume]], tuple[Change, ...]] | None = None
    self_test: Callable[[Pipeline[Any]], tuple[TestedImage, ...]] | None = None
    companions: Callable[[ModelCard], tuple[Path, ...]] | None = None
    urgent: bool = True
