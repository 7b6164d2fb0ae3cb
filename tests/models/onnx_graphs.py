"""Small ONNX graphs with known weights, on top of the default encoder's real tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 30_522
LABELS = 3
_WIDTH = 4
_IR_VERSION, _OPSET = 8, 17
IDS = ("input_ids", "attention_mask", "token_type_ids")


class Classifier:
    """Masked mean of token and type embeddings, then a linear head: ``logits`` in numpy.

    ``vocabulary``: rows of the embedding table; fewer than the tokenizer has make a damaged model.
    """

    def __init__(self, vocabulary: int = VOCABULARY) -> None:
        random = np.random.default_rng(0)
        self.tokens = random.normal(size=(vocabulary, _WIDTH)).astype(np.float32)
        self.types = random.normal(size=(2, _WIDTH)).astype(np.float32)
        self.weight = random.normal(size=(_WIDTH, LABELS)).astype(np.float32)
        self.bias = random.normal(size=LABELS).astype(np.float32)

    def logits(self, ids: Sequence[int], types: Sequence[int]) -> NDArray[np.float32]:
        pooled = (self.tokens[list(ids)] + self.types[list(types)]).mean(0)
        row: NDArray[np.float32] = pooled @ self.weight + self.bias
        return row

    def save(
        self,
        path: Path,
        *,
        shape: Sequence[int | str] = ("batch", "sequence"),
        integers: int = TensorProto.INT64,
        outside: bool = False,
    ) -> Path:
        """``shape``: of the inputs. ``outside``: the weights go to ``<name>.data`` beside it."""
        nodes = [
            helper.make_node("Gather", ["tokens", "input_ids"], ["token_rows"]),
            helper.make_node("Gather", ["types", "token_type_ids"], ["type_rows"]),
            helper.make_node("Add", ["token_rows", "type_rows"], ["hidden"]),
            *_pool("hidden"),
            helper.make_node("Gemm", ["pooled", "weight", "bias"], ["logits"]),
        ]
        weights = {
            "tokens": self.tokens,
            "types": self.types,
            "weight": self.weight,
            "bias": self.bias,
        }
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info(name, integers, shape) for name in IDS],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], LABELS])],
            [*_tensors(weights), _axis()],
        )
        return _save(path, graph, outside=outside)


def save_encoder(path: Path, *, quantized: bool, ids: str = "input_ids") -> Path:
    """Token embeddings as hidden states; ``quantized``: to 8 bits, with one scale for a batch."""
    table = np.random.default_rng(1).normal(size=(VOCABULARY, _WIDTH)).astype(np.float32)
    table *= np.linspace(0.5, 8, VOCABULARY, dtype=np.float32)[:, None]
    quantize = [
        helper.make_node("DynamicQuantizeLinear", ["rows"], ["int8", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["int8", "scale", "zero"], ["hidden"]),
    ]
    plain = [helper.make_node("Identity", ["rows"], ["hidden"])]
    nodes = [
        helper.make_node("Gather", ["table", ids], ["rows"]),
        *(quantize if quantized else plain),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(ids, TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch", "sequence", _WIDTH])],
        _tensors({"table": table}),
    )
    return _save(path, graph)


def add_head(encoder: Path, path: Path, weight: NDArray[np.float32]) -> Path:
    """``encoder`` with mean pooling and a linear layer behind its hidden states: one graph."""
    model = onnx.load(str(encoder))
    hidden = model.graph.output[0].name
    model.graph.node.extend([*_pool(hidden), helper.make_node("MatMul", ["pooled", "w"], ["out"])])
    model.graph.initializer.extend([*_tensors({"w": weight}), _axis()])
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", weight.shape[1]])
    )
    onnx.save(model, str(path))
    return path


def _pool(hidden: str) -> list[onnx.NodeProto]:
    """The mean of ``hidden`` over the attention mask, as ``pooled``."""
    return [
        helper.make_node("Cast", ["attention_mask"], ["mask_row"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask_row", "last_axis"], ["mask"]),
        helper.make_node("Mul", [hidden, "mask"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["mask"], ["share"], axes=[1], keepdims=0),
        helper.make_node("Div", ["mean", "share"], ["pooled"]),
    ]


def _axis() -> onnx.TensorProto:
    return numpy_helper.from_array(np.array([2], np.int64), "last_axis")


def _tensors(weights: dict[str, NDArray[np.float32]]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in weights.items()]


def _save(path: Path, graph: onnx.GraphProto, *, outside: bool = False) -> Path:
    model = helper.make_model(
        graph, ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", _OPSET)]
    )
    onnx.checker.check_model(model)
    onnx.save(
        model,
        str(path),
        save_as_external_data=outside,
        size_threshold=64,
        location=f"{path.name}.data" if outside else None,
    )
    return path
