"""How fast does the encoder serve, alone, shared, and beside a language model that decodes?

``python -m tests.bench.encoder``: progress on standard error, one JSON line last on standard
output. ``--model`` and ``--tokenizer`` take another encoder, ``--gguf`` another language model,
``--no-llama`` leaves that part out.

Measures, as medians of interleaved rounds: ms for one short text, texts/s in one call, texts/s
of 4 callers with one text at a time against one such caller (``merge_gain``), what a text shifts
by with its neighbours in the bare graph and through the engine, and llama.cpp's decoding beside
an encoder that never rests, by threads and spinning of ONNX Runtime. No quality of embeddings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from models.llama import LlamaGenerator
from models.onnx import MAX_TOKENS, OnnxEncoder
from models.onnx_session import OnnxSession
from models.onnx_tokens import Row, TextTokenizer, padded
from models.store import Store

CALLERS = 4
TEXTS_A_CALLER = 16
DECODED_TOKENS = 48
GROUPS = (2, 4, 8, 32)

SHORT = (
    "find the largest files",
    "delete report.pdf",
    "what is the weather in Lisbon tomorrow",
    "set a timer for ten minutes",
    "send Maria a message that I am late",
    "open the settings window and turn on dark mode",
    "how many lines has main.py",
    "translate good morning into Spanish",
)
STORY = [{"role": "user", "content": "Write a long story about a river and the town beside it."}]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def speed(encoder: OnnxEncoder, rounds: int) -> dict[str, float]:
    """One short text, many in one call, and callers side by side, in turn."""
    many = list(SHORT) * (CALLERS * TEXTS_A_CALLER // len(SHORT))

    def caller(number: int = 0) -> None:
        for index in range(TEXTS_A_CALLER):
            encoder.embed([SHORT[(number + index) % len(SHORT)]])

    times: dict[str, list[float]] = {"one": [], "batch": [], "caller": [], "callers": []}
    with ThreadPoolExecutor(CALLERS) as threads:
        for number in range(rounds):
            times["one"] += [ms(lambda t=text: encoder.embed([t])) for text in SHORT]  # type: ignore[misc]
            times["batch"].append(ms(lambda: encoder.embed(many)))
            times["caller"].append(ms(caller))
            times["callers"].append(ms(lambda: list(threads.map(caller, range(CALLERS)))))
            say(f"speed: round {number + 1} of {rounds}")
    one = 1000 * TEXTS_A_CALLER / median(times["caller"])
    several = 1000 * TEXTS_A_CALLER * CALLERS / median(times["callers"])
    return {
        "one_short_text_ms": round(median(times["one"]), 2),
        "batched_texts_per_s": round(1000 * len(many) / median(times["batch"]), 1),
        "one_caller_texts_per_s": round(one, 1),
        "four_callers_texts_per_s": round(several, 1),
        "merge_gain": round(several / one, 2),
    }


def shift(encoder: OnnxEncoder, model: Path, tokenizer: Path) -> dict[str, float]:
    """The most that a text's embedding moves with its neighbours: bare graph, and engine."""
    texts = [
        " ".join(SHORT[(n + k) % len(SHORT)] for k in range(1 + n % 7)) + f" {n}" for n in range(64)
    ]
    rows = TextTokenizer(tokenizer, MAX_TOKENS).rows(texts)
    session = OnnxSession(model)
    output = next(name for name, shape in session.outputs.items() if len(shape) == 3)

    def bare(group: list[Row]) -> Any:
        feed = padded(group, session.width or max(map(len, group)), 0)
        mask = feed["attention_mask"][:, :, None]
        pooled = (session.run(feed, output) * mask).sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def moved(alone: Any, of: Callable[[int, int], Any]) -> tuple[float, float]:
        groups = [
            np.concatenate([of(at, at + size) for at in range(0, len(texts), size)])
            for size in GROUPS
        ]
        return (
            max(float(np.abs(group - alone).max()) for group in groups),
            min(float((group * alone).sum(1).min()) for group in groups),
        )

    one_row = np.concatenate([bare([row]) for row in rows])
    graph = moved(one_row, lambda a, b: bare(rows[a:b]))
    own = moved(
        np.concatenate([encoder.embed([text]) for text in texts]),
        lambda a, b: encoder.embed(texts[a:b]),
    )
    session.close()
    say("shift: done")
    return {
        "graph_max_shift": round(graph[0], 6),
        "graph_min_cosine": round(graph[1], 6),
        "engine_max_shift": round(own[0], 9),
        "engine_min_cosine": round(own[1], 6),
    }


def bare_run(model: Path, tokenizer: Path, threads: int, *, spin: bool) -> Callable[[], object]:
    """Runs of one short text in a session of its own."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    feed = padded(TextTokenizer(tokenizer, MAX_TOKENS).rows([SHORT[2]]), 9, 0)
    asked = {i.name for i in session.get_inputs()}
    feed = {name: array for name, array in feed.items() if name in asked}
    return lambda: session.run(None, feed)


@contextmanager
def never_resting(run: Callable[[], object], taken: list[float]) -> Iterator[None]:
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            taken.append(ms(run))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def beside_llama(model: Path, tokenizer: Path, gguf: Path, rounds: int) -> dict[str, Any]:
    """Tokens/s of decoding alone and beside each kind of session, and ms of its runs."""
    generator = LlamaGenerator(gguf)

    def decode() -> float:
        usage = asyncio.run(generator.generate(STORY, max_tokens=DECODED_TOKENS)).usage
        return 1000 * usage.tokens_out / usage.decode_ms

    kinds = {
        f"{threads} threads, {'spinning' if spin else 'asleep'}": bare_run(
            model, tokenizer, threads, spin=spin
        )
        for threads in (1, 2)
        for spin in (False, True)
    }
    alone: list[float] = []
    decoding: dict[str, list[float]] = {kind: [] for kind in kinds}
    encoding: dict[str, list[float]] = {kind: [] for kind in kinds}
    try:
        decode()
        for number in range(rounds):
            alone.append(decode())
            for kind, run in kinds.items():
                with never_resting(run, encoding[kind]):
                    decoding[kind].append(decode())
            say(f"beside llama.cpp: round {number + 1} of {rounds}")
    finally:
        generator.close()
    return {
        "llama_alone_tokens_per_s": round(median(alone), 1),
        "llama_beside": {
            kind: {
                "tokens_per_s": round(median(decoding[kind]), 1),
                "slowdown": round(median(alone) / median(decoding[kind]), 2),
                "encoder_ms": round(median(encoding[kind]), 1),
            }
            for kind in kinds
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="an ONNX file; the default encoder's")
    parser.add_argument("--tokenizer", type=Path, help="its tokenizer.json")
    parser.add_argument("--gguf", type=Path, help="the model that decodes; the default one")
    parser.add_argument("--threads", type=int, help="of one run; by default what the engine takes")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-llama", action="store_true", help="leave the language model out")
    arguments = parser.parse_args()
    store = Store()
    model = arguments.model or store.file("minilm-l6", "model")
    tokenizer = arguments.tokenizer or store.file("minilm-l6", "tokenizer")

    encoder = OnnxEncoder(model, tokenizer, arguments.threads)
    result: dict[str, Any] = {
        "bench": "encoder",
        "provider": encoder.provider,
        "provider_reason": encoder.provider_reason,
        "batches": encoder.batches_reason,
        **speed(encoder, arguments.rounds),
        **shift(encoder, model, tokenizer),
    }
    encoder.close()
    if not arguments.no_llama:
        gguf = arguments.gguf or store.file("smollm2-135m", "model")
        result |= beside_llama(model, tokenizer, gguf, arguments.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
