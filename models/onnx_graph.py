"""What an ONNX file says of its own graph, read from its bytes without ONNX Runtime.

Covers the operators (of subgraphs and local functions too) and the names of files with external
weights. Weights are stepped over, so a large file costs no more than a small one.
Format: protobuf wire format, field numbers of onnx.proto (https://github.com/onnx/onnx).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelCorrupt, ModelMissing

INT8_OPERATORS = frozenset(
    {
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QLinearMatMul",
    }
)
"""Operators that multiply int8 activations by int8 weights."""

BATCH_SCALED_OPERATORS = frozenset(
    {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"}
)
"""Operators that take one scale for a whole tensor from its extremes: with them, what a row
comes out as depends on the rows beside it."""

_MAX_DEPTH = 32
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _FUNCTION_NODE = 1, 5, 7
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _ENTRY_KEY, _ENTRY_VALUE = 13, 1, 2


@dataclass(frozen=True, slots=True)
class Graph:
    """``operators``: the kinds of nodes. ``external``: files beside it that hold weights."""

    operators: frozenset[str]
    external: tuple[Path, ...]

    @property
    def int8(self) -> bool:
        """True where activations are quantized to 8 bits while it runs."""
        return bool(self.operators & INT8_OPERATORS)

    @property
    def rows_apart(self) -> bool:
        """True where a row of a batch comes out the same whatever lies beside it."""
        return not self.operators & BATCH_SCALED_OPERATORS


def read_graph(path: Path) -> Graph:
    """The graph of ``path``. Raises ModelMissing, ModelCorrupt (not an ONNX file, or damaged)."""
    operators: set[str] = set()
    external: set[str] = set()
    try:
        with path.open("rb") as file:
            # Not closed by hand: views of it live on in the traceback of a damaged file.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _model(memoryview(mapped), operators, external)
    except FileNotFoundError as error:
        raise ModelMissing(f"no model file at {path}", hint="run: aidecamp models pull") from error
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # an empty file cannot be mapped: it is a ValueError too
        raise ModelCorrupt(
            f"{path} is no whole ONNX file: {error}", hint="pull it again: aidecamp models pull"
        ) from error
    folder = path.parent.resolve()
    files = sorted((folder / name).resolve() for name in external)
    for outside in (f for f in files if not f.is_relative_to(folder)):
        raise ModelCorrupt(f"{path} keeps weights outside its own folder, in {outside}")
    return Graph(frozenset(operators), tuple(files))


def _model(data: memoryview, operators: set[str], external: set[str]) -> None:
    graphs = 0
    for number, value in _fields(data):
        if number == _MODEL_GRAPH:
            graphs += 1
            _graph(_message(value), operators, external, 0)
        elif number == _MODEL_FUNCTIONS:
            for inner, node in _fields(_message(value)):
                if inner == _FUNCTION_NODE:
                    _node(_message(node), operators, external, 0)
    if not graphs:
        raise ValueError("it holds no graph")


def _graph(data: memoryview, operators: set[str], external: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"its graphs are nested more than {_MAX_DEPTH} deep")
    for number, value in _fields(data):
        if number == _GRAPH_NODE:
            _node(_message(value), operators, external, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(_message(value), external)


def _node(data: memoryview, operators: set[str], external: set[str], depth: int) -> None:
    for number, value in _fields(data):
        if number == _NODE_OPERATOR:
            operators.add(_text(value))
        elif number == _NODE_ATTRIBUTE:
            for inner, part in _fields(_message(value)):
                if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    _graph(_message(part), operators, external, depth + 1)
                elif inner in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _tensor(_message(part), external)


def _tensor(data: memoryview, external: set[str]) -> None:
    for number, value in _fields(data):
        if number == _TENSOR_EXTERNAL:
            entry = dict(_fields(_message(value)))
            if _text(entry.get(_ENTRY_KEY)) == "location":
                external.add(_text(entry.get(_ENTRY_VALUE)))


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int | None]]:
    """Field numbers and values of one message: bytes, varints; None for fixed-width values."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: memoryview | int | None = None
        match key & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                value = data[at : at + size]
                at += size
            case 5:
                at += 4
            case kind:
                raise ValueError(f"wire type {kind} at byte {at}")
        if at > len(data):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it ends in the middle of a number, or the number is none")


def _message(value: memoryview | int | None) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number stands where a message should")
    return value


def _text(value: memoryview | int | None) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")
