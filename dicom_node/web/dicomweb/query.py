"""Queries: what a QIDO-RS request asks for (PS3.18 8.3.4), and matching against data sets (PS3.4 C.2.2.2)."""

import re
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from dicom_node.dicom.matching import LEVELS, MODALITIES_IN_STUDY, MODALITY, MatchingKey, condition_of, level_of

MOST_RESULTS = 5000
MOST_STARS = 32  # each is tried at every place of a value
MOST_KEYS, LONGEST_VALUE, LONGEST_LIST = 100, 1024, 16_384  # the last of UIDs
CONTROLS = ("limit", "offset", "includefield", "fuzzymatching", "accept", "emptyvaluematching", "multiplevaluematching")


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `include` holds further tags to answer with, `include_all` every one of the level."""

    conditions: tuple[MatchingKey, ...]
    include: frozenset[int]
    include_all: bool
    limit: int
    offset: int
    fuzzy: bool


def parse(params: QueryParams, level: str) -> Query:
    """The query of a request's parameters. 400 for what is no attribute, no number or of a deeper level."""
    conditions, include, include_all = list[MatchingKey](), set[int](), False
    for name, value in params.multi_items():
        if name == "includefield":
            names = [each.strip() for each in value.split(",") if each.strip()]
            include_all = include_all or "all" in names
            include |= {_path(each)[0] for each in names if each != "all"}
        elif name not in CONTROLS:
            path = _path(name)
            if level == "study" and path == (MODALITY,):
                path = (MODALITIES_IN_STUDY,)  # what is meant, and what viewers ask
            if LEVELS.index(level_of(path[0])) > LEVELS.index(level):
                raise HTTPException(400, f"{name} is no attribute of a {level}.")
            include.add(path[0])
            longest = LONGEST_LIST if dictionary_VR(path[-1]) == "UI" else LONGEST_VALUE
            if len(value) > longest or len(include) > MOST_KEYS or len(conditions) >= MOST_KEYS:
                raise HTTPException(400, f"More than {MOST_KEYS} keys, or one of more than {longest} characters.")
            if value.count("*") > MOST_STARS:
                raise HTTPException(400, f"{name} has more than {MOST_STARS} wildcards.")
            if condition := condition_of(path, value):
                conditions.append(condition)
    return Query(
        conditions=tuple(conditions),
        include=frozenset(include),
        include_all=include_all,
        limit=min(_number(params, "limit", MOST_RESULTS), MOST_RESULTS),
        offset=_number(params, "offset", 0),
        fuzzy=_truth(params, "fuzzymatching"),
    )


def _path(name: str) -> tuple[int, ...]:
    """The tags of "PatientName", "00100010" or "00400275.00400009". 400 when it is none."""
    tags = []
    for each in name.split("."):
        tag = int(each, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", each) else tag_for_keyword(each)
        if tag is None or not dictionary_has_tag(tag):
            raise HTTPException(400, f"{name[:100]!r} is no DICOM attribute.")
        tags.append(int(tag))
    return tuple(tags)


def _number(params: QueryParams, name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400, f"{name} is a number from 0.")
    return int(text)


def _truth(params: QueryParams, name: str) -> bool:
    text = params.get(name, "false").lower()
    if text not in ("true", "false"):
        raise HTTPException(400, f"{name} is true or false.")
    return text == "true"
