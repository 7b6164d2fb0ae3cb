"""What a decoded prefix saves: typed choice behind it, and the first token.

``choose_ratio``: eight options behind an unseen prompt of 300 tokens, as wall time, by the
prefill alone of another unseen one. ``choose_cached_ms``: the median where the prompt was seen.
``warm_first_token_ratio``: the wall time to a first token with 300 tokens decoded before and 20
new, by that with all 320 new.
"""

from __future__ import annotations

import time
from typing import Any

from models.base import Message
from tests.bench.engine_run import Run, ms, note, prompt_of, ratio

PREFIX_TOKENS = 300
NEW_TOKENS = 20
OPTIONS = (
    *("open the file", "save the document", "search the web", "send a message"),
    *("set a timer", "list the files", "close the window", "ask the user"),
)
ASK = "What is the next step?"


async def measure(run: Run) -> dict[str, Any]:
    return {**await _choose(run), **await _first_token(run)}


async def _choose(run: Run) -> dict[str, Any]:
    prefill, unseen, cached, new_request = [], [], [], []
    tokens: set[int] = set()
    for number in range(run.times(25, 6)):
        seed = 10_000 + 10 * number
        alone = await run.generator.generate(prompt_of(run, PREFIX_TOKENS, seed, ASK), max_tokens=1)
        messages = prompt_of(run, PREFIX_TOKENS, seed + 1, ASK)
        whole, choice = await _timed_choose(run, messages)
        again, second = await _timed_choose(run, messages)
        other, _ = await _timed_choose(
            run, [messages[0], {"role": "user", "content": f"And after step {number}?"}]
        )
        # Both prompts begin alike in the chat template alone; anything more would be cached.
        assert max(alone.usage.tokens_cached, choice.tokens_cached) < 16
        assert second.tokens_cached == second.tokens_in - 1
        tokens |= {alone.usage.tokens_in, choice.tokens_in}
        prefill.append(alone.usage.prefill_ms)
        unseen.append(whole)
        cached.append(again)
        new_request.append(other)
    note(f"  choose {ms(unseen)} ms, prefill {ms(prefill)}, cached {ms(cached)}")
    return {
        "choose_ratio": ratio(ms(unseen), ms(prefill)),
        "choose_cached_ms": ms(cached),
        "choose": {
            "unseen_ms": ms(unseen),
            "prefill_ms": ms(prefill),
            "new_request_ms": ms(new_request),
            "prompt_tokens": sorted(tokens),
            "calls": len(unseen),
        },
    }


async def _timed_choose(run: Run, messages: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    choice = await run.generator.choose(messages, OPTIONS)
    return (time.perf_counter() - begun) * 1000, choice.usage


async def _first_token(run: Run) -> dict[str, Any]:
    warm, cold, new = [], [], []
    for number in range(run.times(25, 6)):
        seed = 20_000 + 10 * number
        head = prompt_of(run, PREFIX_TOKENS, seed, "")[0]
        ask = _request(run, head, seed)
        await run.generator.generate([head, {"role": "user", "content": ASK}], max_tokens=1)
        took, usage = await _timed_first(run, [head, ask])
        warm.append(took)
        new.append(usage.tokens_in - usage.tokens_cached)
        other = prompt_of(run, usage.tokens_in, seed + 1, ask["content"])
        took, usage = await _timed_first(run, other)
        assert usage.tokens_cached < 16
        cold.append(took)
    note(f"  first token warm {ms(warm)} ms, cold {ms(cold)}")
    return {
        "warm_first_token_ratio": ratio(ms(warm), ms(cold)),
        "first_token": {
            "warm_ms": ms(warm),
            "cold_ms": ms(cold),
            "new_tokens": ms(new),
            "calls": len(warm),
        },
    }


def _request(run: Run, head: Message, seed: int) -> Message:
    """A request that adds NEW_TOKENS to the prompt, the tokens of the template around it too."""
    from tests.bench.engine_run import words

    bare = len(run.generator.prompt_tokens([head]))
    count = 1
    while True:
        message = {"role": "user", "content": words(count, seed + 2)}
        if len(run.generator.prompt_tokens([head, message])) - bare >= NEW_TOKENS:
            return message
        count += 1


async def _timed_first(run: Run, messages: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    got = await run.generator.generate(messages, max_tokens=1)
    return (time.perf_counter() - begun) * 1000, got.usage
