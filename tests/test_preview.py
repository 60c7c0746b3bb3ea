"""The small pictures of the list: what they show, when they are made, and that they hold up nothing."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from scripted import ScriptedEngine, analysed, route, work
from series import SIZE, Core, core, ct, head

from dicom_node import clock
from dicom_node.derived import previews
from dicom_node.dicom.marked import key_images_of, regions_of
from dicom_node.entities import Job, JobKind, JobState
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.preview import make_preview
from dicom_node.steps.requeue import expire_leases
from dicom_node.steps.retain import retain
from dicom_node.tables import jobs, results, worklist
from inference.findings import NotAnalysable
from reports.preview import CT_WINDOWS, MOST, TILE, choose_slices
from reports.preview_file import Index, read_index, read_picture

QUESTION = "haemorrhage"
BLOOD = (slice(24, 40), slice(20, 36))


def brain(count: int = 24, blood: Sequence[int] = (10, 11, 12), **options: Any) -> list[Dataset]:
    """A head in air: bone around, brain of 35 HU within, and blood of 70 HU on some slices."""
    made = []
    for index in range(count):
        plane = np.full((SIZE, SIZE), -1000, "<i2")
        plane[8:56, 8:56], plane[12:52, 12:52] = 1200, 35
        if index in blood:
            plane[BLOOD] = 70
        made.append(ct(index, PixelData=plane.tobytes(), **options))
    return made


@pytest.fixture
def node(tmp_path: Path) -> Core:
    return core(tmp_path, analyse={"attempts": 2})


def uid(study: int = 1) -> str:
    return str(ct(0, study=study).StudyInstanceUID)


class Marking(ScriptedEngine):
    """Marks the blood and nothing else; the bone is not taken for it."""

    def run(self, pipeline: str, given: Any) -> Any:
        result = super().run(pipeline, given)
        outlined = (given.stack.hu > 60) & (given.stack.hu < 100)
        telling = tuple(int(each) for each in np.argsort(-outlined.sum((1, 2)), kind="stable")[:2])
        findings = tuple(replace(each, mask=outlined) if each.mask is not None else each for each in result.findings)
        return replace(result, findings=findings, key_slices=telling if result.suspected else ())


def analyse(node: Core, *script: Any) -> None:
    """Run one analysis for each answer; no small pictures."""
    for each in script:
        assert analyse_next(node.database, node.archive, node.settings, Marking(each), "me", lambda job: None)


def turn(node: Core, owner: str = "me") -> Job | None:
    """One turn of the worker; the job that it took."""
    taken: list[Job] = []
    preview = partial(make_preview, node.database, node.archive)
    analyse_next(node.database, node.archive, node.settings, Marking(True), owner, taken.append, preview)
    return taken[0] if taken else None


def last(node: Core, study: int = 1) -> Job:
    with node.database.read() as tx:
        job = jobs.last_preview(tx, uid(study), QUESTION)
    assert job is not None
    return job


def file_of(node: Core, version: int = 1, study: int = 1) -> Path:
    return node.archive.preview_path(uid(study), QUESTION, version)


def index_of(node: Core, version: int = 1) -> Index:
    return read_index(file_of(node, version))


def tile(node: Core, name: str, number: int, version: int = 1) -> NDArray[np.uint8]:
    """One tile of a sheet."""
    sheet = np.asarray(Image.open(io.BytesIO(read_picture(file_of(node, version), name))))
    row, column = divmod(number, index_of(node, version).columns)
    found: NDArray[np.uint8] = sheet[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
    return found


def suspected(node: Core, images: Sequence[Dataset]) -> None:
    """Receive a head, find its blood and make its small pictures."""
    node.receive(images)
    route(node)
    analyse(node, True)
    assert turn(node) is not None


def test_every_window_shows_its_hounsfield_units(node: Core) -> None:
    """Brain, blood and bone in each window are as grey as the window makes them."""
    suspected(node, brain())
    index = index_of(node)
    assert [(each.name, each.centre, each.width) for each in index.windows] == [
        ("brain", 40, 80),
        ("subdural", 75, 200),
        ("bone", 480, 2500),
    ]
    for window in CT_WINDOWS:
        shown = tile(node, window.file, 11)[..., 0].astype(float)
        for (y, x), value in {(70, 150): 35, (128, 112): 70, (18, 128): 1200, (4, 4): -1000}.items():
            wanted = np.clip((value - window.centre + window.width / 2) / window.width * 255, 0, 255)
            assert abs(shown[y - 2 : y + 3, x - 2 : x + 3].mean() - wanted) < 8, (window.name, value)


def test_the_outline_lies_around_the_mask_of_the_segmentation(node: Core) -> None:
    """Ring and mask never overlap, and nothing of the ring is far from it; other slices have none."""
    suspected(node, brain())
    index = index_of(node)
    with node.database.read() as tx:
        made = {each.kind: each.path for each in results.objects_of(tx, uid(), QUESTION, 1)}
    places = [(each.sop_uid, each.frame) for each in index.slices]
    regions = regions_of(made["SEG"], set(places))
    assert index.outlined and len(index.slices) == index.total == 24
    for number, place in enumerate(places):
        ring = tile(node, "outlines.png", number)[..., 3] > 128
        assert ring.any() == (place in regions) == (number in (10, 11, 12))
        if place in regions:
            rows, columns = (np.nonzero(ring.any(axis))[0] for axis in (1, 0))
            seen = tile(node, "brain.webp", number)[..., 0] > 200
            bone = np.zeros_like(seen)
            bone[60:196, 60:196] = True
            blood = np.argwhere(seen & bone)
            (top, left), (bottom, right) = blood.min(0), blood.max(0)
            assert np.abs(np.array([rows[0], rows[-1], columns[0], columns[-1]])
                          - [top, bottom, left, right]).max() <= 5  # fmt: skip
            assert not ring[top + 3 : bottom - 2, left + 3 : right - 2].any()
    assert places[index.first] == key_images_of(made["KO"])[0]


def test_the_first_picture_is_the_most_telling_slice_with_its_outline(node: Core) -> None:
    suspected(node, brain(blood=(5, 6)))
    index = index_of(node)
    first = np.asarray(Image.open(io.BytesIO(read_picture(file_of(node), "first.jpg")))).astype(int)
    assert index.slices[index.first].place in (6, 7) and index.slices[index.first].number in (6, 7)
    assert first.shape == (TILE, TILE, 3)
    coloured = np.abs(first[..., 0] - first[..., 2]) > 60
    assert coloured.any() and not coloured[:40].any()
    assert len(read_picture(file_of(node), "first.jpg")) < 30_000


def test_sides_are_those_of_the_images(node: Core) -> None:
    suspected(node, brain(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]))
    assert index_of(node).sides == ("L", "R", "A", "P")


@pytest.mark.parametrize("count", [1, 59, 60, 61, 300, 1000])
def test_chosen_slices_are_few_even_and_hold_every_key_slice(count: int) -> None:
    keys = [each for each in (0, 7, 8, 9, 150, 151, count - 1) if each < count]
    chosen = choose_slices(count, keys)
    assert min(count, MOST) - len(keys) <= len(chosen) <= MOST and set(keys) <= set(chosen)
    assert list(chosen) == sorted(set(chosen)) and chosen[-1] == count - 1
    assert max(np.diff(chosen), default=1) <= 1.2 * count / MOST + 1


def test_a_thin_series_has_sixty_pictures_and_says_how_many_slices_there_are(node: Core) -> None:
    suspected(node, brain(130, blood=(71,), spacing_mm=1.2))
    index = index_of(node)
    assert MOST - 2 <= len(index.slices) <= MOST and index.total == 130
    assert index.slices[index.first].place == 72
    with pytest.raises(KeyError):
        read_picture(file_of(node), "no-such.webp")


def test_a_negative_head_opens_in_its_middle_without_outlines(node: Core) -> None:
    node.receive(brain(blood=()))
    route(node)
    analyse(node, False)
    turn(node)
    index = index_of(node)
    assert not index.outlined and index.first == 12
    with pytest.raises(KeyError):
        read_picture(file_of(node), "outlines.png")


def test_never_before_the_flag_and_never_before_another_analysis(node: Core) -> None:
    """The job is there once the flag is; it waits for every analysis, and for what says why there is none."""
    node.receive(brain())
    route(node)
    with node.database.read() as tx:
        assert jobs.last_preview(tx, uid(), QUESTION) is None
    analyse(node, True)
    with node.database.read() as tx:
        item = worklist.get(tx, uid())
    assert item is not None and item.flagged_at is not None
    assert last(node).state is JobState.QUEUED and not file_of(node).exists()
    for study in (2, 3):
        node.receive(brain(study=study))
    node.receive(brain(study=4, ContrastBolusAgent="Iodine"))
    route(node, explain=True)
    assert [each.kind for each in iter(partial(turn, node), None)] == [
        JobKind.ANALYSE,
        JobKind.ANALYSE,
        JobKind.EXPLAIN,
        *[JobKind.PREVIEW] * 4,
    ]
    assert all(file_of(node, version, study).exists() for version, study in ((1, 1), (1, 2), (1, 3), (0, 4)))


def test_an_analysis_that_comes_meanwhile_goes_first(node: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small pictures are left half-made, which costs them no attempt."""
    node.receive(brain())
    route(node)
    analyse(node, True)
    begun = make_preview

    def interrupted(database: Any, archive: Any, job: Job, owner: str) -> None:
        node.receive(brain(study=2))
        route(node)
        begun(database, archive, job, owner)

    preview = partial(interrupted, node.database, node.archive)
    analyse_next(node.database, node.archive, node.settings, Marking(), "me", lambda job: None, preview)
    assert (last(node).state, last(node).attempts) == (JobState.QUEUED, 0) and not file_of(node).exists()
    first, second = turn(node), turn(node)
    assert first is not None and (first.kind, first.study_uid) == (JobKind.ANALYSE, uid(2))
    assert second is not None and second.kind is JobKind.PREVIEW


def test_a_worker_that_makes_pictures_keeps_no_other_from_the_study(node: Core) -> None:
    """New images of the same study are analysed while its small pictures are still being made."""
    node.receive(brain(24))
    route(node)
    analyse(node, True)
    with node.database.write() as tx:
        taken = jobs.claim(tx, "one", clock.monotonic(), 60, previews=True)
        assert taken is not None and taken.kind is JobKind.PREVIEW
    node.receive(brain(26)[24:])
    route(node)
    analyse(node, True)
    make_preview(node.database, node.archive, taken, "one")
    assert turn(node) is not None and turn(node) is None
    assert file_of(node, 2).exists() and not file_of(node, 1).exists()


def test_a_newer_result_replaces_the_pictures(node: Core) -> None:
    suspected(node, brain(24))
    assert file_of(node, 1).exists()
    node.receive(brain(26)[24:])
    route(node)
    analyse(node, True)
    turn(node)
    assert file_of(node, 2).exists() and not file_of(node, 1).exists()
    assert index_of(node, 2).total == 26


def test_what_was_not_analysed_has_pictures_too(node: Core) -> None:
    """By a rule, by what the images show, and after every attempt has failed."""
    for study, contrast in ((1, "Iodine"), (2, ""), (3, "")):
        node.receive(brain(study=study, ContrastBolusAgent=contrast))
        route(node)
    analyse(node, NotAnalysable("No head."), OSError("a"))
    with node.database.write() as tx:
        tx.run("UPDATE jobs SET not_before = 0")
    analyse(node, OSError("b"))
    while turn(node):
        pass
    for study in (1, 2, 3):
        index = read_index(file_of(node, 0, study))
        assert len(index.slices) == 24 and index.first == 12 and not index.outlined


def test_a_series_that_is_no_stack_shows_what_can_be_read(node: Core) -> None:
    """Some slices are damaged, others lie across: whatever is a slice is shown."""
    images = brain(10)
    images[3].PixelData = b"\0" * 20
    images[5].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    node.receive(images)
    route(node)
    while turn(node):
        pass
    with node.database.read() as tx:
        subject = previews.subject_of(tx, uid(), QUESTION)
    assert subject is not None
    index = index_of(node, subject.version)
    assert 8 <= len(index.slices) <= 9 and 4 not in {each.number for each in index.slices}


def test_images_in_no_hounsfield_units_have_one_window_of_their_own(node: Core) -> None:
    node.receive(brain(8, Modality="MR", RescaleSlope=None, RescaleIntercept=None))
    route(node)
    with node.database.write() as tx:
        assert previews.ask_now(tx, uid(), QUESTION, clock.utc_now())
    turn(node)
    assert [each.name for each in index_of(node, 0).windows] == ["whole range"]
    assert tile(node, "whole-range.webp", 4, 0)[18, 128, 0] > 200


def test_what_cannot_be_shown_says_so_once(node: Core) -> None:
    """A series without a slice: no file, no second attempt, and no trouble for IT."""
    node.receive([ct(0, ImagePositionPatient=None), ct(1, ImagePositionPatient=None)])
    route(node)
    while turn(node):
        pass
    assert last(node).state is JobState.DECLINED and "no slices" in (last(node).error or "")
    with node.database.write() as tx:
        assert not previews.ask_now(tx, uid(), QUESTION, clock.utc_now())
        assert jobs.recent(tx, 9) == [job for job in jobs.recent(tx, 9) if job.kind is not JobKind.PREVIEW]


def test_pictures_that_fail_change_nothing_of_the_study(node: Core) -> None:
    """A lost segmentation: they stand as failed, listed for IT; row and flag stay as they are."""
    node.receive(brain())
    route(node)
    analyse(node, True)
    with node.database.read() as tx:
        before = worklist.get(tx, uid())
        (lost,) = [each.path for each in results.objects_of(tx, uid(), QUESTION, 1) if each.kind == "SEG"]
    lost.unlink()
    for _ in range(2):
        turn(node)
        with node.database.write() as tx:
            tx.run("UPDATE jobs SET not_before = 0")
    assert turn(node) is None and last(node).state is JobState.FAILED
    with node.database.read() as tx:
        assert worklist.get(tx, uid()) == before
        assert [each.kind for each in jobs.recent(tx, 9)] == [JobKind.PREVIEW, JobKind.ANALYSE]


def test_a_worker_that_dies_leaves_them_to_the_next(node: Core) -> None:
    node.receive(brain())
    route(node)
    analyse(node, True)
    with node.database.write() as tx:
        assert jobs.claim(tx, "dead", 0.0, 15.0, previews=True)
    assert expire_leases(node.database, node.settings.analyse, clock.monotonic() + 60) == 1
    assert turn(node) is not None and file_of(node).exists()


def test_retention_takes_the_pictures_with_the_study(node: Core) -> None:
    """They count as what the study takes, and waiting ones keep no study from leaving."""
    suspected(node, brain())
    suspected(node, brain(study=2))
    size = node.archive.size_bytes(uid())
    file = file_of(node).stat().st_size
    assert size - file == sum(path.stat().st_size for path in node.archive.root.rglob("*.dcm") if uid() in path.parts)
    with node.database.write() as tx:
        previews.ask(tx, uid(), QUESTION, clock.utc_now())
        assert jobs.last_preview(tx, uid(), QUESTION).state is JobState.QUEUED  # type: ignore[union-attr]
    assert retain(node.database, node.archive, (node.archive.size_bytes() - 10) / 1e9) == 1
    assert not file_of(node).exists() and file_of(node, study=2).exists()
    assert node.number("SELECT count(*) FROM jobs WHERE study_uid = :uid", uid=uid()) == 0
    assert turn(node) is None


def test_pictures_of_a_study_that_is_removed_meanwhile_leave_nothing_behind(node: Core) -> None:
    node.receive(brain())
    route(node)
    analyse(node, True)
    with node.database.write() as tx:
        taken = jobs.claim(tx, "me", clock.monotonic(), 60, previews=True)
    assert taken is not None
    find, gone = node.archive.put, []

    def put(path: Path, *parts: bytes) -> None:
        gone.append(retain(node.database, node.archive, 0.0))
        find(path, *parts)

    node.archive.put = put  # type: ignore[method-assign]
    make_preview(node.database, node.archive, taken, "me")
    assert gone == [1] and not (node.archive.root / "results" / uid()).exists()


def test_a_study_that_is_not_on_the_list_gets_them_on_request(node: Core) -> None:
    node.receive(brain())
    route(node)
    with node.database.write() as tx:
        tx.run("UPDATE worklist SET listed = 0")
    analyse(node, True)
    with node.database.write() as tx:
        assert jobs.last_preview(tx, uid(), QUESTION) is None
        assert previews.ask_now(tx, uid(), QUESTION, clock.utc_now())
    turn(node)
    assert file_of(node).exists()


def test_what_a_reader_waits_for_is_made_first(node: Core) -> None:
    for study in (1, 2, 3):
        node.receive(brain(study=study))
        route(node)
        analyse(node, True)
    with node.database.write() as tx:
        assert previews.ask_now(tx, uid(3), QUESTION, clock.utc_now())
    made = [job.study_uid for job in iter(partial(turn, node), None)]
    assert made == [uid(3), uid(1), uid(2)]


def test_other_workers_leave_them_alone(node: Core) -> None:
    """Whoever claims analyses only never gets one."""
    analysed(node, head(), True)
    with node.database.write() as tx:
        assert jobs.claim(tx, "other", clock.monotonic(), 60) is None
    with pytest.raises(AssertionError):
        work(node, True)
