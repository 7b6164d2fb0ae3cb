"""GGUF models on llama.cpp, as a Generator.

One engine thread owns the context and decodes the calls of all callers together; callers await
futures. A cancelled call frees its place at the next token.
"""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from models.adapters import Adapter, read_adapter
from models.base import Choice, Generation, Message, Token
from models.chat import CHATML, ChatTemplate
from models.choices import temperature_for
from models.choosing import GROUP_TOKENS, Options
from models.counters import Counters
from models.decoding import Answer, Decoding
from models.digest import file_digest, stamp
from models.drafts import Drafter, Habits, schema_keys
from models.engine import Engine, Job
from models.errors import ModelCorrupt, UsageError
from models.feed import Progress
from models.footprint import KV_TYPES, KvType, kv_bytes_per_token
from models.gguf import read_header
from models.grammar import (
    Constraint,
    Grammars,
    check_output,
    cut_values,
    lark_grammar,
    regex_grammar,
    schema_grammar,
)
from models.kv_files import SavedPrefixes
from models.llama_context import LlamaContext, Placement, default_threads
from models.loops import LoopBreaker
from models.placement import place
from models.prefix_cache import Entry
from models.sampling import MOST_ALTERNATIVES, Sampler, Sampling

CONTEXT_TOKENS = 4096
CACHE_TOKENS = 1024
"""KV cache beyond one full context, for the heads of other prompts."""
CACHE_BYTES = 256 << 20
"""Decoded prompts parked in memory."""
SAVED_BYTES = 512 << 20
"""Decoded prompts on disk, where a folder is given for them."""
TEXTS = 256
"""Texts of messages whose tokens are kept."""
LONG_CHARS = 8_000
"""A prompt that is longer is read beside the event loop."""
PARALLEL_CALLS = 8
QUEUE_CAP = 64

T = TypeVar("T")


class LlamaGenerator:
    """A language model in one GGUF file.

    ``n_ctx``: tokens of one call, prompt and answer. ``kv_type``: what the KV cache holds its
    numbers in (f16, q8_0, q4_0). ``cache_bytes``: memory for decoded prompts beyond the KV cache;
    ``cache_folder``: where they are saved at the end, so that a restart is warm. ``parallel``:
    calls that are decoded together; ``queue_cap``: calls that may wait. ``placement``: the device
    that it runs on, and why; measured now, for ``n_gpu_layers`` layers, where none is given.
    Raises ModelMissing, ModelCorrupt (our header reader or llama.cpp refuses the file) and
    StorageFailed (no memory for its context).
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int = CONTEXT_TOKENS,
        n_threads: int | None = None,
        n_gpu_layers: int | Literal["auto"] = "auto",
        placement: Placement | None = None,
        name: str | None = None,
        kv_type: KvType = "f16",
        cache_bytes: int = CACHE_BYTES,
        cache_folder: Path | None = None,
        parallel: int = PARALLEL_CALLS,
        queue_cap: int = QUEUE_CAP,
        decoding: Decoding | None = None,
    ) -> None:
        if kv_type not in KV_TYPES:
            raise UsageError(f"kv_type is {kv_type!r}; choose one of {', '.join(KV_TYPES)}")
        self._stamp = stamp(path)
        self.header = read_header(path)
        self.model = file_digest(path)
        self.name = name or path.stem.lower()
        self.n_ctx = min(n_ctx, self.header.context_length or n_ctx)
        self.threads = n_threads or default_threads()
        self.kv_type = kv_type
        self._decoding = decoding or Decoding()
        cells = self.n_ctx + CACHE_TOKENS
        if placement is None:
            placement = place(
                self.header,
                cells=cells,
                kv_types=(kv_type,),
                cache_bytes=cache_bytes,
                gpu_layers=n_gpu_layers,
            ).placement
        self.placement = placement
        self._context = context = LlamaContext(
            self.header,
            cells=cells,
            threads=self.threads,
            placement=placement,
            kv_type=kv_type,
        )
        try:
            self._check_unchanged()
            self._template = ChatTemplate(
                self.header.chat_template or CHATML,
                bos=context.special_text(context.bos),
                eos=context.special_text(context.eos),
            )
        except BaseException:
            context.close()
            raise
        # Calls share most of their messages with calls before them.
        self._tokenize = lru_cache(TEXTS)(
            lambda text, special: context.tokenize(text, special=special)
        )
        self._engine = Engine(
            context,
            name=self.name,
            limit=self.n_ctx,
            parallel=parallel,
            queue_cap=queue_cap,
            cache_bytes=cache_bytes,
        )
        self._saved: dict[str | None, SavedPrefixes] = {}
        self._cache_folder = cache_folder
        self._engine.opened = self._warm
        self._grammars: Grammars | None = None
        self._habits: Habits = {}
        self._compiling = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"llama {self.name}", daemon=True)
        self._thread.start()
        # A daemon thread must not be inside llama.cpp when the interpreter goes away.
        atexit.register(self.close)

    @property
    def busy(self) -> int:
        """Calls that run or wait."""
        return self._engine.busy

    @property
    def running(self) -> int:
        """Calls that have a place in the KV cache."""
        return self._engine.running

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._engine.waiting

    @property
    def counters(self) -> Counters:
        """Calls and tokens since the model was loaded, and what runs and waits now."""
        return self._engine.counters

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights, the KV cache and the prompts parked beside it."""
        cache = self._context.cells * kv_bytes_per_token(self.header, self.kv_type)
        return self.header.bytes + cache + self._engine.cache.parked_bytes

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        regex: str | None = None,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        adapter: Path | None = None,
        deadline_s: float | None = None,
        decoding: Decoding | None = None,
        sampling: Sampling | None = None,
        top_logprobs: int = 0,
        on_tokens: Callable[[Sequence[Token]], None] | None = None,
    ) -> Generation:
        """An answer to ``messages``, decoded greedily unless ``sampling`` says otherwise.

        ``schema``: a JSON Schema that the answer is forced to meet, as compact JSON.
        ``grammar``: a grammar in Lark, llguidance's dialect, or in GBNF. ``regex``: what the whole
        answer matches. Where ``max_tokens`` runs out first, or a string meets the length that it
        was given for want of one in its schema, ``finish`` is ``length`` and the text is cut.
        ``stop``: texts that end a free answer; they are not part of it. ``adapter``: a LoRA
        adapter in GGUF. ``deadline_s``: seconds until DeadlineMissed. ``top_logprobs``: how many
        alternatives each token gets, from 0 to 20.

        ``on_tokens`` is given the tokens as they are written, in order and each once, those of
        stop texts among them: ``models/streaming.py`` makes text of their pieces. It is called in
        the engine's thread, so all calls wait for it: it should hand over, and return. What it
        raises ends this call alone, and is raised here. The last tokens are given before this
        returns; after a cancel it may be called once more. Where the answer is refused or late at
        its end, its tokens were given all the same.

        Raises UsageError, SchemaRefused, ContextOverflow, Overloaded, DeadlineMissed, ModelCorrupt.
        """
        if sum(x is not None for x in (schema, grammar, regex)) > 1:
            raise UsageError("give one of a schema, a grammar and a regex")
        constrained = schema is not None or grammar is not None or regex is not None
        if stop and constrained:
            raise UsageError("stop texts end free answers only: a grammar knows its own end")
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}, and at least 1 is needed")
        if not 0 <= top_logprobs <= MOST_ALTERNATIVES:
            raise UsageError(
                f"top_logprobs is {top_logprobs}, and has to be from 0 to {MOST_ALTERNATIVES}"
            )
        source = None
        if schema is not None:
            source = schema_grammar(schema)
        elif grammar is not None:
            source = lark_grammar(grammar)
        elif regex is not None:
            source = regex_grammar(regex)
        prompt, head = await self._prepared(messages)
        self._engine.check_fits(len(prompt), 1)
        begun = time.perf_counter()
        constraint = await self._constraint(source) if source is not None else None
        compile_ms = (time.perf_counter() - begun) * 1000
        how = decoding or self._decoding
        drafter = None
        if how.draft_tokens:
            drafter = Drafter(
                messages[-1]["content"],
                self._context,
                self._habits,
                schema_keys(schema) if schema is not None else (),
            )
        more = min(max_tokens, self.n_ctx - len(prompt))
        lora = self._adapter(adapter)
        sampler = None if sampling is None or sampling.greedy else Sampler(sampling)

        def start(entry: Entry, progress: Progress) -> Any:
            progress.clock.mask_ms += compile_ms
            return Answer(
                self._context,
                self.model,
                entry.adapter,
                prompt,
                entry.cells,
                entry.length,
                more,
                [s for s in stop if s],
                constraint,
                drafter,
                how,
                progress,
                LoopBreaker(messages[-1]["content"], self._context.piece) if schema else None,
                sampler,
                top_logprobs,
                on_tokens,
            ).decode()

        generation: Generation = await self._submit(
            Job(
                prompt,
                more + how.draft_tokens,
                start,
                lora,
                _deadline(deadline_s),
                head,
            )
        )
        if schema is not None and generation.finish == "stop":
            check_output(schema, generation.text)
            if cut_values(schema, json.loads(generation.text)):
                return dataclasses.replace(generation, finish="length")
        return generation

    async def choose(
        self,
        messages: Sequence[Message],
        options: Sequence[str],
        *,
        adapter: Path | None = None,
        deadline_s: float | None = None,
        temperature: float | None = None,
    ) -> Choice:
        """Which option answers ``messages`` best: one probability for each option.

        The prompt is decoded once, and all options behind it in one batch. An option is scored
        as the whole answer, with the token that ends it: so ``/usr`` does not profit from
        being how ``/usr/share`` begins. ``temperature`` divides the scores; without one, it is
        what was fitted for this model file, else 1. Raises UsageError on no options or an empty
        one, and what ``generate`` raises.
        """
        if temperature is not None and not temperature > 0:
            raise UsageError(f"temperature is {temperature}, and more than 0 is needed")
        tokens = [self._context.tokenize(option, special=False) for option in options]
        if not tokens or not all(tokens):
            raise UsageError("there is no option to choose, or an empty one")
        prompt, head = self._prompt(messages)
        whole = [[*option, self._context.end_of_turn] for option in tokens]
        longest = max(map(len, whole))
        self._engine.check_fits(len(prompt), longest)
        lora = self._adapter(adapter)
        engine, context = self._engine, self._context

        def start(entry: Entry, progress: Progress) -> Any:
            return Options(
                self.model,
                entry.adapter,
                prompt,
                entry.cells,
                entry.length,
                whole,
                options,
                temperature or temperature_for(self.model) or 1.0,
                progress,
                engine.cache.acquire,
                engine.cache.release,
                context.fork,
            ).decode()

        # A batch of options may be longer than one answer is: it holds them all.
        more = min(sum(map(len, whole)), GROUP_TOKENS)
        job: Job[Choice] = Job(prompt, more, start, lora, _deadline(deadline_s), head)
        return await self._submit(job)

    def count_tokens(self, text: str) -> int:
        """Number of tokens of ``text`` in this model's tokenizer."""
        return len(self._context.tokenize(text, special=False))

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that ``messages`` make, by the model's own chat template."""
        return self._prompt(messages)[0]

    async def _prepared(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """As ``_prompt``; a long one in another thread: a million characters take 250 ms."""
        if sum(len(m["content"]) for m in messages) < LONG_CHARS:
            return self._prompt(messages)
        return await asyncio.to_thread(self._prompt, messages)

    def _prompt(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """The prompt, and how many of its tokens are worth keeping on disk: those before its last
        message, instructions and examples. None are where no folder is given."""
        context = self._context
        tokens, head = self._template.tokens(messages, self._tokenize)
        if context.adds_bos and tokens[:1] != [context.bos]:
            tokens.insert(0, context.bos)
            head += 1
        return tokens, head if self._cache_folder is not None else 0

    def close(self) -> None:
        """Drop what is running, fail what waits, save the prefixes, free the memory. Safe to
        call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._engine.close()
        self._thread.join()
        self._context.close()
        atexit.unregister(self.close)

    async def _constraint(self, source: str) -> Constraint:
        """Compiled in another thread where it is new: that may take a second, and calls go on."""

        def compiled() -> Constraint:
            with self._compiling:
                if self._grammars is None:
                    self._grammars = Grammars(self._context, self.model)
                return self._grammars.start(source)

        if self._grammars is not None and self._grammars.has(source):
            return compiled()

        return await asyncio.to_thread(compiled)

    async def _submit(self, job: Job[T]) -> T:
        self._check_unchanged()
        self._engine.submit(job)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.dropped.set()
            raise

    def _adapter(self, path: Path | None) -> Adapter | None:
        return None if path is None else read_adapter(path, self.header)

    def _check_unchanged(self) -> None:
        if stamp(self.header.path) != self._stamp:
            raise ModelCorrupt(
                f"{self.header.path} changed on disk after it was loaded, so its digest no "
                "longer says what answers",
                hint="load the model again",
            )

    def _serve(self) -> None:
        self._warm(None)
        self._engine.serve()
        for adapter, files in self._saved.items():
            self._engine.cache.save(files, adapter)

    def _warm(self, adapter: str | None) -> None:
        """Make the prefixes known that an earlier process saved."""
        if self._cache_folder is None:
            return
        key = f"{self.model} {adapter} {self.kv_type} {self._context.state_format}"
        files = SavedPrefixes(self._cache_folder, key, max_bytes=SAVED_BYTES)
        self._saved[adapter] = files
        self._engine.cache.remember(files, adapter)


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
