"""Content negotiation (PS3.18 8.7): what the client accepts, in its order of preference.

Headers are split by hand: the standard library's way (email.message) takes time with the square of their length.
"""

import re
from dataclasses import dataclass
from email.utils import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dicom_node.dicom.checks import checked_uid
from dicom_node.errors import CannotUnderstand

MULTIPART = "multipart/related"
JSON_TYPES = ("application/dicom+json", "application/json")
ANY = "*"  # as transfer syntax: whatever is stored
LONGEST = 16_384
MOST_FORMS = 100  # that are considered: each may be looked up for every instance
BETWEEN = r'(?:[^{}"]++|"(?:[^"\\]++|\\.)*+"?)++'  # whatever comes is matched, and nothing is looked at twice


@dataclass(frozen=True, slots=True)
class Accepted:
    """One acceptable form. `media_type` is that of a part when `multipart`; `transfer_syntax` is '' when not said."""

    media_type: str
    multipart: bool
    transfer_syntax: str
    quality: float

    def takes(self, media_type: str) -> bool:
        """Whether a media type is acceptable, ranges considered."""
        wanted, _, kind = self.media_type.partition("/")
        return wanted in ("*", media_type.partition("/")[0]) and kind in ("*", media_type.partition("/")[2])


def accepted(request: Request) -> list[Accepted]:
    """What the `accept` parameter (PS3.18 8.3.3.1) or else the Accept header says, the most welcome first."""
    stated = request.query_params.get("accept") or ", ".join(request.headers.getlist("accept")) or "*/*"
    found = dict.fromkeys(_parse(each) for each in _split(stated, ",") if each.strip())
    return sorted((each for each in found if each.quality > 0), key=lambda each: -each.quality)[:MOST_FORMS]


def choose(request: Request, *offered: str) -> str:
    """The first of the client's media types that can be given; 406 when there is none."""
    for each in accepted(request):
        for media_type in offered:
            if not each.multipart and each.takes(media_type):
                return media_type
    raise not_acceptable(*offered)


def not_acceptable(*offered: str) -> HTTPException:
    """406 that says what could be had."""
    return HTTPException(406, f"None of the accepted media types can be given here. Available: {', '.join(offered)}")


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters; names in lower case, values without quotes."""
    first, *others = _split(header, ";") or [""]
    pairs = (each.partition("=") for each in others)
    return first.strip().lower(), {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _split(text: str, separator: str) -> list[str]:
    """What stands between the separators that are in no quoted string; 400 when it is longer than any client's need."""
    if len(text) > LONGEST:
        raise HTTPException(400, f"What is accepted or sent is described in more than {LONGEST} characters.")
    return re.findall(BETWEEN.format(separator), text)


def _parse(text: str) -> Accepted:
    media_type, said = parameters(text)
    try:
        quality = float(said.get("q", "1"))
        syntax = said.get("transfer-syntax", "")
        if syntax not in ("", ANY):
            syntax = checked_uid(syntax)
    except (ValueError, CannotUnderstand):
        raise HTTPException(400, f"The accepted media type {text.strip()[:200]!r} cannot be read.") from None
    if media_type == MULTIPART:
        return Accepted(said.get("type", "*/*").lower(), True, syntax, quality)
    return Accepted(media_type, False, syntax, quality)
