"""ONNX files run by ONNX Runtime: one graph of the standard's own operators, everything in the one file.

The file is read as data (protobuf) and refused before ONNX Runtime sees it where it names operators of other domains,
functions, other files or chance. ONNX Runtime is an optional part of the installation.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inference.errors import ModelError
from inference.pipelines.haemorrhage.foreign.contract import Contract, Network
from inference.pipelines.haemorrhage.head_grid import GRID_COLUMNS, GRID_ROWS

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

OLDEST_OPSET = 13
STANDARD = ("", "ai.onnx")
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
INSTALL = "ONNX files need ONNX Runtime: pip install 'triage-node[onnx]'"


def load_onnx(content: bytes, contract: Contract, device: torch.device, who: str) -> Network:
    """The network of an ONNX file on a device; ModelError where the file is not what the contract asks for."""
    try:
        import onnx
        import onnxruntime
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ModelError(f"{who}: {INSTALL} ({error})") from error
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ModelError(f"{who}: not an ONNX file") from error
    check_file(model, who)
    del model
    broken = _errors(onnxruntime)
    try:
        session = onnxruntime.InferenceSession(
            content, _options(onnxruntime), providers=_providers(onnxruntime, device)
        )
    except broken as error:
        raise ModelError(f"{who}: ONNX Runtime does not take the file ({_line(error)})") from error
    if device.type == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise ModelError(f"{who}: ONNX Runtime cannot use {device} (its CUDA provider does not start)")
    source, target = _ends(session, contract, who)

    def network(planes: torch.Tensor) -> torch.Tensor:
        try:
            (given,) = session.run([target], {source: planes.numpy()})
        except broken as error:
            raise ModelError(f"{who}: ONNX Runtime cannot run the network ({_line(error)})") from error
        return torch.from_numpy(np.asarray(given, np.float32))

    return network


def check_file(model: "ModelProto", who: str) -> None:
    """ModelError where a file is more than one graph of standard operators with its numbers inside."""
    if not model.graph.node:
        raise ModelError(f"{who}: not an ONNX file")
    domains = {each.domain for each in model.opset_import}
    opset = max((each.version for each in model.opset_import if each.domain in STANDARD), default=0)
    if opset < OLDEST_OPSET:
        raise ModelError(f"{who}: the operator set is {opset}; from {OLDEST_OPSET} on it is taken")
    if model.functions:
        raise ModelError(f"{who}: the file has functions of its own ({model.functions[0].name}); export without them")
    for graph in _graphs(model.graph):
        domains |= {node.domain for node in graph.node}
        chance = {node.op_type for node in graph.node} & RANDOM
        if chance:
            raise ModelError(f"{who}: the network draws by chance ({', '.join(sorted(chance))})")
        if any(tensor.data_location or tensor.external_data for tensor in _tensors(graph)):
            raise ModelError(f"{who}: weights lie in another file; export with all weights inside")
    foreign = sorted(domains.difference(STANDARD))
    if foreign:
        raise ModelError(f"{who}: operators beyond the standard's own are not taken ({', '.join(foreign)})")


def _graphs(graph: "GraphProto") -> Iterator["GraphProto"]:
    """The graph and every graph inside it."""
    yield graph
    for attribute in _attributes(graph):
        for inner in (attribute.g, *attribute.graphs):
            if inner.node or inner.initializer or inner.sparse_initializer:
                yield from _graphs(inner)


def _attributes(graph: "GraphProto") -> Iterator["AttributeProto"]:
    return (attribute for node in graph.node for attribute in node.attribute)


def _tensors(graph: "GraphProto") -> Iterator["TensorProto"]:
    """Every tensor that the graph itself holds."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for attribute in _attributes(graph):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for each in sparse:
        yield from (each.values, each.indices)


def _options(runtime: Any) -> Any:
    """As many threads as torch has here; nothing is written; the bytes are ONNX and nothing else."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _providers(runtime: Any, device: torch.device) -> list[Any]:
    if device.type != "cuda":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise ModelError(f"ONNX Runtime cannot use {device}: pip install onnxruntime-gpu in place of onnxruntime")
    return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]


def _ends(session: Any, contract: Contract, who: str) -> tuple[str, str]:
    """The names of the one input and the one output; ModelError where they are not the contract's."""
    sources, targets = session.get_inputs(), session.get_outputs()
    if len(sources) != 1 or len(targets) != 1:
        raise ModelError(f"{who}: {len(sources)} inputs and {len(targets)} outputs; there must be one of each")
    (source,), (target,) = sources, targets
    if (source.type, target.type) != ("tensor(float)", "tensor(float)"):
        raise ModelError(f"{who}: {source.type} in and {target.type} out; both must be tensor(float), which is float32")
    wanted = (contract.input.channels, GRID_ROWS, GRID_COLUMNS)
    fits = len(source.shape) == 4 and all(
        not isinstance(n, int) or n == m for n, m in zip(source.shape[1:], wanted, strict=True)
    )
    if not fits:
        raise ModelError(f"{who}: the input is {source.shape}; planes come as [batch, {', '.join(map(str, wanted))}]")
    if isinstance(source.shape[0], int):
        raise ModelError(f"{who}: the batch is fixed at {source.shape[0]}; export with a dynamic batch axis")
    return source.name, target.name


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises, which has no common root of its own."""
    state = runtime.capi.onnxruntime_pybind11_state
    return tuple(each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
