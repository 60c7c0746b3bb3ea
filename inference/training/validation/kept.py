"""What is kept of a study that was analysed silently: one JSON file each, without its truth, which may be corrected.

A file belongs to one `RunKey` and to the study's files as they were (`files`): with another model, rules or program, or
when images came or went, the study is analysed anew. It is replaced as a whole, so that a run may be stopped at any
moment.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from inference.findings import Result
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import Entry, LabelledStudy, Truth
from inference.training.evaluation.pictures import draw_study
from inference.training.evaluation.records import RunKey, StudyAnswer, StudyRecord, safe_name, write_whole

TYPES = tuple(kind.value for kind in HaemorrhageType)


@dataclass(frozen=True, slots=True)
class Traits:
    """By what the figures are split; '' or None where the images do not say. `distance_mm`: between slices, by their
    positions."""

    manufacturer: str = ""
    model: str = ""
    sex: str = ""
    age_years: float | None = None
    distance_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One study: what the model said, with what it was said."""

    key: RunKey
    files: str
    record: StudyRecord
    traits: Traits


_KEPT = TypeAdapter(Kept)


@dataclass(frozen=True, slots=True)
class Keeper:
    """The folder of kept studies and their pictures, for one run."""

    path: Path
    key: RunKey

    def find(self, study_uid: str, files: str, haemorrhage: bool) -> Kept | None:
        """What need not be done again: an end that another run would have, too, and its picture where it is wrong."""
        try:
            kept = _KEPT.validate_json(self._file(study_uid, "json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        if kept.key != self.key or kept.files != files or kept.record.study_id != study_uid:
            return None
        if not kept.record.outcome.is_final:
            return None
        answer = kept.record.answer
        is_wrong = answer is not None and answer.suspected != haemorrhage
        has_picture = kept.record.picture is not None and self.picture(study_uid).exists()
        return kept if has_picture or not is_wrong else None

    def keep(self, kept: Kept) -> None:
        """Files it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self._file(kept.record.study_id, "json"), _KEPT.dump_json(kept, indent=1))

    def picture(self, study_uid: str) -> Path:
        """Where the picture of a study lies."""
        return self._file(study_uid, "png")

    def draw(self, study_uid: str, patient_id: str, stack: SliceStack, result: Result, truth: Truth) -> str:
        """Draws a wrong answer; the name of the file."""
        drawn = np.zeros(stack.hu.shape, np.uint8)
        for finding in result.findings:
            if finding.mask is not None:
                drawn[finding.mask] = 1
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.picture(study_uid)
        draw_study(LabelledStudy(Entry(study_uid, patient_id), stack, truth), result, drawn).save(path, optimize=True)
        return path.name

    def _file(self, study_uid: str, ending: str) -> Path:
        return self.path / f"{safe_name(study_uid)}.{ending}"


def answer_of(result: Result) -> StudyAnswer:
    """The result without its masks; a type that the model does not tell has probability 0 and is not present."""
    by_name = {finding.name: finding for finding in result.findings}
    found = [by_name.get(name) for name in TYPES]
    return StudyAnswer(
        probability=result.probability,
        threshold=result.threshold,
        suspected=result.suspected,
        type_probabilities=tuple(each.probability if each else 0.0 for each in found),
        types_present=tuple(bool(each and each.present) for each in found),
        volumes_ml=tuple(each.volume_ml if each else 0.0 for each in found),
        slice_probabilities=result.slice_probabilities,
        slice_threshold=result.threshold,
        key_slices=result.key_slices,
        warnings=result.warnings,
    )


def distance_mm(stack: SliceStack) -> float:
    """The usual distance from a slice to the next."""
    return float(np.median(stack.extents_mm))
