"""The GGUF header reader: what it reads, and that no damage gets past it or breaks it."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import ModelCorrupt, ModelMissing
from models.ggml_types import FILE_TYPES, TENSOR_TYPES, base_type
from models.gguf import Array, read_header

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, type_: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", type_) + value


def tensor(name: str, shape: tuple[int, ...], type_: int, offset: int) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", type_, offset)
    )


ARCHITECTURE = entry("general.architecture", STRING, text("llama"))
TENSORS = [tensor("a", (32, 2), 2, 0), tensor("b", (4,), 0, 64)]


def file(
    metadata: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    data: int = 128,
    head: bytes = b"GGUF\x03\x00\x00\x00",
    counts: tuple[int, int] | None = None,
) -> bytes:
    metadata = [ARCHITECTURE] if metadata is None else metadata
    tensors = TENSORS if tensors is None else tensors
    body = head + struct.pack("<QQ", *(counts or (len(tensors), len(metadata))))
    body += b"".join(metadata) + b"".join(tensors)
    return body + b"\0" * (-len(body) % 32) + b"\0" * data


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        return path

    return write


def test_the_default_model_reads_as_what_it_is(gguf: Path) -> None:
    header = read_header(gguf)
    assert (header.architecture, header.context_length, header.version) == ("llama", 8192, 3)
    assert header.weights == 134_515_008
    assert header.file_type == "Q8_0"
    assert header.tensor_types == {"q8_0": 211, "f32": 61}
    assert header.chat_template is not None
    assert header.metadata["tokenizer.ggml.tokens"] == Array("string", 49152, None)
    last = max(header.tensors, key=lambda t: t.offset)
    assert last.offset + last.bytes == header.bytes


def test_a_small_file_reads_back(write: Callable[[bytes], Path]) -> None:
    values = struct.pack("<IQ", I32, 3) + struct.pack("<3i", 1, -2, 3)
    words = struct.pack("<IQ", STRING, 2) + text("é") + text("")
    header = read_header(
        write(
            file(
                [
                    ARCHITECTURE,
                    entry("n", ARRAY, values),
                    entry("w", ARRAY, words),
                    entry("yes", BOOL, b"\1"),
                    entry("general.alignment", U32, struct.pack("<I", 64)),
                ]
            )
        )
    )
    assert header.metadata["n"] == Array("int32", 3, (1, -2, 3))
    assert header.types["n"] == "array"
    assert (header.types["yes"], header.types["general.architecture"]) == ("bool", "string")
    assert header.metadata["w"] == Array("string", 2, ("é", ""))
    assert header.metadata["yes"] is True
    a, b = header.tensors
    assert (a.shape, a.type.name, a.bytes) == ((32, 2), "q4_0", 36)
    assert a.offset % 64 == 0
    assert b.offset == a.offset + 64


HUGE = 2**63
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "magic number claims 4 bytes where 0 are left"),
    "magic": (file(head=b"GGML\x03\0\0\0"), "starts with b'GGML'"),
    "version": (file(head=b"GGUF\x01\0\0\0"), "version 1"),
    "big-endian": (file(head=b"GGUF\0\0\0\x03"), "big-endian"),
    "tensor count": (file(counts=(HUGE, 1)), "number of tensors is 9223372036854775808"),
    "metadata count": (file(counts=(2, HUGE)), "number of metadata entries"),
    "string length": (
        file([text("general.architecture") + struct.pack("<IQ", STRING, HUGE)]),
        "claims 9223372036854775808 bytes",
    ),
    "key length": (file([struct.pack("<Q", 2**17) + b"k" * 2**17]), "at most 65535"),
    "key not UTF-8": (file([struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 8]), "not UTF-8"),
    "repeated key": (file([ARCHITECTURE, ARCHITECTURE]), "repeated"),
    "value type": (file([entry("x", 77, b"\0" * 8)]), "unknown value type 77"),
    "array length": (
        file([entry("x", ARRAY, struct.pack("<IQ", F32, HUGE))]),
        "more than the",
    ),
    "array of arrays": (
        file([entry("x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 50)]),
        "unreadable type 9",
    ),
    "boolean": (file([entry("x", BOOL, b"\2")]), "boolean 2"),
    "no architecture": (file([entry("x", BOOL, b"\1")]), "architecture"),
    "alignment zero": (
        file([ARCHITECTURE, entry("general.alignment", U32, struct.pack("<I", 0))]),
        "alignment 0",
    ),
    "alignment odd": (
        file([ARCHITECTURE, entry("general.alignment", U32, struct.pack("<I", 48))]),
        "alignment 48",
    ),
    "no layers": (
        file([ARCHITECTURE, entry("llama.block_count", U32, struct.pack("<I", 0))]),
        "block_count is 0",
    ),
    "layers without end": (
        file([ARCHITECTURE, entry("llama.block_count", U32, struct.pack("<I", 2**32 - 1))]),
        "block_count",
    ),
    "a part of a split": (
        file([ARCHITECTURE, entry("split.count", U32, struct.pack("<I", 3))]),
        "one part of 3",
    ),
    "scores shorter than tokens": (
        file(
            [
                ARCHITECTURE,
                entry(
                    "tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") * 2
                ),
                entry("tokenizer.ggml.scores", ARRAY, struct.pack("<IQf", F32, 1, 0.5)),
            ]
        ),
        "does not match its 2 tokens",
    ),
    "dimensions": (file(tensors=[tensor("a", (1,) * 5, 0, 0)]), "5 dimensions"),
    "no dimension": (file(tensors=[tensor("a", (), 0, 0)]), "0 dimensions"),
    "zero in shape": (file(tensors=[tensor("a", (0,), 0, 0)]), "shape"),
    "shape overflows": (file(tensors=[tensor("a", (2**62, 2**62), 0, 0)]), "claims"),
    "row not of whole blocks": (file(tensors=[tensor("a", (33,), 2, 0)]), "blocks of 32"),
    "tensor type": (file(tensors=[tensor("a", (32,), 4, 0)]), "unknown type 4"),
    "tensor name": (file(tensors=[tensor("n" * 64, (32,), 0, 0)]), "at most 63"),
    "unaligned": (file(tensors=[tensor("a", (8,), 0, 8)]), "unaligned"),
    "behind the end": (file(tensors=[tensor("a", (32,), 0, 32)]), "cut off"),
    "offset absurd": (file(tensors=[tensor("a", (8,), 0, 2**64 - 32)]), "claims"),
    "overlap": (
        file(tensors=[tensor("a", (16,), 0, 0), tensor("b", (8,), 0, 32)]),
        "overlap",
    ),
    "same name": (
        file(tensors=[tensor("a", (8,), 0, 0), tensor("a", (8,), 0, 32)]),
        "listed twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_with_its_reason(name: str, write: Callable[[bytes], Path]) -> None:
    content, reason = DAMAGED[name]
    with pytest.raises(ModelCorrupt) as caught:
        read_header(write(content))
    assert reason in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_no_corrupt_one(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        read_header(tmp_path / "nothing.gguf")
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        read_header(tmp_path)


def test_every_truncation_of_a_small_file_is_refused(write: Callable[[bytes], Path]) -> None:
    whole = file(data=80)  # the last tensor ends with the file
    read_header(write(whole))
    for length in range(len(whole)):
        with pytest.raises(ModelCorrupt):
            read_header(write(whole[:length]))


def test_random_damage_to_a_small_file_gives_a_header_or_modelcorrupt(
    write: Callable[[bytes], Path],
) -> None:
    values = struct.pack("<IQ", I32, 3) + struct.pack("<3i", 1, 2, 3)
    words = struct.pack("<IQ", STRING, 2) + text("ab") + text("c")
    whole = file([ARCHITECTURE, entry("n", ARRAY, values), entry("w", ARRAY, words)])
    rng = random.Random(7)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(damaged))
            kind = rng.random()
            if kind < 0.5:
                damaged[at] = rng.randrange(256)
            elif kind < 0.75:
                damaged[at : at + 8] = struct.pack("<Q", rng.choice([0, HUGE, 2**64 - 1, 2**32]))
            elif kind < 0.9:
                del damaged[at : at + rng.randint(1, 16)]
            else:
                damaged[at:at] = rng.randbytes(rng.randint(1, 16))
        try:
            header = read_header(write(bytes(damaged)))
        except ModelCorrupt:
            refused += 1
        else:
            assert all(t.offset + t.bytes <= header.bytes for t in header.tensors)
    assert refused > 1500


def test_random_damage_to_the_real_header_gives_a_header_or_modelcorrupt(
    gguf: Path, write: Callable[[bytes], Path]
) -> None:
    header = read_header(gguf)
    start = min(t.offset for t in header.tensors)
    with gguf.open("rb") as stream:
        whole = stream.read(start)
    rng = random.Random(11)
    path = write(whole)
    for _ in range(25):
        at = rng.randrange(start) if rng.random() < 0.5 else rng.randrange(2000)
        damaged = bytearray(whole)
        damaged[at : at + 4] = rng.randbytes(4)
        with path.open("wb") as stream:
            stream.write(damaged)
            # Sparse: the weights themselves are never read.
            stream.truncate(
                header.bytes if rng.random() < 0.7 else rng.randrange(start, header.bytes)
            )
        try:
            found = read_header(path)
        except ModelCorrupt:
            continue
        assert all(t.offset + t.bytes <= found.bytes for t in found.tensors)


def test_a_file_cut_inside_its_weights_is_refused(
    gguf: Path, write: Callable[[bytes], Path]
) -> None:
    with gguf.open("rb") as stream:
        path = write(stream.read(8 * 2**20))
    with pytest.raises(ModelCorrupt, match="cut off or never whole"):
        read_header(path)


def test_the_type_tables_are_those_of_the_installed_library() -> None:
    import llama_cpp

    library: Any = ctypes.CDLL(
        str(next((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-base.*")))
    )
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    for number in range(llama_cpp.GGML_TYPE_COUNT):
        block = library.ggml_blck_size(number)
        known = TENSOR_TYPES.get(number)
        assert (known is not None) == (block > 0), number
        if known is not None:
            assert known.name == library.ggml_type_name(number).decode()
            assert (known.block, known.block_bytes) == (block, library.ggml_type_size(number))
    for name, number in FILE_TYPES.items():
        said = llama_cpp.llama_ftype_name(number).decode()
        assert said.replace("all ", "").split(" ")[0].startswith(name.split("_")[0]), (name, said)
        assert base_type(name) in {t.name for t in TENSOR_TYPES.values()}
