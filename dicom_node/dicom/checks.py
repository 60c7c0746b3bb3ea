"""What is checked of a data set before it is believed: the form of a UID, and what it means that a file is damaged."""

import re

from dicom_node.errors import CannotUnderstand
from inference.input import elements

UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
UNREADABLE = elements.UNREADABLE
"""What is raised when data are damaged; why each class is in it stands there, beside those who read for analysis."""


def checked_uid(text: object) -> str:
    """The text if it has the form of a UID (PS3.5 9.1; leading zeros, which scanners send, are let pass)."""
    uid = str(text or "").rstrip("\0 ")
    if len(uid) > 64 or not UID_FORM.fullmatch(uid):
        raise CannotUnderstand(f"not a UID: {uid[:80]!r}")
    return uid
