"""The OpenAPI schema tells the truth: of every answer, of every error, of every scope."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from models.pool import Pool
from runtime.config import load_config
from runtime.daemon.client import OwnToken
from runtime.daemon.tokens import SCOPES, TokenStore
from tests.runtime.daemon.scripted import Daemon, asking, daemon, ended, plain, waiting

FUZZ = Path(__file__).with_name("fuzz")
EXAMPLES = 12
"""Made-up requests for each route, besides those that cover its schema."""
LIMIT_S = 150
REFUSALS = {"400", "401", "403", "413", "422", "429", "500"}
SCHEMA = "/openapi.json"


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    """A daemon with an empty store, some tasks on record, and one that waits."""
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))
    config = load_config()
    daemon_config = config.daemon.model_copy(update={"port": 0})
    config = config.model_copy(update={"daemon": daemon_config})
    async with daemon(tmp_path, plain, asking, asking, plain, pool=Pool(), config=config) as one:
        first = await one.client.start_task("how many files?")
        assert await ended(one.client, first) == "done"
        await waiting(one.client, await one.client.start_task("make a folder"))
        yield one


def http(served: Daemon) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(served.path)),
        base_url="http://aidecamp",
        auth=OwnToken(TokenStore(served.folder)),
    )


async def schema_of(served: Daemon) -> dict[str, Any]:
    async with http(served) as client:
        body: dict[str, Any] = (await client.get(SCHEMA)).json()
    return body


def fits(schema: dict[str, Any], path: str, method: str, answer: httpx.Response) -> None:
    """Raises where ``answer`` is not what the schema says of it."""
    responses = schema["paths"][path][method]["responses"]
    assert str(answer.status_code) in responses, (path, answer.status_code, answer.text)
    kind = answer.headers["content-type"].partition(";")[0]
    by_kind = {
        k.partition(";")[0]: v for k, v in responses[str(answer.status_code)]["content"].items()
    }
    assert kind in by_kind, (path, kind)
    if kind == "application/json":
        resolved = {**by_kind[kind]["schema"], "components": schema["components"]}
        jsonschema.Draft202012Validator(resolved).validate(answer.json())


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_route_tells_its_scope_its_summary_and_its_errors(served: Daemon) -> None:
    schema = await schema_of(served)
    error = {"$ref": "#/components/schemas/ErrorBody"}
    for path, method, operation in operations(schema):
        where = f"{method} {path}"
        assert operation["x-scope"] in SCOPES, where
        assert operation["security"] == [{"token": [operation["x-scope"]]}], where
        assert operation["summary"] and "_" not in operation["summary"], where
        assert set(operation["responses"]) >= REFUSALS, where
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                assert response["content"]["application/json"]["schema"] == error, (where, status)


async def test_an_answer_is_what_its_schema_says(served: Daemon) -> None:
    schema = await schema_of(served)
    (row,) = (await served.client.decisions(chosen="local:tool_user", text="how many files?")).rows
    ids = {"task_id": row.decision.task_id, "decision_id": row.id, "model": "smollm2-135m"}
    async with http(served) as client:
        for path, method, operation in operations(schema):
            if method == "get" and "text/event-stream" not in str(operation["responses"]["200"]):
                fits(schema, path, "get", await client.get(path.format(**ids)))
        for path, status, body in (
            ("/v1/tasks", 202, {"text": "make a folder"}),
            ("/v1/tasks", 422, {"text": " "}),
            ("/v1/decisions/{decision_id}/mark", 201, {"right": True}),
            ("/v1/decisions/{decision_id}/mark", 422, {"right": "yes"}),
            ("/v1/decisions/{decision_id}/replay", 409, {}),
            ("/v1/policy/check", 200, {"toml": "risk_alpha = 0.2"}),
            ("/v1/policy/check", 200, {"toml": "no toml"}),
            ("/v1/pool/load", 409, {"model": "smollm2-135m"}),
            ("/v1/pool/load", 404, {"model": "/etc/passwd"}),
            ("/v1/pool/unload", 200, {"model": "smollm2-135m"}),
            ("/v1/route", 409, {"text": "list my files"}),
            ("/v1/tasks/{task_id}/cancel", 409, None),
        ):
            answer = await client.post(path.format(**ids), json=body)
            assert answer.status_code == status, (path, answer.text)
            fits(schema, path, "post", answer)
        removed = await client.delete("/v1/store/models/smollm2-135m")
        fits(schema, "/v1/store/models/{model}", "delete", removed)


async def test_a_stream_tells_events_of_the_kinds_that_its_schema_names(served: Daemon) -> None:
    schema = await schema_of(served)
    declared = schema["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    one = declared["text/event-stream"]["schema"]
    async with http(served) as client:
        text = (await client.get("/v1/events?after=0&follow=false")).text
    kinds = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert {"task", "decision", "result"} <= set(kinds) <= set(one["properties"]["event"]["enum"])


async def test_a_method_that_a_path_does_not_know_is_405_with_those_that_it_does(
    served: Daemon,
) -> None:
    schema = await schema_of(served)
    async with http(served) as client:
        for path, methods in schema["paths"].items():
            answer = await client.patch(path.format(task_id="a", decision_id="b", model="c"))
            assert answer.status_code == 405, path
            allowed = {method.strip().lower() for method in answer.headers["allow"].split(",")}
            assert allowed == set(methods), path


async def test_schemathesis_finds_nothing_with_every_check_on(served: Daemon) -> None:
    rows = (await served.client.decisions()).rows
    (address,) = [a for a in (await served.client.health())["addresses"] if a.startswith("http")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        f"--config-file={FUZZ / 'schemathesis.toml'}",
        "run",
        f"{address}{SCHEMA}",
        f"--header=Authorization: Bearer {TokenStore(served.folder).own()}",
        "--checks=all",
        f"--max-examples={EXAMPLES}",
        "--seed=5",
        "--continue-on-failure",
        "--request-timeout=30",
        "--no-color",
        "--suppress-health-check=all",
        cwd=served.folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.runtime.daemon.fuzz.hooks",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "FUZZ_TASKS": " ".join(dict.fromkeys(row.decision.task_id for row in rows)),
            "FUZZ_DECISIONS": " ".join(row.id for row in rows),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-8_000:]
    tested = re.search(r"Tested: (\d+)", said.decode())
    assert tested and int(tested[1]) == len(operations(await schema_of(served)))
    assert (await served.client.health())["status"] == "ok"
