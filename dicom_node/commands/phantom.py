"""The demo's patients: synthetic heads written as a CT series (PS3.3 A.3). No real person is behind them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node import clock
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead, synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType


@dataclass(frozen=True, slots=True)
class SyntheticPatient:
    """A synthetic patient, and the urgency that is right for them."""

    title: str
    expected: str
    seed: int
    bleed: HaemorrhageType | None = None
    size: Literal["large", "subtle"] = "large"
    missing_slices: tuple[int, ...] = ()


PATIENTS = (
    SyntheticPatient("a normal head", "LOW", 11),
    SyntheticPatient("a head with missing slices", "MEDIUM", 12, missing_slices=(13, 14)),
    SyntheticPatient("a subtle bleed", "HIGH", 13, HaemorrhageType.INTRAPARENCHYMAL, "subtle"),
    SyntheticPatient("a large bleed", "HIGH", 14, HaemorrhageType.SUBDURAL),
)


def write_patient(patient: SyntheticPatient, number: int, folder: Path) -> None:
    """Write the patient's head CT into a folder; the accession number is `number`."""
    write_series(synthetic_head(patient.seed, patient.bleed, patient.size), folder, number, patient.missing_slices)


def write_series(
    head: SyntheticHead, folder: Path, number: int, missing: tuple[int, ...] = (), now: datetime | None = None
) -> None:
    """Write a head as one CT Image Storage instance per slice, skull base first, without the `missing` slices."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    start = now or clock.utc_now()
    for index, plane in enumerate(head.hu):
        if index not in missing:
            dataset = _slice(head, index, plane, number, start)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
            dataset.save_as(folder / f"{index + 1:03d}.dcm", enforce_file_format=True)


def _slice(head: SyntheticHead, index: int, plane: np.ndarray, number: int, start: datetime) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, UID(meta.MediaStorageSOPInstanceUID)
    ds.PatientID, ds.PatientName = f"SYNTHETIC{number}", f"Synthetic^Head {number}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19710214", "O", "055Y"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = str(number), str(number), ""
    taken = start + timedelta(milliseconds=500 * index)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = start.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = start.strftime("%H%M%S")
    ds.AcquisitionTime = ds.ContentTime = taken.strftime("%H%M%S.%f")
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "triage-node", "Synthetic head"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = (
        "CT HEAD WO CONTRAST",
        "HEAD 5.0 AXIAL",
        "Synthetic head",
    )
    ds.BodyPartExamined, ds.PatientPosition, ds.KVP = "HEAD", "HFS", "120"
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.ConvolutionKernel, ds.SliceThickness = "H31s", str(head.spacing_mm[0])
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, index + 1
    ds.PositionReferenceIndicator = ""
    _, row_mm, column_mm = head.spacing_mm
    rows, columns = plane.shape
    ds.ImagePositionPatient = [-(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm, index * head.spacing_mm[0]]
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [row_mm, column_mm]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (
        rows,
        columns,
        16,
        12,
        11,
        0,
    )
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 80
    ds.PixelData = np.clip(np.round(plane) + 1024, 0, 4095).astype("<u2").tobytes()
    return ds
