"""The pool: each model loaded once, let go when idle or in the way, and loaded again."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from models import placement
from models.errors import ModelCorrupt, ModelMissing, StorageFailed, ToolFailed, UsageError
from models.pool import Pool
from models.residency import PoolEvent
from models.store import Store

ASK = [{"role": "user", "content": "Say a word."}]
MIB = 2**20
GIB = 2**30


@dataclass
class Machine:
    """A clock that tests move, and a memory that loaded models take from."""

    seconds: float = 0.0
    total: int = 8 * GIB
    events: list[PoolEvent] = field(default_factory=list)
    pool: Pool | None = None

    def now(self) -> float:
        return self.seconds

    def free(self) -> int:
        assert self.pool is not None
        return self.total - sum(r.bytes for r in self.pool.status())

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.what, Path(event.model).name) for event in self.events]


Open = Callable[..., tuple[Pool, Machine]]


@pytest.fixture
def opened(store: Store) -> Iterator[Open]:
    """Makes pools that check nothing by themselves."""
    made: list[Pool] = []

    def open_(files: Any = store, **options: Any) -> tuple[Pool, Machine]:
        machine = Machine()
        options = {"idle_s": 60.0, "min_free_bytes": 0, "check_s": 0.0} | options
        pool = Pool(
            files,
            now=machine.now,
            free_bytes=machine.free,
            on_event=machine.events.append,
            **options,
        )
        machine.pool = pool
        made.append(pool)
        return pool, machine

    yield open_
    for pool in made:
        pool.close()


@pytest.fixture
def copies(gguf: Path, tmp_path: Path) -> list[str]:
    """Three files of the same model, under other names."""
    paths = [tmp_path / f"{letter}.gguf" for letter in "abc"]
    for path in paths:
        path.symlink_to(gguf)
    return [str(path) for path in paths]


# ---- loading


async def test_a_model_is_loaded_once_and_closed_with_the_pool(opened: Open) -> None:
    pool, machine = opened()
    generator = pool.generator()
    assert pool.generator("smollm2-135m") is generator
    assert pool.encoder() is pool.encoder()
    assert machine.told == [("loaded", "smollm2-135m"), ("loaded", "minilm-l6")]
    pool.close()
    with pytest.raises(ToolFailed, match="closed"):
        generator.count_tokens("x")
    with pytest.raises(ToolFailed, match="closed"):
        await generator.generate(ASK, max_tokens=1)
    again = pool.generator()
    assert again is not generator
    assert again.count_tokens("hello") == 1


def test_a_path_is_loaded_as_it_is(pool: Pool, gguf: Path) -> None:
    own = pool.generator(str(gguf))
    assert own.model == pool.generator().model
    with pytest.raises(ModelMissing, match=r"none\.gguf"):
        pool.generator("none.gguf")


def test_a_model_is_put_where_the_pool_planned_and_the_gpu_is_asked_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def no_gpu() -> int:
        asked.append("the GPU")
        return 0

    monkeypatch.setattr(placement, "free_gpu_memory", no_gpu)
    pool, _ = opened()
    with pool.generator().loaded() as generator:
        assert generator.placement.reason == pool.status()[0].reason
    assert asked == ["the GPU"]


def test_what_was_not_pulled_or_does_not_exist_is_named(tmp_path: Path) -> None:
    pool = Pool(Store(tmp_path))
    with pytest.raises(ModelMissing, match="smollm2-135m"):
        pool.generator()
    with pytest.raises(ModelMissing, match="minilm-l6"):
        pool.encoder()
    with pytest.raises(UsageError):
        pool.generator("no-such-model")
    assert pool.status() == []


def test_threads_that_ask_at_once_share_one_load(opened: Open) -> None:
    pool, machine = opened()
    ready = threading.Barrier(6)

    def ask(_: int) -> str:
        ready.wait()
        return pool.generator().model

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(ask, range(6)))) == 1
    assert machine.told == [("loaded", "smollm2-135m")]


async def test_callers_that_need_it_again_share_one_load_and_the_loop_goes_on(
    opened: Open,
) -> None:
    pool, machine = opened()
    generator = pool.generator()
    unload_idle(pool, machine)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    given_up = asyncio.create_task(generator.generate(ASK, max_tokens=1))
    waiting = [asyncio.create_task(generator.generate(ASK, max_tokens=1)) for _ in range(3)]
    await asyncio.sleep(0)
    given_up.cancel()
    answers = await asyncio.gather(*waiting)
    counting.cancel()
    assert {a.model for a in answers} == {generator.model}
    assert given_up.cancelled() and turns > 10
    assert machine.told[2:] == [("loaded", "smollm2-135m")]
    assert [r.busy for r in pool.status()] == [0], "a caller that gave up holds nothing"


# ---- letting go


def unload_idle(pool: Pool, machine: Machine) -> None:
    machine.seconds += 61
    pool.check()
    assert pool.status() == []


async def test_an_idle_model_is_let_go_and_loaded_again_at_its_next_call(opened: Open) -> None:
    pool, machine = opened()
    generator, encoder = pool.generator(), pool.encoder()
    before = await generator.generate(ASK, max_tokens=4)
    machine.seconds += 59
    pool.check()
    assert len(pool.status()) == 2
    machine.seconds += 2
    pool.check()
    assert pool.status() == []
    assert sorted(machine.told[2:]) == [("unloaded", "minilm-l6"), ("unloaded", "smollm2-135m")]
    assert "idle for 61 s" in machine.events[-1].reason
    again = await generator.generate(ASK, max_tokens=4)
    assert (again.text, again.model) == (before.text, before.model)
    assert encoder.embed(["a"]).shape == (1, encoder.dimension)
    assert len(pool.status()) == 2


async def test_a_busy_model_is_never_let_go(opened: Open) -> None:
    pool, machine = opened()
    generator = pool.generator()
    async with generator.opened() as held:
        machine.seconds += 1000
        machine.total = 0
        pool.check()
        (state,) = pool.status()
        assert (state.busy, state.idle_s) == (1, 0.0)
        assert held.count_tokens("hello") == 1
    (state,) = pool.status()
    assert (state.busy, state.idle_s) == (0, 0.0), "its time begins when the call ends"
    machine.total = 8 * GIB
    machine.seconds += 61
    pool.check()
    assert pool.status() == []


def test_pressure_unloads_the_least_recently_used_and_no_more_than_needed(
    opened: Open, copies: list[str]
) -> None:
    pool, machine = opened(idle_s=1e9)
    a, b, c = (pool.generator(path) for path in copies)
    for generator in (b, c, a):
        machine.seconds += 1
        generator.count_tokens("x")
    used = sum(r.bytes for r in pool.status())
    pool._min_free_bytes = 100 * MIB
    machine.total = used + 99 * MIB
    pool.check()
    assert machine.told[3:] == [("unloaded", "b.gguf")]
    assert "99 MiB of memory are free, and 100 are kept" in machine.events[-1].reason
    machine.total = used - machine.events[-1].bytes + 99 * MIB
    pool.check()
    assert machine.told[4:] == [("unloaded", "c.gguf")]


def test_an_idle_model_makes_room_for_another(opened: Open, copies: list[str]) -> None:
    pool, machine = opened()
    first = pool.generator(copies[0])
    size = pool.status()[0].bytes
    machine.total = 2 * size + 10 * MIB
    machine.seconds += 1
    pool.generator(copies[1])
    machine.seconds += 1
    pool.generator(copies[2])
    assert machine.told == [
        ("loaded", "a.gguf"),
        ("loaded", "b.gguf"),
        ("unloaded", "a.gguf"),
        ("loaded", "c.gguf"),
    ]
    assert "c.gguf needs its memory" in machine.events[2].reason
    assert f"{(size + 10 * MIB) / MIB:,.0f} MiB free" in machine.events[3].reason, "weighed again"
    machine.seconds += 1
    assert first.count_tokens("hello") == 1
    assert [Path(r.name).name for r in pool.status()] == ["a.gguf", "c.gguf"]


def test_a_model_too_large_is_refused_with_both_numbers_and_the_others_go_on(
    opened: Open, copies: list[str]
) -> None:
    pool, machine = opened()
    first = pool.generator(copies[0])
    machine.total = 150 * MIB + pool.status()[0].bytes
    pool._min_free_bytes = 100 * MIB
    with first.loaded(), pytest.raises(StorageFailed) as caught:
        pool.generator(copies[1])
    assert "b.gguf needs" in caught.value.message and "50 MiB are free" in caught.value.message
    assert "100 MiB are kept for other programs" in caught.value.message
    assert machine.told == [("loaded", "a.gguf"), ("refused", "b.gguf")]
    assert first.count_tokens("hello") == 1
    machine.total = 8 * GIB
    assert pool.generator(copies[1]).count_tokens("hello") == 1


def test_nothing_is_unloaded_for_a_model_that_would_not_fit_anyway(
    opened: Open, copies: list[str]
) -> None:
    pool, machine = opened(kv_types=["f16"])
    pool.generator(copies[0])
    machine.total = pool.status()[0].bytes - MIB
    with pytest.raises(StorageFailed):
        pool.generator(copies[1])
    assert [Path(r.name).name for r in pool.status()] == ["a.gguf"]


def test_a_model_that_is_let_go_gives_its_memory_back_to_the_system(opened: Open) -> None:
    pool, machine = opened()
    pool.encoder()
    unload_idle(pool, machine)  # once, for what the library itself keeps
    before = psutil.Process().memory_info().rss
    pool.encoder().embed(["a"])
    taken = psutil.Process().memory_info().rss - before
    unload_idle(pool, machine)
    kept = psutil.Process().memory_info().rss - before
    assert taken > 50 * MIB and kept < taken / 3


# ---- files that change


async def test_a_file_that_changed_on_disk_is_loaded_anew_and_said(
    opened: Open, store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copy(store.file("smollm2-135m", "model"), mine)
    pool, machine = opened()
    generator = pool.generator(str(mine))
    old = generator.model
    other = tmp_path / "other.gguf"
    shutil.copy(store.root / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf", other)
    async with generator.opened() as held:
        other.replace(mine)
        answer = await generator.generate(ASK, max_tokens=2)
        assert held.count_tokens("hello") == 1, "who still uses the former model may go on"
    assert answer.model == generator.model != old
    assert machine.told[1:] == [("unloaded", "mine.gguf"), ("loaded", "mine.gguf")]
    assert "changed on disk" in machine.events[1].reason
    assert answer.model[:19] in machine.events[2].reason and old[:19] in machine.events[2].reason


async def test_a_file_that_is_gone_or_damaged_is_an_error_until_it_is_back(
    opened: Open, gguf: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copy(gguf, mine)
    pool, machine = opened()
    generator = pool.generator(str(mine))
    mine.unlink()
    with pytest.raises(ModelMissing, match=r"mine\.gguf"):
        await generator.generate(ASK, max_tokens=1)
    mine.write_bytes(b"GGUF and nothing more")
    with pytest.raises(ModelCorrupt, match=r"mine\.gguf"):
        await generator.generate(ASK, max_tokens=1)
    shutil.copy(gguf, mine)
    assert (await generator.generate(ASK, max_tokens=1)).tokens
    assert [what for what, _ in machine.told] == [
        "loaded", "unloaded", "refused", "refused", "loaded",
    ]  # fmt: skip


@dataclass
class Folder:
    """Files of a test's own."""

    files: dict[tuple[str, str], Path]

    def file(self, entry: str, role: str) -> Path:
        return self.files[entry, role]


def test_another_encoder_than_the_one_that_heads_were_fitted_on_is_refused(
    opened: Open, store: Store, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    whole = store.file("minilm-l6", "model").read_bytes()
    model.write_bytes(whole)
    tokenizer = store.file("minilm-l6", "tokenizer")
    files = Folder({("minilm-l6", "model"): model, ("minilm-l6", "tokenizer"): tokenizer})
    pool, machine = opened(files)
    encoder = pool.encoder()
    before = encoder.embed(["a"])
    # Fields that a reader of protobuf does not know are skipped: same graph, other bytes.
    model.write_bytes(whole + b"\xfa\x3e\x01x")
    assert (encoder.embed(["a"]) == before).all(), "it keeps what it read"
    unload_idle(pool, machine)
    with pytest.raises(ModelCorrupt, match="fitted on the encoder"):
        encoder.embed(["a"])
    model.write_bytes(whole)
    assert (encoder.embed(["a"]) == before).all()


# ---- closing, telling


async def test_closing_fails_the_calls_that_run(opened: Open) -> None:
    pool, _ = opened()
    generator = pool.generator()
    running = asyncio.create_task(generator.generate(ASK, max_tokens=2000))
    await asyncio.sleep(0)
    assert pool.status()[0].busy == 1
    await asyncio.to_thread(pool.close)
    with pytest.raises(ToolFailed):
        await running
    assert pool.status() == []


async def test_closing_while_a_model_loads_leaves_nothing_behind(opened: Open) -> None:
    pool, machine = opened()
    generator = pool.generator()
    unload_idle(pool, machine)
    waiting = asyncio.create_task(generator.generate(ASK, max_tokens=1))
    await asyncio.sleep(0)
    await asyncio.to_thread(pool.close)
    with pytest.raises(ToolFailed, match="closed"):
        await waiting
    assert pool.status() == []


def test_the_status_says_where_a_model_runs_and_what_it_takes(opened: Open) -> None:
    pool, machine = opened()
    generator, encoder = pool.generator(), pool.encoder()
    machine.seconds += 5
    one, two = pool.status()
    assert (one.name, one.digest, one.kv_type) == ("minilm-l6", encoder.model, "")
    assert (two.name, two.digest, two.kv_type) == ("smollm2-135m", generator.model, "f16")
    assert two.idle_s == 5 and two.bytes > 200 * MIB and "MiB" in two.reason


def test_a_listener_that_breaks_does_not_break_the_pool(store: Store) -> None:
    def broken(event: PoolEvent) -> None:
        raise RuntimeError("boom")

    pool = Pool(store, on_event=broken, check_s=0.0)
    try:
        assert pool.encoder().dimension == 384
    finally:
        pool.close()


def test_the_pool_checks_by_itself(store: Store) -> None:
    unloaded = threading.Event()

    def hear(event: PoolEvent) -> None:
        if event.what == "unloaded":
            unloaded.set()

    pool = Pool(store, idle_s=0.0, check_s=0.01, on_event=hear)
    pool.encoder()
    assert unloaded.wait(30)
    pool.close()


def test_a_model_is_loaded_and_unloaded_by_name_but_not_while_it_is_in_use(opened: Open) -> None:
    pool, machine = opened()
    assert not pool.unload("minilm-l6")
    loaded = pool.load("minilm-l6")
    assert (loaded.name, loaded.busy) == ("minilm-l6", 0)
    with pool.encoder().loaded():
        assert not pool.unload("minilm-l6")
    assert pool.unload("minilm-l6") and pool.status() == []
    assert machine.told == [("loaded", "minilm-l6"), ("unloaded", "minilm-l6")]
    assert pool.told == {"loaded": 1, "unloaded": 1, "refused": 0}
