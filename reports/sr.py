"""Result -> Comprehensive 3D SR (PS3.3 A.35.13) as an Imaging Measurement Report (PS3.16 TID 1500; IHE AI Results).

The conclusion stands first, as text, and the image library last. One group (TID 1501) says whether what was looked for
is suspected or absent, how probable it is, and all of it once more in plain words; one group (TID 1411) per type found
carries the volume, with how far 95 % of true ones lie above and below it (TID 310, CID 225) where that was measured,
and points at its segment. Where types are not stated, one such group is of all together, with its side, and each type
has a group (TID 1501): its probability, undetermined.
"""

from collections.abc import Sequence
from copy import deepcopy

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from inference.findings import Finding, Result, Side
from reports import codes, words
from reports.context import Kind, Replaced
from reports.earlier import difference, earlier_evidence, earlier_groups
from reports.identity import Identity, hashed_uid, plain
from reports.observer import observer_context
from reports.patient import finish
from reports.prepared import Prepared
from reports.seg import tracking_uid
from reports.vocabulary.terms import Vocabulary

SIDES = {
    Side.LEFT: codes.LEFT,
    Side.RIGHT: codes.RIGHT,
    Side.BOTH: codes.BILATERAL,
    Side.MIDLINE: codes.MIDLINE,
}
HAS_PROPERTIES = sr.RelationshipTypeValues.HAS_PROPERTIES


def build_sr(prepared: Prepared, seg: Dataset | None) -> Dataset:
    """The report, of a negative result too; `seg` is the segmentation whose segments it measures, if there is one."""
    context, options, who = prepared.context, prepared.options, prepared.who(Kind.SR)
    evidence = list({str(each.SOPInstanceUID): each for each in prepared.headers}.values())
    predecessors = [predecessor(each, context.stack.study_uid) for each in context.replaces if each.kind is Kind.SR]
    made = sr.Comprehensive3DSR(
        evidence=[*evidence, *([seg] if seg is not None else []), *earlier_evidence(context)],
        content=_report(prepared, who, seg),
        **who.in_series,
        manufacturer=options.manufacturer,
        is_complete=True,
        previous_versions=predecessors or None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    conclusion = f"{words.with_disclaimer(words.summary(prepared.result))}."
    made.ContentSequence = _in_reading_order(made.ContentSequence, conclusion)
    return finish(made, prepared.sources[0], who, options)


def _in_reading_order(content: Sequence[Dataset], conclusion: str) -> list[Dataset]:
    """The conclusion first and the images' geometry last: a PACS shows a report from its beginning."""
    library = [each for each in content if each.ConceptNameCodeSequence[0].CodeValue == codes.IMAGE_LIBRARY.value]
    others = [each for each in content if each not in library]
    language = 1  # which comes before whatever is written in it
    said = sr.TextContentItem(codes.CONCLUSION, conclusion, sr.RelationshipTypeValues.CONTAINS)
    return [*others[:language], said, *others[language:], *library]


def _report(prepared: Prepared, who: Identity, seg: Dataset | None) -> sr.MeasurementReport:
    keys, algorithm = [prepared.headers[i] for i in prepared.result.key_slices], _algorithm(prepared)
    groups: list[sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations]
    groups = [_study_group(prepared, who, algorithm)]
    if seg is not None:
        seg_who = prepared.who(Kind.SEG)
        groups += [
            _type_group(finding, number, seg, seg_who, prepared, algorithm)
            for number, finding in enumerate(prepared.segmented, start=1)
        ]
    groups += [_possible_group(each, prepared, who, algorithm) for each in possible(prepared.result)]
    groups += earlier_groups(prepared.context, who, algorithm)
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer_context(who, prepared.options)),
        procedure_reported=prepared.vocabulary.procedure,
        imaging_measurements=groups,
        title=codes.IMAGING_MEASUREMENT_REPORT,
        referenced_images=_library(keys, prepared.multiframe),
    )


def _algorithm(prepared: Prepared) -> sr.AlgorithmIdentification:
    """TID 4019."""
    model, assumed = prepared.result.model, prepared.result.prevalence
    return sr.AlgorithmIdentification(
        name=plain(model.name),
        version=plain(model.version),
        manufacturer=plain(prepared.options.manufacturer),
        parameters=[
            f"weights sha256 {model.sha256}",
            f"threshold {prepared.result.threshold:.4g}",
            *([] if assumed is None else [f"assumed prevalence {assumed:g}"]),
        ],
    )


def _study_group(
    prepared: Prepared, who: Identity, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Suspected or absent, with the probability, the slices that show it, and the words."""
    context, result, vocabulary = prepared.context, prepared.result, prepared.vocabulary
    target = vocabulary.target
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=hashed_uid("finding", who.sop_uid, "study"), identifier=target.title
        ),
        finding_type=target.code,
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(target.site)],
        measurements=[sr.Measurement(codes.PROBABILITY, round(result.probability, 4), codes.NO_UNITS)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(target.code, codes.SUSPECTED if result.suspected else codes.ABSENT),
            *difference(context, vocabulary.whole),
        ],
        source_images=_source_images(prepared),
    )
    for sentence in words.account(result, who, context.replaces, context.growth):
        group[0].ContentSequence.append(sr.TextContentItem(codes.COMMENT, sentence, sr.RelationshipTypeValues.CONTAINS))
    return group


def _type_group(
    finding: Finding,
    number: int,
    seg: Dataset,
    seg_who: Identity,
    prepared: Prepared,
    algorithm: sr.AlgorithmIdentification,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """One type: what, where, how large, and which segment shows it."""
    term = prepared.vocabulary.terms[finding.name]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid(seg_who, finding), identifier=term.title),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(prepared.stack.series_uid),
        ),
        finding_type=term.code,
        algorithm_id=algorithm,
        finding_sites=[_site(finding, prepared.vocabulary)],
        measurements=[
            _volume(finding),
            sr.Measurement(codes.PROBABILITY, round(finding.probability, 4), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(term.code, codes.SUSPECTED),
            *difference(prepared.context, finding.name),
        ],
    )


def possible(result: Result) -> list[Finding]:
    """The kinds that a suspected finding may be of, where none is stated."""
    return [each for each in result.findings if each.differential] if result.suspected else []


def _possible_group(
    finding: Finding, prepared: Prepared, who: Identity, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """One type of a differential: how probable it is, and that nothing is stated of it."""
    term = prepared.vocabulary.terms[finding.name]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=hashed_uid("finding", who.sop_uid, "possible", finding.name), identifier=f"Possible: {term.title}"
        ),
        finding_type=term.code,
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(term.site)],
        measurements=[sr.Measurement(codes.PROBABILITY, round(finding.probability, 4), codes.NO_UNITS)],
        qualitative_evaluations=[sr.QualitativeEvaluation(term.code, codes.UNDETERMINED)],
    )


def _site(finding: Finding, vocabulary: Vocabulary) -> sr.FindingSite:
    """Where a finding lies; the site of its kind where geometry tells no region."""
    site = vocabulary.terms[finding.name].site
    if finding.place is None:
        return sr.FindingSite(site)
    return sr.FindingSite(vocabulary.sites.get(finding.place.region, site), laterality=SIDES[finding.place.side])


def _volume(finding: Finding) -> sr.Measurement:
    """The volume with its uncertainty as distances from it, where the range holds it; highdicom gives them no unit."""
    value = round(finding.volume_ml, 3)
    low, high = finding.volume_range_ml or (value, value)
    properties = sr.MeasurementProperties()
    if low <= value <= high and low < high:
        for code, distance in ((codes.UPPER_UNCERTAINTY, high - value), (codes.LOWER_UNCERTAINTY, value - low)):
            properties.append(
                sr.NumContentItem(code, round(distance, 3), codes.CUBIC_CENTIMETRE, relationship_type=HAS_PROPERTIES)
            )
    return sr.Measurement(codes.VOLUME, value, codes.CUBIC_CENTIMETRE, properties=properties)


def _source_images(prepared: Prepared) -> list[sr.SourceImageForMeasurementGroup]:
    """The key slices; of a multi-frame series the frames."""
    headers = prepared.headers
    return [
        sr.SourceImageForMeasurementGroup(
            referenced_sop_class_uid=headers[i].SOPClassUID,
            referenced_sop_instance_uid=headers[i].SOPInstanceUID,
            referenced_frame_numbers=[prepared.stack.frames[i]] if prepared.multiframe else None,
        )
        for i in prepared.result.key_slices
    ]


def _library(keys: Sequence[Dataset], multiframe: bool) -> list[Dataset] | None:
    """The key slices only, as each entry costs 15 ms; a multi-frame image once, without a position of its own."""
    if not keys:
        return None
    if not multiframe:
        return list(keys)
    instances = [deepcopy(each) for each in {str(each.SOPInstanceUID): each for each in keys}.values()]
    for instance in instances:
        instance.Modality = ""
    return instances


def predecessor(earlier: Replaced, study_uid: str) -> Dataset:
    """An earlier object of the same study as highdicom takes it."""
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = earlier.sop_class_uid, earlier.sop_uid
    item.StudyInstanceUID, item.SeriesInstanceUID = study_uid, earlier.series_uid
    return item
