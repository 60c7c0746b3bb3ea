"""Data sets of pictures and volumes: CT-ICH and NIfTI with masks, and how a layout is recognised."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from inference.input.stack import SliceStack
from inference.pipelines.haemorrhage.synthetic_head import synthetic_head
from inference.pipelines.haemorrhage.types import HaemorrhageType
from inference.training.datasets.base import UNKNOWN, UNTYPED, Dataset, DatasetError, Entry, NoStack
from inference.training.datasets.recognise import LAYOUTS, open_dataset

SHAPE = (12, 10, 6)  # x, y, z


def entry_of(dataset: Dataset, study_id: str) -> Entry:
    return next(entry for entry in dataset.entries() if entry.study_id == study_id)


def voxel_at(stack: SliceStack, lps_mm: Sequence[float]) -> tuple[int, int, int]:
    """The voxel whose centre is nearest to a point, from the stack's geometry alone."""
    depth = np.array(lps_mm) @ stack.normal
    place = int(np.abs(stack.depths_mm - depth).argmin())
    offset = np.array(lps_mm) - stack.positions[place]
    row = round(float(offset @ stack.column_direction) / stack.pixel_spacing[0])
    column = round(float(offset @ stack.row_direction) / stack.pixel_spacing[1])
    return place, row, column


# CT-ICH


def write_ct_ich(root: Path, rows: Sequence[str], slices: int = 3) -> Path:
    """One patient, 7, of 3 slices; pictures of 650 x 650 with a bright square and bone at known places."""
    (root / "007").mkdir(parents=True)
    (root / "masks").mkdir()
    (root / "slices.csv").write_text(
        "patient,slice,intraventricular,intraparenchymal,subarachnoid,epidural,subdural,fracture,image\n"
        + "".join(f"{row}\n" for row in rows)
    )
    (root / "patients.csv").write_text("patient,age_years,sex\n7,33,Male\n")
    for place in range(1, slices + 1):
        brain, bone = np.full((650, 650), 128, np.uint8), np.full((650, 650), 100, np.uint8)
        brain[100:200, 400:500], bone[100:200, 400:500] = 255, 200
        Image.fromarray(brain).save(root / "007" / f"{place:02d}_brain.jpg", quality=100)
        Image.fromarray(bone).save(root / "007" / f"{place:02d}_bone.jpg", quality=100)
    return root


def test_window_pictures_become_hounsfield_units(tmp_path: Path) -> None:
    dataset = open_dataset(write_ct_ich(tmp_path, ["7,1,0,0,0,0,0,0,1", "7,2,0,0,0,1,0,0,1", "7,3,0,0,0,0,0,0,1"]))
    study = dataset.load(entry_of(dataset, "007"))
    assert study.entry.patient_id == "007" and study.stack.patient_age_years == study.truth.age_years == 33
    assert study.stack.hu.shape == (3, 512, 512)
    assert study.stack.hu[1, 300, 300] == pytest.approx(128 * 120 / 255 - 20, abs=1)
    assert study.stack.hu[1, 118, 354] == pytest.approx(200 * 3200 / 255 - 900, abs=15)
    assert study.stack.pixel_spacing == (0.488, 0.488)
    assert np.allclose(np.diff(study.stack.depths_mm), 5)


def test_ct_ich_truth_says_what_was_drawn_and_what_nobody_drew(tmp_path: Path) -> None:
    rows = ["7,1,0,0,0,1,0,0,1", "7,2,0,0,0,1,1,0,1", "7,3,0,0,0,1,0,0,1", "7,4,0,0,0,0,0,0,1", "7,5,1,0,0,0,0,0,0"]
    write_ct_ich(tmp_path, rows, slices=4)
    drawn = np.zeros((512, 512), np.uint8)
    drawn[10:20, 30:40] = 255
    for place in (1, 2):
        Image.fromarray(drawn).save(tmp_path / "masks" / f"007_{place:02d}.png")
    study = open_dataset(tmp_path).load(Entry("007", "007"))
    truth = study.truth
    assert truth.haemorrhage and truth.types == (True, True, False, False, True)
    assert truth.judged.tolist() == [True] * 4 + [False]
    assert truth.slices is not None and truth.mask is not None
    assert truth.slices.astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0] * 6,
        [0] * 6,
    ]
    assert [np.unique(plane).tolist() for plane in truth.mask] == [[0, 1], [0, UNTYPED], [UNKNOWN], [0], [UNKNOWN]]
    assert truth.mask[0, 15, 35] == 1 and (truth.mask[0] == 1).sum() == 100
    assert np.array_equal(study.stack.hu[4], study.stack.hu[3])


def test_the_archive_as_downloaded_gives_the_same_patient(tmp_path: Path) -> None:
    """The same pictures, named and laid out as PhysioNet's archive 1.0.0 has them."""
    rows = ["7,1,0,0,0,0,0,0,1", "7,2,0,0,0,1,0,0,1", "7,3,0,0,0,1,0,0,1"]
    rearranged = write_ct_ich(tmp_path / "rearranged", rows)
    archive = tmp_path / "archive"
    for window in ("brain", "bone"):
        folder = archive / "Patients_CT" / "007" / window
        folder.mkdir(parents=True)
        for place in (1, 2, 3):
            shutil.copy(rearranged / "007" / f"{place:02d}_{window}.jpg", folder / f"{place}.jpg")
    header = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
    labels = ("7,1,0,0,0,0,0,1,0", "7,2,0,0,0,1,0,0,0", "7,3,0,0,0,1,0,0,0")
    table = archive / "hemorrhage_diagnosis.csv"
    table.write_text("\n".join([f"{header}No_Hemorrhage,Fracture_Yes_No", *labels]) + "\n")
    drawn = np.zeros((650, 650), np.uint8)
    drawn[130:260, 390:520] = 255
    outline = archive / "Patients_CT" / "007" / "brain" / "2_HGE_Seg.jpg"
    Image.fromarray(drawn).save(outline)
    dataset = open_dataset(archive)
    assert dataset.name == "CT-ICH" and dataset.entries() == [Entry("007", "007")]
    study, same = (each.load(Entry("007", "007")) for each in (dataset, open_dataset(rearranged)))
    assert np.array_equal(study.stack.hu, same.stack.hu)
    assert study.truth.types == same.truth.types and study.truth.age_years is None
    assert study.truth.slices is not None and same.truth.slices is not None
    assert np.array_equal(study.truth.slices, same.truth.slices)
    assert study.truth.mask is not None
    assert [np.unique(plane).tolist() for plane in study.truth.mask] == [[0], [0, 1], [UNKNOWN]]
    assert (study.truth.mask[1] == 1).mean() == pytest.approx((130 / 650) ** 2, rel=0.03)
    first = dataset.labels_digest()
    os.utime(outline, ns=(1, 1))
    assert dataset.labels_digest() != first
    (archive / "Patients_CT" / "007" / "brain" / "3.jpg").unlink()
    with pytest.raises(DatasetError, match=r"007/brain/3\.jpg: is missing"):
        dataset.load(Entry("007", "007"))


def test_one_wrong_patient_does_not_lose_the_rest(shared: Path, tmp_path: Path) -> None:
    for name in ("slices.csv", "patients.csv"):
        shutil.copy(shared / "ct_ich" / name, tmp_path / name)
    for name in ("masks", "049", "051"):
        (tmp_path / name).symlink_to(shared / "ct_ich" / name)
    dataset = open_dataset(tmp_path, "ct-ich")
    assert len(dataset.entries()) == 57
    with pytest.raises(DatasetError, match=r"050/01_brain\.jpg"):
        dataset.load(entry_of(dataset, "050"))
    study = dataset.load(entry_of(dataset, "049"))
    assert study.truth.haemorrhage and not study.truth.judged[0]


def test_ct_ich_has_25_of_57_with_haemorrhage_and_222_outlines(shared: Path) -> None:
    dataset = open_dataset(shared / "ct_ich")
    assert dataset.name == "CT-ICH"
    positive, judged, labelled, outlined = 0, 0, 0, 0
    for entry in dataset.entries():
        truth = dataset.load(entry).truth
        assert truth.slices is not None and truth.mask is not None
        drawn = ((truth.mask > 0) & (truth.mask < UNKNOWN)).any((1, 2))
        assert not (drawn & ~truth.slices[:, 0]).any()
        positive += truth.haemorrhage
        judged += int(truth.judged.sum())
        labelled += int(truth.slices[:, 0].sum())
        outlined += int(drawn.sum())
    assert (len(dataset.entries()), positive, judged, labelled, outlined) == (57, 25, 1758, 222, 222)


def test_ct_ich_typed_outlines_and_missing_pictures_lie_beside(tmp_path: Path) -> None:
    """Each code is its type; what is undecided takes the slice's only type; a picture of the folder beside counts."""
    root, beside = tmp_path / "heads", tmp_path / "heads_outlines"
    write_ct_ich(root, ["7,1,0,0,0,1,0,0,1", "7,2,0,0,0,1,1,0,0", "7,3,0,0,0,0,1,0,1"])
    (beside / "masks").mkdir(parents=True)
    (beside / "missing").mkdir()
    codes = np.zeros((650, 650), np.uint8)
    for code in range(1, 7):
        codes[100 * code - 50 : 100 * code] = code
    for place in (2, 3):
        Image.fromarray(codes).save(beside / "masks" / f"007_{place:02d}.png")
    dataset = open_dataset(root)
    without = dataset.load(Entry("007", "007")).truth
    Image.fromarray(np.full((650, 650), 200, np.uint8)).save(beside / "missing" / "007_02_brain.jpg")
    before, truth = dataset.labels_digest(), open_dataset(root).load(Entry("007", "007")).truth
    assert without.mask is not None and truth.mask is not None and truth.slices is not None
    assert (without.mask[1] == UNKNOWN).all() and truth.judged.all() and not without.judged[1]
    rows = [int(truth.mask[1][round((100 * code - 25) * 512 / 650), 256]) for code in range(1, 7)]
    assert rows == [5, 4, 3, 1, 2, 6]
    assert truth.mask[2][round(575 * 512 / 650), 256] == 1 + truth.slices[2, 1:].argmax()
    (beside / "masks" / "007_03.png").unlink()
    assert dataset.labels_digest() != before
    codes[0] = 9
    Image.fromarray(codes).save(beside / "masks" / "007_03.png")
    with pytest.raises(DatasetError, match=r"007_03\.png: holds 9; expected 0 to 6"):
        open_dataset(root).load(Entry("007", "007"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("slices.csv", "epidural", "epi"), r"slices\.csv: column epidural is missing"),
        (("slices.csv", "7,2,0,0,0,1", "7,2,0,0,0,x"), r"slices\.csv, row 3: epidural is 'x'; expected 0 or 1"),
        (("slices.csv", "7,2,0", "7,5,0"), r"slices\.csv, row 3: slice is 5; expected 2"),
        (("slices.csv", "7,2,0,0,0,1,", "7,2,0,0,0,,"), r"slices\.csv, row 3: epidural is empty"),
        (("slices.csv", "7,2,0,0,", "7,2,0,"), r"slices\.csv, row 3: has 8 cells; expected 9"),
        (("patients.csv", "33", "old"), r"patients\.csv, row 2: age_years is 'old'"),
    ],
)
def test_errors_of_the_ct_ich_tables_name_file_and_row(
    tmp_path: Path, change: tuple[str, str, str], message: str
) -> None:
    write_ct_ich(tmp_path, ["7,1,0,0,0,0,0,0,1", "7,2,0,0,0,1,0,0,1", "7,3,0,0,0,0,0,0,1"])
    name, old, new = change
    (tmp_path / name).write_text((tmp_path / name).read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path, "ct-ich").load(Entry("007", "007"))


def test_errors_of_the_ct_ich_pictures_name_the_file(tmp_path: Path) -> None:
    write_ct_ich(tmp_path, ["7,1,0,0,0,0,0,0,1", "7,2,0,0,0,1,0,0,1", "7,3,0,0,0,0,0,0,1"])
    dataset = open_dataset(tmp_path)
    picture = tmp_path / "masks" / "007_04.png"
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(picture)
    with pytest.raises(DatasetError, match=r"007_04\.png: outlines no slice"):
        dataset.load(Entry("007", "007"))
    Image.fromarray(np.zeros((650, 650), np.uint8)).save(picture.rename(tmp_path / "masks" / "007_02.png"))
    with pytest.raises(DatasetError, match=r"007_02\.png: has 650 x 650 pixels; expected 512 x 512"):
        dataset.load(Entry("007", "007"))
    (tmp_path / "007" / "02_brain.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"02_brain\.jpg: cannot be read"):
        dataset.load(Entry("007", "007"))


# NIfTI


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def affine_of(x: float, y: float, z: float) -> np.ndarray:
    """RAS affine of these voxel sizes (negative: the axis runs the other way) about the origin."""
    affine = np.diag([x, y, z, 1.0])
    affine[:3, 3] = [-size * (n - 1) / 2 for size, n in zip((x, y, z), SHAPE, strict=True)]
    return affine


def write_pair(
    root: Path, affine: np.ndarray, value: int = 1, name: str = "001", axes: tuple[int, ...] = (0, 1, 2)
) -> None:
    """40 HU with one voxel of 70 HU on the patient's left, in front and above the middle, marked in the mask."""
    hu, mask = np.full(SHAPE, 40, np.int16), np.zeros(SHAPE, np.uint8)
    point = np.linalg.solve(affine, [-2.25, 4.5, 2.5, 1])[:3].round().astype(int)
    hu[tuple(point)], mask[tuple(point)] = 70, value
    order = [*axes, 3]
    write_nifti(root / "data" / f"{name}.nii.gz", hu.transpose(axes), affine[:, order])
    write_nifti(root / "label" / f"{name}.nii.gz", mask.transpose(axes), affine[:, order])


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_bleed_on_the_left_stays_on_the_left(
    tmp_path: Path, signs: tuple[int, int, int], axes: tuple[int, ...]
) -> None:
    write_pair(tmp_path, affine_of(0.5 * signs[0], 1.0 * signs[1], 5.0 * signs[2]), axes=axes)
    study = open_dataset(tmp_path).load(Entry("001", "001"))
    stack, mask = study.stack, study.truth.mask
    assert stack.hu.shape == (6, 10, 12) and stack.pixel_spacing == (1.0, 0.5)
    assert np.allclose([stack.row_direction, stack.column_direction], [[1, 0, 0], [0, 1, 0]])
    assert np.allclose(np.diff(stack.depths_mm), 5)
    assert mask is not None and mask.sum() == UNTYPED
    bright, marked = (tuple(map(int, np.unravel_index(each.argmax(), each.shape))) for each in (stack.hu, mask))
    assert bright == marked == voxel_at(stack, (2.25, -4.5, 2.5))
    assert bright[2] >= 6 and bright[1] <= 4


def test_a_turned_and_leaning_volume_keeps_its_geometry(tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for lean in (0.0, 1.5):
        affine = turn @ affine_of(0.5, 1.0, 5.0)
        affine[1, 2] += lean
        hu, mask = np.full(SHAPE, 40, np.int16), np.zeros(SHAPE, np.uint8)
        hu[3, 7, 2] = 70
        write_nifti(tmp_path / "data" / "001.nii.gz", hu, affine)
        write_nifti(tmp_path / "label" / "001.nii.gz", mask, affine)
        stack = open_dataset(tmp_path).load(Entry("001", "001")).stack
        point = (affine @ [3, 7, 2, 1])[:3] * [-1, -1, 1]
        place, row, column = np.unravel_index(stack.hu.argmax(), stack.hu.shape)
        found = stack.positions[place] + row * 1.0 * stack.column_direction + column * 0.5 * stack.row_direction
        assert np.allclose(found, point, atol=1e-3)


def test_a_whole_synthetic_head_is_the_same_after_nifti(tmp_path: Path) -> None:
    head = synthetic_head(11, HaemorrhageType.SUBDURAL)
    affine = np.diag([-0.488, -0.488, 5.0, 1.0])
    mask = (head.labels > 0).astype(np.uint8)
    write_nifti(tmp_path / "data" / "001.nii", head.hu.round().astype(np.int16).transpose(2, 1, 0), affine)
    write_nifti(tmp_path / "label" / "001.nii", mask.transpose(2, 1, 0), affine)
    study = open_dataset(tmp_path, "nifti").load(Entry("001", "001"))
    assert np.array_equal(study.stack.hu, head.hu.round())
    assert study.truth.mask is not None and np.array_equal(study.truth.mask > 0, mask > 0)
    assert study.truth.slices is not None and study.truth.judged.all()
    assert np.array_equal(study.truth.slices[:, 0], mask.any((1, 2)))


def test_instance_2022_does_not_tell_types_apart(tmp_path: Path) -> None:
    write_pair(tmp_path / "train_2", affine_of(0.5, 1.0, 5.0))
    dataset = open_dataset(tmp_path)
    truth = dataset.load(dataset.entries()[0]).truth
    assert dataset.name == "INSTANCE 2022"
    assert truth.haemorrhage and truth.types == (None,) * 5


def write_bhsd(root: Path, images: str = "images", masks: str = "ground truths") -> None:
    """One volume with a voxel of each value 1 to 5 in a slice of its own."""
    mask = np.zeros(SHAPE, np.uint8)
    for value in range(1, 6):
        mask[value, 3, value] = value
    name = "ID_0237f3c9_ID_40015688b9.nii.gz"
    write_nifti(root / images / name, np.full(SHAPE, 40, np.int16), affine_of(0.5, 1.0, 5.0))
    write_nifti(root / masks / name, mask, affine_of(0.5, 1.0, 5.0))


@pytest.mark.parametrize("folders", [("images", "ground truths"), ("imagesTr", "labelsTr")])
def test_bhsd_tells_the_types_by_its_own_numbers(tmp_path: Path, folders: tuple[str, str]) -> None:
    write_bhsd(tmp_path, *folders)
    dataset = open_dataset(tmp_path)
    (entry,) = dataset.entries()
    assert dataset.name == "BHSD"
    assert entry == Entry("ID_0237f3c9_ID_40015688b9", "ID_0237f3c9")
    truth = dataset.load(entry).truth
    kinds = list(HaemorrhageType)
    published = ["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
    assert truth.mask is not None and truth.slices is not None
    assert [int(plane.max()) for plane in truth.mask] == [0, *(1 + kinds.index(HaemorrhageType(p)) for p in published)]
    assert truth.slices[1].tolist() == [True, True, False, False, False, False]
    assert truth.slices[2].tolist() == [True, False, False, False, True, False]
    assert truth.types == (True,) * 5


def test_a_dataset_json_says_what_the_values_are(tmp_path: Path) -> None:
    write_bhsd(tmp_path, "imagesTr", "labelsTr")
    names = {"background": 0, "subdural": 1, "blood": 2, "epidural": 3, "oedema": 4, "subarachnoid": 5}
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "Ours", "labels": names}))
    dataset = open_dataset(tmp_path)
    mask = dataset.load(dataset.entries()[0]).truth.mask
    assert mask is not None and dataset.name == "Ours"
    assert [int(plane.max()) for plane in mask] == [0, 2, UNTYPED, 1, UNTYPED, 3]
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match=r'dataset\.json: expected "labels"'):
        open_dataset(tmp_path, "nifti")


def test_a_nifti_study_that_is_wrong_names_its_file(tmp_path: Path) -> None:
    good = affine_of(0.5, 1.0, 5.0)
    for name in ("001", "002", "003", "004", "005", "006", "007", "008", "009", "010", "011"):
        write_pair(tmp_path, good, name=name)
    (tmp_path / "label" / "002.nii.gz").unlink()
    (tmp_path / "data" / "003.nii.gz").unlink()
    write_nifti(tmp_path / "label" / "004.nii.gz", np.zeros((12, 10, 5), np.uint8), good)
    write_nifti(tmp_path / "label" / "005.nii.gz", np.full(SHAPE, 3, np.uint8), good)
    write_nifti(tmp_path / "data" / "006.nii.gz", np.full(SHAPE, np.nan, np.float32), good)
    sheared = good.copy()
    sheared[1, 0] = 0.2
    write_nifti(tmp_path / "data" / "007.nii.gz", np.zeros(SHAPE, np.int16), sheared)
    write_nifti(tmp_path / "label" / "007.nii.gz", np.zeros(SHAPE, np.uint8), sheared)
    (tmp_path / "data" / "008.nii.gz").write_bytes(b"no image")
    path = tmp_path / "data" / "009.nii.gz"
    write_nifti(path, np.random.default_rng(1).integers(0, 999, SHAPE).astype(np.int16), good)
    path.write_bytes(path.read_bytes()[:-40])
    write_nifti(tmp_path / "label" / "010.nii.gz", np.zeros(SHAPE, np.uint8), affine_of(-0.5, 1.0, 5.0))
    write_nifti(tmp_path / "data" / "011.nii.gz", np.zeros((*SHAPE, 2), np.int16), good)
    dataset = open_dataset(tmp_path)
    assert len(dataset.entries()) == 11
    expected = {
        "002": r"data/002\.nii\.gz: has no mask",
        "003": r"label/003\.nii\.gz: has no image",
        "004": r"label/004\.nii\.gz: is not of its image's shape: 12 x 10 x 5 and 12 x 10 x 6",
        "005": r"label/005\.nii\.gz: holds the value 3; expected 0, 1",
        "006": r"data/006\.nii\.gz: holds values that are no finite numbers",
        "007": r"data/007\.nii\.gz: its affine is sheared",
        "008": r"data/008\.nii\.gz: cannot be read",
        "009": r"data/009\.nii\.gz: is damaged",
        "010": r"label/010\.nii\.gz: lies 5\.5 mm away",
        "011": r"data/011\.nii\.gz: has 4 dimensions",
    }
    for study_id, message in expected.items():
        with pytest.raises(DatasetError, match=message):
            dataset.load(entry_of(dataset, study_id))
    assert dataset.load(entry_of(dataset, "001")).truth.haemorrhage


def test_two_slices_are_no_stack(tmp_path: Path) -> None:
    write_nifti(tmp_path / "data" / "1.nii", np.zeros((12, 10, 2), np.int16), np.eye(4))
    write_nifti(tmp_path / "label" / "1.nii", np.ones((12, 10, 2), np.uint8), np.eye(4))
    with pytest.raises(NoStack, match="only 2 slices") as caught:
        open_dataset(tmp_path).load(Entry("1", "1"))
    assert caught.value.truth is not None and caught.value.truth.haemorrhage


def test_the_digest_of_masks_changes_with_them(tmp_path: Path) -> None:
    write_pair(tmp_path, affine_of(0.5, 1.0, 5.0))
    first = open_dataset(tmp_path).labels_digest()
    mask = tmp_path / "label" / "001.nii.gz"
    os.utime(tmp_path / "data" / "001.nii.gz", ns=(1, 1))
    assert open_dataset(tmp_path).labels_digest() == first
    os.utime(mask, ns=(1, 1))
    assert open_dataset(tmp_path).labels_digest() != first


# Layouts


def test_an_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    assert all(f"{name}: " in str(caught.value) for name in LAYOUTS)
    assert {"ct-ich", "dicom-csv", "rsna-2019", "cq500", "nifti"} == set(LAYOUTS)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="'dicom' is no layout; expected one of"):
        open_dataset(tmp_path, "dicom")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("ct-ich", r"slices\.csv: is missing"),
        ("cq500", r"reads\.csv: is missing"),
        ("rsna-2019", r"expected stage_2_train\.csv"),
        ("dicom-csv", r"holds no CSV of labels"),
    ],
)
def test_the_wrong_layout_names_the_file(tmp_path: Path, layout: str, message: str) -> None:
    write_pair(tmp_path, affine_of(0.5, 1.0, 5.0))
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path, layout)
