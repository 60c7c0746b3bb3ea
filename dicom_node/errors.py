"""The exception tree.

TriageNodeError
├── SettingsError      a setting is unknown, missing or wrong; names the key
├── Refused            an object that was sent to the node is not stored; carries the C-STORE status (PS3.4 Table B.2-1)
│   ├── OutOfResources     0xA700
│   ├── NotAsNegotiated    0xA900
│   └── CannotUnderstand   0xC000
├── Gone               a stored file is not there any more
├── DamagedFile        a stored file cannot be read
├── NoSuchValue        a stored instance has no such element or frame
├── CannotDecode       the pixels of a stored instance cannot be decoded
├── PeerError          a peer could not be reached, or gave no association or not the answer it owes
│   └── NothingAccepted    it answered, and took none of the presentation contexts; says which results it gave
└── CommandError       a command was right but did not succeed (exit code 1)

`inference.findings.NotAnalysable` is the one error that is a result: its message goes to the radiologist.
"""

import re
import sqlite3

OWN = ("dicom_node", "inference", "reports")
LONGEST_TEXT = 500
BLANKS = re.compile(r"[\t\r\n\v\f]+")
NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f]|\\x[0189][0-9a-f]|\\x7f|\\u00[0189][0-9a-f]")  # as sent, or as repr has it


class TriageNodeError(Exception):
    """Root of all errors that the node raises on purpose."""


class SettingsError(TriageNodeError):
    """A setting is unknown, missing or wrong."""


class Refused(TriageNodeError):
    """An object is not stored; `status` is the C-STORE status that the sender gets."""

    status = 0xC000


class OutOfResources(Refused):
    """The disk is full or the database cannot be written."""

    status = 0xA700


class NotAsNegotiated(Refused):
    """The data set is not of the SOP class or instance that the request announced."""

    status = 0xA900


class CannotUnderstand(Refused):
    """The data set cannot be read or its UIDs are not UIDs."""

    status = 0xC000


class Gone(TriageNodeError):
    """A stored file is not there any more: it was removed to make room."""


class DamagedFile(TriageNodeError):
    """A stored file cannot be read."""


class NoSuchValue(TriageNodeError):
    """A stored instance has no such element or frame."""


class CannotDecode(TriageNodeError):
    """The pixels of a stored instance cannot be decoded, or there are none."""


class PeerError(TriageNodeError):
    """A peer could not be reached, refused the association or broke it off; says which, and where the peer is."""


class NothingAccepted(PeerError):
    """A peer took none of the presentation contexts; `refused`: their abstract syntaxes and results (PS3.8 9.3.3)."""

    def __init__(self, message: str, refused: tuple[tuple[str, int], ...]) -> None:
        super().__init__(message)
        self.refused = refused


class CommandError(TriageNodeError):
    """A command was used rightly but did not succeed."""


def plain(text: str) -> str:
    """A text as it may stand in a log or on a page: one line, not long, and cut off where what is no text begins.

    A value whose length is damaged runs on into the next elements, whose tags are no text: patient data may follow.
    """
    text = BLANKS.sub(" ", text)
    found = NO_TEXT.search(text)
    end = min(LONGEST_TEXT, found.start() if found else len(text))
    return text if end == len(text) else f"{text[:end]} ..."


def say_error(error: BaseException) -> str:
    """What an error says where others see it. Libraries quote values, a patient's name among them: only its kind."""
    own = type(error).__module__.partition(".")[0] in OWN
    if own or isinstance(error, sqlite3.Error) or (isinstance(error, OSError) and error.errno is not None):
        return plain(str(error))
    return type(error).__name__
