"""The patient's earlier scan in a report: what was measured then, at its own time point (PS3.16 TID 1501, 1502).

No code says "change of volume", so the earlier volume has a group of its own, under a tracking identifier and a time
point that say whose it is, and points at the earlier study's report. "Difference in size" (CID 6133; SNOMED CT means:
compared to a previous radiologic examination) is coded in the present groups, and only where it is beyond the volume
error. The words of the report say the rest.
"""

from highdicom import sr
from pydicom.dataset import Dataset

from inference.change import Change, ChangeKind
from reports import codes
from reports.context import Replaced, ReportContext
from reports.identity import Identity, hashed_uid
from reports.vocabulary.terms import Term

_DIFFERENCES = {ChangeKind.LARGER: codes.INCREASE_IN_SIZE, ChangeKind.SMALLER: codes.DECREASE_IN_SIZE}


def earlier_evidence(context: ReportContext) -> list[Dataset]:
    """The earlier study's report, as an instance that this one refers to."""
    report, growth = context.earlier_report, context.growth
    if report is None or growth is None or not _measured(context):
        return []
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = report.sop_class_uid, report.sop_uid
    item.StudyInstanceUID, item.SeriesInstanceUID = report.study_uid or growth.earlier_study_uid, report.series_uid
    return [item]


def difference(context: ReportContext, name: str) -> list[sr.QualitativeEvaluation]:
    """Whether a finding, or all of them together, is larger or smaller; nothing where that is not certain."""
    kinds = {change.name: change.kind for change in context.growth.changes} if context.growth else {}
    code = _DIFFERENCES.get(kinds.get(name, ChangeKind.NOTHING))
    return [sr.QualitativeEvaluation(codes.DIFFERENCE_IN_SIZE, code)] if code else []


def earlier_groups(
    context: ReportContext, who: Identity, algorithm: sr.AlgorithmIdentification
) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """A group for all findings together and for each that is told apart, where the earlier scan had any."""
    when = f"Earlier scan, {context.growth.earlier_at.astimezone():%Y-%m-%d %H:%M %Z}" if context.growth else ""
    report = context.earlier_report
    terms, time_point = context.vocabulary.terms, sr.TimePointContext(when)
    return [_group(change, terms[change.name], time_point, report, who, algorithm) for change in _measured(context)]


def _measured(context: ReportContext) -> list[Change]:
    changes = context.growth.changes if context.growth else ()
    return [change for change in changes if change.earlier.ml > 0]


def _group(
    change: Change,
    term: Term,
    when: sr.TimePointContext,
    report: Replaced | None,
    who: Identity,
    algorithm: sr.AlgorithmIdentification,
) -> sr.MeasurementsAndQualitativeEvaluations:
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=hashed_uid("finding", who.sop_uid, "earlier", change.name),
            identifier=f"Earlier scan: {term.title[0].lower()}{term.title[1:]}",
        ),
        time_point_context=when,
        finding_type=term.code,
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(term.site)],
        measurements=[sr.Measurement(codes.VOLUME, round(change.earlier.ml, 3), codes.CUBIC_CENTIMETRE)],
    )
    if report is not None:
        group[0].ContentSequence.append(
            sr.CompositeContentItem(
                codes.PRIOR_REPORT, report.sop_class_uid, report.sop_uid, sr.RelationshipTypeValues.CONTAINS
            )
        )
    return group
