"""What all result objects have in common: valid, the patient's, the same again when made again, and no surprises."""

import dataclasses
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from reports_support import (
    ALL_PICTURES,
    MODEL,
    NOW,
    as_bytes,
    ct_series,
    enhanced_ct,
    entity_errors,
    negative_result,
    read,
    reports,
    result_for,
    second_version,
    stack_of,
    suspected_context,
    validator_errors,
    with_ranges,
    write_all,
)

from inference.pipelines.haemorrhage.types import HaemorrhageType
from reports.build import build_not_analysed, build_reports
from reports.context import Kind, ReportContext, ReportOptions
from reports.identity import (
    hashed_uid,
    plain,
    result_series_uid,
    result_sop_uid,
    written_time,
)

needs_dicom3tools = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="Debian's dicom3tools is not installed")
TYPE_2 = (
    "PatientName PatientID PatientBirthDate PatientSex StudyID StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName"
)
COPIED = f"{TYPE_2} StudyInstanceUID IssuerOfPatientID PatientAge StudyDescription TimezoneOffsetFromUTC"
STRANGE = {"PatientBirthDate": "1950", "PatientSex": "U", "PatientAge": "76", "StudyTime": "9:59", "Manufacturer": ""}
ALL_KINDS = {Kind.SEG, Kind.SR, Kind.SC, Kind.KO}


def assert_valid(objects: Sequence[Dataset], sources: Sequence[Path], folder: Path) -> None:
    """No error in any object, none over source and results together, and the bytes survive being read and written."""
    paths = write_all(objects, folder)
    for path, ds in zip(paths, objects, strict=True):
        assert validator_errors(path) == [], ds.SOPClassUID.name
        assert as_bytes(dcmread(path)) == path.read_bytes()
    assert entity_errors([*sources, *paths]) == []


def all_of(context: ReportContext, options: ReportOptions = ALL_PICTURES) -> list[Dataset]:
    return [each.dataset for each in build_reports(context, options)]


@needs_dicom3tools
def test_valid_with_ranges_of_volumes(tmp_path: Path) -> None:
    sources = ct_series()
    files = write_all(sources, tmp_path / "ct")
    assert_valid(all_of(with_ranges(suspected_context(sources), 0.62, 1.7)), files, tmp_path / "results")


@needs_dicom3tools
def test_valid_over_two_versions_a_negative_and_a_notice(tmp_path: Path) -> None:
    sources = ct_series(columns=61)
    first = suspected_context(sources)
    second = second_version(first)
    third = dataclasses.replace(second, version=3, result=negative_result(first.stack, ["Slices are uneven."]))
    notice = build_not_analysed(sources, "Slices are missing.", "haemorrhage", NOW, 4, second.replaces, ALL_PICTURES)
    objects = [*all_of(first), *all_of(second), *all_of(third), *(each.dataset for each in notice)]
    assert len(objects) == 12
    assert_valid(objects, write_all(sources, tmp_path / "sources"), tmp_path / "results")


@needs_dicom3tools
@pytest.mark.parametrize("suspected", [True, False])
def test_valid_on_the_real_tilted_head(shared: Path, tmp_path: Path, suspected: bool) -> None:
    """It lacks Type 2 elements and has an empty De-identification Method."""
    paths = sorted((shared / "dicom/gantry_tilt_head").glob("*.dcm"))
    context = suspected_context([dcmread(path, stop_before_pixels=True) for path in paths])
    if not suspected:
        context = dataclasses.replace(context, result=negative_result(context.stack))
    assert_valid(all_of(context), paths, tmp_path)


@needs_dicom3tools
def test_valid_on_a_patient_with_outlined_haemorrhage(ct_ich: ModuleType, tmp_path: Path) -> None:
    hu = ct_ich.volume_hu(81)
    paths = sorted(ct_ich.write_dicom(81, tmp_path / "sources", hu).glob("*.dcm"))
    sources = [dcmread(path, stop_before_pixels=True) for path in paths]
    stack = stack_of(sources, hu)
    mask = np.zeros(hu.shape, bool)
    for number, plane in ct_ich.masks(81).items():
        mask[number] = plane
    result = result_for(stack, {HaemorrhageType.SUBDURAL: mask})
    context = ReportContext(tuple(sources), stack, result, NOW, version=1)
    made = reports(context)
    assert set(made) == ALL_KINDS
    assert_valid(list(made.values()), paths, tmp_path / "results")
    for ds in made.values():
        assert (ds.PatientID, ds.AccessionNumber) == ("CTICH081", "CTICH081")


@needs_dicom3tools
def test_valid_on_a_multiframe_image(tmp_path: Path) -> None:
    source, stack = enhanced_ct()
    assert_valid(all_of(suspected_context([source], stack)), [], tmp_path)


@needs_dicom3tools
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller^Jérôme"),
        ("ISO_IR 192", "Иванов^Иван"),
        ("ISO_IR 144", "Петров^Пётр"),
        (None, "Plain^Name"),
    ],
)
def test_names_in_any_character_set(character_set: object, name: str, tmp_path: Path) -> None:
    elements: dict[str, Any] = {"SpecificCharacterSet": character_set} if character_set else {}
    written = [read(as_bytes(ds)) for ds in ct_series(**elements, PatientName=name)]
    context = suspected_context(written)
    objects = all_of(dataclasses.replace(context, result=dataclasses.replace(context.result, warnings=("Größe – µ",))))
    assert len(objects) == 4
    for ds in objects:
        back = read(as_bytes(ds))
        assert str(back.PatientName) == name
        assert back.get("SpecificCharacterSet") == written[0].get("SpecificCharacterSet")
    assert_valid(objects, write_all(written, tmp_path / "sources"), tmp_path / "results")


def test_patient_and_study_are_the_sources() -> None:
    sources = ct_series(TimezoneOffsetFromUTC="+0900", PatientComments="")
    source = sources[0]
    for ds in all_of(suspected_context(sources)):
        for keyword in COPIED.split():
            assert ds[keyword].value == source[keyword].value, keyword
        assert "PatientComments" not in ds
        assert (ds.ContentDate, ds.ContentTime) == ("20260304", "190506")


def test_sources_without_type_2_elements() -> None:
    missing = TYPE_2.split()
    left_out: dict[str, Any] = dict.fromkeys(missing)
    for ds in all_of(suspected_context(ct_series(**left_out))):
        for keyword in missing:
            assert keyword in ds
            assert ds[keyword].is_empty


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_outside_the_standard_are_kept_as_sent() -> None:
    """Another birth date or sex than the PACS has would look like another patient."""
    sources = []
    for ds in ct_series():
        data = as_bytes(ds)
        sources.append(read(data))
        for keyword, value in STRANGE.items():
            sources[-1][keyword]._value = value
    objects = all_of(suspected_context(sources))
    assert len(objects) == 4
    for ds in objects:
        assert ds.PatientBirthDate == "1950"
        assert ds.PatientSex == "U"
        assert as_bytes(ds)


@pytest.mark.parametrize("sent, written", [("0Y", "000Y"), ("63y", "063Y"), ("006M", "006M"), ("76", "76")])
def test_ages_are_written_as_age_strings(sent: str, written: str) -> None:
    """Where it is clear what was meant."""
    context = suspected_context(ct_series(PatientAge=sent))
    assert {str(each.dataset.PatientAge) for each in build_reports(context, ALL_PICTURES)} == {written}


def test_sources_are_left_as_they_were() -> None:
    sources = ct_series(PatientSex="F")
    before = [as_bytes(ds) for ds in sources]
    all_of(suspected_context(sources))
    assert [as_bytes(ds) for ds in sources] == before


def test_same_job_done_again_makes_the_same_bytes() -> None:
    first, again = (
        [as_bytes(ds) for ds in all_of(suspected_context(ct_series()))],
        [as_bytes(ds) for ds in all_of(suspected_context(ct_series()))],
    )
    assert first == again


def test_a_later_version_says_which_it_replaces() -> None:
    """In a series of its own: what stands in the PACS already cannot be changed."""
    first = suspected_context(ct_series())
    before, after = reports(first), reports(second_version(first))
    assert set(before) == set(after) == ALL_KINDS
    for kind in ALL_KINDS:
        old, new = before[kind], after[kind]
        for made, version in ((old, 1), (new, 2)):
            expected = result_series_uid(first.stack.study_uid, "haemorrhage", kind, version)
            assert made.SeriesInstanceUID == expected
        assert old.SeriesNumber == new.SeriesNumber
        assert new.SeriesDescription == old.SeriesDescription.replace(":", " 2 (replaces 1):")
        assert old.SOPInstanceUID != new.SOPInstanceUID
        assert (old.InstanceNumber, new.InstanceNumber) == (1, 2)
    assert len({ds.SeriesNumber for ds in before.values()}) == 4
    assert len({ds.SeriesInstanceUID for ds in before.values()} | {first.stack.series_uid}) == 5


def test_uids_are_valid_and_follow_from_what_they_name() -> None:
    uid = result_sop_uid("1.2", "haemorrhage", Kind.SR, 1, "1.3", "ab")
    assert uid == result_sop_uid("1.2", "haemorrhage", Kind.SR, 1, "1.3", "ab")
    others = {
        result_sop_uid("1.20", "haemorrhage", Kind.SR, 1, "1.3", "ab"),
        result_sop_uid("1.2", "fracture", Kind.SR, 1, "1.3", "ab"),
        result_sop_uid("1.2", "haemorrhage", Kind.SC, 1, "1.3", "ab"),
        result_sop_uid("1.2", "haemorrhage", Kind.SR, 2, "1.3", "ab"),
        result_sop_uid("1.2", "haemorrhage", Kind.SR, 1, "1.4", "ab"),
        result_sop_uid("1.2", "haemorrhage", Kind.SR, 1, "1.3", "ac"),
        result_series_uid("1.2", "haemorrhage", Kind.SR, 1),
        result_series_uid("1.2", "haemorrhage", Kind.SR, 2),
    }
    assert uid not in others
    assert len(others) == 8
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert hashed_uid("a", "b") != hashed_uid("a|c", "b")


def test_algorithm_is_contributing_equipment() -> None:
    for ds in all_of(suspected_context(ct_series())):
        scanner, algorithm = ds.ContributingEquipmentSequence
        assert scanner.Manufacturer == "ACME"
        assert algorithm.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (algorithm.Manufacturer, algorithm.ManufacturerModelName) == ("triage-node", MODEL.name)
        assert f"{MODEL.name} {MODEL.version}" in algorithm.SoftwareVersions


def test_only_the_kinds_asked_for() -> None:
    context = suspected_context(ct_series())
    assert set(reports(context, ReportOptions(kinds=(Kind.SC,)))) == {Kind.SC}
    without_seg = reports(context, ReportOptions(kinds=(Kind.SR, Kind.KO)))
    assert set(without_seg) == {Kind.SR, Kind.KO}
    negative = dataclasses.replace(context, result=negative_result(context.stack))
    assert set(reports(negative, ReportOptions(kinds=(Kind.SC,)))) == {Kind.SR}


def test_transfer_syntax_and_types() -> None:
    for ds in all_of(suspected_context(ct_series())):
        assert type(ds) is Dataset
        assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_time_is_on_the_sources_clock() -> None:
    now = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    source = Dataset()
    assert written_time(now, source) is now
    source.TimezoneOffsetFromUTC = "-0330"
    assert written_time(now, source).isoformat() == "2025-12-31T21:00:00-03:30"
    source.TimezoneOffsetFromUTC = "+9900"
    assert written_time(now, source) is now
    local = now.astimezone(timezone(timedelta(hours=2)))
    assert written_time(local, Dataset()).hour == 2


def test_plain_words_are_ascii() -> None:
    assert plain("Größe – naïve µ") == "Gro?e - naive ?"
    assert plain("already plain") == "already plain"


def test_series_are_told_apart_and_dated() -> None:
    """A viewer shows 18 letters of a series' description, and a PACS sorts by its date."""
    made = reports(suspected_context(ct_series()))
    assert len({each.SeriesDescription[:18] for each in made.values()}) == len(made) == 4
    for each in made.values():
        assert (each.SeriesDate, each.SeriesTime) == (each.ContentDate, each.ContentTime) != ("", "")
