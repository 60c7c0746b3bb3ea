"""The structured report: what it says, in codes and in words, and what it points at."""

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from highdicom import sr
from highdicom.sr import MeasurementReport
from peers import needs
from pydicom.dataset import Dataset
from reports_support import (
    MODEL,
    NOW,
    as_bytes,
    by_kind,
    ct_series,
    enhanced_ct,
    negative_result,
    read,
    reports,
    result_for,
    second_version,
    stack_of,
    suspected_context,
    with_ranges,
)

from inference.findings import VOLUME_RANGE
from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports.build import build_not_analysed
from reports.context import Kind, ReportOptions
from reports.vocabulary.haemorrhage import TERMS


def items(node: Dataset) -> Iterator[Dataset]:
    """Every content item below a node."""
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(node: Dataset, value: str) -> list[Dataset]:
    """The items below a node whose concept name has this code value."""
    return [each for each in items(node) if each.ConceptNameCodeSequence[0].CodeValue == value]


def groups(report: Dataset) -> list[Dataset]:
    return named(report, "125007")


def coded(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeValue)


def sentences(report: Dataset) -> list[str]:
    return [each.TextValue for each in named(report, "121106")]


def test_suspected_study_in_codes() -> None:
    context = suspected_context(ct_series())
    report = reports(context)[Kind.SR]
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert [coded(each) for each in named(report, "121058")] == ["303653007"]
    study = groups(report)[0]
    assert study.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert coded(named(study, "121071")[0]) == "1386000"
    assert [coded(each) for each in named(study, "1386000")] == ["415684004"]
    measured = named(study, "122157")[0].MeasuredValueSequence[0]
    assert float(measured.NumericValue) == context.result.probability
    assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_each_type_has_its_volume_and_segment() -> None:
    context = suspected_context(ct_series())
    made = reports(context)
    found = [each for each in context.result.findings if each.present]
    typed = groups(made[Kind.SR])[1:]
    assert len(typed) == len(found) == 2
    for number, (group, finding) in enumerate(zip(typed, found, strict=True), start=1):
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
        assert coded(named(group, "121071")[0]) == TERMS[finding.name].code.value
        assert coded(named(group, "363698007")[0]) == TERMS[finding.name].site.value
        volume = named(group, "118565006")[0].MeasuredValueSequence[0]
        assert float(volume.NumericValue) == pytest.approx(finding.volume_ml, abs=0.001)
        assert volume.MeasurementUnitsCodeSequence[0].CodeValue == "cm3"
        segment = named(group, "121191")[0].ReferencedSOPSequence[0]
        assert segment.ReferencedSOPInstanceUID == made[Kind.SEG].SOPInstanceUID
        assert segment.ReferencedSegmentNumber == number
        tracking = named(group, "112040")[0].UID
        assert tracking == made[Kind.SEG].SegmentSequence[number - 1].TrackingUID


def uncertainties(report: Dataset) -> list[dict[str, tuple[float, str]]]:
    """Of each volume its uncertainties by code, with their units."""
    return [
        {
            item.ConceptNameCodeSequence[0].CodeValue: (
                float(item.MeasuredValueSequence[0].NumericValue),
                str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue),
            )
            for item in volume.get("ContentSequence", ())
            if item.RelationshipType == "HAS PROPERTIES"
        }
        for volume in named(report, "118565006")
    ]


def test_volumes_say_their_uncertainty_in_codes_and_words() -> None:
    context = with_ranges(suspected_context(ct_series()), 0.62, 1.7)
    report = read(as_bytes(reports(context)[Kind.SR]))
    volumes = [each.volume_ml for each in context.result.findings if each.present]
    for found, volume_ml in zip(uncertainties(report), volumes, strict=True):
        (above, unit), (below, other) = found["371886008"], found["371885007"]
        assert above == pytest.approx(0.7 * volume_ml, abs=0.002)
        assert below == pytest.approx(0.38 * volume_ml, abs=0.002)
        assert unit == other == "cm3"
    content = sr.Comprehensive3DSR.from_dataset(report).content
    assert isinstance(content, MeasurementReport) and len(content.get_volumetric_roi_measurement_groups()) == 2
    said = sentences(report)
    drawn = next(each for each in context.result.findings if each.present)
    low, high = drawn.volume_range_ml or (0, 0)
    assert any(f"about {drawn.volume_ml:.0f} ml ({low:.0f} to {high:.0f})." in each for each in said)
    assert said.count(VOLUME_RANGE) == 1


def test_volumes_without_a_range_say_none() -> None:
    report = reports(suspected_context(ct_series()))[Kind.SR]
    assert uncertainties(report) == [{}, {}]
    assert VOLUME_RANGE not in sentences(report)
    assert not any("(" in each.split("about")[1] for each in sentences(report) if "about" in each)


def test_a_range_beside_the_volume_is_said_in_words_only() -> None:
    report = reports(with_ranges(suspected_context(ct_series()), 1.2, 1.7))[Kind.SR]
    assert uncertainties(report) == [{}, {}]
    assert VOLUME_RANGE in sentences(report)


def test_algorithm_is_named_in_every_group() -> None:
    for group in groups(reports(suspected_context(ct_series()))[Kind.SR]):
        assert named(group, "111001")[0].TextValue == MODEL.name
        assert named(group, "111003")[0].TextValue == MODEL.version
        assert named(group, "122405")[0].TextValue == "triage-node"
        assert any(MODEL.sha256 in each.TextValue for each in named(group, "111002"))


def test_negative_study_says_absent() -> None:
    sources = ct_series()
    context = dataclasses.replace(suspected_context(sources), result=negative_result(stack_of(sources)))
    made = reports(context)
    assert set(made) == {Kind.SR}
    (study,) = groups(made[Kind.SR])
    assert [coded(each) for each in named(study, "1386000")] == ["272519000"]
    assert sentences(made[Kind.SR])[0].startswith("AI: NO SUSPICION OF INTRACRANIAL HAEMORRHAGE - NOT FOR")


def test_report_without_key_slices() -> None:
    sources = ct_series()
    result = dataclasses.replace(negative_result(stack_of(sources)), key_slices=())
    report = reports(dataclasses.replace(suspected_context(sources), result=result))[Kind.SR]
    assert named(report, "111028") == []
    assert sr.Comprehensive3DSR.from_dataset(report).content


def test_plain_words() -> None:
    sources = ct_series()
    stack = stack_of(sources)
    context = suspected_context(sources)
    masks = {HaemorrhageType(each.name): each.mask for each in context.result.findings if each.mask is not None}
    result = result_for(stack, masks, warnings=["The patient is 7 years old – results in children are less certain."])
    said = "\n".join(sentences(reports(dataclasses.replace(context, result=result))[Kind.SR]))
    assert "AI: SUSPECTED INTRACRANIAL HAEMORRHAGE - NOT FOR DIAGNOSTIC USE" in said
    assert "not a medical device" in said
    assert "threshold 0.50" in said
    assert "Subdural haemorrhage: suspected (probability 0.93), about" in said
    assert "Epidural haemorrhage: not suspected" in said
    assert "Note: The patient is 7 years old - results in children are less certain." in said
    assert said.isascii()


def test_every_reference_is_listed_as_evidence() -> None:
    context = suspected_context(ct_series())
    made = reports(context)
    report = read(as_bytes(made[Kind.SR]))
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    pointed = {
        each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for each in items(report) if each.ValueType == "IMAGE"
    }
    assert listed == {ds.SOPInstanceUID for ds in context.sources} | {made[Kind.SEG].SOPInstanceUID}
    assert pointed <= listed
    assert pointed == {context.stack.sop_uids[i] for i in context.result.key_slices} | {made[Kind.SEG].SOPInstanceUID}


def test_library_holds_only_the_key_slices() -> None:
    context = suspected_context(ct_series(slices=40))
    (library,) = named(reports(context)[Kind.SR], "111028")
    entries = [each for each in items(library) if each.ValueType == "IMAGE"]
    assert len(entries) == len(context.result.key_slices) == 5


def test_superseding_report_names_its_predecessor() -> None:
    first = suspected_context(ct_series())
    before, second = reports(first), second_version(first)
    after = reports(second)
    earlier = after[Kind.SR].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert earlier.SeriesInstanceUID == before[Kind.SR].SeriesInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in earlier.ReferencedSOPSequence] == [before[Kind.SR].SOPInstanceUID]
    assert "PredecessorDocumentsSequence" not in before[Kind.SR]
    assert any("replaces the result of 2026-03-04 10:05 UTC+00:00" in each for each in sentences(after[Kind.SR]))


def test_lowered_flag_is_said() -> None:
    second = second_version(suspected_context(ct_series()))
    lowered = dataclasses.replace(second, result=negative_result(second.stack))
    assert any("which suspected haemorrhage" in each for each in sentences(reports(lowered)[Kind.SR]))


def test_multiframe_source_is_pointed_at_by_frame() -> None:
    source, stack = enhanced_ct()
    context = suspected_context([source], stack)
    report = reports(context)[Kind.SR]
    shown = named(groups(report)[0], "121112")
    frames = [each.ReferencedSOPSequence[0].ReferencedFrameNumber for each in shown]
    assert frames == [stack.frames[i] for i in context.result.key_slices]
    (library,) = named(report, "111028")
    assert len([each for each in items(library) if each.ValueType == "IMAGE"]) == 1


def test_conclusion_is_read_first_and_geometry_last(tmp_path: Path) -> None:
    """As a PACS shows it: DCMTK's HTML says the conclusion before anything else of the content."""
    report = reports(suspected_context(ct_series()))[Kind.SR]
    names = [each.ConceptNameCodeSequence[0].CodeValue for each in report.ContentSequence]
    assert names.index("121077") == 1 and names[-1] == "111028"
    file = tmp_path / "sr.dcm"
    report.save_as(file, enforce_file_format=True)
    html = subprocess.run([needs("dsr2html"), str(file)], capture_output=True, text=True, check=True).stdout
    said = html.index("SUSPECTED INTRACRANIAL HAEMORRHAGE")
    assert said < html.index("Device Observer") < html.index("Image Orientation")
    first_screen = re.sub(r"<[^>]*>", "", html[html.index("<body") : said])
    assert len([line for line in first_screen.splitlines() if line.strip()]) < 30


def test_notice_says_why_there_is_no_result() -> None:
    """The conclusion, the reason, and that nothing was looked for."""
    sources = ct_series()
    made = build_not_analysed(sources, "Slices are missing.", "haemorrhage", NOW, 1, (), ReportOptions())
    report = by_kind(made)[Kind.SR]
    said = [each.TextValue for each in items(report) if each.ValueType == "TEXT"]
    assert "AI: NOT ANALYSED - NOT FOR DIAGNOSTIC USE." in said and "Slices are missing." in said
    assert any("No haemorrhage was looked for" in each for each in said)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named_images = [each for series in study.ReferencedSeriesSequence for each in series.ReferencedSOPSequence]
    assert len(named_images) == len(sources)
