"""Reading elements of data sets that may be wrong: an absent, empty or garbled value is None, never an exception.

Values are those of PS3.5 section 6.2; the functional group macros of multi-frame images are PS3.3 C.7.6.16.
"""

import math
import struct
import zlib
from datetime import datetime, tzinfo
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from inference.input.bounds import Unusable

UNREADABLE = (
    InvalidDicomError,  # no DICM where it should stand
    EOFError,  # the file ends in the middle of an element
    OSError,  # the file ends in the middle of a sequence, without an errno; with one the disk has failed
    zlib.error,  # a deflated data set is cut off
    struct.error,  # fewer bytes than a number needs
    BytesLengthException,  # bytes that are no multiple of a number's length
    ValueError,  # text that is no number or not in its character set, pixels that do not fit the image
    ArithmeticError,  # a decimal string beyond every number, an image of no width
    TypeError,  # an element that is empty or has several values where one is needed
    AttributeError,  # an element that decoding needs is absent
    LookupError,  # a tag, an item or a frame that is not there, an unknown character set
    RuntimeError,  # no decoder manages the pixels; NotImplementedError, which is one: there is no decoder for them
)
"""What pydicom raises for damaged data, be it in reading a file, in converting an element or in decoding pixels."""

SAID_OF_UNREADABLE: dict[type[BaseException], str] = {
    InvalidDicomError: "it is no DICOM file",
    EOFError: "it ends too soon",
    OSError: "it ends too soon",
    zlib.error: "its deflated part is damaged",
    struct.error: "a number has the wrong length",
    BytesLengthException: "a number has the wrong length",
    UnicodeError: "a text is not in its character set",
    OverflowError: "a number is too large",
    AttributeError: "an element that is needed is absent",
    NotImplementedError: "it is of a kind that nothing here can read",
    RuntimeError: "nothing here can decode its pixels",
    Exception: "an element or its length is damaged",
}


def say_unreadable(error: BaseException) -> str:
    """What is wrong with damaged data, without any of their values: libraries quote them in their own texts."""
    if isinstance(error, OSError) and error.errno is not None:
        return str(error.strerror)
    if isinstance(error, Unusable):
        return str(error)
    kinds = (kind for kind in SAID_OF_UNREADABLE if isinstance(error, kind))
    return SAID_OF_UNREADABLE[next(kinds, Exception)]


def value(ds: Dataset, keyword: str) -> Any:
    """The element's value, or None. Text stays in the data set as it was sent: decoding may lose what it was."""
    try:
        sent = ds.get_item(keyword)
        if isinstance(sent, RawDataElement) and _is_text(sent):
            return convert_raw_data_element(sent, encoding=ds._character_set, ds=ds).value
        return ds.get(keyword)
    except UNREADABLE:
        return None


def _is_text(sent: RawDataElement) -> bool:
    """Whether the element's bytes depend on the character set; an implicit VR is that of the dictionary."""
    vr = sent.VR if sent.VR not in (None, "UN") else dictionary_VR(sent.tag)
    return vr in CUSTOMIZABLE_CHARSET_VR


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as stripped text; empty when there is none."""
    found = value(ds, keyword)
    if found is None:
        return ()
    several = found if isinstance(found, MultiValue | list | tuple) else [found]  # a name can be iterated, too
    return tuple(str(each).strip() for each in several)


def text(ds: Dataset, keyword: str) -> str:
    """The first value as stripped text, or ''."""
    return next(iter(texts(ds, keyword)), "")


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None. A decimal comma, which some senders write, is read as a point."""
    found = value(ds, keyword)
    if count == 1 and not isinstance(found, str) and hasattr(found, "__len__"):
        return None
    try:
        several = [found] if count == 1 else list(found)
        result = tuple(float(each.replace(",", ".") if isinstance(each, str) else each) for each in several)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if len(result) == count and all(map(math.isfinite, result)) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """One finite number, or None."""
    found = numbers(ds, keyword, 1)
    return found[0] if found else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """One whole number, or None."""
    found = number(ds, keyword)
    return int(found) if found is not None and found.is_integer() else None


def zone_of(offset: str) -> tzinfo | None:
    """The zone of an offset from UTC such as "+0530" (PS3.3 C.12.1.1.8), or None."""
    try:
        return datetime.strptime(offset, "%z").tzinfo
    except ValueError:
        return None


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; empty when there is none."""
    found = value(ds, keyword)
    try:
        return tuple(each for each in found if isinstance(each, Dataset))
    except UNREADABLE:
        return ()


def frame_macros(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """For every frame the item that holds the attributes of the functional group `keyword`.

    The frame's own group goes before the shared one, and that before the data set itself, which is the only place in a
    single-frame image. Empty when the groups do not match the number of frames.
    """
    frames = items(ds, "PerFrameFunctionalGroupsSequence")
    if len(frames) != (integer(ds, "NumberOfFrames") or 1):
        return () if frames or (integer(ds, "NumberOfFrames") or 1) > 1 else (ds,)
    shared = items(ds, "SharedFunctionalGroupsSequence")
    common = next(iter(items(shared[0], keyword)), ds) if shared else ds
    return tuple(next(iter(items(frame, keyword)), common) for frame in frames)


def frame_macro(ds: Dataset, keyword: str) -> Dataset:
    """The item of the middle frame that holds the attributes of a functional group.

    The shared one where the frames have none or their number does not match; the data set itself where there is none.
    """
    macros = frame_macros(ds, keyword)
    if macros and macros[len(macros) // 2] is not ds:
        return macros[len(macros) // 2]
    shared = items(ds, "SharedFunctionalGroupsSequence")
    return next(iter(items(shared[0], keyword)), ds) if shared else ds
