"""Drawings against outlines: every figure of small cases whose values are known by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_evaluation import (
    KINDS,
    OPTIONS,
    PLANS,
    SLICES,
    SPACING_MM,
    Plan,
    ToyDataset,
    analyst_of,
    blood_of,
    resampling,
)

from inference.findings import Band
from inference.models.card import VolumeError, load_card
from inference.training.datasets.base import UNKNOWN, UNTYPED, DatasetError
from inference.training.datasets.ct_ich import stack_of
from inference.training.evaluation.agreement import bands, drawings, median
from inference.training.evaluation.drawing import TYPES, distance_mm, drawing_of
from inference.training.evaluation.measure import Analyst, compare
from inference.training.evaluation.peer import BLOOD, CLASSES, Peer, labels_of
from inference.training.evaluation.records import (
    AnswerOutcome,
    Body,
    Drawing,
    JudgedStudy,
    KnownTruth,
    Outline,
    Overlap,
    StudyAnswer,
    StudyRecord,
)
from inference.training.evaluation.run import evaluate
from inference.training.evaluation.statistics import median_statistic

STACK = stack_of(np.zeros((SLICES, 64, 64), np.float32), SPACING_MM, 5.0)
VOXEL_ML = SPACING_MM**2 * 5 / 1000


def box(
    *slices: int, rows: tuple[int, int] = (10, 20), columns: tuple[int, int] = (10, 20), label: int = 1
) -> np.ndarray:
    """uint8 (slice, row, column)."""
    drawn = np.zeros((SLICES, 64, 64), np.uint8)
    drawn[list(slices), rows[0] : rows[1], columns[0] : columns[1]] = label
    return drawn


def case(
    patient: str,
    true_ml: float,
    drawn_ml: float,
    kind: int = 0,
    named: int | None = None,
    peak_mm: float | None = 0.0,
    band: Band = Band.HIGH,
    range_ml: tuple[float, float] | None = None,
    dices: tuple[float, ...] = (0.5,),
) -> JudgedStudy:
    """One bleeding study of one body; not flagged where nothing is named."""
    suspected = named is not None
    answer = StudyAnswer(
        probability=0.9 if suspected else 0.1,
        threshold=0.5,
        suspected=suspected,
        type_probabilities=(0.1,) * 5,
        types_present=tuple(i == named for i in range(5)),
        volumes_ml=(drawn_ml, 0, 0, 0, 0),
        slice_probabilities=(),
        slice_threshold=0.5,
        key_slices=(),
        warnings=(),
        band=band,
        range_ml=range_ml,
    )
    truth = KnownTruth(True, tuple(i == kind for i in range(5)), None, None)
    whole = Overlap(round(100 * true_ml), round(100 * drawn_ml), round(100 * min(true_ml, drawn_ml)), true_ml, drawn_ml)
    body = Body(TYPES[kind], true_ml, "" if named is None else TYPES[named])
    outline = Outline(True, SLICES, whole, (None,) * 5, Drawing(dices, whole, (body,)), peak_mm)
    record = StudyRecord(patient, patient, AnswerOutcome.ANALYSED, truth=truth, answer=answer, outline=outline)
    return JudgedStudy(record, truth, answer)


def test_slices_and_bodies_of_a_drawing_made_by_hand() -> None:
    """A body of 100 voxels a slice on two slices, drawn by half on one of them; another one is not drawn at all."""
    outlined = box(3, 4) + box(8, rows=(40, 50), columns=(40, 50), label=2) + box(11, label=UNTYPED)
    drawn = box(4, columns=(15, 25), label=4) + box(6)
    found = drawing_of(drawn, TYPES, outlined, STACK.voxels_ml)
    assert found.slice_dices == pytest.approx((0, 2 * 50 / 200, 0, 0))
    assert (found.outlined.true_voxels, found.outlined.predicted_voxels, found.outlined.shared_voxels) == (400, 100, 50)
    assert found.outlined.true_ml == pytest.approx(400 * VOXEL_ML)
    assert [(each.kind, each.named) for each in found.bodies] == [("epidural", "intraparenchymal"), ("subdural", "")]
    assert [each.volume_ml for each in found.bodies] == pytest.approx([200 * VOXEL_ML, 100 * VOXEL_ML])


def test_what_nobody_outlined_and_specks_are_no_bodies() -> None:
    outlined = box(3, label=UNKNOWN) + box(5, rows=(30, 31), columns=(30, 31))
    found = drawing_of(box(3), TYPES, outlined, STACK.voxels_ml)
    assert found.slice_dices == (0.0,) and found.bodies == ()
    assert found.outlined.predicted_voxels == 0


def test_two_balls_that_overlap_have_the_dice_of_their_lens() -> None:
    """Balls of radius r, their middles d apart: the lens is pi (4 r + d) (2 r - d)^2 / 12 of 4 pi r^3 / 3 each."""
    stack = stack_of(np.zeros((64, 64, 64), np.float32), 1.0, 1.0)
    z, y, x = np.indices((64, 64, 64)) - 32
    r, d = 20, 10
    balls = [(((x - at) ** 2 + y**2 + z**2) <= r**2).astype(np.uint8) for at in (-d / 2, d / 2)]
    found = drawing_of(balls[0], TYPES, balls[1], stack.voxels_ml)
    lens = np.pi * (4 * r + d) * (2 * r - d) ** 2 / 12
    assert found.outlined.dice == pytest.approx(lens / (4 * np.pi * r**3 / 3), abs=0.01)
    assert found.outlined.true_ml == pytest.approx(4 * np.pi * r**3 / 3 / 1000, rel=0.01)


def test_the_distance_is_in_mm_between_middles_of_voxels() -> None:
    outlined = box(4, rows=(10, 11), columns=(10, 11)) + box(9, rows=(63, 64), columns=(0, 1), label=UNKNOWN)
    assert distance_mm(np.array([[4, 10, 10]]), outlined, STACK) == 0
    assert distance_mm(np.array([[4, 10, 14]]), outlined, STACK) == pytest.approx(4 * SPACING_MM)
    assert distance_mm(np.array([[5, 11, 10], [9, 0, 0]]), outlined, STACK) == pytest.approx(np.hypot(5, SPACING_MM))
    assert distance_mm(np.array([[4, 10, 10]]), np.zeros_like(outlined), STACK) is None
    assert distance_mm(np.zeros((0, 3), int), outlined, STACK) is None


def test_medians_are_those_of_repeated_values() -> None:
    values = np.array([5.0, 1.0, 3.0, 10.0])
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 0], [3, 0, 0, 1], [0, 0, 0, 0]], float)
    found = median_statistic(values)(weights)[:, 0]
    assert found[:3] == pytest.approx([4.0, 1.0, 5.0]) and np.isnan(found[3])
    assert median(["a", "b"], [1.0, 3.0], resampling(["a", "b"]), "").note == "only 2 patients: no interval"


def test_figures_of_seven_patients_known_by_hand() -> None:
    cases = [
        case("a", 20, 18, named=0, range_ml=(10, 25), dices=(0.8, 0.6)),
        case("b", 10, 25, named=1, range_ml=(5, 30), peak_mm=3.0),
        case("c", 8, 4, named=0, range_ml=(1, 6), peak_mm=5.0),
        case("d", 40, 0, kind=3, band=Band.LOW, dices=(0.0, 0.0)),
        case("e", 2, 2, kind=3, named=3, peak_mm=40.0),
        case("f", 50, 50, kind=3, named=3, band=Band.INDETERMINATE),
        case("g", 6, 2.9, kind=1, named=1, peak_mm=None),
    ]
    found = drawings(cases, resampling([each.record.patient_id for each in cases]))
    assert found is not None
    slices = [0.8, 0.6, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5]
    assert found.dice_slice.value == pytest.approx(np.mean(slices)) and found.dice_slice.of == 9
    dices = [2 * 18 / 38, 2 * 10 / 35, 2 * 4 / 12, 0, 1, 1, 2 * 2.9 / 8.9]
    assert found.dice_patient.value == pytest.approx(np.mean(dices))
    assert found.dice_patient_median.value == pytest.approx(np.median(dices))
    assert found.dice_patient.low < found.dice_patient.value < found.dice_patient.high
    assert (found.volumes.within_factor_2.hits, found.volumes.within_factor_2.of) == (3, 6)
    assert found.volumes.ratio.value == pytest.approx(np.median([0.9, 2.5, 0.5, 0, 1, 2.9 / 6]))
    assert [(v.label, v.within_factor_2.hits, v.within_factor_2.of) for v in found.volumes_by_size] == [
        ("< 5 ml", 1, 1),
        ("5 to 15 ml", 1, 3),
        ("15 to 30 ml", 1, 1),
        ("≥ 30 ml", 1, 2),
    ]
    assert [v.within_factor_2.of for v in found.volumes_by_type] == [3, 1, 0, 2, 0]
    assert found.volumes_by_type[2].ratio.note == "not measurable: no such bleed"
    assert found.volumes_by_size[3].within_factor_2.note == "only 2 patients"
    assert (found.in_range.hits, found.in_range.of) == (2, 3)
    assert (found.types_exact_flagged.hits, found.types_exact_flagged.of) == (5, 6)
    assert (found.types_exact.hits, found.types_exact.of) == (5, 7)
    assert (found.bodies.bodies, found.bodies.drawn.hits, found.bodies.named.hits, found.bodies.named.of) == (
        7,
        6,
        5,
        6,
    )
    assert [(b.bodies, b.named.hits) for b in found.bodies_by_type] == [(3, 2), (1, 1), (0, None), (3, 2), (0, None)]
    assert (found.peak_inside.hits, found.peak_near.hits, found.peak_near.of) == (2, 4, 5)


def test_bands_count_who_bleeds_and_are_left_out_without_a_card() -> None:
    cases = [case("a", 5, 5, named=0), case("b", 5, 0, band=Band.LOW), case("c", 5, 0, band=Band.LOW)]
    free = replace(cases[2], truth=KnownTruth(False, (False,) * 5, None, None))
    found = bands([*cases[:2], free], resampling(["a", "b", "c"]))
    assert [(b.band, b.with_haemorrhage, b.without) for b in found] == [
        (Band.LOW, 1, 1),
        (Band.INDETERMINATE, 0, 0),
        (Band.HIGH, 1, 0),
    ]
    assert found[0].share.note == "only 2 patients" and found[1].share.note == "not measurable: no study lies there"
    unknown = replace(cases[0], answer=replace(cases[0].answer, band=None))
    assert bands([unknown], resampling(["a"])) == ()


def labelled(folder: Path, patient: str, slices: list[int], chances: np.ndarray) -> None:
    """A file of a peer."""
    np.savez(folder / f"{patient}.npz", prob=chances, slices=np.array(slices))


def test_a_peers_labels_are_its_blood_on_the_stacks_voxels(tmp_path: Path) -> None:
    """A grid of half the size: each of its pixels covers four; oedema is no blood."""
    chances = np.zeros((4, 2, 32, 32), np.uint8)
    chances[CLASSES.index("extra-axial"), 0, 5:10, 5:10] = 200
    chances[CLASSES.index("oedema"), 1] = 255
    chances[CLASSES.index("intraventricular"), 1, 20:24, 20:24] = 40
    chances[CLASSES.index("intraparenchymal"), 1, 20:24, 20:24] = 20
    labelled(tmp_path, "p", [3, 7], chances)
    labels, slices = labels_of(tmp_path / "p.npz", (SLICES, 64, 64))
    assert list(slices) == [3, 7] and set(np.flatnonzero(labels.any((1, 2)))) == {3, 7}
    assert (labels[3, 10:20, 10:20] == 1 + BLOOD.index("extra-axial")).all()
    assert (labels[7] > 0).sum() <= 64 and labels[7, 44, 44] == 1 + BLOOD.index("intraventricular")
    for bad in (b"none", b""):
        (tmp_path / "q.npz").write_bytes(bad)
        with pytest.raises(DatasetError, match=r"q\.npz"):
            labels_of(tmp_path / "q.npz", (SLICES, 64, 64))
    with pytest.raises(DatasetError, match="expected prob"):
        labels_of(tmp_path / "p.npz", (5, 64, 64))


def carded(dataset: ToyDataset) -> Analyst:
    """The toy analyst with the shipped card's words, and one size of volume error."""
    return replace(analyst_of(dataset), card=replace(load_card("haemorrhage"), volume_error=VolumeError(9, 0.5, 2.0)))


def test_the_page_of_a_set_with_outlines_shows_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "peer").mkdir()
    chances = np.zeros((4, 2, 64, 64), np.uint8)
    chances[CLASSES.index("extra-axial"), :, 30:36, 40:46] = 255
    labelled(tmp_path / "peer", "p1", [4, 5], chances)
    dataset, said = ToyDataset(PLANS), list[str]()
    options = replace(OPTIONS, peer=Peer(tmp_path / "peer"))
    found = evaluate(dataset, carded(dataset), tmp_path, options, said.append)
    assert found.drawings is not None and found.comparison is not None
    assert found.drawings.dice_slice.value == pytest.approx(0.8) and found.drawings.dice_slice.of == 4
    assert found.drawings.in_range.of == 2 and found.drawings.in_range.hits == 2
    assert (found.comparison.studies, found.comparison.slices) == (1, 2)
    assert found.comparison.peer.dice_slice.value == 1 and found.comparison.peer.places.named.hits == 1
    assert found.comparison.model.dice_slice.value == pytest.approx(0.8)
    assert sum(b.with_haemorrhage + b.without for b in found.bands) == len(PLANS)
    page, content = (tmp_path / "evaluation.html").read_text(), json.loads((tmp_path / "evaluation.json").read_text())
    for words in (
        "What is drawn and named",
        "Beside BLAST-CT",
        "a peer, not shipped, trained on other data",
        "only 2 p",
    ):
        assert words in page
    assert 'aria-labelledby="volumes-words"' in page and "Low, indeterminate, high" in page
    assert content["drawings"]["dice_slice"]["value"] == pytest.approx(0.8)
    assert content["comparison"]["peer"]["name"] == "BLAST-CT"
    assert any("Dice of 0.80 (only 2 patients: no interval) by outlined slice" in line for line in said)


def test_a_set_without_outlines_lacks_these_figures(tmp_path: Path) -> None:
    dataset = ToyDataset([replace(plan, outlined=False) for plan in PLANS])
    found = evaluate(dataset, analyst_of(dataset), tmp_path, OPTIONS, lambda line: None)
    assert (found.drawings, found.comparison, found.bands) == (None, None, ())
    page = (tmp_path / "evaluation.html").read_text()
    assert "What is drawn and named" not in page and "indeterminate" not in page and "peer" not in page


def test_a_study_is_compared_with_its_peak() -> None:
    dataset = ToyDataset([Plan("a", "p", (4, 5), outlined=True)])
    study = dataset.load(dataset.entries()[0])

    class Spot:
        def voxels(self) -> NDArray[np.intp]:
            return np.asarray(np.argwhere(blood_of(dataset.plans[0]))[:1] - np.array([0, 0, 2]), np.intp)

    outline = compare(np.zeros((SLICES, 64, 64), np.uint8), study, Spot())  # type: ignore[arg-type]
    assert outline is not None and outline.peak_mm == pytest.approx(2 * SPACING_MM)
    assert KINDS[0].value == TYPES[0]
