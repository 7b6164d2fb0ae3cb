"""GGUF models on llama.cpp, as a Generator.

One engine thread owns the context; callers await futures and are served in order. A cancelled
call is dropped at its next token. Calls run one at a time.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeVar

from models.base import Choice, Generation, Message
from models.chat import CHATML, ChatTemplate
from models.digest import file_digest
from models.engine import SEQUENCES, Call, Dropped, Engine
from models.errors import ToolFailed, UsageError
from models.gguf import Header, read_header
from models.grammar import check_output, lark_grammar, schema_grammar
from models.llama_context import LlamaContext, default_threads, place

CONTEXT_TOKENS = 4096
CACHE_TOKENS = 2048
"""KV cache beyond one full context: it keeps the heads of other prompts decoded."""

T = TypeVar("T")


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Callable[[Call], T]
    future: Future[T] = field(default_factory=Future)
    dropped: threading.Event = field(default_factory=threading.Event)
    queued: float = field(default_factory=time.perf_counter)

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        call = Call(self.dropped.is_set)
        call.clock.queue_ms = (time.perf_counter() - self.queued) * 1000
        try:
            self.future.set_result(self.work(call))
        except Dropped:
            self.future.set_exception(ToolFailed("the call was dropped: the model was closed"))
        except BaseException as error:  # whatever it is, it belongs to the caller
            self.future.set_exception(error)


class LlamaGenerator:
    """A language model in one GGUF file.

    ``n_ctx``: tokens of one call, prompt and answer; ``n_cache``: tokens kept beyond that of
    other prompts. ``placement`` says on which device it runs, and why. Raises ModelMissing,
    ModelCorrupt (our header reader or llama.cpp refuses the file) and StorageFailed (no memory
    for its context).
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int = CONTEXT_TOKENS,
        n_cache: int = CACHE_TOKENS,
        n_threads: int | None = None,
        n_gpu_layers: int | Literal["auto"] = "auto",
        name: str | None = None,
    ) -> None:
        self.header = read_header(path)
        self.model = file_digest(path)
        self.name = name or path.stem.lower()
        self.n_ctx = min(n_ctx, self.header.context_length or n_ctx)
        self.threads = n_threads or default_threads()
        cells = self.n_ctx + n_cache
        self.placement = place(self.header, n_gpu_layers, cells * _cell_bytes(self.header))
        self._context = LlamaContext(
            self.header,
            cells=cells,
            sequences=SEQUENCES,
            threads=self.threads,
            placement=self.placement,
        )
        context = self._context
        try:
            self._template = ChatTemplate(
                self.header.chat_template or CHATML,
                bos=context.special_text(context.bos),
                eos=context.special_text(context.eos),
            )
        except BaseException:
            context.close()
            raise
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._current: _Job[Any] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"llama {self.name}", daemon=True)
        self._thread.start()
        # A daemon thread must not be inside llama.cpp when the interpreter goes away.
        atexit.register(self.close)

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
    ) -> Generation:
        """Greedy decoding of an answer to ``messages``.

        ``schema``: a JSON Schema that the answer is forced to meet, as compact JSON. Where
        ``max_tokens`` runs out first, ``finish`` is ``length`` and the text is cut JSON.
        ``grammar``: a Lark grammar in llguidance's dialect (instead of ``schema``).
        ``stop``: texts that end a free answer; they are not part of it.
        Raises UsageError, SchemaRefused, ContextOverflow.
        """
        if schema is not None and grammar is not None:
            raise UsageError("give a schema or a grammar, not both")
        if stop and (schema is not None or grammar is not None):
            raise UsageError("stop texts end free answers only: a grammar knows its own end")
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}, and at least 1 is needed")
        source = None
        if schema is not None:
            source = schema_grammar(schema)
        elif grammar is not None:
            source = lark_grammar(grammar)
        prompt = self.prompt_tokens(messages)
        generation = await self._submit(
            lambda call: self._engine.generate(
                prompt, call, grammar=source, max_tokens=max_tokens, stop=[s for s in stop if s]
            )
        )
        if schema is not None and generation.finish == "stop":
            check_output(schema, generation.text)
        return generation

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """Which option answers ``messages`` best: one probability for each option.

        The prompt is decoded once, and all options behind it in one batch. An option is scored
        as the whole answer, with the token that ends it: so ``/usr`` does not profit from
        being how ``/usr/share`` begins. Raises UsageError on no options or an empty one,
        ContextOverflow.
        """
        tokens = [self._context.tokenize(option, special=False) for option in options]
        if not tokens or not all(tokens):
            raise UsageError("there is no option to choose, or an empty one")
        prompt = self.prompt_tokens(messages)
        whole = [[*option, self._context.end_of_turn] for option in tokens]
        return await self._submit(lambda call: self._engine.choose(prompt, whole, options, call))

    def count_tokens(self, text: str) -> int:
        """Number of tokens of ``text`` in this model's tokenizer."""
        return len(self._context.tokenize(text, special=False))

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that ``messages`` make, by the model's own chat template."""
        context = self._context
        tokens = self._template.tokens(
            messages, lambda text, special: context.tokenize(text, special=special)
        )
        if context.adds_bos and tokens[:1] != [context.bos]:
            tokens.insert(0, context.bos)
        return tokens

    def close(self) -> None:
        """Drop what is running, fail what waits, free the memory. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._current is not None:
                self._current.dropped.set()
            self._jobs.put(None)
        self._thread.join()
        self._context.close()
        atexit.unregister(self.close)

    async def _submit(self, work: Callable[[Call], T]) -> T:
        job = _Job(work)
        with self._lock:
            if self._closed:
                raise ToolFailed(f"the model {self.name} was closed")
            self._jobs.put(job)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.dropped.set()
            raise

    def _serve(self) -> None:
        self._engine = Engine(self._context, limit=self.n_ctx, model=self.model)
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._current = job
                if self._closed:
                    job.dropped.set()
            job.run()
            with self._lock:
                self._current = None


def _cell_bytes(header: Header) -> int:
    """Bytes of KV cache for one token, as 16-bit floats. An estimate from the header."""
    architecture = header.architecture
    layers = header.integer(f"{architecture}.block_count") or 1
    width = header.integer(f"{architecture}.embedding_length") or 1
    heads = header.integer(f"{architecture}.attention.head_count") or 1
    kv_heads = header.integer(f"{architecture}.attention.head_count_kv") or heads
    head_width = header.integer(f"{architecture}.attention.key_length") or width // heads
    return 2 * 2 * layers * kv_heads * head_width
