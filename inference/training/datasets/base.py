"""What every data set is, whatever its layout on disk: studies with what is known of them, read one at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.findings import NotAnalysable
from inference.input.stack import SliceStack

UNKNOWN = 255
UNTYPED = 6


def outlined_blood(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where somebody drew blood, of whatever type, on a mask as in Truth."""
    return np.asarray((mask > 0) & (mask != UNKNOWN))


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


class DatasetError(Exception):
    """A data set is not what its layout promises; the message names the file and says what was expected.

    `truth` is what readers say of the study whose images are damaged, where that is known.
    """

    truth: Truth | None = None


class NoStack(NotAnalysable):
    """The images of a study form no stack; `truth` is what readers say of it all the same, where that is known."""

    truth: Truth | None = None


@contextmanager
def knowing(truth: Truth | None) -> Iterator[None]:
    """While the images are read: whatever is wrong with them, the labels go with the error. NotAnalysable: NoStack."""
    try:
        yield
    except DatasetError as error:
        error.truth = truth
        raise
    except NotAnalysable as error:
        refused = NoStack(str(error))
        refused.truth = truth
        raise refused from error


@dataclass(frozen=True, slots=True, eq=False)
class LabelledStudy:
    """A study with its truth. `series_name` is the series that was chosen, '' where a study has no several."""

    entry: Entry
    stack: SliceStack
    truth: Truth
    series_name: str = ""


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
        """Reads one study's pixels and truth. DatasetError at damaged files; NoStack where the images are no stack."""
        ...

    def labels_digest(self) -> str:
        """Changes whenever a label may have changed."""
        ...
