"""From a series of files to a result, and from a result to its objects: no queue, no lease, no table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from time import perf_counter

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.dicom.contrast import unclear_contrast_of
from dicom_node.dicom.part10 import split_meta
from dicom_node.entities import Analysis, FindingRow, Job, ResultObject
from dicom_node.settings import Report
from inference.engines.local import Engine
from inference.findings import Finding, NotAnalysable, Result
from inference.input.elements import text
from inference.input.stack import SliceStack, read_series
from reports.context import ReportObject, ReportOptions
from reports.vocabulary.terms import vocabulary_of


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A series that was read and analysed; `headers` are the instances of its slices, without pixels."""

    headers: tuple[Dataset, ...]
    stack: SliceStack
    result: Result
    read_s: float
    infer_s: float


def examine(paths: Sequence[Path], pipeline: str, engine: Engine, expected: int | None = None) -> Examined:
    """Read a series and run a pipeline on it. NotAnalysable when it is no stack or not what the pipeline knows.

    A part of what should be there (the sender has `expected` images, or the head is cut off) can show something, but
    cannot show that nothing is there: a negative of it is NotAnalysable, too.
    """
    began = perf_counter()
    datasets = read_series(paths)
    given = engine.question(pipeline).prepare(datasets)
    slices = set(given.stack.sop_uids)
    headers = without_pixels([each for each in datasets if text(each, "SOPInstanceUID") in slices])
    read = perf_counter()
    result = with_warnings(of_a_part(engine.run(pipeline, given), len(paths), expected), _warnings(headers))
    return Examined(headers, given.stack, result, read - began, perf_counter() - read)


def of_a_part(result: Result, here: int, expected: int | None) -> Result:
    """The result with what makes it one of a part; NotAnalysable where that suspects nothing."""
    missing = f"Only {here} of {expected} images came." if expected is not None and here < expected else ""
    incomplete = " ".join(each for each in (missing, result.incomplete) if each)
    if incomplete and not result.suspected:
        raise NotAnalysable(f"{incomplete} Nothing was found in this part, which says nothing of the rest.")
    return replace(result, incomplete=incomplete, warnings=(*([incomplete] if incomplete else []), *result.warnings))


def with_warnings(result: Result, further: Sequence[str]) -> Result:
    """The result with more that a reader must know of it."""
    return replace(result, warnings=(*result.warnings, *further))


def _warnings(headers: Sequence[Dataset]) -> tuple[str, ...]:
    """What the headers leave open and a reader should know."""
    unclear = unclear_contrast_of(headers[len(headers) // 2])
    return (f'Whether contrast medium was given is not clear: the images say "{unclear}".',) if unclear else ()


def without_pixels(datasets: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The same data sets, lighter."""
    for dataset in datasets:
        if "PixelData" in dataset:
            del dataset.PixelData
    return tuple(datasets)


def result_object(built: ReportObject, path: Path, written: bytes) -> ResultObject:
    """What the tables keep of an object that was written as this file."""
    dataset = built.dataset
    return ResultObject(
        str(built.kind),
        str(dataset.SOPInstanceUID),
        str(dataset.SOPClassUID),
        str(dataset.SeriesInstanceUID),
        path,
        sha256(split_meta(written)[1]).hexdigest(),
    )


def part10_bytes(dataset: Dataset) -> bytes:
    """The data set as a Part 10 file."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def analysis_of(job: Job, version: int, result: Result, seconds: float, now: datetime) -> Analysis:
    """What the tables keep of a result."""
    return Analysis(
        study_uid=job.study_uid,
        question=result.question,
        version=version,
        series_uid=job.series_uid,
        pipeline=result.pipeline,
        suspected=result.suspected,
        probability=result.probability,
        threshold=result.threshold,
        findings=finding_rows(result),
        model_name=result.model.name,
        model_version=result.model.version,
        model_sha256=result.model.sha256,
        warnings=result.warnings,
        seconds=seconds,
        made_at=now,
        incomplete=result.incomplete,
        band=result.band or "",
        prevalence=result.prevalence,
    )


def finding_rows(result: Result) -> tuple[FindingRow, ...]:
    """What the tables keep of a result's findings."""
    terms = vocabulary_of(result.question).terms
    return tuple(finding_row(finding, terms[finding.name].code) for finding in result.findings)


def finding_row(finding: Finding, code: Code) -> FindingRow:
    """What the tables keep of a finding."""
    low, high = finding.volume_range_ml or (None, None)
    return FindingRow(
        name=finding.name,
        code=code.value,
        probability=finding.probability,
        present=finding.present,
        volume_ml=round(finding.volume_ml, 3),
        low_ml=None if low is None else round(low, 3),
        high_ml=None if high is None else round(high, 3),
        repeat_sd=finding.volume_repeat_sd,
        side=finding.place.side if finding.place else "",
        region=finding.place.region if finding.place else "",
        differential=finding.differential,
    )


def report_options(settings: Report) -> ReportOptions:
    """The site's wishes as the writers take them."""
    return ReportOptions(
        picture_for_negative=settings.picture_for_negative,
        omit_empty_frames=settings.omit_empty_frames,
    )
