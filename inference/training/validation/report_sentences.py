"""A report's text -> its sentences: wrapped lines are joined, and the stop of an abbreviation ends none."""

import re
from collections.abc import Iterator

from inference.training.validation import report_words as w

LONG_LINE = 50
STOP = "\N{ONE DOT LEADER}"
ASKED_SECTION, SAID_SECTION = w.words(w.ASKED_SECTION), w.words(w.SAID_SECTION)
ABBREVIATIONS, LAST_OF_A_LINE = w.words(w.ABBREVIATIONS), w.words(w.LAST_OF_A_LINE)


def pieces(text: str) -> Iterator[str]:
    """Lines, those joined that were wrapped; '' for an empty line."""
    piece = ""
    for line in [*text.replace("\r", "\n").split("\n"), ""]:
        line = " ".join(line.split())
        is_new = not line or SAID_SECTION.match(line) or ASKED_SECTION.match(line) or re.match(r"[-*•·\d]", line)
        if piece and (is_new or not _goes_on(piece, line)):
            yield piece
            piece = ""
        piece = f"{piece} {line}".strip()
        if not line:
            yield ""


def _goes_on(piece: str, line: str) -> bool:
    """Whether a line is the rest of the one before."""
    if piece[-1] in ".!?:;":
        return False
    return len(piece) >= LONG_LINE or line[0].islower() or LAST_OF_A_LINE.search(piece) is not None


def sentences(piece: str) -> Iterator[str]:
    """The sentences of a piece; the stops of abbreviations end none."""
    kept = ABBREVIATIONS.sub(lambda found: found.group().replace(".", STOP), piece)
    for part in re.split(r"(?<=[.!?])\s+", kept):
        if sentence := part.replace(STOP, ".").strip():
            yield sentence
