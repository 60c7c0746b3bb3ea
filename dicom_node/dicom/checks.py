"""What is checked of a data set before it is believed: the form of a UID, and what it means that a file is damaged."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.errors import CannotUnderstand, Gone, TriageNodeError
from inference.input import elements

say_unreadable = elements.say_unreadable
NOT_DECODED = "The pixels cannot be decoded"
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
UNREADABLE = elements.UNREADABLE
"""What is raised when data are damaged; why each class is in it stands there, beside those who read for analysis."""


def checked_uid(text: object) -> str:
    """The text if it has the form of a UID (PS3.5 9.1; leading zeros, which scanners send, are let pass)."""
    uid = str(text or "").rstrip("\0 ")
    if len(uid) > 64 or not UID_FORM.fullmatch(uid):
        raise CannotUnderstand(f"not a UID: {say_uid(uid)}")
    return uid


def say_uid(text: str) -> str:
    """A text where a UID should be, in quotes; of one that is none only its length: anything may have got into it."""
    is_one = len(text) <= 64 and UID_FORM.fullmatch(text)
    return repr(text) if is_one else f"{len(text)} characters that are no UID" if text else "absent"


@contextmanager
def damage_raises(kind: type[TriageNodeError], said: str) -> Iterator[None]:
    """Around what reads a stored file: damage becomes an error of this kind, and a file that is not there Gone.

    An OSError with an errno stays what it is: the disk has failed, not the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise Gone("What was asked for has been removed to make room.") from None
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise kind(f"{said}: {elements.say_unreadable(error)}") from None
