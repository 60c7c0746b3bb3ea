"""Awkward series of a real head that bleeds: a node and `analyse` find the bleed, or say the true reason why not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from awkward import make_case
from numpy.typing import NDArray
from pydicom import dcmread
from series import Core, core_in_memory

from dicom_node.clock import utc_now
from dicom_node.commands.analyse_files import SeriesAnswer, analyse_files, find_series
from dicom_node.dicom.part10 import split_meta
from dicom_node.entities import Analysis, Choice, ChoiceKind
from dicom_node.routes import features_of_series, load_rules
from dicom_node.steps.analyse import analyse_next
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from dicom_node.tables import jobs, results
from inference.engines.local import Engine
from inference.input.files import read_file
from inference.input.stack import SliceStack, build_stack, read_series

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:End of file reached", "ignore:Failed to decode"),
]
CASES = (
    *("one_stranger_in_series", "two_kernels", "blank_slice", "cut_compressed", "lateral_jump", "no_preamble"),
    "bad_utf8_name",
)
# Whose stack differs from the head's own; the others are only compared with it, which costs no analysis.
ANALYSED = ("a_scout", "two_kernels", "blank_slice", "cut", "lateral_jump")
EPIDURAL_ML = 36.9
LATER = 1e12


@dataclass(frozen=True, slots=True)
class World:
    """The files of each series by the name of its folder, and a node that was sent those of ANALYSED."""

    files: dict[str, list[Path]]
    node: Core

    def choice(self, name: str) -> Choice:
        """What the node chose to do with a series."""
        study_uid = str(read_file(self.files[name][0]).StudyInstanceUID)
        with self.node.database.read() as tx:
            (found,) = jobs.choices_of_study(tx, study_uid)
        return found

    def result(self, name: str) -> Analysis | None:
        """What the node found."""
        study_uid = str(read_file(self.files[name][0]).StudyInstanceUID)
        with self.node.database.read() as tx:
            return next(iter(results.analyses_of_study(tx, study_uid)), None)


def send(node: Core, path: Path) -> None:
    """C-STORE a file's data set just as it stands there."""
    header = read_file(path, stop_before_pixels=True)
    syntax, data = split_meta(path.read_bytes())
    node.take(header, data, transfer_syntax_uid=syntax)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped model."""
    return Engine("cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[World]:
    """All series at one node, and everything analysed that can be."""
    place = tmp_path_factory.mktemp("cases")
    files = {name: paths for case in CASES for name, paths in make_case(case, place / case).items()}
    with core_in_memory() as node:
        for name in ANALYSED:
            for path in files[name]:
                send(node, path)
        complete_due(node.database, node.settings.complete, LATER)
        assert route_due(node.database, load_rules(), utc_now()) == len(ANALYSED)
        while analyse_next(node.database, node.archive, node.settings, engine, "test", lambda job: None):
            pass
        yield World(files, node)


@pytest.fixture(scope="module")
def plain(ct_ich: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SliceStack:
    """The head without anything awkward."""
    return build_stack(read_series(sorted(ct_ich.write_dicom(77, tmp_path_factory.mktemp("077")).glob("*.dcm"))))


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("a_scout", ["1 image of the series was set aside: image 0 lies in another direction."]),
        (
            "two_kernels",
            ["31 images of the series were set aside: images 100 to 130 were made with another kernel (H70h)."],
        ),
        (
            "blank_slice",
            [
                "1 image of the series was set aside: image 15 is blank, all its values are the same; "
                "the slices on both sides are 10.0 mm apart."
            ],
        ),
        ("lateral_jump", []),
    ],
)
def test_a_node_finds_the_bleed_and_names_what_it_left_out(world: World, name: str, warnings: list[str]) -> None:
    result = world.result(name)
    assert result is not None and result.suspected and result.probability > 0.99
    assert sum(each.volume_ml for each in result.findings if each.present) == pytest.approx(EPIDURAL_ML, rel=0.05)
    assert list(result.warnings) == warnings


def test_the_segmentation_lies_right_on_slices_that_were_shifted(world: World, plain: SliceStack) -> None:
    """The bleed is as dense under it as where nothing was shifted."""
    study_uid = str(dcmread(world.files["lateral_jump"][0]).StudyInstanceUID)
    with world.node.database.read() as tx:
        made = {each.kind: each.path for each in results.objects_of_study(tx, study_uid)}
    segmentation = dcmread(made["SEG"])
    stack = build_stack(read_series(world.files["lateral_jump"]))
    by_uid = dict(zip(stack.sop_uids, stack.hu, strict=True))
    lower: list[NDArray[np.float32]] = []
    upper: list[NDArray[np.float32]] = []
    for mask, group in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = list(by_uid).index(uid)
        (upper if number >= 15 else lower).append(by_uid[uid][mask > 0])
    for part in (lower, upper):
        values = np.concatenate(part)
        assert len(values) > 1000 and 45 < float(np.median(values)) < 85


def test_a_damaged_file_is_the_reason(world: World, engine: Engine, tmp_path: Path) -> None:
    """The same at the node, which names its files otherwise, and by `analyse`."""
    choice = world.choice("cut")
    missing = "is damaged, and without it slices are missing between images 15 and 17, which are 10.0 mm apart."
    assert choice.kind is ChoiceKind.DECLINED and world.result("cut") is None
    assert choice.reason == f"The file of image 16 {missing}"
    folder = world.files["cut"][0].parent
    (answer,) = analyse_files(folder, tmp_path, world.node.settings, engine)
    assert isinstance(answer, SeriesAnswer) and answer.reason == f"The file 016.dcm {missing}"


@pytest.mark.parametrize("name", ["d_colour", "no_preamble", "bad_utf8", "two_kernels", "a_scout"])
def test_the_stack_is_that_of_the_plain_head(world: World, plain: SliceStack, name: str) -> None:
    """All its slices, and the rules send it to the pipeline, by the files alone."""
    (found,) = find_series(world.files[name][0].parent)
    assert len(found.paths) == len(world.files[name])
    (rule,) = (
        load_rules()
        .decide(features_of_series(found.paths, found.headers, "", own=False), {"haemorrhage": "haemorrhage"})
        .values()
    )
    assert rule.pipeline == "haemorrhage"
    stack = build_stack(read_series(found.paths))
    assert np.array_equal(stack.hu, plain.hu)
