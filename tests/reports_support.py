"""Series, stacks and results made by hand for the tests of the report objects, and the validators for them."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from inference.findings import Finding, Measurement, ModelIdentity, Result
from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports.build import build_reports
from reports.context import Kind, Replaced, ReportContext, ReportObject, ReportOptions
from reports.identity import hashed_uid

NOW = datetime(2026, 3, 4, 10, 5, 6, tzinfo=UTC)
MODEL = ModelIdentity("haemorrhage-test", "1.2.0", "ab" * 32)
ALL_PICTURES = ReportOptions(picture_for_negative=True)


def ct_series(
    slices: int = 12, rows: int = 64, columns: int = 64, spacing: float = 5.0, **elements: Any
) -> list[Dataset]:
    """A synthetic axial head CT; `elements` are set on every slice (None leaves the element out)."""
    series = []
    for i in range(slices):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, hashed_uid("test", str(i))
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = hashed_uid("test study"), hashed_uid("test series")
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = hashed_uid("test frame"), ""
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "P1", "19500102", "F"
        ds.PatientAge, ds.IssuerOfPatientID = "076Y", "HOSPITAL"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260304", "095900", "1", "A1"
        ds.ReferringPhysicianName, ds.StudyDescription = "Roe^Richard", "CT HEAD"
        ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "CT", "ACME", 2, i + 1
        ds.SeriesDescription, ds.BodyPartExamined, ds.PatientPosition = "HEAD 5 MM", "HEAD", "HFS"
        ds.ImageType, ds.KVP, ds.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "120", "1"
        ds.ImagePositionPatient = [-100, -100, spacing * i]
        ds.ImageOrientationPatient, ds.PixelSpacing = (
            [1, 0, 0, 0, 1, 0],
            [round(200 / rows, 6), round(200 / columns, 6)],
        )
        ds.SliceThickness, ds.Rows, ds.Columns = 5, rows, columns
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.RescaleIntercept, ds.RescaleSlope = 0, 1
        ds.PixelData = head_hu(1, rows, columns)[0].astype("<i2").tobytes()
        for keyword, value in elements.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        series.append(ds)
    return series


def head_hu(slices: int, rows: int, columns: int) -> NDArray[np.float32]:
    """A skull round a brain in air, HU."""
    y, x = np.mgrid[0:rows, 0:columns]
    radius = np.hypot((y - rows / 2) / (rows * 0.42), (x - columns / 2) / (columns * 0.36))
    plane = np.where(radius < 0.9, 35.0, np.where(radius < 1.0, 900.0, -1000.0))
    return np.repeat(plane[None], slices, axis=0).astype(np.float32)


def stack_of(sources: Sequence[Dataset], hu: NDArray[np.float32] | None = None) -> SliceStack:
    """The stack of single-frame sources, sorted along the normal."""
    row, column = np.array(sources[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    ordered = sorted(sources, key=lambda ds: float(np.dot(np.array(ds.ImagePositionPatient, float), normal)))
    rows, columns = int(ordered[0].Rows), int(ordered[0].Columns)
    down, across = (float(each) for each in ordered[0].PixelSpacing)
    return SliceStack(
        study_uid=ordered[0].StudyInstanceUID,
        series_uid=ordered[0].SeriesInstanceUID,
        hu=head_hu(len(ordered), rows, columns) if hu is None else hu,
        sop_uids=tuple(str(ds.SOPInstanceUID) for ds in ordered),
        frames=(1,) * len(ordered),
        positions=np.array([ds.ImagePositionPatient for ds in ordered], float),
        row_direction=row,
        column_direction=column,
        pixel_spacing=(down, across),
    )


def enhanced_ct(slices: int = 8, rows: int = 32, columns: int = 40) -> tuple[Dataset, SliceStack]:
    """A multi-frame CT whose frames lie top to bottom, with one frame too many; and the stack of the others."""
    ds = ct_series(1, rows, columns)[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "PixelData"):
        delattr(ds, keyword)
    ds.NumberOfFrames = slices + 1
    ds.PerFrameFunctionalGroupsSequence = [_frame(5.0 * (slices - i)) for i in range(slices + 1)]
    shared = Dataset()
    ds.SharedFunctionalGroupsSequence = [shared]
    stack = SliceStack(
        study_uid=ds.StudyInstanceUID,
        series_uid=ds.SeriesInstanceUID,
        hu=head_hu(slices, rows, columns),
        sop_uids=(str(ds.SOPInstanceUID),) * slices,
        frames=tuple(slices - i for i in range(slices)),
        positions=np.array([[-100.0, -100.0, 5.0 * (i + 1)] for i in range(slices)]),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing=(6.25, 5.0),
    )
    return ds, stack


def _frame(depth: float) -> Dataset:
    frame, position, orientation, measures = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [-100, -100, depth]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [6.25, 5.0], 5
    frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
    frame.PixelMeasuresSequence = [measures]
    return frame


def blobs(shape: tuple[int, int, int], seed: int) -> NDArray[np.bool_]:
    """A ragged region that touches the first and the last slice and the last column, so that no edge goes untested."""
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    slices, rows, columns = shape
    mask[slices // 3 : slices // 2, rows // 3 : rows // 2, columns // 4 : columns // 2] = True
    mask ^= random.random(shape) < 0.01
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    return mask


def result_for(
    stack: SliceStack,
    masks: dict[HaemorrhageType, NDArray[np.bool_]],
    suspected: bool = True,
    warnings: Sequence[str] = (),
) -> Result:
    """A result with these masks; the key slices are those with most of them."""
    area = np.zeros(len(stack.sop_uids))
    findings = []
    for kind in HaemorrhageType:
        mask = masks.get(kind)
        volume = 0.0 if mask is None else _volume_ml(stack, mask)
        area += 0 if mask is None else mask.sum((1, 2))
        measured = (Measurement("volume", volume, "mL"),) if mask is not None else ()
        findings.append(Finding(kind.value, 0.93 if mask is not None else 0.04, mask is not None, mask, measured))
    order = [int(i) for i in np.argsort(-area, kind="stable")[:5]]
    return Result(
        question="haemorrhage",
        pipeline="haemorrhage",
        model=MODEL,
        threshold=0.5,
        suspected=suspected,
        probability=0.97 if suspected else 0.03,
        findings=tuple(findings),
        slice_probabilities=tuple(float(each) for each in area / max(area.max(), 1)),
        key_slices=tuple(order),
        warnings=tuple(warnings),
    )


def with_ranges(context: ReportContext, low: float, high: float) -> ReportContext:
    """The same result, of a model whose card says how far its volumes are off."""
    findings = tuple(
        replace(each, measurements=tuple(replace(m, low=low * m.value, high=high * m.value) for m in each.measurements))
        for each in context.result.findings
    )
    return replace(context, result=replace(context.result, findings=findings))


def _volume_ml(stack: SliceStack, mask: NDArray[np.bool_]) -> float:
    per_slice = mask.sum((1, 2)) * stack.extents_mm * stack.pixel_spacing[0] * stack.pixel_spacing[1]
    return float(per_slice.sum() / 1000)


def negative_result(stack: SliceStack, warnings: Sequence[str] = ()) -> Result:
    """Nothing found."""
    return result_for(stack, {}, suspected=False, warnings=warnings)


def suspected_context(sources: Sequence[Dataset], stack: SliceStack | None = None, **more: Any) -> ReportContext:
    """Two types found in this series."""
    stack = stack or stack_of(sources)
    shape = (len(stack.sop_uids), *stack.hu.shape[1:])
    masks = {HaemorrhageType.SUBDURAL: blobs(shape, 1), HaemorrhageType.INTRAVENTRICULAR: blobs(shape, 2)}
    return ReportContext(tuple(sources), stack, result_for(stack, masks), NOW, **{"version": 1, **more})


def by_kind(objects: Iterable[ReportObject]) -> dict[Kind, Dataset]:
    """The data sets of a result, each of a different kind."""
    return {each.kind: each.dataset for each in objects}


def reports(context: ReportContext, options: ReportOptions | None = None) -> dict[Kind, Dataset]:
    """Build and take apart."""
    return by_kind(build_reports(context, options or ReportOptions()))


def second_version(context: ReportContext) -> ReportContext:
    """The same study once more, an hour later, in place of the first result."""
    replaced = tuple(
        Replaced(each.kind, each.dataset.SOPClassUID, each.dataset.SOPInstanceUID, each.dataset.SeriesInstanceUID, NOW)
        for each in build_reports(context, ReportOptions())
    )
    later = context.now + timedelta(hours=1)
    return ReportContext(context.sources, context.stack, context.result, later, 2, replaced)


def as_bytes(ds: Dataset) -> bytes:
    """The object as a Part 10 file."""
    buffer = DicomBytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return bytes(buffer.getvalue())


def read(data: bytes) -> Dataset:
    """A Part 10 file from memory."""
    return dcmread(DicomBytesIO(data))


def write_all(objects: Iterable[Dataset], folder: Path) -> list[Path]:
    """Write the objects to numbered files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, ds in enumerate(objects):
        path = folder / f"{i:04d}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        paths.append(path)
    return paths


def validator_errors(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace")
    return [line for line in (run.stdout + run.stderr).splitlines() if "Error" in line]


def entity_errors(paths: Iterable[Path]) -> list[str]:
    """What dcentvfy calls an error over all files together."""
    run = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, errors="replace")
    return [line for line in (run.stdout + run.stderr).splitlines() if "Error" in line]
