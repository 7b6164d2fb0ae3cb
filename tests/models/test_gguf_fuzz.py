"""A fuzz run over the GGUF header reader: whatever a file says, it gives a header or a clear error,
in memory bounded by the file's own size, and comes back."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import gguf as gguf_reader
from models.errors import ModelCorrupt
from models.ggml_types import TENSOR_TYPES
from models.gguf import Header, read_header

FUZZ = settings(
    max_examples=800,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MEMORY = 8 * 2**20
"""Bytes of Python objects for a header of a few KiB: far above need, far below any claim."""
HUGE = [
    0,
    1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 32,
    2**64 - 1,
]
STRING, ARRAY = 8, 9
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


@pytest.fixture(scope="module")
def whole(gguf: Path) -> bytes:
    """The default model's real metadata without its long arrays, and two of its tensors."""
    return small(gguf)


def small(gguf: Path) -> bytes:
    data = gguf.open("rb").read(8 * 2**20)
    header = read_header(gguf)
    (entries,) = struct.unpack_from("<Q", data, 16)
    kept, at = [], 24
    for _ in range(entries):
        begin = at
        at = skip_text(data, at)
        (type_,) = struct.unpack_from("<I", data, at)
        at, long = skip_value(data, at + 4, type_)
        if not long:
            kept.append(data[begin:at])
    kept.append(text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, 3))
    kept[-1] += text(b"a") + text("é".encode()) + text(b"")
    kept.append(text(b"tokenizer.ggml.scores") + struct.pack("<IIQ3f", ARRAY, 6, 3, 0.1, 0.2, 0.3))
    tensors, offset = [], 0
    for tensor in header.tensors[:2]:
        shape = (tensor.type.block, 2)
        number = next(n for n, t in TENSOR_TYPES.items() if t.name == tensor.type.name)
        tensors.append(
            text(tensor.name.encode()) + struct.pack("<I2QIQ", 2, *shape, number, offset)
        )
        end = offset + 2 * tensor.type.block_bytes  # the file ends with its last tensor
        offset = -(-end // 32) * 32
    body = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kept))
    body += b"".join(kept) + b"".join(tensors)
    return body + bytes(-len(body) % 32) + bytes(end)


def skip_text(data: bytes, at: int) -> int:
    return at + 8 + int(struct.unpack_from("<Q", data, at)[0])


def skip_value(data: bytes, at: int, type_: int) -> tuple[int, bool]:
    """Behind a value, and whether it is an array of many elements."""
    if type_ == STRING:
        return skip_text(data, at), False
    if type_ != ARRAY:
        return at + WIDTHS[type_], False
    element, length = struct.unpack_from("<IQ", data, at)
    at += 12
    for _ in range(length if element == STRING else 0):
        at = skip_text(data, at)
    return at + (0 if element == STRING else length * WIDTHS[element]), length > 16


def read(path: Path, content: bytes, size: int | None = None) -> Header | None:
    """The header of ``content``; None where it was refused. ``size``: a sparse file's length."""
    path.write_bytes(content)
    if size is not None:
        os.truncate(path, size)
    tracemalloc.start()
    try:
        header = read_header(path)
    except ModelCorrupt as error:
        assert str(path) in error.message
        assert error.hint
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY + 4 * len(content), f"{peak} bytes for a file of {len(content)}"
    assert_sound(header)
    return header


def assert_sound(header: Header) -> None:
    """What llama.cpp relies on when this reader lets a file through."""
    assert isinstance(header.architecture, str)
    names = [tensor.name for tensor in header.tensors]
    assert len(set(names)) == len(names)
    for tensor in header.tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.bytes <= header.bytes
        assert 1 <= len(tensor.shape) <= 4
        assert all(size >= 1 for size in tensor.shape)
    # What callers ask of any header.
    assert header.context_length is None or header.context_length > 0
    assert isinstance(header.file_type, str)
    assert header.chat_template is None or isinstance(header.chat_template, str)
    assert header.bits_per_weight >= 0
    assert sum(header.tensor_types.values()) == len(header.tensors)


Mutation = Callable[[bytearray], None]


def flip(place: float, bit: int) -> Mutation:
    def mutate(data: bytearray) -> None:
        if data:
            data[int(place * len(data)) % len(data)] ^= 1 << bit

    return mutate


def write(place: float, what: bytes) -> Mutation:
    def mutate(data: bytearray) -> None:
        at = int(place * len(data))
        data[at : at + len(what)] = what

    return mutate


def insert(place: float, what: bytes) -> Mutation:
    def mutate(data: bytearray) -> None:
        at = int(place * len(data))
        data[at:at] = what

    return mutate


def remove(place: float, count: int) -> Mutation:
    def mutate(data: bytearray) -> None:
        at = int(place * len(data))
        del data[at : at + count]

    return mutate


def repeat(place: float, count: int) -> Mutation:
    def mutate(data: bytearray) -> None:
        at = int(place * len(data))
        data[at:at] = data[at : at + count]

    return mutate


PLACES = st.floats(0, 1, exclude_max=True)
FIELDS = st.one_of(
    st.sampled_from(HUGE).map(lambda n: struct.pack("<Q", n)),
    st.sampled_from(HUGE[:5]).map(lambda n: struct.pack("<I", n)),
    st.integers(0, 16).map(lambda n: struct.pack("<I", n)),  # types of values and tensors
    st.sampled_from([b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80", b"\0", b"\xf4\x90\x80\x80"]),
)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(flip, PLACES, st.integers(0, 7)),
    st.builds(write, PLACES, FIELDS),
    st.builds(insert, PLACES, FIELDS | st.binary(max_size=32)),
    st.builds(remove, PLACES, st.integers(1, 64)),
    st.builds(repeat, PLACES, st.integers(1, 200)),
)


def test_the_small_header_is_whole(whole: bytes, tmp_path: Path) -> None:
    header = read(tmp_path / "model.gguf", whole)
    assert header is not None
    assert header.architecture == "llama"
    assert header.chat_template
    assert len(header.tensors) == 2


@FUZZ
@given(mutations=st.lists(MUTATIONS, min_size=1, max_size=4))
def test_mutated_headers_give_a_sound_header_or_modelcorrupt(
    mutations: list[Mutation], whole: bytes, tmp_path: Path
) -> None:
    data = bytearray(whole)
    for mutate in mutations:
        mutate(data)
    read(tmp_path / "model.gguf", bytes(data))


@FUZZ
@given(tail=st.binary(max_size=400), version=st.sampled_from([1, 2, 3, 4, 2**24 * 3]))
def test_noise_behind_the_magic_number_gives_modelcorrupt_or_a_sound_header(
    tail: bytes, version: int, tmp_path: Path
) -> None:
    read(tmp_path / "model.gguf", b"GGUF" + struct.pack("<I", version) + tail)


@FUZZ
@given(place=PLACES)
def test_a_cut_file_is_refused(place: float, whole: bytes, tmp_path: Path) -> None:
    assert read(tmp_path / "model.gguf", whole[: int(place * len(whole))]) is None


def entry(key: bytes, type_: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", type_) + value


NAMED = entry(b"general.architecture", STRING, text(b"llama"))
SCALARS = st.sampled_from(sorted(WIDTHS)).flatmap(
    lambda type_: st.binary(min_size=WIDTHS[type_], max_size=WIDTHS[type_]).map(
        lambda value: (type_, value)
    )
)
ARRAYS = st.tuples(
    st.sampled_from([*WIDTHS, STRING, ARRAY, 13]), st.sampled_from(HUGE) | st.integers(0, 70)
).flatmap(
    lambda two: st.binary(max_size=80).map(lambda value: (ARRAY, struct.pack("<IQ", *two) + value))
)
KEYS = st.sampled_from(
    [
        b"general.alignment",
        b"general.file_type",
        b"llama.block_count",
        b"llama.context_length",
        b"llama.embedding_length",
        b"llama.vocab_size",
        b"llama.attention.head_count",
        b"split.count",
        b"tokenizer.chat_template",
        b"tokenizer.ggml.tokens",
        b"tokenizer.ggml.scores",
        b"tokenizer.ggml.merges",
        b"tokenizer.ggml.token_type",
    ]
) | st.binary(max_size=12)
VALUES = SCALARS | ARRAYS | st.binary(max_size=20).map(lambda value: (STRING, text(value)))
SIZES = st.sampled_from(HUGE) | st.integers(0, 300)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Files of the right build with any values in them."""
    entries = [
        entry(key, *value) for key, value in draw(st.lists(st.tuples(KEYS, VALUES), max_size=4))
    ]
    tensors = []
    for _ in range(draw(st.integers(0, 3))):
        shape = draw(st.lists(SIZES, max_size=6))
        tensors.append(
            text(draw(st.binary(max_size=70)))
            + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            + struct.pack("<IQ", draw(st.integers(0, 45)), draw(SIZES))
        )
    counts = (len(tensors), len(entries) + 1)
    if draw(st.integers(0, 9)) == 0:
        counts = (draw(SIZES), draw(SIZES))
    body = b"GGUF" + struct.pack("<IQQ", draw(st.sampled_from([2, 3])), *counts)
    return body + NAMED + b"".join(entries) + b"".join(tensors) + bytes(draw(st.integers(0, 600)))


NESTED = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + NAMED
NESTED += entry(b"x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 4000)


@FUZZ
@example(content=NESTED)
@given(content=files())
def test_built_files_with_any_values_give_a_sound_header_or_modelcorrupt(
    content: bytes, tmp_path: Path
) -> None:
    read(tmp_path / "model.gguf", content)


@pytest.mark.parametrize(
    "field",
    ["tensors", "entries", "key", "string", "array of strings", "array of numbers", "tokens"],
)
def test_a_claim_as_large_as_the_file_costs_no_memory(
    field: str, whole: bytes, tmp_path: Path
) -> None:
    """A sparse file of 64 GiB holds any length that is claimed, and takes no room on the disk."""
    size = 2**36
    claim = size // 64
    counts = {"tensors": (claim, 1), "entries": (0, claim)}.get(field, (0, 2))
    body = b"GGUF" + struct.pack("<IQQ", 3, *counts) + NAMED
    body += {
        "key": struct.pack("<Q", claim),
        "string": text(b"x") + struct.pack("<IQ", STRING, claim),
        "array of strings": text(b"x") + struct.pack("<IIQ", ARRAY, STRING, claim),
        "array of numbers": text(b"x") + struct.pack("<IIQ", ARRAY, 6, claim),
        "tokens": text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, 4, claim),
    }.get(field, b"")
    assert read(tmp_path / "model.gguf", body, size) is None


def test_strings_are_counted_over_all_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_reader, "MAX_STRINGS", 5)
    words = struct.pack("<IQ", STRING, 3) + text(b"") * 3
    head = b"GGUF" + struct.pack("<IQ", 3, 0)
    one = NAMED + entry(b"a", ARRAY, words)
    path = tmp_path / "model.gguf"
    assert read(path, head + struct.pack("<Q", 2) + one + bytes(32)) is not None
    path.write_bytes(head + struct.pack("<Q", 3) + one + entry(b"b", ARRAY, words) + bytes(32))
    with pytest.raises(ModelCorrupt, match="at most 2 are read"):
        read_header(path)
