"""Any folder of DICOM studies with one CSV as a data set: labels, choice of the series, the index of headers."""

import logging
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom import dcmwrite
from series import ROOT, ct, head, write

from inference.findings import NotAnalysable
from inference.training.datasets import headers as headers_module
from inference.training.datasets.base import DatasetError, Entry, NoStack
from inference.training.datasets.headers import Header, read_headers
from inference.training.datasets.recognise import open_dataset
from inference.training.datasets.series import DatasetSeries, by_preference, words_of


def table(path: Path, columns: str, *rows: str) -> Path:
    """A CSV with these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


# Any folder of DICOM studies with one CSV


def test_study_labels_meet_their_images_wherever_they_lie(tmp_path: Path) -> None:
    write(head(6, study=1), tmp_path / "a" / "b")
    for number, slice_ in enumerate(head(6, study=2)):
        dcmwrite(tmp_path / f"IM{number}", slice_, enforce_file_format=True)
    (tmp_path / "README").write_text("no image")
    table(tmp_path / "labels.csv", "Haemorrhage, Study_UID ,SUBDURAL", f"1,{ROOT}.1,1", f"0,{ROOT}.2,")
    dataset = open_dataset(tmp_path)
    assert dataset.entries() == [Entry(f"{ROOT}.1", "P1"), Entry(f"{ROOT}.2", "P2")]
    one, two = (dataset.load(entry) for entry in dataset.entries())
    assert one.truth.haemorrhage and one.truth.types == (None, True, None, None, None)
    assert not two.truth.haemorrhage and two.truth.slices is None and two.truth.mask is None
    assert one.stack.hu[:, 5, 5].tolist() == [30, 31, 32, 33, 34, 35]
    assert one.truth.age_years == 76


@pytest.mark.parametrize(
    ("key", "value"), [("accession_number", "A1"), ("patient_id", "P1"), ("study_uid", f"{ROOT}.1")]
)
def test_a_row_may_name_the_study_in_three_ways(tmp_path: Path, key: str, value: str) -> None:
    write(head(4), tmp_path / "x")
    table(tmp_path / "l.csv", f"{key},hemorrhage,patient", f"{value},1,somebody")
    dataset = open_dataset(tmp_path / "l.csv", "dicom-csv")
    (entry,) = dataset.entries()
    assert entry == Entry(f"{ROOT}.1", "somebody")
    assert dataset.load(entry).truth.haemorrhage


def test_slice_labels_follow_their_images(tmp_path: Path) -> None:
    write(head(4)[::-1], tmp_path / "x")
    rows = [f"{ROOT}.1.1.{place},{label}" for place, label in ((3, "1,1,0"), (1, "0,,0"), (4, ",,"), (2, "0,0,0"))]
    table(tmp_path / "l.csv", "sop_uid,haemorrhage,epidural,subdural", *rows)
    dataset = open_dataset(tmp_path)
    truth = dataset.load(dataset.entries()[0]).truth
    assert truth.haemorrhage and truth.types == (True, None, None, None, None)
    assert truth.judged.tolist() == [True, True, True, False]
    assert truth.slices is not None
    assert truth.slices[:, :3].astype(int).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_a_study_is_free_of_blood_only_if_every_slice_or_the_study_is(tmp_path: Path) -> None:
    write(head(3), tmp_path / "x")
    uids = [f"{ROOT}.1.1.{place}" for place in (1, 2, 3)]
    columns = "study_uid,sop_uid,haemorrhage"
    for rows, expected in (
        ([f",{uid},0" for uid in uids], False),
        ([f",{uids[0]},0", f"{ROOT}.1,,0"], False),
        ([f",{uids[0]},0", f"{ROOT}.1,,1"], True),
    ):
        table(tmp_path / "l.csv", columns, *rows)
        assert open_dataset(tmp_path).load(Entry(f"{ROOT}.1", "P1")).truth.haemorrhage is expected
    table(tmp_path / "l.csv", columns, f",{uids[0]},0")
    with pytest.raises(DatasetError, match="none at all on 2 of its slices"):
        open_dataset(tmp_path).load(Entry(f"{ROOT}.1", "P1"))
    table(tmp_path / "l.csv", columns, f",{uids[0]},1", f"{ROOT}.1,,0")
    with pytest.raises(DatasetError, match="labelled 0, one of its slices 1"):
        open_dataset(tmp_path).load(Entry(f"{ROOT}.1", "P1"))


def test_the_plain_series_with_the_most_images_that_is_a_stack_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(head(20, series=1, SeriesDescription="THIN BONE"), tmp_path / "1")
    write(head(18, series=2, SeriesDescription="HEAD POST CONTRAST"), tmp_path / "2")
    write(head(16, series=3, ContrastBolusAgent="Iohexol"), tmp_path / "3")
    write(head(14, series=4, omit=(6, 7)), tmp_path / "4")
    write(head(8, series=5), tmp_path / "5")
    write(head(6, series=6), tmp_path / "6")
    write([ct(0, series=7, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])], tmp_path / "7")
    write(head(30, series=8, Modality="MR"), tmp_path / "8")
    path = table(tmp_path / "l.csv", "study_uid,haemorrhage,series_uid", f"{ROOT}.1,0,")
    with caplog.at_level(logging.INFO):
        study = open_dataset(tmp_path).load(Entry(f"{ROOT}.1", "P1"))
    assert study.stack.series_uid == f"{ROOT}.1.5"
    assert "THIN BONE" in caplog.text and f"HEAD 5.0 {ROOT}.1.6" in caplog.text
    table(path, "study_uid,haemorrhage,series_uid", f"{ROOT}.1,0,{ROOT}.1.1")
    assert open_dataset(tmp_path).load(study.entry).stack.series_uid == f"{ROOT}.1.1"
    table(path, "study_uid,haemorrhage,series_uid", f"{ROOT}.1,0,{ROOT}.1.4")
    with pytest.raises(NotAnalysable, match="Slices are missing"):
        open_dataset(tmp_path).load(study.entry)
    table(path, "sop_uid,haemorrhage", *(f"{ROOT}.1.6.{place},0" for place in range(1, 7)))
    assert open_dataset(tmp_path).load(study.entry).stack.series_uid == f"{ROOT}.1.6"


@pytest.mark.parametrize(
    ("columns", "row", "message"),
    [
        ("study_uid,haemorrhage", "{r}.1,yes", r"l\.csv, row 2: haemorrhage is 'yes'; expected 0 or 1"),
        ("study_uid,haemorrhage", "{r}.1,", r"l\.csv, row 2: haemorrhage is empty"),
        (
            "study_uid,haemorrhage,epidural",
            "{r}.1,0,1",
            r"row 2: names a type of haemorrhage but says that there is none",
        ),
        ("study_uid,haemorrhage", "{r}.9,1", r"row 2: no image below .* has the study_uid .*\.9"),
        ("study_uid,sop_uid,haemorrhage", "{r}.1,{r}.1.1.9,1", r"row 2: the study has no image with the sop_uid .*\.9"),
        ("study_uid,series_uid,haemorrhage", "{r}.1,{r}.9,1", r"row 2: the study has no CT series"),
        ("patient_id,haemorrhage", "P1,1", r"row 2: patient_id P1 has 2 studies; expected study_uid"),
    ],
)
def test_a_wrong_row_is_named_and_loses_only_its_study(tmp_path: Path, columns: str, row: str, message: str) -> None:
    write(head(4, study=1), tmp_path / "1")
    write(head(4, study=3, PatientID="P1"), tmp_path / "3")
    write(head(4, study=2), tmp_path / "2")
    good = {"study_uid": f"{ROOT}.2", "patient_id": "P2", "haemorrhage": "1"}
    other = ",".join(good.get(column, "") for column in columns.split(","))
    table(tmp_path / "l.csv", columns, row.format(r=ROOT), other)
    dataset = open_dataset(tmp_path)
    failed = []
    for entry in dataset.entries():
        try:
            assert dataset.load(entry).entry.study_id == f"{ROOT}.2"
        except DatasetError as error:
            failed.append(str(error))
    assert len(failed) >= len(dataset.entries()) - 1
    with pytest.raises(DatasetError, match=message):
        raise DatasetError("\n".join(failed))
    assert any("has no label; expected a row in" in each for each in failed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"l\.csv: expected one of study_uid.*found none"),
        ("study_uid,haemorrhage\n", r"l\.csv: holds no labels"),
        ("study_uid,blood\n1,1\n", r"l\.csv: expected one of study_uid.*found study_uid, blood"),
        ("case,haemorrhage\n1,1\n", r"found case, haemorrhage"),
        ("study_uid,haemorrhage\n,1\n", r"l\.csv, row 2: does not say what it labels"),
        ("study_uid,haemorrhage\n\n1,1,1\n", r"l\.csv, row 3: has 3 cells; expected 2"),
        ("study_uid,haemorrhage\n\xff,1\n", r"l\.csv: is no CSV file in UTF-8"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, content: str, message: str) -> None:
    write(head(4), tmp_path / "x")
    (tmp_path / "l.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path, "dicom-csv").entries()


def test_a_second_table_and_a_folder_without_images_are_errors(tmp_path: Path) -> None:
    table(tmp_path / "l.csv", "study_uid,haemorrhage", "1,1")
    with pytest.raises(DatasetError, match="holds no DICOM images"):
        open_dataset(tmp_path).entries()
    table(tmp_path / "m.csv", "study_uid,haemorrhage", "1,1")
    with pytest.raises(DatasetError, match=r"m\.csv: is a second CSV beside l\.csv"):
        open_dataset(tmp_path, "dicom-csv")


def test_a_damaged_file_loses_only_its_own_study(tmp_path: Path) -> None:
    for study in (1, 2, 3):
        write(head(5, study=study), tmp_path / str(study))
    (tmp_path / "1" / "0004.dcm").write_bytes(b"damaged")
    cut = tmp_path / "2" / "0002.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    table(tmp_path / "l.csv", "study_uid,haemorrhage", *(f"{ROOT}.{study},0" for study in (1, 2, 3)))
    dataset = open_dataset(tmp_path)
    one, two, three = dataset.entries()
    with pytest.raises(DatasetError, match=r"1/0004\.dcm: cannot be read"):
        dataset.load(one)
    with pytest.raises(DatasetError, match=rf"{tmp_path}/2/0002\.dcm: is damaged.*cut short") as cut_short:
        dataset.load(two)
    assert cut_short.value.truth is not None and not cut_short.value.truth.haemorrhage
    assert len(dataset.load(three).stack.hu) == 5


def test_a_damaged_series_is_never_replaced_by_another(tmp_path: Path) -> None:
    write(head(8, series=1), tmp_path / "1")
    write(head(6, series=2), tmp_path / "2")
    dataset = open_dataset(table(tmp_path / "l.csv", "study_uid,haemorrhage", f"{ROOT}.1,1"), "dicom-csv")
    (entry,) = dataset.entries()
    (tmp_path / "1" / "0003.dcm").write_bytes(b"damaged since the headers were read")
    with pytest.raises(DatasetError, match=rf"{tmp_path}/1/0003\.dcm: is damaged") as caught:
        dataset.load(entry)
    assert caught.value.truth is not None and caught.value.truth.haemorrhage


@pytest.mark.parametrize(
    ("columns", "row", "haemorrhage"),
    [
        ("study_uid,haemorrhage", "{r}.1,1", True),
        ("study_uid,haemorrhage", "{r}.1,0", False),
        ("sop_uid,haemorrhage", "{r}.1.1.2,1", True),
        ("sop_uid,haemorrhage", "{r}.1.1.2,0", None),
    ],
)
def test_labels_outlive_images_that_form_no_stack(
    tmp_path: Path, columns: str, row: str, haemorrhage: bool | None
) -> None:
    write(head(8, omit=(3, 4)), tmp_path / "1")
    dataset = open_dataset(table(tmp_path / "l.csv", columns, row.format(r=ROOT)), "dicom-csv")
    with pytest.raises(NoStack, match="Slices are missing") as caught:
        dataset.load(Entry(f"{ROOT}.1", "P1"))
    truth = caught.value.truth
    assert (None if truth is None else truth.haemorrhage) is haemorrhage


def test_blood_on_a_slice_that_is_not_read_is_no_true_negative(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(head(8, series=1), tmp_path / "1")
    write(head(4, series=2), tmp_path / "2")
    read = [f"{ROOT}.1.1.{place},0" for place in range(1, 9)]
    path = table(tmp_path / "l.csv", "sop_uid,haemorrhage", *read, f"{ROOT}.1.2.3,1")
    entry = Entry(f"{ROOT}.1", "P1")
    with pytest.raises(DatasetError, match=rf"l\.csv, row 10: the slice {ROOT}\.1\.2\.3 is labelled 1 but"):
        open_dataset(tmp_path).load(entry)
    table(path, "sop_uid,haemorrhage", *read, f"{ROOT}.1.2.3,0")
    with caplog.at_level(logging.INFO):
        assert not open_dataset(tmp_path).load(entry).truth.haemorrhage
    assert "1 slices labelled 0 are not in the series" in caplog.text


def test_the_digest_of_labels_changes_with_them(tmp_path: Path) -> None:
    write(head(4), tmp_path / "1")
    path = table(tmp_path / "l.csv", "study_uid,haemorrhage", f"{ROOT}.1,1")
    first = open_dataset(tmp_path).labels_digest()
    assert open_dataset(tmp_path).labels_digest() == first
    table(path, "study_uid,haemorrhage", f"{ROOT}.1,0")
    assert open_dataset(tmp_path).labels_digest() != first


def test_real_heads_come_as_the_scanner_and_the_pictures_have_them(
    shared: Path, ct_ich: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "tilted").symlink_to(shared / "dicom" / "gantry_tilt_head")
    ct_ich.write_dicom(66, tmp_path / "written")
    pictures = open_dataset(shared / "ct_ich").load(Entry("066", "066"))
    headers = {header.path.split("/")[0]: header for header in read_headers(tmp_path) if header.study_uid}
    rows = [f"{headers['tilted'].study_uid},0", f"{headers['written'].study_uid},1"]
    table(tmp_path / "l.csv", "study_uid,haemorrhage", *rows)
    dataset = open_dataset(tmp_path)
    tilted, written = (dataset.load(Entry(headers[name].study_uid, "")) for name in ("tilted", "written"))
    assert len(tilted.stack.hu) == 28 and not tilted.truth.haemorrhage
    assert set(np.round(np.diff(tilted.stack.depths_mm), 2)) <= {4.0, 1.08, 7.0}
    assert np.abs(written.stack.hu - pictures.stack.hu).max() <= 0.5
    assert np.allclose(written.stack.positions, pictures.stack.positions, atol=1e-3)


# The index of headers


def test_headers_are_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(head(5), tmp_path / "x")
    index = tmp_path / "index.csv"
    first = read_headers(tmp_path, index)
    assert len(first) == 5 and first[0].sop_uid == f"{ROOT}.1.1.1"
    opened: list[str] = []
    whole = headers_module._read_header

    def noted(root: Path, path: str, size: int, mtime_ns: int) -> Header:
        opened.append(path)
        return whole(root, path, size, mtime_ns)

    monkeypatch.setattr(headers_module, "_read_header", noted)
    assert read_headers(tmp_path, index) == first and opened == []
    (tmp_path / "x" / "0000.dcm").unlink()
    write([ct(7)], tmp_path / "y")
    again = read_headers(tmp_path, index)
    assert opened == ["y/0000.dcm"] and len(again) == 5
    assert len(index.read_text().splitlines()) == 7
    index.write_text("some,other\n1,2\n")
    with pytest.raises(DatasetError, match=r"index\.csv: is no index of headers"):
        read_headers(tmp_path, index)


def test_an_index_is_no_better_than_its_files(tmp_path: Path) -> None:
    """Another folder, content of the same size and what was damaged are read again."""
    index = tmp_path / "index.csv"
    for name, study in (("a", 1), ("b", 2)):
        write(head(1, study=study), tmp_path / name)
        (header,) = read_headers(tmp_path / name, index)
        assert header.study_uid == f"{ROOT}.{study}"
    path = tmp_path / "b" / "0000.dcm"
    size, before = path.stat().st_size, path.stat().st_mtime_ns
    write(head(1, study=3), tmp_path / "b")
    os.utime(path, ns=(before + 1, before + 1))
    assert path.stat().st_size == size
    (header,) = read_headers(tmp_path / "b", index)
    assert header.study_uid == f"{ROOT}.3"
    good = path.read_bytes()
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(before, before))
    assert read_headers(tmp_path / "b", index)[0].damaged
    path.write_bytes(good)
    os.utime(path, ns=(before, before))
    assert read_headers(tmp_path / "b", index)[0].study_uid == f"{ROOT}.3"


def test_what_cannot_be_read_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(head(3), tmp_path / "1")
    (tmp_path / "2").mkdir()
    (tmp_path / "1" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "2":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {header.path: header.damaged for header in read_headers(tmp_path)}
    assert found == {"1/0000.dcm": False, "1/0001.dcm": False, "1/0002.dcm": False, "1/gone.dcm": True, "loop": True}
    assert "gone.dcm: cannot be read" in caplog.text and "2/: is left out" in caplog.text.replace("/2:", "/2/:")


# The choice of a series


@pytest.mark.parametrize(
    ("words", "is_suited"),
    [
        ("PLAIN THIN", True),
        ("PRE CONTRAST 5MM STD", True),
        ("HEAD W/O CONTRAST", True),
        ("0.625mm", True),
        ("I To S", True),
        ("C THIN", False),
        ("CECT THIN", False),
        ("5mm POST CONTRAST", False),
        ("0.625mm DMPR on HiRes VS40", False),
        ("ORAL IV", False),
        (words_of("HEAD 5.0", "H70h", ""), False),
        (words_of("HEAD 5.0", "BONEPLUS", "NONE"), False),
        (words_of("HEAD 5.0", "H31s", "NONE"), True),
    ],
)
def test_what_a_series_is_called_says_whether_it_is_plain(words: str, is_suited: bool) -> None:
    assert DatasetSeries("", words, ()).is_suited is is_suited


def test_unsuited_series_count_only_where_there_is_nothing_else() -> None:
    bone, thin = DatasetSeries("b", "BONE", (Path("1"), Path("2"))), DatasetSeries("t", "THIN", (Path("3"),))
    assert by_preference([bone, thin]) == [thin]
    assert by_preference([bone]) == [bone]
