"""A model small enough to check by hand: characters as tokens, a KV cache of lists.

Its logits depend on the tokens of a sequence and its adapter alone, never on the batch, so what
the engine makes of it must be equal to the last bit however calls are batched, cached or drafted.
It fails where a token is put at a position that its sequence has not reached.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ToolFailed
from models.llama_context import BATCH_TOKENS, CacheFull

ALPHABET = "\0" + "".join(map(chr, range(32, 127)))
END = 0


class ToyContext:
    """``LlamaContext`` for the toy model. It likes to go on as its own text did before."""

    def __init__(self, cells: int = 600) -> None:
        self.cells = cells
        self.kernels = "a toy has none"
        self.ends = frozenset([END])
        self.held: dict[int, list[int]] = {}
        self.adapter = ""
        self.batches: list[int] = []
        self.fails_next = False
        self.gate: threading.Event | None = None
        self._rows: dict[int, NDArray[np.float32]] = {}

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        outputs: Sequence[bool],
    ) -> None:
        assert 0 < len(tokens) <= BATCH_TOKENS
        if self.gate is not None:
            self.gate.wait(30)
        if self.fails_next:
            self.fails_next = False
            raise ToolFailed("the toy was told to fail")
        if sum(map(len, self.held.values())) + len(tokens) > self.cells:
            raise CacheFull
        self.batches.append(len(tokens))
        self._rows = {}
        for index, (token, position, own, output) in enumerate(
            zip(tokens, positions, sequences, outputs, strict=True)
        ):
            texts = [self.held.setdefault(sequence, []) for sequence in own]
            assert all(len(text) == position for text in texts), "a gap in a sequence"
            assert all(text == texts[0] for text in texts), "sequences that differ share a token"
            for text in texts:
                text.append(token)
            if output:
                self._rows[index] = toy_logits(texts[0], self.adapter)

    def logits(self, index: int) -> NDArray[np.float32]:
        return self._rows[index]

    def fork(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target), "a fork into a sequence that is in use"
        assert len(self.held.get(source, [])) >= length
        self.held[target] = self.held.get(source, [])[:length]

    def truncate(self, sequence: int, length: int) -> None:
        del self.held.setdefault(sequence, [])[length:]

    def state(self, sequence: int) -> bytes:
        return bytes(self.held[sequence])

    def restore(self, sequence: int, state: bytes) -> bool:
        if sum(map(len, self.held.values())) + len(state) > self.cells:
            return False
        self.held[sequence] = list(state)
        return True

    def load_adapter(self, path: Any) -> str:
        return str(path)

    def attach(self, adapter: str | None) -> None:
        self.adapter = adapter or ""

    def piece(self, token: int) -> bytes:
        return b"" if token == END else ALPHABET[token].encode()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return [ALPHABET.index(char) if char in ALPHABET else 1 for char in text]


def toy_logits(tokens: Sequence[int], adapter: str = "") -> NDArray[np.float32]:
    """Noise from a hash of the last tokens; and what followed the last two before is likely."""
    seed = hashlib.sha256(adapter.encode() + bytes(tokens[-6:])).digest()
    noise = np.random.default_rng(int.from_bytes(seed[:8], "little"))
    logits = noise.standard_normal(len(ALPHABET)).astype(np.float32)
    for at in range(len(tokens) - 3, 0, -1):
        if tokens[at - 1 : at + 1] == tokens[-2:]:
            logits[tokens[at + 1]] += 9
            break
    return logits


class ToyConstraint:
    """One of a few texts, with ``Constraint``'s methods."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [[ALPHABET.index(c) for c in text] for text in texts]
        self._done: list[int] = []

    def _next(self) -> set[int]:
        at = len(self._done)
        return {
            text[at] if at < len(text) else END for text in self._texts if text[:at] == self._done
        }

    @property
    def complete(self) -> bool:
        return self._next() == {END}

    def allowed(self) -> NDArray[np.intp] | None:
        return None if self.complete else np.array(sorted(self._next()), np.intp)

    def forced(self, room: int) -> list[int]:
        forced: list[int] = []
        while len(forced) < room and len(self._next()) == 1 and not self.complete:
            forced += self._next()
            self._done.append(forced[-1])
        return forced

    def forced_text(self, tokens: Sequence[int]) -> str:
        self._done += tokens
        forced = self.forced(10**6)
        self.rollback(len(tokens) + len(forced))
        return "".join(ALPHABET[token] for token in forced)

    def accepts(self, tokens: Sequence[int]) -> int:
        count = 0
        for token in tokens:
            if token not in self._next() or token == END:
                break
            self._done.append(token)
            count += 1
        self.rollback(count)
        return count

    def consume(self, token: int) -> None:
        assert token in self._next()
        if token != END:
            self._done.append(token)

    def rollback(self, count: int) -> None:
        del self._done[len(self._done) - count :]
