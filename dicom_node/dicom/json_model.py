"""Data sets as DICOM JSON (PS3.18 Annex F). What cannot be converted is left without value, never an exception."""

import base64
import math
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian
from pydicom.valuerep import PersonName

from dicom_node.dicom.checks import UNREADABLE
from dicom_node.dicom.part10 import StoredHeader
from dicom_node.errors import NoSuchValue

Json = dict[str, Any]
INLINE_BYTES = 1024  # longer values stand as BulkDataURI
WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
BINARY = ("OB", "OW", "OF", "OL", "OD", "OV", "UN", "OB or OW")
CHARACTER_SET, GROUP_LENGTH = 0x00080005, 0x0000
PLACE = re.compile(r"[0-9A-F]{8}(/\d{1,6}/[0-9A-F]{8})*")  # of an element: its tag, in sequences after tags and items


def metadata(header: StoredHeader, bulk_url: str) -> Json:
    """All elements of an instance; pixels and long binary values as links below `bulk_url`."""
    swap = header.syntax == ExplicitVRBigEndian
    found = dataset_json(header.dataset, lambda path: f"{bulk_url}/{path}", swap)
    if header.pixels is not None:
        name = f"{header.pixels.tag:08X}"
        found[name] = {"vr": header.pixels.vr, "BulkDataURI": f"{bulk_url}/{name}"}
    return found


def dataset_json(
    dataset: Dataset,
    link: Callable[[str], str],
    swap: bool = False,
    within: str = "",
    only: Collection[int] | None = None,
) -> Json:
    """A data set, or `only` some of its elements; `link` makes the address of a long value from its place."""
    found: Json = {}
    for tag in sorted(dataset.keys()):
        if (only is not None and tag not in only) or tag.element == GROUP_LENGTH:
            continue
        name = f"{int(tag):08X}"
        try:
            left = _left_in_file(dataset, tag)
            place = within + name
            found[name] = left | {"BulkDataURI": link(place)} if left else _element(dataset[tag], link, swap, place)
        except UNREADABLE:
            found[name] = {"vr": _vr(tag)}
    if f"{CHARACTER_SET:08X}" in found or not within:
        found[f"{CHARACTER_SET:08X}"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8
    return dict(sorted(found.items()))


def value_at(header: StoredHeader, place: str) -> bytes:
    """The value that `metadata` gave as a link to this place. NoSuchValue when there is none, or no binary one."""
    current: Any = header.dataset
    steps = place.split("/")
    try:
        for step, item in zip(steps[:-1:2], steps[1::2], strict=True):
            current = current[int(step, 16)].value[int(item)]
        element = current[int(steps[-1], 16)]
        if isinstance(current, Dataset) and element.VR in BINARY and element.value:
            return little_endian(element.value, str(element.VR), header.syntax == ExplicitVRBigEndian)
    except UNREADABLE:
        pass
    raise NoSuchValue("This instance has no such value.")


def element_json(tag: int, *values: Any) -> Json:
    """An element made from values; empty ones are left out."""
    vr, given = dictionary_VR(tag), [value for value in values if value not in (None, "")]
    if not given:
        return {"vr": vr}
    return {"vr": vr, "Value": [name_json(str(each)) if vr == "PN" else each for each in given]}


def name_json(name: str) -> Json:
    """The component groups of a person's name."""
    groups = PersonName(name).components
    kinds = ("Alphabetic", "Ideographic", "Phonetic")
    return {kind: group for kind, group in zip(kinds, groups, strict=False) if group}


def _left_in_file(dataset: Dataset, tag: BaseTag) -> Json:
    """The VR of a long binary value that was not read with the header; nothing for any other."""
    raw = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None and raw.length > INLINE_BYTES:
        vr = str(raw.VR or _vr(tag))
        return {"vr": "OW" if vr == "OB or OW" else vr} if vr in BINARY else {}
    return {}


def _vr(tag: BaseTag) -> str:
    return dictionary_VR(tag) if keyword_for_tag(tag) else "UN"


def _element(element: DataElement, link: Callable[[str], str], swap: bool, place: str) -> Json:
    vr = str(element.VR)
    if vr == "SQ":
        items = enumerate(element.value)
        return {"vr": vr, "Value": [dataset_json(item, link, swap, f"{place}/{i}/") for i, item in items]}
    if vr in BINARY:
        return _binary(element, "OW" if vr == "OB or OW" else vr, link, swap, place)
    if element.is_empty:
        return {"vr": vr}
    if vr == "PN":
        several = element.value if element.VM > 1 else [element.value]
        return {"vr": vr, "Value": [name_json(str(each)) or None for each in several]}
    values = element.to_json_dict(None, INLINE_BYTES).get("Value", [])
    return {"vr": vr, "Value": [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]}


def _binary(element: DataElement, vr: str, link: Callable[[str], str], swap: bool, place: str) -> Json:
    if element.is_empty:
        return {"vr": vr}
    if len(element.value) > INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": link(place)}
    return {"vr": vr, "InlineBinary": base64.b64encode(little_endian(element.value, vr, swap)).decode("ascii")}


def little_endian(value: bytes, vr: str, swap: bool) -> bytes:
    """The value of a binary element in little endian, whatever the file's is."""
    size = WORD_BYTES.get(vr, 1)
    if not swap or size == 1 or len(value) % size:
        return value
    return np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()
