"""Free text that people and scanners wrote, made comparable: case, accents, width and underscores do not count.

A vocabulary is one string of terms with spaces between them. In a term `_` stands for what may lie between its words
(or for nothing), and `*` for any letters. Terms are whole words; those in Chinese, Japanese and Korean, which are
written without spaces, count anywhere.
"""

import re
import unicodedata

_LETTER = r"[^\W\d_]"
_LONGEST = 400
_FIRST_EAST_ASIAN = "\u2e80"
_WITHOUT_ACCENT = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "_": " "})


def folded(text: str) -> str:
    """The text's first 400 characters in lower case, without accents, wide letters narrow, underscores as spaces."""
    apart = unicodedata.normalize("NFKD", text[:_LONGEST]).casefold().translate(_WITHOUT_ACCENT)
    bare = "".join(each for each in apart if unicodedata.category(each) != "Mn")
    return unicodedata.normalize("NFKC", bare)


def any_of(vocabulary: str) -> str:
    """An atomic group for any term of a vocabulary in folded text, the longest first."""
    terms = sorted(vocabulary.split(), key=len, reverse=True)
    return f"(?>{'|'.join(map(_expression, terms))})"


def pattern(*vocabularies: str) -> re.Pattern[str]:
    """What finds any term of the vocabularies in folded text."""
    return re.compile(any_of(" ".join(vocabularies)))


def _expression(term: str) -> str:
    words = [re.escape(folded(word)).replace(r"\*", f"{_LETTER}*") for word in term.split("_")]
    joined = r"[\W_]*".join(words)
    if any(each >= _FIRST_EAST_ASIAN for each in folded(term)):
        return joined
    return f"(?<!{_LETTER}){joined}(?!{_LETTER})"
