"""Matching of attributes as C-FIND and QIDO-RS have it (PS3.4 C.2.2.2).

Kept by hand: no maintained library matches DICOM's keys.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import translate
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.dicom.checks import UNREADABLE

PATIENT_NAME, MODALITY, MODALITIES_IN_STUDY = 0x00100010, 0x00080060, 0x00080061
RANGED = ("DA", "TM", "DT")
COMMA_SEPARATES = ("UI", "CS", "DA", "TM", "DT", "IS", "DS", "AS", "US", "UL", "SS", "SL", "FL", "FD")  # it is no value
SEPARATORS = (r"\\", r"[,\\]")
WITH_WILDCARDS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
STUDY_TAGS = {  # patient and study attributes (PS3.18 Table 10.6.1-5, PS3.4 C.6.1.1.2, C.6.1.1.3)
    *(0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080056, MODALITIES_IN_STUDY, 0x00080062),
    *(0x00080090, 0x00080201, 0x00081030, 0x00081032, 0x00081060, 0x00081080, PATIENT_NAME, 0x00100020, 0x00100021),
    *(0x00100030, 0x00100032, 0x00100040, 0x00101000, 0x00101001, 0x00101002, 0x00101010, 0x00101020, 0x00101030),
    *(0x00102160, 0x00102180, 0x001021B0, 0x00104000, 0x0020000D, 0x00200010, 0x00081190, 0x00201206, 0x00201208),
}
SERIES_TAGS = {  # PS3.4 C.6.1.1.4, PS3.18 Table 10.6.1-5
    *(MODALITY, 0x00080021, 0x00080031, 0x00080070, 0x00080080, 0x00081010, 0x00081040, 0x0008103E, 0x0008103F),
    *(0x00081050, 0x00081070, 0x00081090, 0x00180015, 0x00181000, 0x00181020, 0x00181030, 0x00185100, 0x0020000E),
    *(0x00200011, 0x00200052, 0x00200060, 0x00201209, 0x00400244, 0x00400245, 0x00400275),
}
NUMBERS = ("IS", "DS", "US", "UL", "SS", "SL", "FL", "FD")
LEVELS = ("study", "series", "instance")


class Matching(Enum):
    """How a key matches (PS3.4 C.2.2.2)."""

    ANY_OF = "any of"  # a single value, or a list of them
    WILDCARD = "wildcard"  # * any text, ? any character; one of a list
    RANGE = "range"  # values are (from, to); '' is open


@dataclass(frozen=True, slots=True)
class MatchingKey:
    """One matching key; `path` holds tags, more than one for an element within sequences."""

    path: tuple[int, ...]
    matching: Matching
    values: tuple[str, ...]


def level_of(tag: int) -> str:
    """The level that an attribute belongs to."""
    return "study" if tag in STUDY_TAGS else "series" if tag in SERIES_TAGS else "instance"


def condition_of(path: tuple[int, ...], value: str) -> MatchingKey | None:
    """A key with its value; None where it matches everything."""
    vr = dictionary_VR(path[-1])
    if value.strip('" ') == "" or (vr in WITH_WILDCARDS and not value.strip("*")):
        return None
    several = tuple(each for part in re.split(SEPARATORS[vr in COMMA_SEPARATES], value) if (each := part.strip(" \0")))
    if not several:
        return None
    if vr in RANGED and "-" in value and len(several) == 1:
        low, _, high = value.partition("-")
        return MatchingKey(path, Matching.RANGE, (_plain(vr, low), _plain(vr, high)))
    if vr in WITH_WILDCARDS and ("*" in value or "?" in value):
        return MatchingKey(path, Matching.WILDCARD, several)
    return MatchingKey(path, Matching.ANY_OF, tuple(_plain(vr, each) for each in several))


def matches(condition: MatchingKey, dataset: Dataset) -> bool:
    """Whether a data set has an element that matches; in sequences one item is enough (PS3.4 C.2.2.2.6)."""
    tag, *deeper = condition.path
    try:
        found: Any = dataset[tag].value if tag in dataset else None
        if deeper:
            inner = MatchingKey(tuple(deeper), condition.matching, condition.values)
            return any(matches(inner, item) for item in found or ())
        several = found if isinstance(found, MultiValue) else [] if found is None else [found]
        return any(_value_matches(condition, str(each).strip(), dictionary_VR(tag)) for each in several)
    except UNREADABLE:
        return False


def all_match(conditions: Sequence[MatchingKey], dataset: Dataset) -> bool:
    """Whether every condition holds."""
    return all(matches(condition, dataset) for condition in conditions)


def _value_matches(condition: MatchingKey, value: str, vr: str) -> bool:
    if condition.matching is Matching.RANGE:
        low, high = condition.values
        value = _plain(vr, value)
        return bool(value) and value[: len(low)] >= low and (not high or value[: len(high)] <= high)
    if vr == "PN":
        groups = [group.rstrip("^").casefold() for group in (value, *value.split("="))]
        return any(_like(each.rstrip("^").casefold(), group) for each in condition.values for group in groups)
    if condition.matching is Matching.WILDCARD:
        return any(_like(each, value) for each in condition.values)
    if vr in NUMBERS:
        return any(_is_number(each) and float(value) == float(each) for each in condition.values)
    if vr == "TM":
        return any(_second(_plain(vr, value)) == _second(each) for each in condition.values)
    return _plain(vr, value) in condition.values


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _second(time: str) -> str:
    """A time to the second."""
    return time.partition(".")[0].ljust(6, "0")


def _like(pattern: str, value: str) -> bool:
    return re.fullmatch(translate(pattern.replace("[", "[[]")), value) is not None


def _plain(vr: str, value: str) -> str:
    """Dates and times without the separators of old standards."""
    if vr == "DA":
        return value.replace(".", "").replace("-", "").strip()
    return value.replace(":", "").strip() if vr in ("TM", "DT") else value
