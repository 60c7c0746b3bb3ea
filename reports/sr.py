"""Result -> Comprehensive 3D SR (PS3.3 A.35.13) as an Imaging Measurement Report (PS3.16 TID 1500; IHE AI Results).

One group (TID 1501) says whether what was looked for is suspected or absent, how probable it is, and all of it
once more in plain words; one group (TID 1411) per type found carries the volume, with how far 95 % of true ones lie
above and below it (TID 310, CID 225) where that was measured, and points at its segment.
"""

from collections.abc import Sequence
from copy import deepcopy

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from inference.findings import Finding
from reports import codes, words
from reports.context import Kind, Replaced, ReportContext, ReportOptions
from reports.earlier import difference, earlier_evidence, earlier_groups
from reports.headers import is_multiframe, ordered_sources, slice_headers
from reports.identity import Identity, hashed_uid, identify, plain
from reports.observer import observer_context
from reports.patient import finish
from reports.seg import segmented_findings, tracking_uid

HAS_PROPERTIES = sr.RelationshipTypeValues.HAS_PROPERTIES


def build_sr(context: ReportContext, options: ReportOptions, seg: Dataset | None) -> Dataset:
    """The report, of a negative result too; `seg` is the segmentation whose segments it measures, if there is one."""
    who = identify(Kind.SR, context)
    headers = slice_headers(context)
    evidence = list({str(each.SOPInstanceUID): each for each in headers}.values())
    predecessors = [_predecessor(each, context) for each in context.replaces if each.kind is Kind.SR]
    made = sr.Comprehensive3DSR(
        evidence=[*evidence, *([seg] if seg is not None else []), *earlier_evidence(context)],
        content=_report(context, who, options, headers, seg),
        series_instance_uid=who.series_uid,
        series_number=who.series_number,
        sop_instance_uid=who.sop_uid,
        instance_number=who.version,
        manufacturer=options.manufacturer,
        series_description=who.series_description,
        is_complete=True,
        previous_versions=predecessors or None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    return finish(made, ordered_sources(context)[0], who, options)


def _report(
    context: ReportContext, who: Identity, options: ReportOptions, headers: Sequence[Dataset], seg: Dataset | None
) -> sr.MeasurementReport:
    keys = [headers[i] for i in context.result.key_slices]
    groups: list[sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations]
    groups = [_study_group(context, who, options, headers)]
    if seg is not None:
        seg_who = identify(Kind.SEG, context)
        groups += [
            _type_group(finding, number, seg, seg_who, context, options)
            for number, finding in enumerate(segmented_findings(context), start=1)
        ]
    groups += earlier_groups(context, who, _algorithm(context, options))
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer_context(who, options)),
        procedure_reported=context.vocabulary.procedure,
        imaging_measurements=groups,
        title=codes.IMAGING_MEASUREMENT_REPORT,
        referenced_images=_library(keys, context),
    )


def _algorithm(context: ReportContext, options: ReportOptions) -> sr.AlgorithmIdentification:
    """TID 4019."""
    model = context.result.model
    return sr.AlgorithmIdentification(
        name=plain(model.name),
        version=plain(model.version),
        manufacturer=plain(options.manufacturer),
        parameters=[f"weights sha256 {model.sha256}", f"threshold {context.result.threshold:g}"],
    )


def _study_group(
    context: ReportContext, who: Identity, options: ReportOptions, headers: Sequence[Dataset]
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Suspected or absent, with the probability, the slices that show it, and the words."""
    result, vocabulary = context.result, context.vocabulary
    target = vocabulary.target
    algorithm = _algorithm(context, options)
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
        source_images=_source_images(context, headers),
    )
    for sentence in words.account(result, who, context.replaces, context.growth):
        group[0].ContentSequence.append(sr.TextContentItem(codes.COMMENT, sentence, sr.RelationshipTypeValues.CONTAINS))
    return group


def _type_group(
    finding: Finding, number: int, seg: Dataset, seg_who: Identity, context: ReportContext, options: ReportOptions
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """One type: what, where, how large, and which segment shows it."""
    term = context.vocabulary.terms[finding.name]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid(seg_who, finding), identifier=term.title),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(context.stack.series_uid),
        ),
        finding_type=term.code,
        algorithm_id=_algorithm(context, options),
        finding_sites=[sr.FindingSite(term.site)],
        measurements=[
            _volume(finding),
            sr.Measurement(codes.PROBABILITY, round(finding.probability, 4), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(term.code, codes.SUSPECTED),
            *difference(context, finding.name),
        ],
    )


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


def _source_images(context: ReportContext, headers: Sequence[Dataset]) -> list[sr.SourceImageForMeasurementGroup]:
    """The key slices; of a multi-frame series the frames."""
    keys, multiframe = context.result.key_slices, is_multiframe(context)
    return [
        sr.SourceImageForMeasurementGroup(
            referenced_sop_class_uid=headers[i].SOPClassUID,
            referenced_sop_instance_uid=headers[i].SOPInstanceUID,
            referenced_frame_numbers=[context.stack.frames[i]] if multiframe else None,
        )
        for i in keys
    ]


def _library(keys: Sequence[Dataset], context: ReportContext) -> list[Dataset] | None:
    """The key slices only, as each entry costs 15 ms; a multi-frame image once, without a position of its own."""
    if not keys:
        return None
    if not is_multiframe(context):
        return list(keys)
    instances = [deepcopy(each) for each in {str(each.SOPInstanceUID): each for each in keys}.values()]
    for instance in instances:
        instance.Modality = ""
    return instances


def _predecessor(earlier: Replaced, context: ReportContext) -> Dataset:
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = earlier.sop_class_uid, earlier.sop_uid
    item.StudyInstanceUID, item.SeriesInstanceUID = context.stack.study_uid, earlier.series_uid
    return item
