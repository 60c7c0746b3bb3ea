"""What is said where a model does not name types well enough: all blood together, and its types as a differential."""

from dataclasses import replace
from pathlib import Path

import pytest
from peers import needs
from pydicom.dataset import Dataset
from reports_support import ct_series, reports, suspected_context, validator_errors, write_all

from dicom_node import headlines
from dicom_node.analysis import finding_rows
from dicom_node.entities import FindingRow, Urgency
from dicom_node.tables.rows import rows_as
from dicom_node.tables.worklist import Part, PartKind, Standing, possible_kinds, present_findings
from inference.findings import Band, Finding, Measurement, Place, Side
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from reports.context import Kind, ReportContext
from reports.differential import candidates, most_likely
from reports.vocabulary.haemorrhage import VOCABULARY

EDH, SDH, SAH, IPH, IVH = (kind.value for kind in HaemorrhageType)


def kinds(**chances: float) -> list[PartKind]:
    return [PartKind(name, chance) for name, chance in chances.items()]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({EDH: 0.60, SDH: 0.17, IPH: 0.21}, "most likely extra-axial: epidural or subdural (0.77)"),
        ({EDH: 0.17, SDH: 0.60}, "most likely extra-axial: epidural or subdural (0.77)"),
        ({EDH: 0.78, SDH: 0.18}, "most likely epidural (0.78)"),
        ({IPH: 0.50, IVH: 0.36, EDH: 0.06}, "most likely intraparenchymal (0.50), or intraventricular (0.36)"),
        (
            {EDH: 0.3, SDH: 0.2, SAH: 0.4},
            "most likely extra-axial: epidural or subdural (0.50), or subarachnoid (0.40)",
        ),
        ({EDH: 0.9, SDH: 0.8}, "most likely extra-axial: epidural or subdural (1.00)"),
        ({EDH: 0.0, SDH: 0.0}, ""),
        ({SAH: 0.19}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_likeliest_kinds_in_words(found: dict[str, float], said: str) -> None:
    assert most_likely(kinds(**found), VOCABULARY) == said


def test_kinds_that_are_alike_are_one_where_the_margin_is_thin() -> None:
    ranked = candidates(kinds(**{EDH: 0.4, SDH: 0.1, IPH: 0.45}), VOCABULARY)
    assert [(each.words, round(each.probability, 2)) for each in ranked] == [
        ("extra-axial: epidural or subdural", 0.5),
        ("intraparenchymal", 0.45),
    ]


def unsure(sources: list[Dataset]) -> ReportContext:
    """The result of a model that does not name types: about 88 ml on the right."""
    context = suspected_context(sources)
    mask = next(each.mask for each in context.result.findings if each.mask is not None)
    volume = Measurement("volume", 88.472, "mL", 70.6, 107.3)
    whole = Finding(INTRACRANIAL, 0.97, True, mask, (volume,), Place(Side.RIGHT, "extra-axial"))
    shares = {EDH: 0.60, SDH: 0.17, SAH: 0.01, IPH: 0.21, IVH: 0.01}
    possible = (Finding(name, share, False, differential=True) for name, share in shares.items())
    return replace(context, result=replace(context.result, findings=(whole, *possible), band=Band.HIGH))


def named(node: Dataset, value: str) -> list[Dataset]:
    """The items below a node whose concept name has this code value."""
    found = []
    for item in node.get("ContentSequence", ()):
        found += [item] if item.ConceptNameCodeSequence[0].CodeValue == value else []
        found += named(item, value)
    return found


def test_the_report_states_no_type() -> None:
    context = unsure(ct_series())
    report = reports(context)[Kind.SR]
    study, whole, *types = named(report, "125007")
    assert named(whole, "118565006")[0].MeasuredValueSequence[0].NumericValue == pytest.approx(88.472)
    (site,) = named(whole, "363698007")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Meninges"
    assert [each.ConceptCodeSequence[0].CodeMeaning for each in named(whole, "272741003")] == ["Right"]
    assert len(types) == 5
    for group in types:
        (kind,) = named(group, "121071")
        (said,) = named(group, kind.ConceptCodeSequence[0].CodeValue)
        assert said.ConceptCodeSequence[0].CodeMeaning == "Undetermined"
        assert named(group, "118565006") == named(group, "121191") == []
    sentences = [each.TextValue for each in named(study, "121106")]
    assert sentences[0].startswith(
        "AI: SUSPECTED INTRACRANIAL HAEMORRHAGE, about 88 ml (71 to 107), right, extra-axial - "
    )
    assert "Probability high (0.97), threshold 0.50." in sentences
    assert any(each.startswith("Most likely extra-axial: epidural or subdural (0.77).") for each in sentences)
    assert "Epidural haemorrhage: possible (0.60)." in sentences
    assert not any("ural haemorrhage: suspected" in each for each in sentences)


def test_a_negative_report_has_no_differential() -> None:
    context = unsure(ct_series())
    none = tuple(replace(each, present=False, mask=None, measurements=()) for each in context.result.findings)
    result = replace(context.result, suspected=False, probability=0.1, band=Band.LOW, findings=none)
    (study,) = named(reports(replace(context, result=result))[Kind.SR], "125007")
    said = "\n".join(each.TextValue for each in named(study, "121106"))
    assert "Probability low (0.10)" in said and "possible" not in said and "Most likely" not in said


def test_one_segment_and_sound_objects(tmp_path: Path) -> None:
    """No validator finds an error; the key images' words carry volume and place."""
    needs("dciodvfy")
    made = reports(unsure(ct_series()))
    assert [each.SegmentLabel for each in made[Kind.SEG].SegmentSequence] == ["Intracranial haemorrhage"]
    said = [each.TextValue for each in made[Kind.KO].ContentSequence if each.ValueType == "TEXT"]
    assert any("about 88 ml (71 to 107), right, extra-axial - NOT FOR DIAGNOSTIC USE" in each for each in said)
    assert [e for path in write_all(made.values(), tmp_path) for e in validator_errors(path)] == []


def part(found: tuple[FindingRow, ...], urgency: Urgency = Urgency.HIGH) -> Part:
    """What the row keeps of it."""
    whole = present_findings(found)
    return Part(
        "haemorrhage",
        Standing.POSITIVE,
        urgency,
        1,
        0.97,
        whole,
        band="high",
        kinds=possible_kinds(found),
    )


def test_the_row_says_volume_and_place_first_and_types_in_small() -> None:
    found = part(finding_rows(unsure(ct_series()).result))
    assert headlines.say_briefly(found) == "Intracranial haemorrhage, about 88 ml (71 to 107), right, extra-axial"
    assert headlines.say_kinds(found) == "most likely extra-axial: epidural or subdural (0.77)"
    assert headlines.say_chance(found) == "probability high"
    assert headlines.say_part(found) == (
        "Suspected intracranial haemorrhage, about 88 ml (71 to 107), right, extra-axial (probability high);"
        " most likely extra-axial: epidural or subdural (0.77)"
    )


def test_small_undrawn_and_older_results_have_words_too() -> None:
    """No false exactness, no place that is not known; results of before say the number."""
    small = (FindingRow(INTRACRANIAL, "1386000", 0.4, True, 0.3, side="midline"),)
    assert headlines.say_briefly(part(small)) == "Intracranial haemorrhage, under 1 ml, in the midline"
    undrawn = (FindingRow(INTRACRANIAL, "1386000", 0.4, True, 0.0),)
    assert headlines.say_briefly(part(undrawn)) == "Intracranial haemorrhage"
    older = '[{"name": "subdural", "volume_ml": 31.25}]'
    (row,) = rows_as(Part, [{"question": "haemorrhage", "standing": "positive", "urgency": "HIGH", "findings": older}])
    assert headlines.say_part(replace(row, probability=0.5)) == (
        "Suspected intracranial haemorrhage: subdural 31 ml (probability 0.50)"
    )
