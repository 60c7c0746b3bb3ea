"""Every code against pydicom's tables of PS3.16, which come from the standard itself."""

import re
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from inference.pipelines.registry import QUESTIONS
from reports import codes
from reports.vocabulary import haemorrhage
from reports.vocabulary.terms import vocabulary_of

VOCABULARIES = {name: import_module(f"reports.vocabulary.{name}") for name in QUESTIONS}
NAMED = [
    (name, value)
    for module in (codes, *VOCABULARIES.values())
    for name, value in vars(module).items()
    if isinstance(value, Code)
]
EVERY_CODE = dict(NAMED)
# Not in the context groups of PS3.16, so not in any table here; looked up in SNOMED CT.
OUTSIDE_THE_STANDARD = {
    "SUBARACHNOID_HAEMORRHAGE": "21454007",
    "INTRAPARENCHYMAL_HAEMORRHAGE": "274100004",
    "SUBDURAL_HAEMORRHAGE": "35486000",
    "EPIDURAL_HAEMORRHAGE": "82999001",
}


def meanings(code: Code) -> set[str]:
    """What the standard calls this value, in lower case and without SNOMED's tag in brackets."""
    table = cast(dict[str, dict[str, tuple[str, ...]]], concepts[code.scheme_designator])
    found = {entry[code.value][0] for entry in table.values() if code.value in entry}
    return {re.sub(r" \([^)]*\)", "", each).lower() for each in found}


@pytest.mark.parametrize("name", EVERY_CODE)
def test_code_means_what_the_standard_says(name: str) -> None:
    code = EVERY_CODE[name]
    if name in OUTSIDE_THE_STANDARD:
        assert not meanings(code), "in the table now: compare it"
        assert code.value == OUTSIDE_THE_STANDARD[name]
    else:
        assert code.meaning.lower() in meanings(code)


def test_codes_that_are_easily_mistaken() -> None:
    assert codes.PROBABILITY == standard.DCM.Probability != standard.DCM.ProbabilityOfCancer
    assert standard.SCT.IntracranialHemorrhage == haemorrhage.INTRACRANIAL_HAEMORRHAGE
    assert standard.SCT.Suspected == codes.SUSPECTED
    assert standard.SCT.Absent == codes.ABSENT
    assert standard.DCM.OfInterest == codes.OF_INTEREST
    assert haemorrhage.TERMS["intraventricular"].site == standard.SCT.BrainVentricle
    assert haemorrhage.TERMS["intraventricular"].code == standard.SCT.IntracranialHemorrhage


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_finding_is_told_apart(question: str) -> None:
    """By code and site together, by colour, abbreviation and title."""
    terms = vocabulary_of(question).terms.values()
    for said in (
        [(term.code.value, term.site.value) for term in terms],
        [term.colour for term in terms],
        [term.abbreviation for term in terms],
        [term.title for term in terms],
    ):
        assert len(set(said)) == len(terms)


def test_every_type_of_haemorrhage_has_its_words() -> None:
    assert set(haemorrhage.TERMS) == {*HaemorrhageType, INTRACRANIAL}
    whole = haemorrhage.TERMS[INTRACRANIAL]
    assert (whole.code, whole.site) == (haemorrhage.INTRACRANIAL_HAEMORRHAGE, codes.BRAIN)
    with pytest.raises(KeyError):
        haemorrhage.TERMS["pneumothorax"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_vocabulary_says_only_codes_that_have_a_name(question: str) -> None:
    """So that none escapes the comparison with the standard."""
    words = vocabulary_of(question)
    used = {words.category, words.property_type, words.region, words.procedure}
    used |= {code for term in words.terms.values() for code in (term.code, term.site)}
    assert used <= set(EVERY_CODE.values())


def test_each_code_stands_once() -> None:
    values = [(code.scheme_designator, code.value) for _, code in NAMED]
    assert len(values) == len(set(values))
    assert len(EVERY_CODE) == len(NAMED)
    folder = Path(codes.__file__).parent
    allowed = {folder / "codes.py", *(folder / "vocabulary" / f"{name}.py" for name in QUESTIONS)}
    for path in sorted(folder.rglob("*.py")):
        quoted = re.findall(r'"(\d{5,18})"', path.read_text())
        assert path in allowed or not quoted, f"{path.name} has codes of its own: {quoted}"
        assert len(quoted) == len(set(quoted)), f"{path.name} writes a code twice: {quoted}"
