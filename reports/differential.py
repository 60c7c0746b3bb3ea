"""Which kinds a finding may be of, in words: for headlines, reports, pictures and pages alike.

Kinds are a differential where the model does not name them well enough: each has its chance, none is stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reports.vocabulary.terms import Vocabulary

THIN = 0.25  # of the likelier of two alike kinds: with as much the other is told, too (subdurals are called epidural)
ALSO_LIKELY = 0.5  # of the likeliest
LEAST = 0.2  # what is less likely is not worth a word
NOT_TOLD = "The model does not name types well enough to state one."


class Kind(Protocol):
    """A kind with its chance, given that there is something."""

    @property
    def name(self) -> str:
        """As the question calls it."""

    @property
    def probability(self) -> float:
        """In 0..1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of a differential; `names` are the kinds that it tells of."""

    words: str
    probability: float
    names: tuple[str, ...] = ()


def candidates(kinds: Sequence[Kind], vocabulary: Vocabulary) -> list[Candidate]:
    """The likeliest first; two alike kinds are one where the margin between them is thin."""
    told = {each.name: each.probability for each in kinds}
    alike = vocabulary.alike
    if alike is not None and all(name in told for name in alike.names):
        both = [told[name] for name in alike.names]
        if min(both) >= THIN * max(both) > 0:
            rest = {name: chance for name, chance in told.items() if name not in alike.names}
            told = rest | {alike.words: min(sum(both), 1.0)}
    of_words = {alike.words: alike.names} if alike is not None else {}
    found = [Candidate(words, chance, of_words.get(words, (words,))) for words, chance in told.items()]
    return sorted(found, key=lambda each: -each.probability)


def most_likely(kinds: Sequence[Kind], vocabulary: Vocabulary) -> str:
    """E.g. "most likely extra-axial: epidural or subdural (0.77)"; empty where nothing stands out."""
    likely = likeliest(kinds, vocabulary)
    told = ", or ".join(f"{each.words} ({each.probability:.2f})" for each in likely)
    return f"most likely {told}" if told else ""


def likeliest(kinds: Sequence[Kind], vocabulary: Vocabulary) -> list[Candidate]:
    """What stands out among the kinds, the likeliest first; nothing where nothing does."""
    ranked = candidates(kinds, vocabulary)
    if not ranked or ranked[0].probability < LEAST:
        return []
    return [each for each in ranked[:2] if each.probability >= ALSO_LIKELY * ranked[0].probability]
