"""Which series of a study is analysed, which supersedes it, and what the others are told; with real series."""

from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from awkward import make_case
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from reports_support import enhanced_ct
from series import Core, core_in_memory, coronal, ct, head, read_all, uids

from dicom_node.clock import utc_now
from dicom_node.derived.candidates import reconsider
from dicom_node.entities import (
    Choice,
    ChoiceKind,
    ItemState,
    Job,
    JobState,
    ResultObject,
    SeriesState,
)
from dicom_node.headlines import headline
from dicom_node.routes import Rule, Rules, features_of, load_rules
from dicom_node.steps.complete import complete_due
from dicom_node.steps.route import route_due
from dicom_node.tables import instances, jobs, results, worklist
from dicom_node.tables.worklist import WorklistItem
from inference.input.geometry import slice_geometry, stack_shape

RULES = load_rules()
LATER = 1e12
QUESTION = "haemorrhage"


@pytest.fixture
def node() -> Iterator[Core]:
    """A node's core."""
    with core_in_memory() as made:
        yield made


def route(node: Core) -> int:
    """Complete and route everything that was received."""
    complete_due(node.database, node.settings.complete, LATER)
    return route_due(node.database, RULES, utc_now())


HEAD_CODE = [Dataset.from_json({"00080100": {"vr": "SH", "Value": ["69536005"]}})]


def study_of(study: int | Dataset) -> str:
    """Study Instance UID."""
    return str((ct(0, study=study) if isinstance(study, int) else study).StudyInstanceUID)


def choices(node: Core, study: int | Dataset = 1) -> dict[str, Choice]:
    """The study's choices by the last part of the series UID."""
    with node.database.read() as tx:
        return {each.series_uid.rpartition(".")[2]: each for each in jobs.choices_of_study(tx, study_of(study))}


def standing(node: Core, study: int | Dataset = 1) -> list[Job]:
    """The study's jobs, oldest first."""
    with node.database.read() as tx:
        return jobs.of_study(tx, study_of(study))


def row(node: Core, study: int | Dataset = 1) -> WorklistItem:
    """The study's worklist row."""
    with node.database.read() as tx:
        found = worklist.get(tx, study_of(study))
    assert found is not None
    return found


def finish(node: Core, state: JobState = JobState.DONE) -> Job:
    """A worker runs the next job."""
    with node.database.write() as tx:
        job = jobs.claim(tx, "w", 0.0, 15.0)
        assert job is not None
        assert jobs.finish(tx, job, "w", state)
        return job


def only_reason(node: Core, datasets: list[Dataset]) -> str:
    """Receive one series and route it: '' when it is to be analysed, else the reader's words."""
    node.receive(datasets)
    assert route(node) == 1
    (choice,) = choices(node, datasets[0]).values()
    item = row(node, datasets[0])
    if choice.kind is ChoiceKind.ANALYSE:
        (job,) = standing(node, datasets[0])
        assert (job.state, job.pipeline, headline(item)) == (JobState.QUEUED, "haemorrhage", "Waiting for analysis")
        return ""
    assert standing(node, datasets[0]) == []
    assert (item.state, item.urgency) == (ItemState.UNREAD, "MEDIUM")
    assert headline(item) == f"Not analysed: {choice.reason}"
    return choice.reason


def test_real_ge_head_is_analysed(node: Core, shared: Path) -> None:
    """Tilted and uneven, with HEAD as body part."""
    assert only_reason(node, read_all(shared / "dicom" / "gantry_tilt_head")) == ""


def test_real_trauma_head_is_analysed(node: Core, ct_ich: ModuleType, tmp_path: Path) -> None:
    """CT-ICH, as its script writes it."""
    assert only_reason(node, read_all(ct_ich.write_dicom(81, tmp_path / "81"))) == ""


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("good_mr", ["not CT (MR)"]),
        ("gantrytilting", ["4 slices covering 19 mm"]),
        ("notavolume", ["same position"]),
        ("sliceorientation", ["not CT (MR)", "different directions", "too few"]),
        ("sliceincrement", ["too few", "missing"]),
        ("slicecount", ["not CT (MR)", "only 2 slices"]),
    ],
)
def test_real_awkward_series_say_why(node: Core, shared: Path, folder: str, words: list[str]) -> None:
    """In words that fit the images."""
    by_series = defaultdict(list)
    for dataset in read_all(shared / "dicom" / "geometry" / folder):
        by_series[str(dataset.SeriesInstanceUID)].append(dataset)
    for datasets in by_series.values():
        node.receive(datasets)
    route(node)
    for datasets in by_series.values():
        told = {each.series_uid: each for each in choices(node, datasets[0]).values()}
        choice = told[str(datasets[0].SeriesInstanceUID)]
        assert choice.kind is ChoiceKind.DECLINED
        assert any(word in choice.reason for word in words), choice.reason


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        (head(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesDescription="Topogram"), "localizer"),
        (head(ContrastBolusAgent="OMNIPAQUE 300"), "OMNIPAQUE 300"),
        (head(SeriesDescription="CTA Head 5.0"), "CTA Head"),
        (head(ConvolutionKernel="H70h"), "H70h"),
        (head(ConvolutionKernel=["Hr68f", "3"]), "Hr68f"),
        (head(BodyPartExamined="CHEST", StudyDescription="CT CHEST", SeriesDescription="THORAX"), "body part CHEST"),
        (coronal(SeriesDescription="Head cor 3.0"), "coronal"),
        (head(12), "12 slices covering 60 mm"),
        (head(omit=[7, 8]), "between images 7 and 10"),
        (head(Modality="PT"), "not CT (PT)"),
        (head(90, spacing_mm=5.0), "more than a head"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_synthetic_series_say_why(node: Core, datasets: list[Dataset], words: str) -> None:
    """Each in words a radiologist understands, on the worklist."""
    assert words in only_reason(node, datasets)


@pytest.mark.parametrize(
    "datasets",
    [
        head(),
        head(60, spacing_mm=2.0),
        head(BodyPartExamined="", StudyDescription="", SeriesDescription=""),
        head(SliceThickness=None),
        head(ConvolutionKernel=None, StudyDescription=None, ImageType=None, PatientAge=None),
        head(PatientAge="004M", PatientBirthDate="20250901"),
        head(omit=[0, 23]),
        head(ContrastBolusAgent="NON CONTRAST"),
        head(ContrastBolusAgent="OMNIPAQUE 350", ContrastBolusVolume="0"),
        head(BodyPartExamined="HOOFD", StudyDescription="", SeriesDescription="blanco"),
        head(BodyPartExamined="CHEST", StudyDescription="", SeriesDescription="", AnatomicRegionSequence=HEAD_CODE),
    ],
)
def test_heads_are_analysed(node: Core, datasets: list[Dataset]) -> None:
    """All ages, thin or thick, labelled or not."""
    assert only_reason(node, datasets) == ""


STRANGERS = [
    ct(40, InstanceNumber=900, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    ct(40, InstanceNumber=0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
    ct(12, SOPInstanceUID="1.2.3.900", InstanceNumber=900),
    ct(12, SOPInstanceUID="1.2.3.900", InstanceNumber=900, shade=7, ConvolutionKernel="H70h"),
    ct(40, InstanceNumber=900, ImagePositionPatient=None, ImageType=["DERIVED", "SECONDARY", "MIP"]),
    ct(40, InstanceNumber=900, Modality="OT", ConvolutionKernel="BONE", ContrastBolusAgent="OMNIPAQUE"),
    ct(40, InstanceNumber=900, BodyPartExamined="CHEST", StudyDescription="", PixelSpacing=[0.9, 0.9]),
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("stranger", STRANGERS, ids=range(len(STRANGERS)))
def test_a_head_with_a_stranger_is_analysed(node: Core, stranger: Dataset, first: bool) -> None:
    """Whatever its SOP Instance UID and whenever it comes."""
    odd = deepcopy(stranger)
    odd.SOPInstanceUID = odd.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.0" if first else "2.2.3.0")
    assert only_reason(node, [odd, *head()] if first else [*head(), odd]) == ""


@pytest.mark.parametrize("bone_first", [True, False])
def test_soft_slices_beside_bone_are_analysed(node: Core, bone_first: bool) -> None:
    """In one series, whichever have the lower SOP Instance UIDs."""
    bone = head(ConvolutionKernel="H70h", shade=9)
    for i, dataset in enumerate(bone):
        dataset.SOPInstanceUID = UID(f"{'1' if bone_first else '2'}.2.{i}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = 100 + i
    assert only_reason(node, bone + head()) == ""


def test_only_bone_slices_and_a_scout_say_so(node: Core) -> None:
    """The reason is that of the slices, not of the stranger."""
    scout = ct(40, InstanceNumber=0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ConvolutionKernel="H31s")
    assert "bone-kernel reconstruction was received (H70h)" in only_reason(
        node, [*head(ConvolutionKernel="H70h"), scout]
    )


def test_first_fitting_is_analysed_at_once_and_a_better_one_supersedes(node: Core) -> None:
    """Thin slices come first and are analysed; 5 mm come later and take their place; others are not needed."""
    node.receive(head(60, spacing_mm=2.0, series=2, SeriesDescription="HEAD 2.0"))
    route(node)
    assert finish(node).series_uid == str(ct(0, series=2).SeriesInstanceUID)
    node.receive(head(series=3))
    route(node)
    assert [job.state for job in standing(node)] == [JobState.DONE, JobState.QUEUED]
    assert finish(node).series_uid == str(ct(0, series=3).SeriesInstanceUID)
    node.receive(head(series=4))
    node.receive(head(series=5, ConvolutionKernel="H60s"))
    route(node)
    made = choices(node)
    assert {name: choice.kind for name, choice in made.items()} == {
        "2": ChoiceKind.ANALYSE,
        "3": ChoiceKind.ANALYSE,
        "4": ChoiceKind.NOT_NEEDED,
        "5": ChoiceKind.DECLINED,
    }
    assert made["4"].instead == str(ct(0, series=3).SeriesInstanceUID)
    assert len(standing(node)) == 2


def test_better_series_supersedes_one_that_has_not_begun(node: Core) -> None:
    """The worker is busy: only the better series is analysed."""
    node.receive(head(60, spacing_mm=2.0, series=2))
    route(node)
    node.receive(head(series=3))
    route(node)
    assert [job.state for job in standing(node)] == [JobState.SUPERSEDED, JobState.QUEUED]


def test_soft_kernel_after_bone(node: Core) -> None:
    """The list says why nothing is analysed until the soft kernel comes."""
    assert "bone-kernel" in only_reason(node, head(series=1, ConvolutionKernel="BONE"))
    node.receive(head(series=2, ConvolutionKernel="STANDARD"))
    route(node)
    assert headline(row(node)) == "Waiting for analysis"
    assert [job.series_uid for job in standing(node)] == [str(ct(0, series=2).SeriesInstanceUID)]


def test_late_slice_is_analysed_again(node: Core) -> None:
    """The same series, a new revision."""
    node.receive(head(24))
    route(node)
    finish(node)
    node.receive([ct(24)])
    route(node)
    assert [(job.revision, job.state) for job in standing(node)] == [(1, JobState.DONE), (2, JobState.QUEUED)]


def test_reconsider_when_the_chosen_series_cannot_be_analysed(node: Core) -> None:
    """Its images are damaged: the series that was not needed is needed now."""
    node.receive(head(series=1))
    node.receive(head(series=2))
    route(node)
    declined = finish(node, JobState.DECLINED)
    with node.database.write() as tx:
        reconsider(tx, study_of(1), QUESTION)
    assert route(node) == 1
    (job,) = [each for each in standing(node) if each.state is JobState.QUEUED]
    assert job.series_uid != declined.series_uid


def test_studies_are_independent(node: Core) -> None:
    """What stands for one study is nothing to another."""
    node.receive(head(study=1))
    node.receive(head(study=2))
    assert route(node) == 2
    assert len(standing(node, 1)) == len(standing(node, 2)) == 1


def test_studies_are_analysed_in_the_order_they_came(node: Core) -> None:
    """A study with thin slices only does not wait for others."""
    node.receive(head(60, spacing_mm=2.0, study=1))
    route(node)
    node.receive(head(study=2))
    route(node)
    assert finish(node).study_uid == study_of(1)


def test_a_rule_may_give_a_scanner_priority(node: Core) -> None:
    """The emergency room's studies overtake those that wait."""
    emergency = Rule.model_validate(
        {
            "name": "emergency room",
            "pipeline": "haemorrhage",
            "priority": 5,
            "when": {"calling_aet": {"is": ["ER_CT"]}, "slices": {"at_least": 8}},
        }
    )
    rules = Rules(rule=(emergency, *RULES.rule))
    for study, scanner in enumerate(("CT1", "CT1", "ER_CT"), start=1):
        node.receive(head(study=study), calling_aet=scanner)
    complete_due(node.database, node.settings.complete, LATER)
    route_due(node.database, rules, utc_now())
    assert [finish(node).study_uid for _ in range(3)] == [study_of(3), study_of(1), study_of(2)]


def test_own_results_are_never_analysed(node: Core) -> None:
    """A picture of ours that comes back, whatever it says it is."""
    returned = ct(0, series=77, Modality="CT", SeriesDescription="AI result")
    made = ResultObject("SC", str(returned.SOPInstanceUID), "1.2", str(returned.SeriesInstanceUID), Path("sc.dcm"))
    node.receive(head())
    route(node)
    before = row(node)
    with node.database.write() as tx:
        results.add_object(tx, study_of(1), QUESTION, 1, made, utc_now())
    node.receive([returned])
    assert route(node) == 1
    assert choices(node)["77"].kind is ChoiceKind.IGNORED
    assert row(node) == before and len(standing(node)) == 1


def test_reports_of_others_are_ignored(node: Core) -> None:
    """No reader waits for an SR."""
    report = ct(0, series=8, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    del report.PixelData
    node.receive(head())
    node.receive([report])
    route(node)
    assert choices(node)["8"].kind is ChoiceKind.IGNORED
    assert headline(row(node)) == "Waiting for analysis"


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_unreadable_series_does_not_hold_up_the_next(node: Core, damage: str) -> None:
    """A file that the disk has lost: its study says so, all others are routed."""
    node.receive(head(study=1))
    node.receive(head(study=2))
    for path in node.files():
        if path.parent.parent.name == study_of(1):
            path.unlink() if damage == "gone" else path.write_bytes(b"short")
    route(node)
    assert len(standing(node, 2)) == 1
    assert node.series(ct(0)).state is SeriesState.ROUTED
    assert "cannot be read" in headline(row(node, 1))


def test_image_during_the_sweep_wins(node: Core) -> None:
    """A series that got another image between completion and routing is not routed."""
    node.receive(head())
    complete_due(node.database, node.settings.complete, LATER)
    node.receive([ct(24)])
    assert route_due(node.database, RULES, utc_now()) == 0
    with node.database.read() as tx:
        series = instances.get_series(tx, *uids(ct(0))[:2])
    assert series is not None and series.state is SeriesState.RECEIVING


def test_garbled_header_is_routed(node: Core) -> None:
    """Elements that cannot be read count as empty."""
    datasets = head()
    for dataset in datasets:
        dataset.PatientAge = "old"
        dataset.PatientBirthDate = "about 1950"
    assert only_reason(node, datasets) == ""


def test_frames_of_an_enhanced_image_are_read_as_a_single_one_is() -> None:
    """Kernel, contrast medium, type and part of the body stand in the functional groups."""
    image, _ = enhanced_ct(24)
    for keyword in ("ConvolutionKernel", "BodyPartExamined"):
        image.pop(keyword, None)
    image.ImageType = ["ORIGINAL", "PRIMARY", "MIXED", "MIXED"]
    plain = features_of(image, stack_shape(slice_geometry(image)), "", own=False)
    assert (plain.kernel, plain.contrast, plain.body_part) == ("", "", "")
    kernel, used, kind, scan, region = (Dataset() for _ in range(5))
    kernel.ConvolutionKernel, kernel.ConvolutionKernelGroup = ["Hr68f", "3"], "BONE"
    used.ContrastBolusAgentAdministered = "YES"
    kind.FrameType, scan.AcquisitionType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "CONSTANT_ANGLE"
    region.AnatomicRegionSequence = HEAD_CODE
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.CTReconstructionSequence, frame.ContrastBolusUsageSequence = [kernel], [used]
        frame.CTImageFrameTypeSequence, frame.FrameAnatomySequence = [kind], [region]
    image.SharedFunctionalGroupsSequence[0].CTAcquisitionTypeSequence = [scan]
    found = features_of(image, stack_shape(slice_geometry(image)), "", own=False)
    assert (found.kernel, found.contrast, found.body_part) == ("Hr68f", "contrast given", "HEAD")
    assert found.image_type == "ORIGINAL\\PRIMARY\\VOLUME\\NONE\\LOCALIZER"
    del kernel.ConvolutionKernel
    assert features_of(image, stack_shape(slice_geometry(image)), "", own=False).kernel == "BONE"


def test_real_heads_whose_header_says_that_none_was_given_are_analysed(tmp_path: Path) -> None:
    """In words of several languages, each in a folder of its own."""
    made = make_case("contrast_words", tmp_path)
    assert len(made) == 8
    for folder, files in made.items():
        headers = [dcmread(file, stop_before_pixels=True) for file in files]
        shape = stack_shape([geometry for header in headers for geometry in slice_geometry(header)])
        features = features_of(headers[len(headers) // 2], shape, "", own=False)
        (decided,) = RULES.decide(features, {"haemorrhage": QUESTION}).values()
        assert decided.pipeline == "haemorrhage", folder


RULES_OF_A_RELEASE_BEFORE = r"""
[[rule]]
name = "other body part"
decline = "Not a head CT (body part {body_part})."
when.body_part = { matches = "^(?!.*(HEAD|BRAIN|SKULL|CRANI|NEURO|WHOLEBODY)).+$" }
when.text = { lacks = ["head", "brain", "skull", "crani", "kopf"] }

[[rule]]
name = "contrast agent"
decline = "Contrast was given ({contrast}); only CT without contrast is analysed."
when.contrast = { matches = "^(?!\\s*(0|-|n|no|none|nil|nein|n/?a|(no|w/?o|without|ohne|sans|sin)\\b.*)\\s*$).+" }

[[rule]]
name = "unlabelled CT that may be a head"
pipeline = "haemorrhage"
when.spacing_mm = { below = 8 }
"""


@pytest.mark.parametrize(
    ("elements", "rule"),
    [
        ({"ContrastBolusAgent": "Kein KM"}, "unlabelled CT that may be a head"),
        ({"ContrastBolusAgent": "Ultravist"}, "contrast agent"),
        ({"ContrastBolusVolume": "80"}, "contrast agent"),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "", "SeriesDescription": ""}, "other body part"),
        ({"BodyPartExamined": ""}, "unlabelled CT that may be a head"),
    ],
)
def test_rules_that_a_site_copied_gain_by_what_the_header_is_asked(
    tmp_path: Path, elements: dict[str, Any], rule: str
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(RULES_OF_A_RELEASE_BEFORE)
    datasets = head(**elements)
    shape = stack_shape([geometry for ds in datasets for geometry in slice_geometry(ds)])
    features = features_of(datasets[0], shape, "", own=False)
    (decided,) = load_rules(path).decide(features, {"haemorrhage": QUESTION}).values()
    assert decided.name == rule
