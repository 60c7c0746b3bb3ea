"""Which CT series of a study is read, and its stack.

A study often holds the same head several times: thick and thin, bone, after contrast, reformatted. Preferred are series
whose words (description, contrast agent, sharp kernel) name nothing that a plain soft-tissue head does not have; the
others count only where there is no such series. The one with the most images that is one stack is read; what was left
out is logged. A damaged file is an error of the data set, never a reason to read another series.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from inference.input.hounsfield import pixel_format, stored_values
from inference.input.stack import NotAnalysable, SliceStack, build_stack, read_series
from inference.training.datasets.base import DatasetError

log = logging.getLogger(__name__)

PLAIN = re.compile(r"\b(?:pre|non|no|without|w/?o)[\s_-]*(?:iv[\s_-]*)?contrast\b|\bpre[\s_-]+c\b", re.IGNORECASE)
UNSUITED = re.compile(
    r"bone|contrast|\bpost\b|\bcect\b|\bcta?\s*angio|angio|\bcta\b|\bc\b|\bc\+|\boral\b|\biv\b|\d\s*cc\b|bolus|perf"
    r"|\bmip\b|mpr\b|\bcor|\bsag|\b3d\b|d3d|scout|topogram|localizer|hrct|hi\s?res|details|\bvrt?\b",
    re.IGNORECASE,
)
# GE's BONE, BONEPLUS, EDGE; Siemens' H60s and sharper.
SHARP_KERNEL = re.compile(r"bone|edge|^[bhju]r?[6-9]\d", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DatasetSeries:
    """The files of one series; `words` are all that is said of it."""

    name: str
    words: str
    paths: tuple[Path, ...]

    @property
    def is_suited(self) -> bool:
        """Whether nothing speaks against a plain soft-tissue series."""
        return UNSUITED.search(PLAIN.sub(" ", self.words)) is None


def by_preference(series: Sequence[DatasetSeries]) -> list[DatasetSeries]:
    """The suited ones, or all where none is, the one with the most images first."""
    suited = [each for each in series if each.is_suited]
    return sorted(suited or series, key=lambda each: (-len(each.paths), each.name))


def words_of(description: str, kernel: str, contrast: str) -> str:
    """What a series' headers say of it; kernels have letters of their own, of which only sharpness counts."""
    agent = "" if contrast.upper() in ("", "N", "NO", "NONE") else " contrast"
    return f"{description}{agent}{' bone' if SHARP_KERNEL.search(kernel) else ''}"


def read_images(paths: Sequence[Path]) -> list[Dataset]:
    """Whole files; DatasetError names one that is damaged or that the disk does not give."""
    images: list[Dataset] = []
    for path in paths:
        try:
            images += read_series([path])
        except NotAnalysable as error:
            raise DatasetError(f"{path}: is damaged; expected a DICOM image.") from error
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    return images


def stack_of_files(paths: Sequence[Path], images: Sequence[Dataset]) -> SliceStack:
    """The stack of these images; DatasetError where one cannot be decoded, NotAnalysable where they are no stack."""
    try:
        return build_stack(images)
    except NotAnalysable:
        for path, ds in zip(paths, images, strict=True):
            _refuse_undecodable(path, ds)
        raise


def _refuse_undecodable(path: Path, ds: Dataset) -> None:
    try:
        form = pixel_format(ds)
    except NotAnalysable:
        return
    try:
        stored_values(ds, form)
    except NotAnalysable as error:
        raise DatasetError(f"{path}: is damaged or cannot be decoded. {error}") from error


def first_stack(study: str, series: Sequence[DatasetSeries]) -> tuple[str, SliceStack]:
    """Name and stack of the best series that is one; NotAnalysable with the reason of each where none is.

    DatasetError where a file of a series that would be read is damaged.
    """
    if not series:
        raise DatasetError(f"{study}: holds no CT series.")
    reasons: dict[str, str] = {}
    for each in by_preference(series):
        try:
            # Public data sets carry identifiers such as ID_6431af929, which are no UIDs but serve as such.
            with disable_value_validation():
                stack = stack_of_files(each.paths, read_images(each.paths))
        except NotAnalysable as error:
            reasons[each.name] = str(error)
            continue
        others = [f"{other.name} {reasons.get(other.name, '')}".strip() for other in series if other is not each]
        if others:
            log.info("%s: %s is read; left out: %s", study, each.name, ", ".join(others))
        return each.name, stack
    raise NotAnalysable(f"{study}: {' '.join(f'{name}: {reason}' for name, reason in reasons.items())}")
