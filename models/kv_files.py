"""Decoded prefixes on disk, so that a restarted model is warm.

One file for each prefix: a header (format, key, tokens) and llama.cpp's state of the sequence. The
key names everything that the state depends on, and a file's name is the hash of its key and
tokens, so processes that share the folder write the same prefix to the same name. No locks: a file
appears whole, by a rename, or not at all, and what another process evicts is simply gone. Saving
is a convenience, so nothing here fails a call: what goes wrong is logged. Not made durable: a
state that a power cut damages is noticed by its hash, removed, and decoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

log = logging.getLogger(__name__)

_MAGIC: Final = b"AIDEKV\r\n"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIIIQ32s")
"""Magic, version, bytes of the key, number of tokens, bytes of the state, SHA-256 of all that."""
_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{40})\.kv")
_UNFINISHED: Final = ".unfinished.kv"
UNFINISHED_S: Final = 600.0
"""A file that was not finished by then belongs to a process that died while it wrote."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A prefix on disk. ``size``: bytes of its state."""

    tokens: tuple[int, ...]
    size: int
    path: Path


class _Damaged(Exception):
    """A file under one of our names that is not what we wrote. Internal."""


class SavedPrefixes:
    """The prefixes saved under ``key`` in ``folder``, which any number of processes may share.

    ``max_bytes`` bounds the files of all keys together: the least recently used go first. The
    folder is made private (0700) where it is missing, and so is every file (0600): a state can be
    turned back into the prompt that made it. Files that another user owns are not read.
    """

    def __init__(self, folder: Path, key: str, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._key = key.encode()
        self._group = hashlib.sha256(b"%d %b" % (_VERSION, self._key)).hexdigest()[:16]

    def index(self) -> list[Saved]:
        """What is saved under this key, the most recently used first. Reads headers only."""
        found: list[tuple[float, Saved]] = []
        for path, status in self._files():
            if not path.name.startswith(self._group):
                continue
            try:
                with _open(path) as file:
                    tokens, size, _ = self._head(file, path)
            except (OSError, _Damaged) as error:
                _discard(path, error)
                continue
            found.append((status.st_mtime, Saved(tokens, size, path)))
        return [saved for _, saved in sorted(found, key=lambda item: -item[0])]

    def load(self, saved: Saved) -> bytes | None:
        """The state of a prefix; None where it was evicted meanwhile or is damaged."""
        try:
            with _open(saved.path) as file:
                tokens, size, digest = self._head(file, saved.path)
                blob = file.read(size)
            if tokens != saved.tokens:
                raise _Damaged("it holds other tokens than it did")
            if self._digest(tokens, blob) != digest:
                raise _Damaged("its hash does not match its content")
            with contextlib.suppress(OSError):  # a read-only folder keeps its order
                os.utime(saved.path)
        except (OSError, _Damaged) as error:
            _discard(saved.path, error)
            return None
        return blob

    def save(self, tokens: Sequence[int], blob: bytes) -> None:
        """Keep the state of a prefix, where it is not kept yet."""
        if not tokens:
            return
        path = self._path(tokens)
        need = _HEAD.size + len(self._key) + 4 * len(tokens) + len(blob)
        try:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size == need:
                    os.utime(path)
                    return
            if need > self.max_bytes:
                log.info(
                    "a prefix of %d tokens is not saved: its %d bytes are more than all of %s may "
                    "hold (%d)",
                    len(tokens),
                    need,
                    self.folder,
                    self.max_bytes,
                )
                return
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(need)
            self._write(path, tokens, blob)
        except OSError as error:
            log.warning(
                "a prefix of %d tokens could not be saved in %s (%s): it stays in memory, and is "
                "decoded again after a restart",
                len(tokens),
                self.folder,
                error.strerror or error,
            )

    def _write(self, path: Path, tokens: Sequence[int], blob: bytes) -> None:
        head = _HEAD.pack(
            _MAGIC, _VERSION, len(self._key), len(tokens), len(blob), self._digest(tokens, blob)
        )
        descriptor, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=self.folder)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                for part in (head, self._key, _int32(tokens), blob):
                    file.write(part)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def _make_room(self, need: int) -> None:
        """Remove the least recently used files until ``need`` more bytes are allowed."""
        files = sorted(self._files(), key=lambda item: item[1].st_mtime)
        total = sum(status.st_size for _, status in files)
        for path, status in files:
            if total + need <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= status.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Our files of every key; what a process that died left unfinished is removed."""
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read (%s): no saved prefix is used", self.folder, error)
            return
        for entry in entries:
            with contextlib.suppress(OSError):  # another process evicted it meanwhile
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or not _own(status):
                    continue
                if _NAME.fullmatch(entry.name):
                    yield Path(entry.path), status
                elif entry.name.endswith(_UNFINISHED) and _old(status):
                    Path(entry.path).unlink()

    def _head(self, file: BinaryIO, path: Path) -> tuple[tuple[int, ...], int, bytes]:
        """Tokens, size of the state, and the hash of everything. Raises _Damaged."""
        held = os.fstat(file.fileno()).st_size
        data = file.read(_HEAD.size)
        if len(data) < _HEAD.size:
            raise _Damaged("it ends inside its header")
        magic, version, key_bytes, count, size, digest = _HEAD.unpack(data)
        if (magic, version) != (_MAGIC, _VERSION):
            raise _Damaged("it does not begin as a saved prefix does")
        if _HEAD.size + key_bytes + 4 * count + size != held:
            raise _Damaged(f"it is {held} bytes long, and not what its header says")
        if file.read(key_bytes) != self._key:
            raise _Damaged("it was saved under another key")
        tokens = struct.unpack(f"<{count}i", file.read(4 * count))
        if path.name != self._path(tokens).name:
            raise _Damaged("its tokens are not those that its name stands for")
        return tokens, size, digest

    def _path(self, tokens: Sequence[int]) -> Path:
        named = hashlib.sha256(_int32(tokens)).hexdigest()[:40]
        return self.folder / f"{self._group}-{named}.kv"

    def _digest(self, tokens: Sequence[int], blob: bytes) -> bytes:
        digest = hashlib.sha256(self._key)
        digest.update(_int32(tokens))
        digest.update(blob)
        return digest.digest()


def _int32(tokens: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}i", *tokens)


def _old(status: os.stat_result) -> bool:
    return time.time() - status.st_mtime > UNFINISHED_S


def _own(status: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()


def _open(path: Path) -> BinaryIO:
    """Opened for reading, where it is a file of our own and no link to another."""
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")
    if not _own(os.fstat(file.fileno())):
        file.close()
        raise PermissionError(f"{path} belongs to another user")
    return file


def _discard(path: Path, error: Exception) -> None:
    """Say why a file is not used. A damaged one is removed, an unreadable one is left."""
    if isinstance(error, FileNotFoundError):
        return
    if isinstance(error, OSError):
        log.warning("the saved prefix %s cannot be read (%s)", path, error.strerror or error)
        return
    log.warning("the saved prefix %s is damaged (%s): it is decoded again", path, error)
    with contextlib.suppress(OSError):
        path.unlink()
