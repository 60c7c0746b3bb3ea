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
