"""Elements copied byte for byte: text that is not in the character set that its data set names stays as it was sent.

Decoded and written again, such a text (Latin-1 under ISO_IR 192, say) would be another one, and the PACS would have two
patients for one (PS3.5 6.1.2.3, PS3.3 C.12.1.1.2). So text is copied before it is decoded; everything else that may not
differ from file to file but in its encoding is decoded and written anew.
"""

from copy import deepcopy

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from inference.input.elements import UNREADABLE

Element = DataElement | RawDataElement


def element_as_sent(source: Dataset, keyword: str) -> Element | None:
    """A copy of the element, or None where it is absent, empty or cannot be read."""
    try:
        return _copy(source, Tag(keyword)) if keyword in source else None
    except UNREADABLE:
        return None


def keep_as_sent(result: Dataset) -> None:
    """Have what was copied undecoded be written so, in Explicit VR Little Endian; the items of sequences, too."""
    correct_ambiguous_vr(result, is_little_endian=True)  # else done in writing, with all elements decoded
    _mark_original(result)


def _mark_original(result: Dataset) -> None:
    character_set = result._character_set
    result.set_original_encoding(False, True, character_set)
    for element in list(result.values()):
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                item._parent_encoding = character_set
                _mark_original(item)


def _copy(source: Dataset, tag: BaseTag) -> Element | None:
    raw = source.get_item(tag)
    if isinstance(raw, RawDataElement):
        vr = dictionary_VR(tag) if raw.VR in (None, "UN") and dictionary_has_tag(tag) else raw.VR
        if vr in CUSTOMIZABLE_CHARSET_VR:
            value = raw.value or b""
            return raw._replace(VR=vr, is_implicit_VR=False, is_little_endian=True) if value.strip(b" \0") else None
    sent = source[tag]
    if sent.is_empty:
        return None
    if sent.VR != "SQ":
        return deepcopy(sent)
    return DataElement(tag, "SQ", [_copy_item(item) for item in sent.value])


def _copy_item(source: Dataset) -> Dataset:
    item = Dataset()
    for tag in sorted(source.keys()):
        if (copied := _copy(source, tag)) is not None:
            item[tag] = copied
    return item
