"""RSNA Intracranial Hemorrhage Detection 2019: DICOM slices with a CSV of slice labels.

Flanders et al., Radiology: Artificial Intelligence 2020, doi 10.1148/ryai.2020190211; the files are those of
https://www.kaggle.com/c/rsna-intracranial-hemorrhage-detection: `stage_2_train.csv` (or stage 1's) with `ID,Label`, ID
being `ID_xxxxxxxxx_` and one of the five types or `any`, some rows twice; beside it `stage_2_train/` (`..._images/` in
stage 1) with `ID_xxxxxxxxx.dcm`. Nothing but the headers says which slices are one study. All identifiers are of the
kind `ID_134d398b61`, which are no UIDs. Some 12-bit images hold negative values wrapped round at 4096 (found by J.
Howard, "Cleaning the data for rapid prototyping", Kaggle 2019); they are unwrapped here.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset as DicomDataset

from inference.input.elements import integer, number, text
from inference.input.hounsfield import AIR_HU
from inference.input.stack import NotAnalysable, SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import DatasetError, Entry, LabelledStudy, Truth, knowing
from inference.training.datasets.digest import digest_of
from inference.training.datasets.headers import Header, read_headers
from inference.training.datasets.series import read_images, stack_of_files
from inference.training.datasets.table import read_header, read_rows

log = logging.getLogger(__name__)

NAMES = ("any", *HaemorrhageType)
ROW_ID = re.compile(r"(ID_\w+)_(" + "|".join(NAMES) + r")")
COMPLETE = (1 << len(NAMES)) - 1
WRAP = 4096
LOWEST_HU = -1000


@dataclass(slots=True)
class _Label:
    """What the rows say of one slice: a bit per name, and which names were said; `wrong` is the first error."""

    positive: int = 0
    said: int = 0
    wrong: str = ""


@dataclass(frozen=True, eq=False)
class Rsna2019:
    """`table` is the CSV, `images` the folder of slices, `index` where the headers are kept between runs, if at all."""

    table: Path
    images: Path
    index: Path | None = None
    name: str = "RSNA 2019"

    def entries(self) -> Sequence[Entry]:
        """Every study that has an image, by StudyInstanceUID; the first call reads all headers."""
        missing = self._labels.keys() - {header.sop_uid for headers in self._studies.values() for header in headers}
        if missing:
            log.warning("%s: %d labelled slices have no image, e.g. %s.dcm", self.images, len(missing), min(missing))
        return [Entry(study, headers[0].patient_id or study) for study, headers in self._studies.items()]

    def load(self, entry: Entry) -> LabelledStudy:
        """One study; every slice must have its six labels."""
        headers = self._studies.get(entry.study_id)
        if headers is None:
            raise DatasetError(f"{self.images}: holds no image of the study {entry.study_id}.")
        labels = {header.sop_uid: self._label(header) for header in headers}
        paths = [self.images / header.path for header in headers]
        positive = [label.positive for label in labels.values()]
        types = tuple(any(bits >> place & 1 for bits in positive) for place in range(1, len(NAMES)))
        whole = Truth(any(bits & 1 for bits in positive), types)
        with disable_value_validation(), knowing(whole):
            images = read_images(paths)
            try:
                stack = stack_of_files(paths, images)
            except NotAnalysable as error:
                raise NotAnalysable(f"{entry.study_id}: {error}") from error
            unwrap(stack, images)
        bits = np.array([labels[uid].positive for uid in stack.sop_uids])
        slices = (bits[:, None] >> np.arange(len(NAMES)) & 1).astype(bool)
        truth = Truth(
            haemorrhage=whole.haemorrhage,
            types=whole.types,
            slices=slices,
            judged=np.ones(len(slices), bool),
            age_years=stack.patient_age_years,
        )
        return LabelledStudy(entry, stack, truth)

    def labels_digest(self) -> str:
        """Of the table."""
        return digest_of([self.table])

    def _label(self, header: Header) -> _Label:
        label = self._labels.get(header.sop_uid)
        if label is None:
            raise DatasetError(f"{self.images / header.path}: has no label; expected {header.sop_uid} in {self.table}.")
        if label.wrong:
            raise DatasetError(label.wrong)
        if label.said != COMPLETE:
            lacking = [name for place, name in enumerate(NAMES) if not label.said >> place & 1]
            raise DatasetError(f"{self.table}: {header.sop_uid} has no row for {', '.join(lacking)}.")
        return label

    @cached_property
    def _labels(self) -> dict[str, _Label]:
        labels: dict[str, _Label] = {}
        for row in read_rows(self.table, ("id", "label")):
            found = ROW_ID.fullmatch(row.text("id"))
            if found is None:
                expected = f"ID_ and nine characters, then one of {', '.join(NAMES)}, joined by _"
                raise DatasetError(f"{row.where}: ID is {row.text('id')!r}; expected {expected}.")
            label = labels.setdefault(found[1], _Label())
            bit = 1 << NAMES.index(found[2])
            said = row.text("label")
            if said not in ("0", "1"):
                label.wrong = label.wrong or f"{row.where}: Label is {said!r}; expected 0 or 1."
            elif label.said & bit and bool(label.positive & bit) != (said == "1"):
                label.wrong = label.wrong or f"{row.where}: contradicts an earlier row of {found[0]}."
            label.said |= bit
            label.positive |= bit if said == "1" else 0
        return labels

    @cached_property
    def _studies(self) -> dict[str, list[Header]]:
        studies: dict[str, list[Header]] = {}
        for header in read_headers(self.images, self.index):
            if header.study_uid:
                studies.setdefault(header.study_uid, []).append(header)
            elif header.damaged:
                log.warning("%s: is no readable DICOM image and is left out", self.images / header.path)
        if not studies:
            raise DatasetError(f"{self.images}: holds no DICOM images; expected ID_xxxxxxxxx.dcm.")
        return dict(sorted(studies.items()))


def open_rsna2019(path: Path, index: Path | None = None) -> Rsna2019:
    """The data set in this folder; DatasetError where it does not have the layout."""
    tables = sorted(path.glob("*train*.csv"))
    if not tables:
        raise DatasetError(f"{path}: holds no labels; expected stage_2_train.csv with the columns ID, Label.")
    table = tables[-1]
    header = read_header(table)
    if not {"id", "label"} <= set(header):
        raise DatasetError(f"{table}: expected the columns ID, Label; found {', '.join(header) or 'none'}.")
    places = [path / table.stem, path / f"{table.stem}_images", path]
    return Rsna2019(table, next(place for place in places if place.is_dir()), index)


def unwrap(stack: SliceStack, images: Sequence[DicomDataset]) -> None:
    """Puts right, in place, images that say unsigned 12 bits from about 0 HU up, where air is near 3096 and above."""
    offsets = {text(ds, "SOPInstanceUID"): number(ds, "RescaleIntercept") or 0.0 for ds in images if _is_wrapped(ds)}
    for plane, uid in zip(stack.hu, stack.sop_uids, strict=True):
        if uid in offsets:
            plane[plane - offsets[uid] >= WRAP + LOWEST_HU] -= WRAP
            np.maximum(plane, np.float32(AIR_HU), out=plane)


def _is_wrapped(ds: DicomDataset) -> bool:
    return (
        integer(ds, "BitsStored") == 12
        and integer(ds, "PixelRepresentation") == 0
        and (number(ds, "RescaleIntercept") or 0.0) > -100
    )
