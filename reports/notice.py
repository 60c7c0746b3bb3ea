"""Why there is no result -> Comprehensive 3D SR (PS3.3 A.35.13) as a basic report (PS3.16 TID 2000): words alone.

The picture that says the same is made in sc.py.
"""

from collections.abc import Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from inference.input.elements import text
from reports import codes, words
from reports.context import Kind, Replaced, ReportOptions
from reports.identity import Identity, plain
from reports.observer import observer_context
from reports.patient import TYPE_2, finish
from reports.sr import predecessor
from reports.vocabulary.terms import vocabulary_of

ENGLISH = sr.CodedConcept("en-US", "RFC5646", "English (United States)")
CONTAINS = sr.RelationshipTypeValues.CONTAINS


def build_notice_report(
    sources: Sequence[Dataset], reason: str, who: Identity, replaces: tuple[Replaced, ...], options: ReportOptions
) -> Dataset:
    """The report that says why a series, given by the headers of its images, was not analysed."""
    study_uid = str(sources[0].StudyInstanceUID)
    predecessors = [predecessor(each, study_uid) for each in replaces if each.kind is Kind.SR]
    made = sr.Comprehensive3DSR(
        evidence=[_reference(each) for each in sources],
        content=_report(reason, who, replaces, options),
        **who.in_series,
        manufacturer=options.manufacturer,
        is_complete=True,
        previous_versions=predecessors or None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    return finish(made, sources[0], who, options)


def _report(
    reason: str, who: Identity, replaces: tuple[Replaced, ...], options: ReportOptions
) -> sr.ContainerContentItem:
    root = sr.ContainerContentItem(name=codes.IMAGING_REPORT, template_id="2000")
    earlier = words.replacement(replaces, who)
    sentences = (
        f"{words.with_disclaimer(words.headline_not_analysed())}.",
        plain(reason),
        vocabulary_of(who.question).nothing_looked_for,
        *([f"{earlier}."] if earlier else []),
        f"{words.model(who)}, {words.clock(who.now)}.",
        words.RESEARCH,
    )
    conclusions = sr.ContainerContentItem(name=codes.CONCLUSIONS, relationship_type=CONTAINS)
    conclusions.ContentSequence = sr.ContentSequence(
        [
            sr.TextContentItem(codes.COMMENT if number else codes.CONCLUSION, sentence, CONTAINS)
            for number, sentence in enumerate(sentences)
        ]
    )
    root.ContentSequence = sr.ContentSequence(
        [
            *sr.LanguageOfContentItemAndDescendants(ENGLISH),
            *sr.ObservationContext(observer_device_context=observer_context(who, options)),
            conclusions,
        ]
    )
    return root


def _reference(source: Dataset) -> Dataset:
    """What highdicom reads of a source that is only named."""
    header = Dataset()
    for keyword in TYPE_2.split():
        setattr(header, keyword, "")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, keyword, text(source, keyword))
    return header
