"""Person names (PS3.5 6.2.1): whether two can be the same person's."""

import unicodedata


def names_differ(one: str, other: str) -> bool:
    """Whether family or given name of one component group differ, whatever their case, accents and punctuation."""
    pairs = zip(one.split("^")[:2], other.split("^")[:2], strict=False)
    return any(a and b and a != b for a, b in ((_folded(mine), _folded(theirs)) for mine, theirs in pairs))


def _folded(name: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFKD", name).casefold() if each.isalnum())
