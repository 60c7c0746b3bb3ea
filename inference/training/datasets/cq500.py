"""CQ500: 491 head CTs read by three radiologists (Chilamkurthy et al., Lancet 2018, doi 10.1016/S0140-6736(18)31645-3).

Layout as Qure.ai published it: `reads.csv` (`name` such as CQ500-CT-12, `Category`, and per reader R1 to R3 the columns
`R1:ICH`, `R1:IPH`, `R1:IVH`, `R1:SDH`, `R1:EDH`, `R1:SAH` and others), and, at any depth, folders
`CQ500CT12 CQ500CT12/Unknown Study/CT PLAIN THIN/CT000000.dcm`. The truth is the majority of the three, each type for
itself; it is known of the study, not of slices. Which series is read: `series.py`, from the folders' names.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import DatasetError, Entry, LabelledStudy, Truth, knowing
from inference.training.datasets.digest import digest_of
from inference.training.datasets.series import DatasetSeries, first_stack
from inference.training.datasets.table import TableRow, read_header, read_rows

log = logging.getLogger(__name__)

READERS = ("r1", "r2", "r3")
FINDING = {
    HaemorrhageType.EPIDURAL: "edh",
    HaemorrhageType.SUBDURAL: "sdh",
    HaemorrhageType.SUBARACHNOID: "sah",
    HaemorrhageType.INTRAPARENCHYMAL: "iph",
    HaemorrhageType.INTRAVENTRICULAR: "ivh",
}
COLUMNS = ("name", *(f"{reader}:{finding}" for reader in READERS for finding in ("ich", *FINDING.values())))
NAME = re.compile(r"CQ500-CT-(\d+)")
FOLDER = re.compile(r"CQ500CT(\d+)(?: CQ500CT\1)?")


@dataclass(frozen=True, eq=False)
class Cq500:
    """The folder that holds `reads.csv` and the studies."""

    root: Path
    name: str = "CQ500"

    def entries(self) -> Sequence[Entry]:
        """Every study that was read or has a folder, by number."""
        return [Entry(f"CQ500-CT-{n}", f"CQ500-CT-{n}") for n in sorted(self._reads.keys() | self._folders.keys())]

    def load(self, entry: Entry) -> LabelledStudy:
        """One study; DatasetError where its row or its folder is missing."""
        found = NAME.fullmatch(entry.study_id)
        study = int(found[1]) if found else -1
        row, folder = self._reads.get(study), self._folders.get(study)
        if row is None:
            raise DatasetError(
                f"{self.root / 'reads.csv'}: has no row for {entry.study_id}, of which there are images."
            )
        truth = Truth(majority(row, "ich"), tuple(majority(row, FINDING[kind]) for kind in HaemorrhageType))
        if folder is None:
            expected = f"CQ500CT{study} CQ500CT{study}"
            raise DatasetError(f"{row.where}: {entry.study_id} has no images; expected a folder {expected!r}.")
        with knowing(truth):
            series_name, stack = first_stack(entry.study_id, series_in(folder))
        return LabelledStudy(entry, stack, truth, series_name)

    def labels_digest(self) -> str:
        """Of the table of reads."""
        return digest_of([self.root / "reads.csv"])

    @cached_property
    def _reads(self) -> dict[int, TableRow]:
        reads: dict[int, TableRow] = {}
        for row in read_rows(self.root / "reads.csv", COLUMNS):
            found = NAME.fullmatch(row.text("name"))
            if found is None:
                raise DatasetError(f"{row.where}: name is {row.text('name')!r}; expected CQ500-CT- and a number.")
            if int(found[1]) in reads:
                raise DatasetError(f"{row.where}: {found[0]} has two rows.")
            reads[int(found[1])] = row
        return reads

    @cached_property
    def _folders(self) -> dict[int, Path]:
        return dict(sorted(_study_folders(self.root), reverse=True))


def open_cq500(path: Path) -> Cq500:
    """The data set in this folder; DatasetError where it does not have the layout."""
    missing = [name for name in COLUMNS if name not in read_header(path / "reads.csv")]
    if missing:
        raise DatasetError(f"{path / 'reads.csv'}: column {missing[0]} is missing; expected name, R1:ICH and so on.")
    return Cq500(path)


def majority(row: TableRow, finding: str) -> bool:
    """Whether at least two of the three readers saw it."""
    votes = [row.flag(f"{reader}:{finding}") for reader in READERS]
    if None in votes:
        raise DatasetError(f"{row.where}: {READERS[votes.index(None)]}:{finding} is empty; expected 0 or 1.")
    return sum(bool(vote) for vote in votes) >= 2


def series_in(folder: Path) -> list[DatasetSeries]:
    """The series of a study's folder: each folder that holds images, at any depth, named by its own name."""

    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be read ({error.strerror}).") from error

    found = []
    for where, _, names in os.walk(folder, onerror=refuse):
        images = tuple(Path(where) / name for name in sorted(names) if name.lower().endswith(".dcm"))
        if images:
            name = Path(where).name
            found.append(DatasetSeries(name, name.removeprefix("CT "), images))
    return found


def _study_folders(root: Path) -> Iterator[tuple[int, Path]]:
    """The folders named like a study; what lies below them is not looked at."""
    for where, folders, _ in os.walk(root, onerror=lambda error: log.warning("a folder is left out: %s", error)):
        for name in list(folders):
            found = FOLDER.fullmatch(name)
            if found:
                folders.remove(name)
                yield int(found[1]), Path(where) / name
