"""A result -> the objects it calls for.

A suspected study gets segmentation, report, picture and key images; any other the report, so that silence never reads
as failure. Pure functions: the same context always gives the same bytes.
"""

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from inference.pipelines.registry import QUESTIONS
from reports.context import Kind, Replaced, ReportContext, ReportObject, ReportOptions
from reports.identity import Identity, result_series_uid, result_sop_uid, written_time
from reports.ko import build_ko
from reports.notice import build_notice_report
from reports.prepared import prepare
from reports.sc import build_notice, build_sc
from reports.seg import build_seg
from reports.sr import build_sr


def build_reports(context: ReportContext, options: ReportOptions) -> tuple[ReportObject, ...]:
    """Every object of one result, in the order in which they refer to each other: SEG, SR, SC, KO."""
    suspected = context.result.suspected
    wanted = options.kinds if suspected else (Kind.SR,)
    picture = Kind.SC in wanted or (not suspected and picture_due(options.picture_for_negative, context.replaces))
    prepared = prepare(context, options)
    seg = build_seg(prepared) if Kind.SEG in wanted else None
    made = (
        (Kind.SEG, seg),
        (Kind.SR, build_sr(prepared, seg) if Kind.SR in wanted else None),
        (Kind.SC, build_sc(prepared) if picture else None),
        (Kind.KO, build_ko(prepared) if Kind.KO in wanted else None),
    )
    return tuple(ReportObject(kind, dataset) for kind, dataset in made if dataset is not None)


def build_not_analysed(
    sources: Sequence[Dataset],
    reason: str,
    question: str,
    now: datetime,
    version: int,
    replaces: tuple[Replaced, ...],
    options: ReportOptions,
    kept_as: str = "",
) -> tuple[ReportObject, ...]:
    """The report and the picture that say why there is no result."""
    source = sources[0]
    study_uid, series_uid = kept_as or str(source.StudyInstanceUID), str(source.SeriesInstanceUID)

    def who(kind: Kind) -> Identity:
        return Identity(
            kind=kind,
            question=question,
            series_uid=result_series_uid(study_uid, question, kind, version),
            sop_uid=result_sop_uid(study_uid, question, kind, version, series_uid),
            version=version,
            now=written_time(now, source),
            model=None,
        )

    return (
        ReportObject(Kind.SR, build_notice_report(sources, reason, who(Kind.SR), replaces, options)),
        ReportObject(Kind.SC, build_notice(source, reason, who(Kind.SC), replaces, options)),
    )


def warm_up(now: datetime) -> None:
    """Read the tables and fonts that the first result would otherwise wait for."""
    source = Dataset()
    source.StudyInstanceUID = source.SeriesInstanceUID = "2.25.0"
    source.SOPClassUID, source.SOPInstanceUID = CTImageStorage, "2.25.0"
    build_not_analysed([source], "", QUESTIONS[0], now, 1, (), ReportOptions())


def picture_due(configured: bool, replaces: Sequence[Replaced]) -> bool:
    """Whether to draw a picture that is not suspected: an earlier picture must never be left as the last word."""
    return configured or any(each.kind is Kind.SC for each in replaces)
