"""What is read of an ONNX file's graph from its bytes alone."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from models.errors import AidecampError, ModelCorrupt, ModelMissing
from models.onnx_graph import read_graph
from models.store import Store
from tests.models.onnx_graphs import Classifier, save_encoder


def test_the_operators_are_those_that_the_onnx_package_reads(store: Store) -> None:
    path = store.file("minilm-l6", "model")
    graph = read_graph(path)
    assert graph.operators == {node.op_type for node in onnx.load(str(path)).graph.node}
    assert graph.external == ()


def test_the_default_models_int8_is_in_its_weights_alone(store: Store) -> None:
    graph = read_graph(store.file("minilm-l6", "model"))
    assert not graph.int8
    assert graph.rows_apart


def test_quantized_activations_are_seen(tmp_path: Path) -> None:
    graph = read_graph(save_encoder(tmp_path / "int8.onnx", quantized=True))
    assert graph.int8
    assert not graph.rows_apart
    graph = read_graph(save_encoder(tmp_path / "plain.onnx", quantized=False))
    assert not graph.int8
    assert graph.rows_apart


def test_operators_in_subgraphs_and_functions_are_seen(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
    )
    branch = helper.make_node("If", ["flag"], ["out"], then_branch=inner, else_branch=inner)
    function = helper.make_function(
        "own",
        "Multiply",
        ["a"],
        ["b"],
        [helper.make_node("MatMulInteger", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = helper.make_model(helper.make_graph([branch], "outer", [], []), functions=[function])
    path = tmp_path / "nested.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_graph(path).operators == {"If", "DynamicQuantizeLinear", "MatMulInteger"}


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    path = Classifier().save(tmp_path / "head.onnx", outside=True)
    assert read_graph(path).external == ((tmp_path / "head.onnx.data").resolve(),)


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    path = Classifier(4000).save(tmp_path / "head.onnx", outside=True)
    moved = path.read_bytes().replace(b"head.onnx.data", b"../../etc/host")
    path.write_bytes(moved)
    with pytest.raises(ModelCorrupt, match="outside its own folder"):
        read_graph(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="nowhere"):
        read_graph(tmp_path / "nowhere.onnx")
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        read_graph(tmp_path)
    for data in (b"", b"GGUF" + bytes(100), b"\xff" * 50, b"<html>not found</html>", b"\x08\x08"):
        path = tmp_path / "other.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelCorrupt, match="no whole ONNX file"):
            read_graph(path)


def test_graphs_in_graphs_without_end_are_refused(tmp_path: Path) -> None:
    # By hand: the protobuf package itself refuses to write it.
    node, attribute, body, graph_of_model = 1, 5, 6, 7
    data = b""
    for _ in range(40):
        for number in (body, attribute, node):
            data = _field(number, data)
    path = tmp_path / "deep.onnx"
    path.write_bytes(_field(graph_of_model, data))
    with pytest.raises(ModelCorrupt, match="nested"):
        read_graph(path)


def test_damaged_bytes_give_a_graph_or_a_clear_error(tmp_path: Path) -> None:
    whole = Classifier(vocabulary=8).save(tmp_path / "whole.onnx").read_bytes()
    chance = random.Random(3)
    refused = 0
    for number in range(400):
        data = bytearray(whole)
        if number % 2:
            del data[chance.randrange(len(data)) :]
        for _ in range(3 * (number % 3)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / "damaged.onnx"
        path.write_bytes(data)
        try:
            read_graph(path)
        except AidecampError as error:
            assert isinstance(error, ModelCorrupt)
            refused += 1
    assert refused > 100


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    size, length = b"", len(data)
    while length >= 0x80:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data
