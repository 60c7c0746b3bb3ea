"""The public DICOM data sets RSNA 2019 and CQ500, built on disk as they are published."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset as DicomDataset
from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from series import SIZE, ct, head, write

from inference.training.datasets.base import DatasetError, Entry, NoStack
from inference.training.datasets.recognise import open_dataset
from inference.training.datasets.rsna2019 import NAMES


def table(path: Path, *lines: str) -> Path:
    """A CSV with these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path


# RSNA 2019


KEPT = [
    *("Modality", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation"),
    *("Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleIntercept", "RescaleSlope", "PixelData"),
]


def rsna_slice(place: int, study: str, patient: str, **elements: object) -> DicomDataset:
    """A slice with the elements that the published ones have: 512 x 512 there, 64 x 64 here."""
    whole = ct(place)
    ds = DicomDataset()
    for keyword in KEPT:
        setattr(ds, keyword, getattr(whole, keyword))
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = f"ID_{study[3:6]}{place:06d}", study, f"{study}e"
    ds.PatientID, ds.StudyID = patient, ""
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.preamble, ds.file_meta = bytes(128), whole.file_meta
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def write_rsna(root: Path, slices: Sequence[DicomDataset], positive: dict[str, Sequence[str]]) -> Path:
    """Images in stage_2_train, and six rows for each; the first slice's rows stand there twice."""
    folder = root / "stage_2_train"
    folder.mkdir(parents=True)
    rows = []
    for ds in slices:
        uid = str(ds.SOPInstanceUID)
        dcmwrite(folder / f"{uid}.dcm", ds, enforce_file_format=False)
        named = positive.get(uid, ())
        rows += [(f"{uid}_{name}", int(name in named or (name == "any" and bool(named)))) for name in NAMES]
    with (root / "stage_2_train.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([("ID", "Label"), *rows, *rows[:6]])
    return root


@pytest.fixture
def rsna(tmp_path: Path) -> Path:
    """Two studies of 5 slices of one patient; slice 3 of the first has two types."""
    with disable_value_validation():
        slices = [rsna_slice(i, study, "ID_eeaf99e7") for study in ("ID_134d398b61", "ID_66929e09d4") for i in range(5)]
        return write_rsna(tmp_path, slices, {"ID_134000003": ("subdural", "subarachnoid")})


@pytest.mark.filterwarnings("error:Invalid value for VR:UserWarning")
def test_rsna_slices_are_brought_together_by_their_headers(rsna: Path) -> None:
    dataset = open_dataset(rsna)
    assert dataset.name == "RSNA 2019"
    assert dataset.entries() == [Entry("ID_134d398b61", "ID_eeaf99e7"), Entry("ID_66929e09d4", "ID_eeaf99e7")]
    one, two = (dataset.load(entry) for entry in dataset.entries())
    assert one.stack.sop_uids == tuple(f"ID_134{i:06d}" for i in range(5))
    assert one.stack.hu[:, 9, 9].tolist() == [30, 31, 32, 33, 34]
    assert one.truth.slices is not None and one.truth.judged.all()
    assert one.truth.slices[3].tolist() == [True, False, True, True, False, False]
    assert one.truth.slices.sum() == 3 and one.truth.types == (False, True, True, False, False)
    assert one.truth.haemorrhage and not two.truth.haemorrhage


def test_rsna_headers_may_be_kept_in_an_index(rsna: Path) -> None:
    index = rsna / "headers.csv"
    entries = open_dataset(rsna, "rsna-2019", index).entries()
    assert "ID_134000003" in index.read_text()
    assert open_dataset(rsna, "rsna-2019", index).entries() == entries


def test_rsna_values_wrapped_at_4096_are_unwrapped(tmp_path: Path) -> None:
    pixels = np.full((SIZE, SIZE), 3096, "<u2")
    pixels[10], pixels[20], pixels[30] = 35, 3095, 4000
    plain = np.full((SIZE, SIZE), 30, "<i2")
    plain[0, 0] = 31  # one value alone would be a blank image
    wrapped = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "PixelData": pixels.tobytes()}
    with disable_value_validation():
        slices = [
            rsna_slice(i, "ID_134d398b61", "ID_1", **(wrapped if i else {"PixelData": plain.tobytes()}))
            for i in range(4)
        ]
    stack = open_dataset(write_rsna(tmp_path, slices, {})).load(Entry("ID_134d398b61", "ID_1")).stack
    assert stack.hu[1, [0, 10, 20, 30], 5].tolist() == [-1000, 35, 3095, -96]
    assert (stack.hu[0, 1:] == 30).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ID_134000002_any,0", "ID_134000002_any,2", r"stage_2_train\.csv, row \d+: Label is '2'; expected 0 or 1"),
        ("ID_134000002_any,0", "ID_134000001_any,0", r"stage_2_train\.csv: ID_134000002 has no row for any"),
        (
            "ID_134000002_any,0",
            "ID_134000000_any,1",
            r"row \d+: contradicts an earlier row of ID_134000000_any",
        ),
        ("ID_134000002_", "ID_000000002_", r"ID_134000002\.dcm: has no label; expected ID_134000002 in"),
    ],
)
def test_a_wrong_rsna_label_loses_only_its_study(rsna: Path, old: str, new: str, message: str) -> None:
    path = rsna / "stage_2_train.csv"
    path.write_text(path.read_text().replace(old, new))
    dataset = open_dataset(rsna)
    one, two = dataset.entries()
    with pytest.raises(DatasetError, match=message):
        dataset.load(one)
    assert not dataset.load(two).truth.haemorrhage


def test_rsna_errors_name_the_file(rsna: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = rsna / "stage_2_train" / "ID_669000002.dcm"
    cut.write_bytes(cut.read_bytes()[:-50])
    (rsna / "stage_2_train" / "ID_134000001.dcm").unlink()
    dataset = open_dataset(rsna)
    one, two = dataset.entries()
    assert "1 labelled slices have no image, e.g. ID_134000001.dcm" in caplog.text
    with pytest.raises(NoStack, match=one.study_id) as no_stack:
        dataset.load(one)
    assert no_stack.value.truth is not None and no_stack.value.truth.types == (False, True, True, False, False)
    with pytest.raises(DatasetError, match=rf"{cut}: is damaged") as damaged:
        dataset.load(two)
    assert damaged.value.truth is not None and not damaged.value.truth.haemorrhage
    path = rsna / "stage_2_train.csv"
    path.write_text("ID,Label\nID_1_blood,1\n")
    with pytest.raises(DatasetError, match=r"stage_2_train\.csv, row 2: ID is 'ID_1_blood'; expected"):
        open_dataset(rsna).entries()
    path.write_text("ID,Probability\nID_1_any,1\n")
    with pytest.raises(
        DatasetError, match=r"stage_2_train\.csv: expected the columns ID, Label; found id, probability"
    ):
        open_dataset(rsna, "rsna-2019")


# CQ500

FINDINGS = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "Fracture")


def reads_row(number: int, *votes: Sequence[str]) -> str:
    """One study's row: for each of the three readers what he saw."""
    flags = [str(int(finding in seen)) for seen in votes for finding in FINDINGS]
    return ",".join([f"CQ500-CT-{number}", "B1", *flags])


def write_cq500(root: Path, *rows: str) -> Path:
    columns = ["name", "Category", *(f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in FINDINGS)]
    return table(root / "reads.csv", ",".join(columns), *rows)


def cq500_series(root: Path, number: int, name: str, slices: int) -> None:
    folder = root / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / f"CT {name}"
    for place, path in enumerate(write(head(slices, study=number, series=len(name)), folder)):
        path.rename(folder / f"CT{place:06d}.dcm")


def test_cq500_is_the_majority_of_three(tmp_path: Path) -> None:
    rows = [
        reads_row(1, ("ICH", "SDH", "IPH"), ("ICH", "SDH"), ()),
        reads_row(12, (), ("ICH", "SAH"), ()),
    ]
    write_cq500(tmp_path, *rows)
    cq500_series(tmp_path / "qct01", 1, "PLAIN THIN", 8)
    cq500_series(tmp_path, 12, "5mm", 4)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "CQ500"
    assert [entry.study_id for entry in dataset.entries()] == ["CQ500-CT-1", "CQ500-CT-12"]
    one, twelve = (dataset.load(entry) for entry in dataset.entries())
    assert one.truth.haemorrhage and one.truth.types == (False, True, False, False, False)
    assert not twelve.truth.haemorrhage and twelve.truth.types == (False,) * 5
    assert one.truth.slices is None and len(one.stack.hu) == 8


def test_cq500_reads_the_plain_soft_tissue_series(tmp_path: Path) -> None:
    write_cq500(tmp_path, reads_row(0, (), (), ()))
    for name, slices in (
        ("Thin Bone", 12),
        ("POST CONTRAST-2", 11),
        ("4cc sec 150cc D3D on", 10),
        ("PRE CONTRAST THIN", 9),
    ):
        cq500_series(tmp_path, 0, name, slices)
    cq500_series(tmp_path, 0, "PRE CONTRAST 5MM STD", 4)
    study = open_dataset(tmp_path).load(Entry("CQ500-CT-0", "CQ500-CT-0"))
    assert study.series_name == "CT PRE CONTRAST THIN"
    assert study.stack.series_uid.endswith(f".{len('PRE CONTRAST THIN')}") and len(study.stack.hu) == 9


def test_cq500_keeps_the_reads_of_a_study_without_a_stack(tmp_path: Path) -> None:
    write_cq500(tmp_path, reads_row(1, ("ICH", "SDH"), ("ICH", "SDH"), ()))
    cq500_series(tmp_path, 1, "Plain", 1)
    with pytest.raises(NoStack) as caught:
        open_dataset(tmp_path).load(Entry("CQ500-CT-1", "CQ500-CT-1"))
    assert caught.value.truth is not None and caught.value.truth.types == (False, True, False, False, False)


def test_a_cq500_folder_that_cannot_be_read_loses_only_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cq500(tmp_path, *(reads_row(number, ("ICH",), ("ICH",), ()) for number in (1, 2)))
    for number in (1, 2):
        cq500_series(tmp_path, number, "Plain", 4)
        cq500_series(tmp_path, number, "Plain Thin", 8)
    scan = os.scandir

    def scandir(path: str | Path) -> object:
        if str(path).endswith("CQ500CT1/Unknown Study/CT Plain Thin"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    dataset = open_dataset(tmp_path)
    one, two = dataset.entries()
    with pytest.raises(DatasetError, match=r"CT Plain Thin: cannot be read \(Permission denied\)") as caught:
        dataset.load(one)
    assert caught.value.truth is not None and caught.value.truth.haemorrhage
    assert len(dataset.load(two).stack.hu) == 8


def test_a_wrong_cq500_study_names_its_file(tmp_path: Path) -> None:
    empty = reads_row(4, (), (), ()).replace("CQ500-CT-4,B1,0", "CQ500-CT-4,B1,")
    write_cq500(tmp_path, *(reads_row(number, (), (), ()) for number in (1, 2)), empty)
    cq500_series(tmp_path, 1, "Plain", 4)
    cq500_series(tmp_path, 3, "Plain", 4)
    cq500_series(tmp_path, 4, "Plain", 4)
    dataset = open_dataset(tmp_path)
    one, two, three, four = dataset.entries()
    assert not dataset.load(one).truth.haemorrhage
    with pytest.raises(
        DatasetError, match=r"reads\.csv, row 3: CQ500-CT-2 has no images; expected a folder 'CQ500CT2 "
    ):
        dataset.load(two)
    with pytest.raises(DatasetError, match=r"reads\.csv: has no row for CQ500-CT-3"):
        dataset.load(three)
    with pytest.raises(DatasetError, match=r"reads\.csv, row 4: r1:ich is empty"):
        dataset.load(four)


def test_a_wrong_reads_table_is_named(tmp_path: Path) -> None:
    table(tmp_path / "reads.csv", "name,Category,R1:ICH", "CQ500-CT-1,B1,0")
    with pytest.raises(DatasetError, match=r"reads\.csv: column r1:edh is missing"):
        open_dataset(tmp_path, "cq500")
    write_cq500(tmp_path, reads_row(1, (), (), ()).replace("CQ500-CT-1", "case 1"))
    with pytest.raises(DatasetError, match=r"row 2: name is 'case 1'; expected CQ500-CT-"):
        open_dataset(tmp_path, "cq500").entries()
    write_cq500(tmp_path, reads_row(1, (), (), ()), reads_row(1, (), (), ()))
    with pytest.raises(DatasetError, match=r"row 3: CQ500-CT-1 has two rows"):
        open_dataset(tmp_path, "cq500").entries()
