"""What a clinical question needs to be spoken of: codes, sites, colours, abbreviations and headlines, as data.

Each question has one file here, `<question>.py`, with its `VOCABULARY`; whoever writes or shows a result asks for the
vocabulary of the result's question, and knows no disease.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from pydicom.sr.coding import Code

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Term:
    """How one finding is said: its code and site (PS3.16), its colour in picture and segmentation (sRGB), its
    abbreviation, as radiologists write it, and its title, e.g. "Subdural haemorrhage"."""

    code: Code
    site: Code
    colour: RGB
    abbreviation: str
    title: str


@dataclass(frozen=True, slots=True)
class Alike:
    """Two kinds that are hard to tell apart, and what both are: "extra-axial"."""

    names: tuple[str, str]
    both: str

    @property
    def words(self) -> str:
        """E.g. "extra-axial: epidural or subdural"."""
        return f"{self.both}: {' or '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a question and its answers are said.

    `number` counts the questions from 0 and gives each its own series numbers. `noun` is what is looked for, in one
    word; `positive` and `negative` are the answers in a row of the list, `positive_lines` and `negative_lines` on a
    picture. `whole` names the finding that stands for all of them together, `types` those that a reader may choose
    from. `growth` is the sentence that says what growth means, of `{what}`; `all_together` names all findings in a
    comparison. `category`, `property_type` and `region` are those of segments, `procedure` what was reported on.
    `alike` are the types that are told together where the margin is thin; `sites` are the codes of the regions that
    places name.
    """

    question: str
    number: int
    noun: str
    positive: str
    negative: str
    positive_lines: tuple[str, str]
    negative_lines: tuple[str, str]
    terms: Mapping[str, Term]
    whole: str
    types: tuple[str, ...]
    all_together: str
    growth: str
    category: Code
    property_type: Code
    region: Code
    procedure: Code
    alike: Alike | None = None
    sites: Mapping[str, Code] = field(default_factory=dict)

    @property
    def target(self) -> Term:
        """What the question is about, as one finding."""
        return self.terms[self.whole]

    @property
    def nothing_looked_for(self) -> str:
        """What must be said where there is no result."""
        return f"No {self.noun} was looked for in these images. Read them as usual."

    def in_comparison(self, name: str) -> str:
        """A finding's name in a sentence that compares two scans."""
        return self.all_together if name == self.whole else name

    def growth_of(self, name: str) -> str:
        """The sentence that says growth of one finding, or of all together where they are not told apart."""
        what = f"{self.all_together} together" if name == self.whole else f"the {name} {self.noun}"
        return self.growth.format(what=what)


@cache
def vocabulary_of(question: str) -> Vocabulary:
    """The words of a question; ModuleNotFoundError where nobody has written them."""
    vocabulary: Vocabulary = import_module(f"reports.vocabulary.{question}").VOCABULARY
    return vocabulary
