"""Every code against pydicom's tables of PS3.16, which come from the standard itself."""

import re
from pathlib import Path
from typing import cast

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from reports import codes

EVERY_CODE = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}
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
    assert standard.SCT.IntracranialHemorrhage == codes.INTRACRANIAL_HAEMORRHAGE
    assert standard.SCT.Suspected == codes.SUSPECTED
    assert standard.SCT.Absent == codes.ABSENT
    assert standard.DCM.OfInterest == codes.OF_INTEREST
    assert codes.finding_site("intraventricular") == standard.SCT.BrainVentricle
    assert codes.finding_code("intraventricular") == standard.SCT.IntracranialHemorrhage


def test_every_type_is_told_apart() -> None:
    said = {(codes.finding_code(each).value, codes.finding_site(each).value) for each in HaemorrhageType}
    assert len(said) == len(HaemorrhageType)
    assert (codes.finding_code(INTRACRANIAL), codes.finding_site(INTRACRANIAL)) == (
        codes.INTRACRANIAL_HAEMORRHAGE,
        codes.BRAIN,
    )
    assert (codes.finding_code(INTRACRANIAL).value, codes.finding_site(INTRACRANIAL).value) not in said
    with pytest.raises(KeyError):
        codes.finding_code("pneumothorax")


def test_each_code_stands_once() -> None:
    values = [(code.scheme_designator, code.value) for code in EVERY_CODE.values()]
    assert len(values) == len(set(values))
    for path in sorted(Path(codes.__file__).parent.glob("*.py")):
        quoted = set(re.findall(r'"(\d{5,18})"', path.read_text()))
        assert path.name == "codes.py" or not quoted, f"{path.name} has codes of its own: {quoted}"
