"""Builds the ONNX graph of a BERT sentence encoder from its safetensors file.

The graph contains no weights: it refers to their offsets in the safetensors file, so the weights
are on disk once, and the graph is a few kilobytes, built in milliseconds. It must therefore be stored
in the folder of the weights. ONNX Runtime transposes and packs the weights when it loads the graph.
"""

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from akidb.embedding import _files
from akidb.embedding.catalog import CONFIG, WEIGHTS, ModelSpec
from akidb.embedding.install import LOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
"""Incremented with every change to the graph, so that cached graphs are rebuilt."""

_OPSET = 17
_IR_VERSION = 8
_CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own fused operators."""


def cached(model: ModelSpec, folder: Path) -> Path:
    """Return the path of the model's graph in `folder`; build it if it is missing or damaged."""
    path = folder / f"graph-{model.weights[:12]}-{VERSION}.onnx"
    if not _is_sound(path):
        with _files.locked(folder / LOCK):
            content = build(folder / WEIGHTS, json.loads((folder / CONFIG).read_bytes()))
            _files.replace(path, content)
            _files.replace(_digest_path(path), _files.sha256(path).encode())
    return path


def _is_sound(path: Path) -> bool:
    try:
        return _digest_path(path).read_bytes() == _files.sha256(path).encode()
    except FileNotFoundError:
        return False


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def build(weights: Path, config: dict[str, Any]) -> bytes:
    """Return the serialised graph of the BERT model with the weights at `weights`.

    Inputs `input_ids` and `attention_mask`, int64 `(batch, length)`; output `embedding`, float32
    `(batch, dimension)`: the mean over the unmasked tokens, scaled to Euclidean norm 1.
    `config` is the model's `config.json`.
    """
    graph = _Graph(weights, epsilon=config["layer_norm_eps"])
    ids = graph.add("Cast", "input_ids", to=graph.int32)
    mask = graph.add("Cast", "attention_mask", to=graph.int32)
    hidden = _embeddings(graph, ids)
    for layer in range(config["num_hidden_layers"]):
        hidden = _layer(graph, f"encoder.layer.{layer}", hidden, mask, heads=config["num_attention_heads"])
    _mean_of_norm_1(graph, hidden)
    return graph.serialised(config["hidden_size"])


def _embeddings(graph: "_Graph", ids: str) -> str:
    first = graph.constant("first", np.array([0], np.int64))
    # A text is one segment, so every position uses the first row of the token types: a constant.
    types = graph.add("Gather", graph.weight("embeddings.token_type_embeddings.weight"), first)
    positions = graph.add("Add", graph.weight("embeddings.position_embeddings.weight"), types)
    return graph.add(
        "EmbedLayerNormalization",
        *(ids, "", graph.weight("embeddings.word_embeddings.weight"), positions, ""),
        *(graph.weight("embeddings.LayerNorm.weight"), graph.weight("embeddings.LayerNorm.bias")),
        domain=_CONTRIB,
        epsilon=graph.epsilon,
        unused_outputs=1,
    )


def _layer(graph: "_Graph", prefix: str, hidden: str, mask: str, *, heads: int) -> str:
    parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
    packed = graph.add("Concat", *(graph.matrix(f"{part}.weight") for part in parts), axis=1)
    biases = graph.add("Concat", *(graph.weight(f"{part}.bias") for part in parts), axis=0)
    attended = graph.add("Attention", hidden, packed, biases, mask, domain=_CONTRIB, num_heads=heads)
    hidden = _project_and_norm(graph, f"{prefix}.attention.output", attended, hidden)
    inner = graph.add("MatMul", hidden, graph.matrix(f"{prefix}.intermediate.dense.weight"))
    inner = graph.add("BiasGelu", inner, graph.weight(f"{prefix}.intermediate.dense.bias"), domain=_CONTRIB)
    return _project_and_norm(graph, f"{prefix}.output", inner, hidden)


def _project_and_norm(graph: "_Graph", prefix: str, inner: str, residual: str) -> str:
    # Not SkipLayerNormalization, which would fuse all but the product: it is not vectorised in
    # ONNX Runtime 1.32 and takes 485 us, against 86 us for these three nodes, on 504 rows of 384.
    product = graph.add("MatMul", inner, graph.matrix(f"{prefix}.dense.weight"))
    biased = graph.add("Add", product, graph.weight(f"{prefix}.dense.bias"))
    total = graph.add("Add", biased, residual)
    norm = (graph.weight(f"{prefix}.LayerNorm.weight"), graph.weight(f"{prefix}.LayerNorm.bias"))
    return graph.add("LayerNormalization", total, *norm, epsilon=graph.epsilon)


def _mean_of_norm_1(graph: "_Graph", hidden: str) -> None:
    axis = graph.constant("axis", np.array([1], np.int64))
    mask = graph.add("Cast", "attention_mask", to=graph.float32)
    # The sum over the unmasked tokens instead of the mean: the normalization removes the factor.
    summed = graph.add("MatMul", graph.add("Unsqueeze", mask, axis), hidden)
    graph.add("LpNormalization", graph.add("Squeeze", summed, axis), axis=-1, p=2, output="embedding")


class _Graph:
    """Builder that collects nodes and weights. Values are named by strings, as in ONNX."""

    def __init__(self, weights: Path, *, epsilon: float) -> None:
        import onnx  # slow to import, and not needed once the graph is cached

        self._onnx = onnx
        self.int32 = onnx.TensorProto.INT32
        self.float32 = onnx.TensorProto.FLOAT
        self.epsilon = epsilon
        self._file_name = weights.name
        self._places, self._start = _safetensors_header(weights)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(
        self, operator: str, *inputs: str, output: str = "", unused_outputs: int = 0, **options: Any
    ) -> str:
        """Add a node; return the name of its output."""
        name = output or f"{operator}_{len(self._nodes)}"
        outputs = [name, *(f"{name}_{unused}" for unused in range(unused_outputs))]
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, name=name, **options))
        return name

    def constant(self, name: str, value: "NDArray[Any]") -> str:
        """Add a small constant; return its name."""
        self._constants[name] = self._onnx.numpy_helper.from_array(value, name)
        return name

    def weight(self, name: str) -> str:
        """Add a weight by its offset in the safetensors file; return its name."""
        place = self._places[name]
        if place["dtype"] != "F32":
            raise ValueError(f"{name} is {place['dtype']}, not F32")
        begin, end = place["data_offsets"]
        tensor = self._onnx.TensorProto(name=name, dims=place["shape"], data_type=self.float32)
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        where = {"location": self._file_name, "offset": self._start + begin, "length": end - begin}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        self._constants[name] = tensor
        return name

    def matrix(self, name: str) -> str:
        """Add a weight stored as `(out, in)`; return the name of its transpose."""
        return self.add("Transpose", self.weight(name), perm=[1, 0])

    def serialised(self, dimension: int) -> bytes:
        """Return the graph as the bytes of an ONNX file."""
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        inputs = [
            helper.make_tensor_value_info(name, proto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("embedding", proto.FLOAT, ["batch", dimension])]
        graph = helper.make_graph(self._nodes, "bert", inputs, outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensor descriptions by name, and the file offset that their offsets are relative to."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length
