"""Networks of other houses: found and drawn where they say, and refused wherever the contract is not kept."""

import hashlib
import os
import pickle
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import reports_support
import tomli_w
import torch
import torch.nn.functional as nnf
from click.testing import CliRunner
from onnx import TensorProto, helper
from reports_support import NOW, ct_series, reports
from safetensors.torch import load_file, save_file, save_model

from dicom_node.commands.main import main
from inference import pipelines
from inference.errors import ModelError
from inference.findings import Result
from inference.input.stack import SliceStack
from inference.models.card import ModelCard, load_card
from inference.pipelines.base import Given, Pipeline
from inference.pipelines.haemorrhage.answer import noisy_or
from inference.pipelines.haemorrhage.decisions import decisions_of
from inference.pipelines.haemorrhage.foreign.contract import Input, read_contract
from inference.pipelines.haemorrhage.foreign.convert import convert_checkpoint
from inference.pipelines.haemorrhage.foreign.monai_network import NETWORKS, build_monai
from inference.pipelines.haemorrhage.foreign.pipeline import ForeignPipeline
from inference.pipelines.haemorrhage.head_grid import to_grid
from inference.pipelines.haemorrhage.synthetic_head import SyntheticHead, synthetic_head
from inference.pipelines.haemorrhage.types import INTRACRANIAL, HaemorrhageType
from inference.pipelines.registry import load_pipeline
from inference.training.datasets.ct_ich import open_ct_ich, stack_of
from reports.context import Kind, ReportContext

CPU = torch.device("cpu")
CONTRACT = Path(pipelines.__file__).with_name("CONTRACT.md")
UNET = {"name": "UNet", "channels": [8, 16, 32], "strides": [2, 2], "norm": "batch", "num_res_units": 1}
PLANES = {"gives": "planes", "classes": ["any"]}


class BrightBlood(torch.nn.Module):
    """Any haemorrhage: HU above 52 that are not bone, by the windows 0 to 80 and 0 to 1000 HU."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        hu = nnf.avg_pool2d(planes[:, :1] * 80, 3, 1, 1)
        bone = nnf.max_pool2d(planes[:, 1:] * 1000, 7, 1, 3)
        odds = 4 * (hu - 52 - torch.relu(bone - 120))
        return torch.cat([torch.zeros_like(odds), odds], 1)


class LeftFront(torch.nn.Module):
    """Subdural haemorrhage in the patient's left front of every plane, at half size."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        zeros = nnf.avg_pool2d(planes[:, :1], 2) * 0
        marked = zeros + torch.zeros(104, 88).index_fill(0, torch.arange(15, 40), 1.0) * torch.cat(
            [torch.zeros(55), torch.ones(20), torch.zeros(13)]
        )
        return torch.cat([zeros, marked * 40 - 20, zeros - 30], 1)


def card_for(weights: Path, kind: str = "onnx", /, **changed: Any) -> ModelCard:
    """The card that CONTRACT.md shows, for these weights, with some tables changed; it names types well enough."""
    types_exact = changed.pop("types_exact", 0.8)
    shown = tomllib.loads(re.findall(r"```toml\n(name = .*?)```", CONTRACT.read_text(), re.DOTALL)[0])
    tables = {name: table for name, table in shown.items() if isinstance(table, dict)} | changed
    top: dict[str, Any] = {"name": "other-house", "version": "1", "kind": kind, "weights": weights.name}
    top["types_exact"] = types_exact
    top["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    place = weights.with_suffix(".toml")
    place.write_text(tomli_w.dumps(top | tables))
    return load_card(place)


def export(network: torch.nn.Module, path: Path, channels: int = 2, dynamic: bool = True) -> Path:
    """The network as its owner would export it."""
    example = torch.zeros(2, channels, 208, 176)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.onnx.export(
        network.eval(), (example,), path, dynamo=True, external_data=False, dynamic_shapes=shapes, verbose=False
    )
    return path


def graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto] | None = None,
    shape: Sequence[Any] = ("n", 2, 208, 176),
    dtype: int = TensorProto.FLOAT,
    opsets: Sequence[tuple[str, int]] = (("", 17),),
    **more: Any,
) -> Path:
    """A file made by hand; left alone it hands its two channels through."""
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    given, answered = ([helper.make_tensor_value_info(name, dtype, shape)] for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, answered, more.pop("initializer", None)),
        opset_imports=[helper.make_opsetid(*each) for each in opsets],
        ir_version=10,
        **more,
    )
    path.write_bytes(model.SerializeToString())
    return path


def monai_card(folder: Path, network: dict[str, Any] | None = None, **changed: Any) -> ModelCard:
    """A MONAI network with seeded weights, and its card."""
    path = folder / "network.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    card = card_for(path, "monai", network=UNET if network is None else network, **changed)
    torch.manual_seed(7)
    module = build_monai(read_contract(card, decisions_of(card)), "test").eval()
    save_file({name: value.clone() for name, value in module.state_dict().items()}, path)
    return card_for(path, "monai", network=UNET if network is None else network, **changed)


def above_the_base(head: SyntheticHead) -> SyntheticHead:
    """Without the muscles below the skull, which are as bright as blood."""
    return replace(head, hu=head.hu[7:], labels=head.labels[7:])


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return above_the_base(synthetic_head(11, HaemorrhageType.INTRAPARENCHYMAL))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(BrightBlood(), tmp_path_factory.mktemp("onnx") / "bright.onnx")


@pytest.fixture(scope="module")
def found(bright: Path, head: SyntheticHead) -> Result:
    return ForeignPipeline(CPU, card_for(bright)).run(Given(stack_of(head.hu)))


def test_a_bleed_is_found_and_drawn_on_its_own_voxels(found: Result, head: SyntheticHead) -> None:
    """One finding without a type, its mask the bleed's."""
    truth = head.labels > 0
    assert found.suspected
    (finding,) = found.findings
    assert (finding.name, finding.present, finding.probability) == (INTRACRANIAL, True, found.probability)
    assert finding.mask is not None
    assert finding.mask.shape == head.hu.shape
    assert 2 * (finding.mask & truth).sum() / (finding.mask.sum() + truth.sum()) > 0.8
    volume_ml = truth.sum() * np.prod(head.spacing_mm) / 1000
    assert finding.volume_ml == pytest.approx(volume_ml, rel=0.25)
    assert truth[found.key_slices[0]].any()


def test_a_volume_has_the_range_that_the_card_measured(bright: Path, head: SyntheticHead, found: Result) -> None:
    card = card_for(bright, volume_error={"heads": 64, "low": 0.62, "high": 1.7})
    (finding,) = ForeignPipeline(CPU, card).run(Given(stack_of(head.hu))).findings
    drawn = found.findings[0].volume_ml
    assert finding.volume_ml == pytest.approx(drawn)
    assert finding.volume_range_ml == pytest.approx((0.62 * drawn, 1.7 * drawn))
    assert found.findings[0].volume_range_ml is None and found.findings[0].volume_repeat_sd is None


@pytest.mark.parametrize(("sizes", "sd"), [((1.0, 1e6), 0.3), ((1.0, 5.0), 0.1), ((1e5, 1e6), 0.3)])
def test_a_volume_is_as_repeatable_as_the_card_measured_for_its_size(
    bright: Path, head: SyntheticHead, sizes: tuple[float, float], sd: float
) -> None:
    tables = [{"from_ml": ml, "pairs": 9, "log_sd": each} for ml, each in zip(sizes, (0.3, 0.1), strict=True)]
    (finding,) = ForeignPipeline(CPU, card_for(bright, volume_repeat=tables)).run(Given(stack_of(head.hu))).findings
    assert finding.volume_ml > 5 and finding.volume_repeat_sd == sd


def test_a_head_without_a_bleed_is_not_suspected(bright: Path) -> None:
    result = ForeignPipeline(CPU, card_for(bright)).run(Given(stack_of(above_the_base(synthetic_head(12)).hu)))
    assert not result.suspected
    assert [(each.name, each.present, each.mask) for each in result.findings] == [(INTRACRANIAL, False, None)]


def test_real_patient(bright: Path, shared: Path) -> None:
    """An outlined epidural bleed of CT-ICH: drawn on its side of the head, on bright pixels of the source."""
    patient, place = open_ct_ich(shared / "ct_ich").patient(77), 19
    (finding,) = ForeignPipeline(CPU, card_for(bright)).run(Given(stack_of(patient.hu))).findings
    assert finding.mask is not None
    drawn, outlined = finding.mask[place], patient.outlines[place] > 0
    assert (drawn & outlined).sum() > 0.25 * outlined.sum()
    assert not (drawn & outlined[:, ::-1]).any()
    assert np.median(patient.hu[place][drawn]) > 50


def turned(stack: SliceStack, rows: bool, columns: bool, slices: bool) -> SliceStack:
    """The same head stored the other way round along some axes."""
    step = [slice(None, None, -1 if each else 1) for each in (slices, rows, columns)]
    hu = np.ascontiguousarray(stack.hu[tuple(step)])
    first = stack.positions[:: -1 if slices else 1].copy()
    first += rows * stack.column_direction * stack.pixel_spacing[0] * (hu.shape[1] - 1)
    first += columns * stack.row_direction * stack.pixel_spacing[1] * (hu.shape[2] - 1)
    along_rows, along_columns = (-1) ** rows * stack.column_direction, (-1) ** columns * stack.row_direction
    return replace(stack, hu=hu, positions=first, row_direction=along_columns, column_direction=along_rows)


@pytest.mark.parametrize(
    ("rows", "columns", "slices"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_left_and_front_stay_left_and_front(
    tmp_path: Path, head: SyntheticHead, rows: bool, columns: bool, slices: bool
) -> None:
    """However the slices are stored (always right-handed), the mask lies in the patient's left front."""
    path = export(LeftFront(), tmp_path / "left.onnx")
    classes = {"gives": "voxels", "classes": ["none", "subdural", "epidural"]}
    stack = turned(stack_of(head.hu[::2, ::2, ::2].copy(), 0.976, 10.0), rows, columns, slices)
    result = ForeignPipeline(CPU, card_for(path, output=classes)).run(Given(stack))
    epidural, subdural = result.findings
    assert (epidural.name, epidural.present, subdural.name, subdural.present) == ("epidural", False, "subdural", True)

    def middle(mask: np.ndarray) -> np.ndarray:
        at = np.argwhere(mask)
        across = stack.row_direction * stack.pixel_spacing[1] * at[:, 2:]
        down = stack.column_direction * stack.pixel_spacing[0] * at[:, 1:2]
        return np.asarray((stack.positions[at[:, 0]] + down + across).mean(0))

    assert subdural.mask is not None
    away = middle(subdural.mask) - middle(stack.hu > -200)
    assert 25 < away[0] < 60
    assert -70 < away[1] < -30


def test_channels_are_windows_of_neighbouring_planes() -> None:
    """Planes of the first window from below to above, then of the next; the ends repeat; HU are scaled linearly."""
    image = torch.tensor([0.0, 40, 80, 120])[:, None, None].expand(4, 2, 2)
    wanted = Input(windows=((0, 80), (0, 160)), planes=3, range=(-1, 1))
    seen = wanted.of_planes(image, slice(2, 4))
    assert wanted.channels == 6
    assert seen[:, :, 0, 0].tolist() == [[0, 1, 1, -0.5, 0, 0.5], [1, 1, 1, 0, 0.5, 0.5]]
    assert wanted.of_planes(image, slice(0, 1))[0, :3, 0, 0].tolist() == [-1, -1, 0]


def test_the_same_network_in_torch_in_monai_and_in_onnx(tmp_path: Path, head: SyntheticHead) -> None:
    """Three ways to run one network, one answer."""
    stack, output = stack_of(head.hu), {"gives": "voxels", "classes": ["none", "intraventricular", "subdural"]}
    card = monai_card(tmp_path, output=output)
    module = build_monai(read_contract(card, decisions_of(card)), "test").eval()
    module.load_state_dict(dict(safetensors(tmp_path / "network.safetensors")))
    by_monai = ForeignPipeline(CPU, card)
    by_onnx = ForeignPipeline(CPU, card_for(export(module, tmp_path / "network.onnx"), output=output))
    grid = to_grid(stack)
    with torch.inference_mode():
        logits = module(read_contract(card, decisions_of(card)).input.of_planes(grid.image, slice(0, 4)))[:, [0, 2, 1]]
    reading, other = by_monai.read(grid), by_onnx.read(grid)
    assert reading.kinds == ("subdural", "intraventricular")
    assert reading.voxels is not None
    assert other.voxels is not None
    assert torch.allclose(reading.voxels[:4], logits.softmax(1), atol=1e-4)
    assert torch.allclose(reading.voxels, other.voxels, atol=1e-3)
    np.testing.assert_allclose(reading.planes, other.planes, atol=1e-3)
    first, second = by_monai.run(Given(stack)), by_onnx.run(Given(stack))
    assert first.slice_probabilities == pytest.approx(second.slice_probabilities, abs=1e-3)
    assert {each.name for each in first.findings} == {"subdural", "intraventricular"}


def safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file."""
    return dict(load_file(path))


@pytest.mark.parametrize(
    "network",
    [
        {"name": "AttentionUnet", "channels": [4, 8], "strides": [2]},
        {"name": "BasicUNet", "features": [4, 4, 8, 8, 8, 4], "act": ["leakyrelu", {"negative_slope": 0.1}]},
        {"name": "DenseNet121", "init_features": 8, "growth_rate": 4, "block_config": [2, 2]},
        {
            "name": "DynUNet",
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 8],
            "deep_supervision": True,
        },
        {"name": "FlexibleUNet", "backbone": "efficientnet-b0", "decoder_channels": [16, 8, 8, 4, 4]},
        {
            "name": "SegResNet",
            "init_filters": 4,
            "blocks_down": [1, 1],
            "blocks_up": [1],
            "norm": ["group", {"num_groups": 2}],
        },
    ],
    ids=sorted(NETWORKS.keys() - {"UNet"}),
)
def test_every_network_of_the_list_runs(tmp_path: Path, network: dict[str, Any]) -> None:
    changed = {"output": PLANES} if network["name"] == "DenseNet121" else {}
    card = monai_card(tmp_path, network, **changed)
    pipeline: Pipeline[Given] = ForeignPipeline(CPU, card)
    assert pipeline.model == card.identity


def test_the_registry_runs_it_with_a_threshold_of_its_own(bright: Path, head: SyntheticHead) -> None:
    """What the card says, and what is asked for in its place."""
    card = card_for(bright)
    pipeline = load_pipeline(card, CPU, 1.0)
    result = pipeline.run(Given(stack_of(head.hu)))
    assert (pipeline.model, result.threshold, result.suspected) == (card.identity, 1.0, result.probability >= 1.0)


def test_a_network_of_planes_outlines_nothing(tmp_path: Path, head: SyntheticHead) -> None:
    """Log-odds of planes: probabilities of slices and types, no mask."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["high"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["high", "high"], ["zero"]),
        helper.make_node("Add", ["zero", "four"], ["any"]),
        helper.make_node("Neg", ["any"], ["epidural"]),
        helper.make_node("Unsqueeze", ["any", "last"], ["any1"]),
        helper.make_node("Unsqueeze", ["epidural", "last"], ["epidural1"]),
        helper.make_node("Concat", ["any1", "any1", "epidural1"], ["y"], axis=1),
    ]
    numbers = [
        helper.make_tensor("four", TensorProto.FLOAT, [], [4.0]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
    ]
    path = graph(tmp_path / "planes.onnx", nodes, initializer=numbers)
    model = onnx.load(path)
    del model.graph.output[0].type.tensor_type.shape.dim[2:]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    path.write_bytes(model.SerializeToString())
    output = {"gives": "planes", "classes": ["any", "subdural", "epidural"]}
    result = ForeignPipeline(CPU, card_for(path, output=output)).run(Given(stack_of(head.hu)))
    assert result.suspected
    assert result.probability == pytest.approx(1 / (1 + np.exp(-noisy_or(np.full(len(head.hu), 4.0)))))
    assert result.slice_probabilities == pytest.approx([1 / (1 + np.exp(-4))] * len(head.hu))
    assert [(each.name, each.present, each.mask) for each in result.findings] == [
        ("epidural", False, None),
        ("subdural", True, None),
    ]
    unsure = card_for(path, output=output, types_exact=0.79)
    whole, *possible = ForeignPipeline(CPU, unsure).run(Given(stack_of(head.hu))).findings
    assert (whole.name, whole.present, whole.probability) == (INTRACRANIAL, True, result.probability)
    assert [(each.name, each.present, each.differential) for each in possible] == [
        ("epidural", False, True),
        ("subdural", False, True),
    ]


def test_a_finding_without_a_type_in_the_reports(found: Result) -> None:
    """Report, segmentation and picture name it as intracranial haemorrhage of the brain."""
    sources = ct_series(12)
    stack = reports_support.stack_of(sources)
    mask = np.zeros(stack.hu.shape, bool)
    mask[4:6, 20:30, 20:30] = True
    result = replace(
        found,
        findings=(replace(found.findings[0], mask=mask),),
        slice_probabilities=(0.5,) * 12,
        key_slices=(4,),
    )
    made = reports(ReportContext(tuple(sources), stack, result, NOW, version=1))
    (segment,) = made[Kind.SEG].SegmentSequence
    assert segment.SegmentLabel == "Intracranial haemorrhage"
    content = made[Kind.SR].ContentSequence
    (measured,) = [each for each in content if each.ConceptNameCodeSequence[0].CodeValue == "126010"]
    group = measured.ContentSequence[1]
    said = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeValue
        for item in group.ContentSequence
        if "ConceptCodeSequence" in item
    }
    assert said["Finding"] == "1386000"
    assert said["Finding Site"] == "12738006"
    assert Kind.SC in made
    undrawn = replace(result, findings=(replace(result.findings[0], mask=None, measurements=()),))
    made = reports(ReportContext(tuple(sources), stack, undrawn, NOW, version=1))
    assert Kind.SEG not in made
    assert {Kind.SR, Kind.SC, Kind.KO} <= made.keys()


def refused(card: ModelCard, *words: str) -> None:
    """The model is not loaded, and the message says why on one line."""
    with pytest.raises(ModelError) as error:
        ForeignPipeline(CPU, card)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("table", "content", "word"),
    [
        ("output", {"gives": "voxels", "classes": ["any", "none"]}, "the first class"),
        ("output", {"gives": "voxels", "classes": ["none"]}, "after 'none' come names"),
        ("output", {"gives": "voxels", "classes": ["none", "stroke"]}, "not stroke"),
        ("output", {"gives": "voxels", "classes": ["none", "any", "subdural"]}, "not any"),
        ("output", {"gives": "voxels", "classes": ["none", "subdural", "subdural"]}, "twice"),
        ("output", {"gives": "planes", "classes": ["subdural"]}, "the first class"),
        ("output", {"gives": "boxes", "classes": ["any"]}, "output.gives"),
        ("output", {"classes": ["none", "any"]}, "output.gives: Field required"),
        ("input", {"windows": [[80, 0]]}, "from the lower to the higher"),
        ("input", {"windows": []}, "input.windows"),
        ("input", {"windows": [[0, 80]], "planes": 2}, "input.planes"),
        ("input", {"windows": [["0", "80"]]}, "input.windows.0.0"),
        ("input", {"windows": [[0, 80]], "spacing": 2}, "input.spacing: there is no such key"),
        ("calibration", {"study": {"slopes": [1.0, 1.0], "intercept": 0.0}}, "calibration.study needs 1"),
        ("network", {"name": "UNet"}, "of MONAI only"),
    ],
)
def test_tables_that_are_not_right(tmp_path: Path, table: str, content: dict[str, Any], word: str) -> None:
    changed = {table: content}
    refused(card_for(graph(tmp_path / "a.onnx"), **changed), word, "a.toml")


def test_onnx_files_that_are_not_the_contract(tmp_path: Path) -> None:
    """Channels, classes, axes and numbers; each with a message of its own."""
    path = tmp_path / "a.onnx"
    refused(card_for(graph(path, shape=("n", 3, 208, 176))), "[batch, 2, 208, 176]")
    refused(card_for(graph(path, shape=("n", 2, 256, 256))), "[batch, 2, 208, 176]")
    refused(card_for(graph(path, shape=(1, 2, 208, 176))), "the batch is fixed at 1")
    refused(card_for(graph(path, dtype=TensorProto.FLOAT16)), "float32")
    refused(card_for(graph(path, opsets=[("", 9)])), "operator set is 9")
    three = {"gives": "voxels", "classes": ["none", "subdural", "epidural"]}
    refused(card_for(graph(path), output=three), "gives (3, 2, 208, 176)", "(3, 3, 208, 176)")
    refused(card_for(graph(path), output=PLANES), "gives (3, 2, 208, 176)", "(3, 1)")
    path.write_bytes(b"not at all")
    refused(card_for(path), "not an ONNX file")
    graph(path, [helper.make_node("Conv", ["x"], ["y"])])
    refused(card_for(path), "ONNX Runtime does not take the file")


def test_the_batch_must_not_matter(tmp_path: Path) -> None:
    """Neither the other planes nor the batch's size change what is said of a plane."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    refused(card_for(graph(tmp_path / "mean.onnx", nodes)), "depends on the other planes")
    fixed = helper.make_tensor("size", TensorProto.INT64, [4], [3, 2, 208, 176])
    path = graph(tmp_path / "three.onnx", [helper.make_node("Reshape", ["x", "size"], ["y"])], initializer=[fixed])
    refused(card_for(path), "ONNX Runtime cannot run the network")


def test_operators_beyond_the_standard(tmp_path: Path) -> None:
    """Custom domains, those of ONNX Runtime too, functions and chance; also inside a branch."""
    path = tmp_path / "a.onnx"
    for domain, operator in (("com.microsoft", "Gelu"), ("my.house", "Secret"), ("ai.onnx.ml", "Normalizer")):
        node = helper.make_node(operator, ["x"], ["y"], domain=domain)
        refused(card_for(graph(path, [node], opsets=[("", 17), (domain, 1)])), "beyond the standard's own", domain)
        inner = helper.make_graph([node], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
        branch = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
        refused(card_for(graph(path, [yes, branch])), domain)
    refused(card_for(graph(path, [helper.make_node("RandomNormalLike", ["x"], ["y"])])), "by chance")
    own = helper.make_function(
        "", "Own", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    refused(card_for(graph(path, [helper.make_node("Own", ["x"], ["y"])], functions=[own])), "functions of its own")


def test_weights_in_other_files(tmp_path: Path) -> None:
    """External data are refused wherever a tensor can stand, before anything opens a file."""
    (tmp_path / "secret").write_bytes(np.ones(1, np.float32).tobytes())
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    one.ClearField("float_data")
    one.data_location = TensorProto.EXTERNAL
    one.external_data.add(key="location", value="secret")
    add = helper.make_node("Add", ["x", "one"], ["y"])
    path = tmp_path / "a.onnx"
    refused(card_for(graph(path, [add], initializer=[one])), "another file")
    constant = helper.make_node("Constant", [], ["one"], value=one)
    refused(card_for(graph(path, [constant, add])), "another file")
    inner = helper.make_graph([constant], "g", [], [helper.make_tensor_value_info("one", TensorProto.FLOAT, [1])])
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
    branch = helper.make_node("If", ["yes"], ["one"], then_branch=inner, else_branch=inner)
    refused(card_for(graph(path, [yes, branch, add])), "another file")


def test_other_weights_than_the_cards(bright: Path, tmp_path: Path) -> None:
    card = card_for(graph(tmp_path / "a.onnx"))
    graph(tmp_path / "a.onnx", opsets=[("", 18)])
    refused(card, "not the weights of the card")


def test_weights_have_a_largest_size(tmp_path: Path) -> None:
    card = card_for(graph(tmp_path / "a.onnx"))
    os.truncate(tmp_path / "a.onnx", 600_000_000)
    refused(card, "600 MB")


def test_onnx_runtime_is_an_extra(bright: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(card_for(bright), "triage-node[onnx]")


def test_numbers_that_are_not_finite_are_no_result(tmp_path: Path, head: SyntheticHead) -> None:
    """At load where drawn planes show it; on a study where only its planes do."""
    root = [helper.make_node("Sub", ["x", "half"], ["z"]), helper.make_node("Sqrt", ["z"], ["y"])]
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    refused(card_for(graph(tmp_path / "a.onnx", root, initializer=[half])), "not finite")
    dark = [
        helper.make_node("ReduceMax", ["x"], ["high"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Sub", ["high", "most"], ["over"]),
        helper.make_node("Log", ["over"], ["log"]),
        helper.make_node("Add", ["x", "log"], ["y"]),
    ]
    most = helper.make_tensor("most", TensorProto.FLOAT, [1], [0.9])
    window = {"windows": [[-1000, 3000], [-1000, 3000]]}  # no head is so bright, drawn planes are
    pipeline = ForeignPipeline(CPU, card_for(graph(tmp_path / "b.onnx", dark, initializer=[most]), input=window))
    with pytest.raises(ModelError, match="not finite"):
        pipeline.run(Given(stack_of(head.hu)))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"name": "VNet"}, "there are: UNet"),
        ({"name": "os.system"}, "there are: UNet"),
        ({"_target_": "os.system"}, "_target_: there is no such key"),
        ({"in_channels": 7}, "in_channels: there is no such key"),
        ({"pretrained": True}, "pretrained: there is no such key"),
        ({"act": "$__import__('os').system('true')"}, "act"),
        ({"norm": "torch.nn.BatchNorm2d"}, "norm"),
        ({"channels": "[8, 16]"}, "channels"),
        ({"channels": [8, 10**9]}, "channels.1"),
        ({"channels": [1024] * 8, "strides": [2] * 7, "num_res_units": 16}, "weights may have 500 MB"),
        ({"channels": [8, 16], "strides": [2]}, "do not fit"),
        ({"channels": [8, 16, 32, 32, 32, 32], "strides": [2, 2, 2, 2, 2]}, "do not fit"),
    ],
)
def test_monai_networks_that_are_refused(tmp_path: Path, changed: dict[str, Any], word: str) -> None:
    monai_card(tmp_path)
    refused(card_for(tmp_path / "network.safetensors", "monai", network=UNET | changed), word)


def test_monai_weights_that_do_not_fit(tmp_path: Path) -> None:
    monai_card(tmp_path)
    path = tmp_path / "network.safetensors"
    more = {"gives": "voxels", "classes": ["none", "subdural", "epidural"]}
    refused(card_for(path, "monai", network=UNET, output=more), "do not fit the network")
    refused(card_for(path, "monai", network=UNET, input={"windows": [[0, 80]]}), "do not fit the network")
    save_file(safetensors(path) | {"more": torch.zeros(1)}, path)
    refused(card_for(path, "monai", network=UNET), "do not fit the network", "more")


def test_tensors_of_several_names_may_stand_under_one(tmp_path: Path) -> None:
    """As safetensors' own `save_model` writes MONAI's DynUNet."""
    blocks = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}
    network = {"name": "DynUNet"} | blocks
    whole = ForeignPipeline(CPU, monai_card(tmp_path, network))
    path = tmp_path / "network.safetensors"
    module = build_monai(read_contract(whole.card, whole.decisions), "test")
    module.load_state_dict(safetensors(path))
    save_model(module, str(path))
    assert len(safetensors(path)) < len(module.state_dict())
    grid = to_grid(stack_of(synthetic_head(12).hu[::2, ::2, ::2].copy(), 0.976, 10.0))
    less = ForeignPipeline(CPU, card_for(path, "monai", network=network))
    np.testing.assert_array_equal(less.read(grid).planes, whole.read(grid).planes)


def test_planes_that_a_network_cannot_halve(tmp_path: Path) -> None:
    """208 and 176 are multiples of 16, not of 32."""
    deep = UNET | {"channels": [4, 4, 4, 4, 4, 4], "strides": [2, 2, 2, 2, 2]}
    refused(monai_card(tmp_path, deep), "cannot take these planes")


class Marker:
    """A pickle that makes a file as soon as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_not_run(tmp_path: Path, zipped: bool) -> None:
    """The file would make the marker where it is trusted; here it does not, neither converted nor installed."""
    marker, path, target = tmp_path / "marker", tmp_path / "evil.pt", tmp_path / "out.safetensors"
    content = {"state_dict": {"weight": torch.zeros(1)}, "extra": Marker(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(ModelError, match="could run any code"):
        convert_checkpoint(path, target)
    refused(card_for(path, "monai", network=UNET), "not a safetensors file")
    refused(card_for(path, "onnx"), "not an ONNX file")
    assert not marker.exists()
    assert not target.exists()


@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)  # that is how such files are made
def test_torchscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match="TorchScript"):
        convert_checkpoint(path, tmp_path / "out.safetensors")
    refused(card_for(path, "monai", network=UNET), "not a safetensors file")


@pytest.mark.parametrize("under", ["", "state_dict", "model", "network"])
def test_a_checkpoint_becomes_safetensors(tmp_path: Path, under: str) -> None:
    """Wherever the weights stand in it; the network built from them is the same."""
    card = monai_card(tmp_path)
    state = safetensors(tmp_path / "network.safetensors")
    trained = {f"module.{name}": value for name, value in state.items()}
    torch.save({under: trained, "epoch": 3} if under else trained, tmp_path / "trained.pt")
    digest = convert_checkpoint(tmp_path / "trained.pt", tmp_path / "network.safetensors")
    assert digest == hashlib.sha256((tmp_path / "network.safetensors").read_bytes()).hexdigest()
    converted = safetensors(tmp_path / "network.safetensors")
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[name], state[name]) for name in state)
    ForeignPipeline(CPU, card_for(tmp_path / "network.safetensors", "monai", network=UNET))
    assert card.identity.name == "other-house"


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path, out = tmp_path / "a.pt", tmp_path / "out"
    with pytest.raises(ModelError, match="no such file"):
        convert_checkpoint(path, out)
    path.write_bytes(b"PK not at all")
    with pytest.raises(ModelError):
        convert_checkpoint(path, out)
    for content in ({"epoch": 1}, {}, [torch.zeros(1)]):
        torch.save(content, path)
        with pytest.raises(ModelError, match=r"no weights|no plain tensors"):
            convert_checkpoint(path, out)
    assert not out.exists()


def test_the_command_converts_and_says_the_hash(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(2)}}, tmp_path / "net.pt")
    done = CliRunner().invoke(main, ["models", "convert", str(tmp_path / "net.pt"), str(tmp_path / "net.safetensors")])
    assert done.exit_code == 0, done.output
    content = (tmp_path / "net.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() in done.output
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(Path("x"), protocol=2))  # what torch.load reads without a warning
    bad = CliRunner().invoke(main, ["models", "convert", str(tmp_path / "bad.pt"), str(tmp_path / "bad.safetensors")])
    assert bad.exit_code == 1 and "bad.pt" in bad.output and not (tmp_path / "bad.safetensors").exists()
