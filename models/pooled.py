"""Handles on the pool's models: they load what they need at each call, and count as its users."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from models.base import Choice, Generation, Message
from models.errors import ModelCorrupt
from models.residency import Loaded, M, Slot

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from models.counters import Counters
    from models.llama import LlamaGenerator
    from models.onnx import OnnxEncoder


class Owner(Protocol):
    """The pool, as its handles see it."""

    def take(self, slot: Slot[M]) -> Loaded[M] | None: ...
    def give_back(self, slot: Slot[M], loaded: Loaded[M]) -> None: ...
    def opening(self, slot: Slot[M]) -> Future[None]: ...


class PooledGenerator:
    """A Generator (``models.base``) whose model may come and go between two calls.

    ``model`` is the digest of the file that was loaded last, and empty before that.
    """

    def __init__(self, owner: Owner, slot: Slot[LlamaGenerator]) -> None:
        self._owner = owner
        self._slot = slot
        self.name = slot.name
        self.model = ""

    async def generate(self, messages: Sequence[Message], **options: Any) -> Generation:
        """As ``LlamaGenerator.generate``; and StorageFailed where the model no longer fits."""
        try:
            async with self.opened() as generator:
                return await generator.generate(messages, **options)
        except ModelCorrupt:
            if not self._slot.changed():
                raise
        # The file changed between our look and the model's own: the new one is loaded.
        async with self.opened() as generator:
            return await generator.generate(messages, **options)

    async def choose(
        self, messages: Sequence[Message], options: Sequence[str], **others: Any
    ) -> Choice:
        """As ``LlamaGenerator.choose``; and StorageFailed where the model no longer fits."""
        try:
            async with self.opened() as generator:
                return await generator.choose(messages, options, **others)
        except ModelCorrupt:
            if not self._slot.changed():
                raise
        async with self.opened() as generator:
            return await generator.choose(messages, options, **others)

    @property
    def counters(self) -> Counters | None:
        """What the loaded model has done since it was loaded, and what it is doing now; None where
        none is. Loads nothing, and does not count as a use."""
        held = self._slot.loaded
        return None if held is None else held.model.counters

    def count_tokens(self, text: str) -> int:
        """Number of tokens of ``text``. Waits for the model where it has to be loaded."""
        with self.loaded() as generator:
            return generator.count_tokens(text)

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that ``messages`` make, by the model's own chat template."""
        with self.loaded() as generator:
            return generator.prompt_tokens(messages)

    @contextlib.contextmanager
    def loaded(self) -> Iterator[LlamaGenerator]:
        """The model itself, loaded, and kept so until the block ends. Waits for it."""
        with _held(self._owner, self._slot) as generator:
            self._note(generator)
            yield generator

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[LlamaGenerator]:
        """As ``loaded``, without holding up the event loop."""
        while (held := self._owner.take(self._slot)) is None:
            await asyncio.wrap_future(self._owner.opening(self._slot))
        try:
            self._note(held.model)
            yield held.model
        finally:
            self._owner.give_back(self._slot, held)

    def _note(self, generator: LlamaGenerator) -> None:
        self.name, self.model = generator.name, generator.model


class PooledEncoder:
    """An Encoder (``models.base``) whose model may come and go between two calls.

    It is always the same model: a file with other bytes is refused at its next load.
    """

    def __init__(self, owner: Owner, slot: Slot[OnnxEncoder]) -> None:
        self._owner = owner
        self._slot = slot
        self.name = slot.name
        self.model = ""
        self.dimension = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, shape ``[len(texts), dimension]``, each row of unit length."""
        with self.loaded() as encoder:
            return encoder.embed(texts)

    def was_cut(self, text: str) -> bool:
        """True where ``text`` has more tokens than the encoder reads."""
        with self.loaded() as encoder:
            return encoder.was_cut(text)

    @contextlib.contextmanager
    def loaded(self) -> Iterator[OnnxEncoder]:
        """The encoder itself, loaded, and kept so until the block ends."""
        with _held(self._owner, self._slot) as encoder:
            self.name, self.model, self.dimension = encoder.name, encoder.model, encoder.dimension
            yield encoder


@contextlib.contextmanager
def _held(owner: Owner, slot: Slot[M]) -> Iterator[M]:
    while (held := owner.take(slot)) is None:
        owner.opening(slot).result()
    try:
        yield held.model
    finally:
        owner.give_back(slot, held)
