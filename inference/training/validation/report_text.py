"""What a report says of intracranial haemorrhage, read by plain rules, sentence by sentence, English and German.

A sentence is cut into clauses at "but" and its like. In a clause each word of blood is judged by the words about it:
asked, not sure, denied, past, outside the skull, or else there. The strongest verdict of a sentence's words is the
sentence's, and what the sentences say together is the study's. The words stand in `report_words`. The rules are
simple and make mistakes; that is why every verdict is shown, and a reader's own word is final.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from inference.training.validation import report_words as w
from inference.training.validation.report_sentences import ASKED_SECTION, SAID_SECTION, pieces, sentences

NEAR_WORDS = 4
FAR_WORDS = 8


class Verdict(StrEnum):
    """What a sentence says of haemorrhage within the skull; the strongest first."""

    PRESENT = "present"
    UNCLEAR = "unclear"
    ABSENT = "absent"
    HISTORY = "history"
    EXTRACRANIAL = "extracranial"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its verdict; `words` are those that decided, `types` what is there where it is PRESENT."""

    text: str
    verdict: Verdict
    words: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What a whole report says: haemorrhage yes, no, or None where that is unclear, for this `reason`."""

    haemorrhage: bool | None
    types: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class _Mention:
    """A word of blood, or several that are joined ("SDH or SAH"): from `start` to `end` in its clause."""

    start: int
    end: int
    types: tuple[str, ...]


BLOOD, NO_BLOOD, SPLIT = w.words(w.BLOOD), w.words(w.NO_BLOOD), w.words(w.SPLIT)
TYPE_AS_NOUN, NO_NOUN = w.words(w.TYPE_AS_NOUN), w.words(w.NO_NOUN)
TYPES = {name: w.words(pattern) for name, pattern in w.TYPES.items()}
PLACES = {name: w.words(pattern) for name, pattern in w.PLACES.items()}
EXTRACRANIAL, ASKED, NORMAL = w.words(w.EXTRACRANIAL), w.words(w.ASKED), w.words(w.NORMAL)
NEGATION, FAR, NEW, AFTER = w.words(w.NEGATION), w.words(w.FAR), w.words(w.NEW), w.words(w.AFTER)
BREAK, NEAR_BREAK, AFFIRMED = w.words(w.BREAK), w.words(w.NEAR_BREAK), w.words(w.AFFIRMED)
SIDED, ALTERNATIVE, NO_CHANGE = w.words(w.SIDED), w.words(w.ALTERNATIVE), w.words(w.NO_CHANGE)
UNSURE_ANYWHERE, UNSURE_BEFORE = w.words(w.UNSURE_ANYWHERE), w.words(w.UNSURE_BEFORE)
UNSURE_AFTER = w.words(w.UNSURE_AFTER)
HISTORY_BEFORE, NO_HISTORY, HERE = w.words(w.HISTORY_BEFORE), w.words(w.NO_HISTORY), w.words(w.HERE)
RESOLVED_AFTER, NO_LONGER, PARTLY = w.words(w.RESOLVED_AFTER), w.words(w.NO_LONGER), w.words(w.PARTLY)
JOINED = re.compile(
    r"^[\s,/&]*((and|or|nor|und|oder|noch|bzw\.?|sowie|as well as|a|an|eine?n?|no|kein\w*|\w*al|\w*ale[nrs]?|acute|"
    r"akute\w*)\b[\s,/-]*)*$",
    re.IGNORECASE,
)


def read_report(text: str) -> list[Sentence]:
    """Every sentence of a report with its verdict; in sections that only ask (the indication) none says anything."""
    found = []
    is_asked = False
    parts = list(pieces(text))
    has_findings = any(SAID_SECTION.match(part) for part in parts)
    for piece in parts:
        if ASKED_SECTION.match(piece):
            is_asked = True
        elif SAID_SECTION.match(piece) or not piece:
            is_asked = False
        for sentence in sentences(piece):
            found.append(Sentence(sentence, Verdict.NOTHING) if is_asked else judge(sentence))
        is_asked = is_asked and (has_findings or piece.rstrip().endswith(":"))
    return found


def conclude(said: Sequence[Sentence]) -> Said:
    """What the sentences say together: one that states blood counts most, then one that is not sure."""
    found = {each.verdict for each in said}
    if Verdict.PRESENT in found:
        named = {kind for each in said if each.verdict is Verdict.PRESENT for kind in each.types}
        return Said(True, tuple(kind for kind in TYPES if kind in named), "")
    if Verdict.UNCLEAR in found:
        return Said(None, (), "the report is not sure")
    if Verdict.ABSENT in found:
        return Said(False, (), "")
    if Verdict.HISTORY in found:
        return Said(None, (), "the report speaks of an earlier haemorrhage and does not say what is left of it")
    return Said(None, (), "the report says nothing of intracranial haemorrhage")


def judge(sentence: str) -> Sentence:
    """One sentence by itself."""
    text = " ".join(sentence.split())
    judged = [each for clause in _clauses(text) for each in _judged(clause)]
    if not judged:
        normal = NORMAL.search(text)
        if normal and "?" not in text:
            return Sentence(text, Verdict.ABSENT, (normal.group(),))
        return Sentence(text, Verdict.NOTHING)
    order = list(Verdict)
    verdict = min((each for each, _, _ in judged), key=order.index)
    words = dict.fromkeys(word for each, found, _ in judged if each is verdict for word in found if word)
    types = {kind for each, _, kinds in judged if each is verdict for kind in kinds}
    is_there = verdict is Verdict.PRESENT
    return Sentence(text, verdict, tuple(words), tuple(kind for kind in TYPES if kind in types) if is_there else ())


def _clauses(text: str) -> Iterator[str]:
    """Parts of a sentence that are judged apart; what has blood in its name only is blanked out."""
    plain = NO_BLOOD.sub(lambda found: " " * len(found.group()), text)
    plain = re.sub(r", (soweit|sofern|as far as|insofar)[^,]*,", " ", plain, flags=re.IGNORECASE)
    start = 0
    for found in SPLIT.finditer(plain):
        yield plain[start : found.start()]
        start = found.end()
    yield plain[start:]


def _judged(clause: str) -> Iterator[tuple[Verdict, tuple[str, ...], tuple[str, ...]]]:
    """The verdict, the words that decided and the types of each mention in a clause."""
    mentions = list(_mentions(clause))
    for place, mention in enumerate(mentions):
        end = mentions[place + 1].start if place + 1 < len(mentions) else len(clause)
        verdict, reasons = _verdict(clause, mention, mentions[place - 1].end if place else 0, end)
        yield verdict, (*reasons, clause[mention.start : mention.end].strip()), mention.types


def _mentions(clause: str) -> Iterator[_Mention]:
    """Words of blood, joined where only "or" and its like stand between them."""
    spans = [found.span() for found in BLOOD.finditer(clause)]
    for found in TYPE_AS_NOUN.finditer(clause):
        follows = clause[found.end() :]
        is_adjective = BLOOD.search(" ".join(follows.split()[:NEAR_WORDS])) or NO_NOUN.search(follows)
        if not is_adjective and not any(start <= found.start(1) < end for start, end in spans):
            spans.append(found.span(1))
    groups: list[list[int]] = []
    for start, end in sorted(spans):
        if groups and JOINED.match(clause[groups[-1][1] : start]) and not _denied_anew(clause[groups[-1][1] : start]):
            groups[-1][1] = end
        else:
            groups.append([start, end])
    for place, (start, end) in enumerate(groups):
        before = groups[place - 1][1] if place else 0
        after = groups[place + 1][0] if place + 1 < len(groups) else len(clause)
        yield _Mention(start, end, _types(clause, before, start, end, after))


def _denied_anew(between: str) -> bool:
    return re.search(r"\b(no|kein\w*)\b", between, re.IGNORECASE) is not None


def _types(clause: str, before: int, start: int, end: int, after: int) -> tuple[str, ...]:
    """The types of a mention: by its own words and those before it, or by the place that is named after it."""
    lead = " ".join(re.split(r"\b(?:no|kein\w*|with|mit|ohne|without)\b", clause[before:start])[-1].split()[-6:])
    own = f"{lead} {clause[start:end]}"
    rest = re.split(r",|\b(?:no|kein\w*|without|ohne)\b", clause[end:after])[0]
    if named := tuple(kind for kind, pattern in TYPES.items() if pattern.search(own + rest)):
        return named
    rest = re.split(r"\b(?:with|mit)\b", rest)[0]
    return tuple(kind for kind, pattern in PLACES.items() if pattern.search(own + rest))


def _verdict(clause: str, mention: _Mention, last_end: int, next_start: int) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict of one mention, and the words that decided beside it."""
    before, after = clause[: mention.start], clause[mention.end : next_start]
    if found := _outside(clause, mention, last_end, next_start):
        return Verdict.EXTRACRANIAL, (found,)
    own = clause[mention.start : mention.end]
    if found := _hit(ASKED, f"{before} {own}"):
        return Verdict.NOTHING, (found,)
    if change := _last(NO_CHANGE, before):
        return Verdict.PRESENT, (change.group(),)
    if found := _hit(PARTLY, after):
        return Verdict.UNCLEAR, (found,)
    if found := _hit(NO_LONGER, _words(after, FAR_WORDS)):
        return Verdict.HISTORY, (found,)
    denial = _denial(UNSURE_ANYWHERE.sub(_without_negation, before), own + after)
    if denial is None and (found := _unsure(before, after, own)):
        return Verdict.UNCLEAR, (found,)
    if denial is None and _hit(UNSURE_ANYWHERE, after) is None:
        denial = _denied_after(own, after)
    if denial is not None:
        says_new = NEW.search(before[before.rfind(denial) + 1 :]) or NEW.search(own)
        return (Verdict.HISTORY if says_new else Verdict.ABSENT), (denial,)
    return _past(before[last_end:], after)


def _without_negation(found: re.Match[str]) -> str:
    """Blanks in place of a phrase that is no denial, though it has a word of one ("cannot be excluded")."""
    return " " * len(found.group()) if NEGATION.search(found.group()) else found.group()


def _past(before: str, after: str) -> tuple[Verdict, tuple[str, ...]]:
    """Whether what is neither denied nor in doubt was earlier, or is there."""
    lead = NO_HISTORY.sub(" ", before)
    lead = re.split(r",|\b(?:with|mit|now|jetzt|nun|aktuell)\b", lead)[-1]
    past = _hit(HISTORY_BEFORE, lead) if not NEW.search(lead) else None
    gone = _hit(RESOLVED_AFTER, _words(after, FAR_WORDS))
    if gone:
        return Verdict.HISTORY, (gone,)
    here = _hit(HERE, f"{lead} {after}")
    if past and here is None:
        return Verdict.HISTORY, (past,)
    return Verdict.PRESENT, tuple(each for each in (past and here,) if each)


def _outside(clause: str, mention: _Mention, last_end: int, next_start: int) -> str | None:
    """What says that this blood is outside the skull, if anything does; a type says that it is within."""
    own = clause[mention.start : mention.end]
    spinal = re.search(r"\bspinal\w*", clause[last_end : mention.start], re.IGNORECASE)
    if spinal:
        return spinal.group()
    if mention.types or own.startswith("ICH"):
        return None
    lead = " ".join(re.split(r",|\b(?:no|kein\w*|without|ohne)\b", clause[last_end : mention.start])[-1].split()[-5:])
    rest = re.split(r",|\b(?:no|kein\w*|without|ohne|and|und|with|mit)\b", clause[mention.end : next_start])[0]
    if re.search(r"\bintra(c|k)rani", f"{lead} {rest}", re.IGNORECASE):
        return None
    for part in (own, lead, _words(rest, NEAR_WORDS + 1)):
        if found := EXTRACRANIAL.search(part):
            return found.group()
    return None


def _denial(before: str, after: str) -> str | None:
    """The negation that reaches the mention from before it."""
    found = _last(NEGATION, before)
    if found is None:
        return None
    between = before[found.end() :]
    if BREAK.search(between):
        return None
    is_far = FAR.match(found.group()) is not None
    if not is_far and (len(between.split()) > FAR_WORDS or NEAR_BREAK.search(between)):
        return None
    listed = ALTERNATIVE.search(between) or ALTERNATIVE.search(after)
    if AFFIRMED.search(between) and not listed:
        return None
    last = between.rpartition(",")[2] if "," in between else ""
    if last and not listed and SIDED.search(f"{last} {after.partition(',')[0]}"):
        return None
    return found.group()


def _denied_after(own: str, after: str) -> str | None:
    """The negation that follows a mention: within the same part of the clause, and near."""
    if re.search(r"ausschlu(ss|ß)", own, re.IGNORECASE):
        return own
    return _hit(AFTER, _words(after.partition(",")[0], FAR_WORDS))


def _unsure(before: str, after: str, own: str) -> str | None:
    """What makes a mention that is not denied unsure."""
    lead = before.rpartition(",")[2]
    ended = _last(BREAK, lead)
    found = _hit(UNSURE_BEFORE, lead[ended.end() :] if ended else lead) or _hit(UNSURE_ANYWHERE, lead)
    return found or _hit(UNSURE_ANYWHERE, own + after) or _hit(UNSURE_AFTER, after)


def _hit(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group().strip() if found else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed(list(pattern.finditer(text))), None)


def _words(text: str, count: int) -> str:
    return " ".join(text.split(" ")[: count + 1])
