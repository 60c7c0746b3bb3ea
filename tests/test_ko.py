"""The key object note: these slices, these frames, and why."""

import dataclasses

from highdicom.ko import KeyObjectSelectionDocument
from reports_support import ct_series, enhanced_ct, negative_result, reports, suspected_context

from reports.context import Kind


def test_selects_the_key_slices_in_their_order() -> None:
    context = suspected_context(ct_series())
    note = reports(context)[Kind.KO]
    assert (note.SOPClassUID, note.Modality) == ("1.2.840.10008.5.1.4.1.1.88.59", "KO")
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113000", "DCM")
    images = [each for each in note.ContentSequence if each.ValueType == "IMAGE"]
    expected = [context.stack.sop_uids[i] for i in context.result.key_slices]
    assert [each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for each in images] == expected


def test_says_what_it_is() -> None:
    note = reports(suspected_context(ct_series()))[Kind.KO]
    (text,) = [each.TextValue for each in note.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == "113012"]
    assert text.startswith("AI: SUSPECTED INTRACRANIAL HAEMORRHAGE - NOT FOR DIAGNOSTIC USE")


def test_evidence_is_what_it_selects() -> None:
    context = suspected_context(ct_series())
    note = reports(context)[Kind.KO]
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (context.stack.study_uid, context.stack.series_uid)
    listed = {each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence}
    assert listed == {context.stack.sop_uids[i] for i in context.result.key_slices}
    document = KeyObjectSelectionDocument.from_dataset(note)
    for uid in listed:
        assert document.resolve_reference(uid) == (context.stack.study_uid, context.stack.series_uid, uid)


def test_selects_frames_of_a_multiframe_image() -> None:
    source, stack = enhanced_ct()
    context = suspected_context([source], stack)
    images = [each for each in reports(context)[Kind.KO].ContentSequence if each.ValueType == "IMAGE"]
    assert {each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for each in images} == {source.SOPInstanceUID}
    frames = [each.ReferencedSOPSequence[0].ReferencedFrameNumber for each in images]
    assert frames == [stack.frames[i] for i in context.result.key_slices]


def test_none_without_a_suspicion_or_key_slices() -> None:
    context = suspected_context(ct_series())
    bare = dataclasses.replace(context.result, key_slices=())
    for result in (negative_result(context.stack), bare):
        assert Kind.KO not in reports(dataclasses.replace(context, result=result))
