"""What the daemon measures of itself: true to the record, with labels that nobody can add to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from models.pool import ENCODER, Pool
from models.store import Store
from runtime.agent import Approver
from runtime.core import Record, Result, Task
from runtime.daemon.client import Client, Waits
from tests.runtime.daemon.scripted import (
    Daemon,
    asking,
    call,
    daemon,
    decision,
    ended,
    plain,
    step,
    waiting,
)
from tests.runtime.daemon.test_api import raw

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(client: Client) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(await client.metrics())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def escalated(task: Task, approver: Approver) -> AsyncIterator[Record]:
    """Two decisions on a step; the second asked the General."""
    yield task
    one = step(task)
    yield one
    first = decision(one)
    yield first
    yield call(first)
    second = decision(one, id=f"{first.id}_2", previous=first.id, chosen="general")
    yield second
    remote = {"role": "general", "bytes_sent": 900, "cost_usd": 0.004}
    yield call(second, id=f"{first.id}_call", **remote)
    yield Result(task.id, "done", "ok")


async def test_the_record_is_counted_by_kind_and_by_who_served(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain, escalated) as served:
        for text in ("easy", "hard"):
            await ended(served.client, await served.client.start_task(text))
        samples = await scraped(served.client)
        decisions = "aidecamp_decisions_total"
        assert value(samples, decisions, kind="shell", chosen="local:tool_user") == 2
        assert value(samples, decisions, kind="shell", chosen="general") == 1
        assert value(samples, "aidecamp_calls_total", kind="shell", where="local") == 2
        assert value(samples, "aidecamp_calls_total", kind="shell", where="general") == 1
        assert value(samples, "aidecamp_tokens_total", direction="in") == 180
        assert value(samples, "aidecamp_tokens_total", direction="out") == 36
        assert value(samples, "aidecamp_cost_usd_total") == 0.004
        assert value(samples, "aidecamp_sent_bytes_total") == 900
        health = await served.client.health()
        assert value(samples, "aidecamp_last_event_id") == health["last_event_id"]
        assert value(samples, "aidecamp_ledger_bytes") == health["ledger_bytes"] > 0


async def test_what_runs_and_waits_now_is_told(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking) as served:
        task_id = await served.client.start_task("make a folder")
        waiting_id = await waiting(served.client, task_id)
        samples = await scraped(served.client)
        assert value(samples, "aidecamp_slots", what="task", state="running") == 1
        assert value(samples, "aidecamp_slots", what="task", state="waiting") == 1
        assert value(samples, "aidecamp_slots", what="call", state="running") == 0
        await served.client.approve(task_id, waiting_id)
        await ended(served.client, task_id)
        samples = await scraped(served.client)
        assert value(samples, "aidecamp_slots", what="task", state="waiting") == 0


async def test_an_open_stream_is_counted_until_its_reader_goes(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain) as served, asyncio.timeout(20):
        async with aclosing(served.client.follow(after=0)) as signals:
            while not isinstance(await anext(signals), Waits):
                pass
            samples = await scraped(served.client)
            assert value(samples, "aidecamp_streams_open") == 1
        while True:
            samples = await scraped(served.client)
            if value(samples, "aidecamp_streams_open") == 0:
                break


async def test_requests_are_timed_by_the_template_of_their_path(tmp_path: Path) -> None:
    async with daemon(tmp_path, plain) as served:
        await _strange(served)
        samples = await scraped(served.client)
    counted = {
        dict(labels)["route"]: number
        for (name, labels), number in samples.items()
        if name == "aidecamp_request_seconds_count"
        and ("method", "GET") in labels
        and ("status", "404") in labels
    }
    assert counted == {"/v1/decisions/{decision_id}": 50, "other": 50}
    methods = {dict(labels).get("method") for _, labels in samples} - {None}
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


async def _strange(served: Daemon) -> None:
    """Requests that would each make a label of their own, were labels made of what comes."""
    async with raw(served) as http:
        for number in range(50):
            assert (await http.get(f"/v1/decisions/dec_{number}")).status_code == 404
            assert (await http.get(f"/v1/nothing/{number}")).status_code == 404
        for number in range(5):
            await http.request(f"BREW{number}", "/v1/health")


async def test_workers_and_kinds_that_nobody_knows_share_one_label(tmp_path: Path) -> None:
    async def strange(task: Task, approver: Approver) -> AsyncIterator[Record]:
        yield task
        one = step(task)
        yield one
        for number in range(20):
            yield decision(one, id=f"dec_{number}", chosen=f"local:made_up_{number}")
        yield Result(task.id, "done", "ok")

    async with daemon(tmp_path, strange) as served:
        await ended(served.client, await served.client.start_task("x"))
        samples = await scraped(served.client)
    counts = {k: v for k, v in samples.items() if k[0] == "aidecamp_decisions_total"}
    assert list(counts.values()) == [20]
    assert value(samples, "aidecamp_decisions_total", kind="shell", chosen="other") == 20


async def test_loaded_models_tell_what_they_take(store: Store, tmp_path: Path) -> None:
    pool = Pool(store, check_s=0.0)
    async with daemon(tmp_path, plain, pool=pool) as served:
        loaded = await served.client.load(ENCODER)
        samples = await scraped(served.client)
        assert value(samples, "aidecamp_model_resident_bytes", model=ENCODER) == loaded.bytes
        await served.client.unload(ENCODER)
        samples = await scraped(served.client)
        assert value(samples, "aidecamp_model_resident_bytes", model=ENCODER) is None
    pool.close()


async def test_two_daemons_in_one_process_count_apart_and_leave_no_trace(tmp_path: Path) -> None:
    async with daemon(tmp_path / "a", plain) as one, daemon(tmp_path / "b", plain) as other:
        await ended(one.client, await one.client.start_task("count"))
        ours, theirs = await scraped(one.client), await scraped(other.client)
        started = {"method": "POST", "route": "/v1/tasks", "status": "202"}
        assert value(ours, "aidecamp_request_seconds_count", **started) == 1
        assert value(theirs, "aidecamp_request_seconds_count", **started) is None
    assert not [family for family in REGISTRY.collect() if family.name.startswith("aidecamp")]
