"""The studies that a training learns from: read from labelled data sets, and packed into one file.

A packed file holds every head on the network's grid with its labels: small enough to be carried to another machine,
and read in a second. HU are whole numbers there; beyond -100 to 200 they are rounded to 16.
"""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from inference.findings import NotAnalysable
from inference.training.datasets.base import Dataset, DatasetError
from inference.training.rounds.bank import edition
from inference.training.rounds.data import TrainingHead, training_head

FINE_HU = (-100, 200)
COARSE_HU = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a study as a whole; `types` as in Truth."""

    dataset: str
    patient_id: str
    study_id: str
    haemorrhage: bool
    types: tuple[bool | None, ...]
    age_years: float | None

    @property
    def person(self) -> str:
        """The patient, named across data sets: folds go by person."""
        return f"{self.dataset}/{self.patient_id}"

    @property
    def study(self) -> str:
        """The study, named across data sets."""
        return f"{self.dataset}/{self.study_id}"


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCase:
    """A study's head on the grid, and what is known of it."""

    told: Told
    head: TrainingHead


def signature_of(datasets: Sequence[Dataset]) -> str:
    """Changes with the data sets, their labels and the program that puts heads on the grid."""
    return json.dumps([edition(), *([each.name, each.labels_digest()] for each in datasets)])


def gather(datasets: Sequence[Dataset]) -> list[TrainingCase]:
    """Every study that can be used; others are logged with the reason. DatasetError where none can."""
    cases = []
    for dataset in datasets:
        for entry in dataset.entries():
            try:
                study = dataset.load(entry)
                truth = study.truth
                told = Told(
                    dataset.name, entry.patient_id, entry.study_id, truth.haemorrhage, truth.types, truth.age_years
                )
                cases.append(TrainingCase(told, training_head(study)))
            except (DatasetError, NotAnalysable) as reason:
                log.warning("%s %s is left out: %s", dataset.name, entry.study_id, reason)
    if not cases:
        raise DatasetError("no study of these data sets can be used")
    return cases


def pack(cases: Sequence[TrainingCase], signature: str, path: Path) -> None:
    """Replaces the file as a whole."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, case in enumerate(cases):
        head = case.head
        arrays[f"{number}.image"] = _rounded(head.image)
        arrays[f"{number}.inside"] = np.packbits(head.inside, axis=-1)
        arrays[f"{number}.depth_mm"] = head.depth_mm
        arrays[f"{number}.labels"] = head.labels
        arrays[f"{number}.voxels"] = head.voxels
    about = {"signature": signature, "told": [asdict(case.told) for case in cases]}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    draft = path.with_name(f"{path.stem}.{os.getpid()}.draft.npz")
    np.savez_compressed(draft, allow_pickle=False, **arrays)
    draft.replace(path)


def unpack(path: Path, signature: str | None = None) -> list[TrainingCase]:
    """The cases of a packed file; DatasetError where it is none, or not the one with this signature."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(kept["about"].tobytes())
            if signature not in (None, about["signature"]):
                raise DatasetError(f"{path}: was packed from other data, or by another version of this program")
            return [
                TrainingCase(
                    Told(**{**told, "types": tuple(told["types"])}),
                    TrainingHead(
                        image=kept[f"{n}.image"].astype(np.float16),
                        inside=_unpacked(kept[f"{n}.inside"], kept[f"{n}.image"].shape[-1]),
                        depth_mm=kept[f"{n}.depth_mm"],
                        labels=kept[f"{n}.labels"],
                        voxels=kept[f"{n}.voxels"],
                    ),
                )
                for n, told in enumerate(about["told"])
            ]
    except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise DatasetError(f"{path}: is no packed file of heads ({error})") from error


def _rounded(image: NDArray[np.float16]) -> NDArray[np.int16]:
    hu = np.rint(image.astype(np.float32))
    coarse = np.rint(hu / COARSE_HU) * COARSE_HU
    return np.where((hu >= FINE_HU[0]) & (hu <= FINE_HU[1]), hu, coarse).astype(np.int16)


def _unpacked(bits: NDArray[np.uint8], columns: int) -> NDArray[np.bool_]:
    return np.unpackbits(bits, axis=-1, count=columns).astype(bool)
