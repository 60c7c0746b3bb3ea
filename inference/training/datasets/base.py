"""What every data set is, whatever its layout on disk: studies with what is known of them, read one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.stack import SliceStack

UNKNOWN = 255
UNTYPED = 6


class DatasetError(Exception):
    """A data set is not what its layout promises; the message names the file and says what was expected."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of a data set, known without reading its pixels. Intervals and folds go by `patient_id`."""

    study_id: str
    patient_id: str


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What readers say of a study.

    `haemorrhage`: any at all. `types`: the five in HaemorrhageType's order, None = nobody said.
    `slices` bool (slice, 6), any then the five types, in the stack's order, or None where only the study was read;
    `judged` bool (slice,), which of them count; a type's column counts where `types` says it.
    `mask` uint8 (slice, row, column) on the stack's voxels or None: 0 none, 1..5 type, UNTYPED some type, UNKNOWN not
    drawn; a slice nobody drew on is wholly UNKNOWN.
    """

    haemorrhage: bool
    types: tuple[bool | None, ...] = (None,) * 5
    slices: NDArray[np.bool_] | None = None
    judged: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    mask: NDArray[np.uint8] | None = None
    age_years: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledStudy:
    """A study with its truth."""

    entry: Entry
    stack: SliceStack
    truth: Truth


class Dataset(Protocol):
    """One layout. `name` is what results call it, e.g. "CT-ICH"."""

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Every study, in a fixed order; cheap. DatasetError where the labels cannot be read."""
        ...

    def load(self, entry: Entry) -> LabelledStudy:
        """Reads one study's pixels and truth. DatasetError; NotAnalysable where the images are no stack."""
        ...
