"""Reads the header of a GGUF file, and believes none of it before it was checked.

llama.cpp trusts much of what a file says; a damaged or hostile one can crash the process. So every
length, count, offset and shape is held against the file's size here first, and llama.cpp never
sees a file that this reader rejects. Covers GGUF v2 and v3, little-endian, one file (no split).
Weights themselves are not read. Format: github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from models.errors import ModelCorrupt, ModelMissing
from models.ggml_types import FILE_TYPE_NAMES, TENSOR_TYPES, TensorType

MAX_METADATA_BYTES: Final = 256 * 2**20
"""Header and tensor list together. The largest vocabularies in use need about 20 MiB."""
MAX_ENTRIES: Final = 65536
"""Metadata entries, and tensors too. The largest models in use have a few thousand tensors."""
MAX_STRINGS: Final = 2**22
"""Strings in all arrays together: what a file claims beyond that would take minutes to read. The
largest vocabularies in use have 262,144 tokens and twice as many merges."""
MAX_KEY_BYTES: Final = 65535
MAX_TENSOR_NAME_BYTES: Final = 63
MAX_DIMENSIONS: Final = 4
KEPT_VALUES: Final = 64
"""Arrays up to this length keep their values; longer ones only their type and length."""

_SCALARS: Final = {
    0: ("uint8", "<B"),
    1: ("int8", "<b"),
    2: ("uint16", "<H"),
    3: ("int16", "<h"),
    4: ("uint32", "<I"),
    5: ("int32", "<i"),
    6: ("float32", "<f"),
    7: ("bool", "<B"),
    10: ("uint64", "<Q"),
    11: ("int64", "<q"),
    12: ("float64", "<d"),
}
_STRING: Final = 8
_ARRAY: Final = 9
_OTHERS: Final = {_STRING: "string", _ARRAY: "array"}

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Array:
    """An array value: its element type, its length, and its values where it is short."""

    type: str
    length: int
    values: tuple[Scalar, ...] | None


Value = Scalar | Array


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: ``shape`` is in ggml's order (row length first), ``offset`` is in the file."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int
    bytes: int

    @property
    def weights(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about itself, checked against its size."""

    path: Path
    bytes: int
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    """The type of each metadata value: llama.cpp aborts where it reads one as another."""

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained on."""
        return self.integer(f"{self.architecture}.context_length")

    @property
    def file_type(self) -> str:
        """Name of llama.cpp's file type, such as ``Q4_1``; ``unknown`` where it is not stated."""
        number = self.integer("general.file_type")
        return FILE_TYPE_NAMES.get(-1 if number is None else number, "unknown")

    @property
    def chat_template(self) -> str | None:
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    @property
    def weights(self) -> int:
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data for each weight: header and padding are not counted."""
        return 8 * sum(tensor.bytes for tensor in self.tensors) / max(self.weights, 1)

    @property
    def tensor_types(self) -> dict[str, int]:
        """How many tensors are of each type, most frequent first."""
        return dict(Counter(tensor.type.name for tensor in self.tensors).most_common())

    def integer(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """The checked header of a GGUF file.

    Raises ModelMissing where there is no such file, and ModelCorrupt, which says what is wrong
    and at which byte, for anything that is not a whole and consistent GGUF model.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = _parse(_Cursor(file, size, path), path, size)
    except FileNotFoundError as error:
        raise ModelMissing(f"no model file at {path}", hint="run: aidecamp models pull") from error
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read ({error.strerror})") from error
    _check_model(header)
    return header


class _Cursor:
    """Reads little-endian values forward, and never past the end of the file."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.position = 0
        self.size = size
        self.strings_left = MAX_STRINGS
        self._file = file
        self._path = path

    def fail(self, what: str) -> ModelCorrupt:
        return _corrupt(self._path, f"{what}, at byte {self.position}")

    def take(self, count: int, what: str) -> bytes:
        self._reserve(count, what)
        data = self._file.read(count)
        if len(data) < count:  # it shrank while it was read
            raise self.fail(f"the file ends inside {what}")
        self.position += count
        return data

    def skip(self, count: int, what: str) -> None:
        self._reserve(count, what)
        self._file.seek(count, 1)
        self.position += count

    def _reserve(self, count: int, what: str) -> None:
        left = self.size - self.position
        if count > left:
            raise self.fail(f"{what} claims {count} bytes where {left} are left")
        if self.position + count > MAX_METADATA_BYTES:
            raise self.fail(f"{what} makes the header larger than {MAX_METADATA_BYTES} bytes")

    def number(self, format_: str, what: str) -> int:
        (value,) = struct.unpack(format_, self.take(struct.calcsize(format_), what))
        return int(value)

    def count(self, what: str, least_bytes: int, most: int | None = None) -> int:
        """A 64-bit count of things that need ``least_bytes`` each, which must fit the file."""
        count = self.number("<Q", what)
        left = self.size - self.position
        if count * least_bytes > left:
            raise self.fail(f"{what} is {count}, more than the {left} bytes left can hold")
        if most is not None and count > most:
            raise self.fail(f"{what} is {count}, and at most {most} are read")
        return count

    def string(self, what: str, limit: int | None = None) -> bytes:
        length = self.number("<Q", f"the length of {what}")
        if limit is not None and length > limit:
            raise self.fail(f"{what} is {length} bytes long, and at most {limit} are allowed")
        return self.take(length, what)

    def text(self, what: str, limit: int) -> str:
        try:
            return self.string(what, limit).decode()
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None


def _parse(cursor: _Cursor, path: Path, size: int) -> Header:
    magic = cursor.take(4, "the magic number")
    if magic != b"GGUF":
        raise _corrupt(path, f"it starts with {magic!r} and not with b'GGUF'")
    version = cursor.number("<I", "the version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        kind = "big-endian" if swapped in (2, 3) else f"version {version}"
        raise _corrupt(path, f"it is a {kind} GGUF; versions 2 and 3, little-endian, are read")
    tensor_count = cursor.count("the number of tensors", 8 + 1 + 4 + 8 + 4 + 8, MAX_ENTRIES)
    metadata_count = cursor.count("the number of metadata entries", 8 + 1 + 4 + 1, MAX_ENTRIES)

    metadata: dict[str, Value] = {}
    types: dict[str, str] = {}
    for index in range(metadata_count):
        key = cursor.text(f"the key of metadata entry {index}", MAX_KEY_BYTES)
        if not key or key in metadata:
            raise cursor.fail(f"metadata key {key!r} is {'repeated' if key else 'empty'}")
        type_ = cursor.number("<I", f"the type of {key!r}")
        metadata[key] = _value(cursor, type_, key)
        types[key] = _SCALARS[type_][0] if type_ in _SCALARS else _OTHERS[type_]

    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= size or alignment & (alignment - 1):
        raise _corrupt(path, f"its alignment {alignment!r} is not a power of two within the file")

    relative = [_tensor(cursor, index, alignment) for index in range(tensor_count)]
    start = -(-cursor.position // alignment) * alignment
    tensors = tuple(Tensor(t.name, t.type, t.shape, start + t.offset, t.bytes) for t in relative)
    _check_ranges(tensors, path, size)
    return Header(path, size, version, metadata, tensors, types)


def _value(cursor: _Cursor, type_: int, key: str) -> Value:
    if type_ == _STRING:
        return cursor.string(f"the value of {key!r}").decode("utf-8", "replace")
    if type_ == _ARRAY:
        return _array(cursor, key)
    if type_ not in _SCALARS:
        raise cursor.fail(f"{key!r} has the unknown value type {type_}")
    return _scalar(cursor, type_, key)


def _scalar(cursor: _Cursor, type_: int, key: str) -> int | float | bool:
    name, format_ = _SCALARS[type_]
    data = cursor.take(struct.calcsize(format_), f"the value of {key!r}")
    value: int | float = struct.unpack(format_, data)[0]
    if name == "bool":
        if value not in (0, 1):
            raise cursor.fail(f"{key!r} is the boolean {value}")
        return bool(value)
    return value


def _array(cursor: _Cursor, key: str) -> Array:
    type_ = cursor.number("<I", f"the element type of {key!r}")
    if type_ == _STRING:
        length = cursor.count(f"the length of {key!r}", 8, cursor.strings_left)
        cursor.strings_left -= length
        kept: list[Scalar] = []
        for _ in range(length):
            data = cursor.string(f"an element of {key!r}")
            if length <= KEPT_VALUES:
                kept.append(data.decode("utf-8", "replace"))
        return Array("string", length, tuple(kept) if length <= KEPT_VALUES else None)
    if type_ not in _SCALARS:
        # ggml reads no arrays of arrays either, so there is no depth to bound.
        raise cursor.fail(f"{key!r} is an array of the unreadable type {type_}")
    name, format_ = _SCALARS[type_]
    width = struct.calcsize(format_)
    length = cursor.count(f"the length of {key!r}", width)
    if length <= KEPT_VALUES:
        return Array(name, length, tuple(_scalar(cursor, type_, key) for _ in range(length)))
    cursor.skip(length * width, f"the elements of {key!r}")
    return Array(name, length, None)


def _tensor(cursor: _Cursor, index: int, alignment: int) -> Tensor:
    """Tensor number ``index``; its offset still counts from the start of the data."""
    name = cursor.text(f"the name of tensor {index}", MAX_TENSOR_NAME_BYTES)
    dimensions = cursor.number("<I", f"the number of dimensions of {name!r}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise cursor.fail(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.number("<Q", f"the shape of {name!r}") for _ in range(dimensions))
    number = cursor.number("<I", f"the type of {name!r}")
    offset = cursor.number("<Q", f"the offset of {name!r}")
    type_ = TENSOR_TYPES.get(number)
    if type_ is None:
        raise cursor.fail(f"tensor {name!r} has the unknown type {number}")
    if min(shape) < 1 or shape[0] % type_.block:
        raise cursor.fail(
            f"tensor {name!r} has the shape {shape}, which {type_.name} "
            f"(blocks of {type_.block}) cannot have"
        )
    if offset % alignment:
        raise cursor.fail(f"tensor {name!r} starts at {offset}, unaligned to {alignment}")
    size = math.prod(shape) // type_.block * type_.block_bytes
    if size > cursor.size or offset > cursor.size:
        raise cursor.fail(
            f"tensor {name!r} claims {size} bytes at {offset} of a file of {cursor.size}, "
            f"which was cut off or never whole"
        )
    return Tensor(name, type_, shape, offset, size)


def _check_ranges(tensors: tuple[Tensor, ...], path: Path, size: int) -> None:
    names = Counter(tensor.name for tensor in tensors)
    if names and names.most_common(1)[0][1] > 1:
        raise _corrupt(path, f"tensor {names.most_common(1)[0][0]!r} is listed twice")
    previous: Tensor | None = None
    for tensor in sorted(tensors, key=lambda t: t.offset):
        if tensor.offset + tensor.bytes > size:
            raise _corrupt(
                path,
                f"tensor {tensor.name!r} reaches byte {tensor.offset + tensor.bytes}, "
                f"and the file ends at {size}: it was cut off or never whole",
            )
        if previous is not None and tensor.offset < previous.offset + previous.bytes:
            raise _corrupt(path, f"tensors {previous.name!r} and {tensor.name!r} overlap")
        previous = tensor


_PARALLEL_ARRAYS: Final = {
    "tokenizer.ggml.scores": ("float32",),
    "tokenizer.ggml.token_type": ("int32", "uint32"),
}
_HYPERPARAMETERS: Final = {
    "block_count": 4096,
    "context_length": 2**31 - 1,
    "embedding_length": 2**20,
    "vocab_size": 2**24,
}


def _check_model(header: Header) -> None:
    """What llama.cpp would index by without asking: counts, and arrays read in parallel."""
    if not isinstance(header.metadata.get("general.architecture"), str):
        raise _corrupt(header.path, "it does not name its architecture")
    for name, most in _HYPERPARAMETERS.items():
        key = f"{header.architecture}.{name}"
        value = header.metadata.get(key)
        if value is not None and (header.integer(key) is None or not 1 <= value <= most):  # type: ignore[operator]
            raise _corrupt(header.path, f"{key} is {value!r}, and not from 1 to {most}")
    split = header.integer("split.count")
    if split is not None and split > 1:
        raise _corrupt(header.path, f"it is one part of {split}: join them with gguf-split first")

    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    if not isinstance(tokens, Array) or tokens.type != "string" or not tokens.length:
        raise _corrupt(header.path, "its token list is no list of strings")
    merges = header.metadata.get("tokenizer.ggml.merges")
    if merges is not None and not (isinstance(merges, Array) and merges.type == "string"):
        raise _corrupt(header.path, "its merge list is no list of strings")
    for key, types in _PARALLEL_ARRAYS.items():
        value = header.metadata.get(key)
        if value is None:
            continue
        if not isinstance(value, Array) or value.type not in types or value.length != tokens.length:
            raise _corrupt(header.path, f"{key} does not match its {tokens.length} tokens")


def _corrupt(path: Path, what: str) -> ModelCorrupt:
    return ModelCorrupt(
        f"{path} is no sound GGUF file: {what}",
        hint="pull it again (aidecamp models pull), or convert it again",
    )
