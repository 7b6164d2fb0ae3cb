"""The command ``llm``, untouched, with the daemon's models in its extra-openai-models.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Call, Outcome, Task
from runtime.ledger import records
from tests.runtime.daemon.clients.running import ENVIRONMENT, program
from tests.runtime.daemon.proxy.proxied import Proxied, proxied

LOCAL = "local/smollm2-135m"
WEATHER = '''
def get_weather(city: str) -> str:
    """Tells the current weather in a city."""
    return f"18 degrees and sunny in {city}"
'''


async def llm(daemon: Proxied, *arguments: str) -> str:
    """What ``llm ARGUMENTS`` prints, in a home of its own that knows the model ``aide``."""
    home = daemon.home / "llm"
    home.mkdir(exist_ok=True)
    model: dict[str, Any] = {
        "model_id": "aide",
        "model_name": LOCAL,
        "api_base": daemon.url,
        "api_key_name": "aidecamp",
        "supports_schema": True,
        "supports_tools": True,
    }
    # JSON is YAML.
    (home / "extra-openai-models.yaml").write_text(json.dumps([model]))
    (home / "keys.json").write_text(json.dumps({"aidecamp": daemon.token}))
    # Its key is the one that its file names, and no other.
    environment = {"LLM_USER_PATH": str(home), "OPENAI_API_KEY": ""}
    return await program(daemon).run([ENVIRONMENT / "bin" / "llm", *arguments], environment)


async def test_it_prompts_streamed_and_whole_and_keeps_the_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        ask = ("prompt", "Say hello.", "-m", "aide", "-o", "max_tokens", "8")
        streamed = await llm(daemon, *ask)
        logged = json.loads(await llm(daemon, "logs", "-n", "1", "--json"))
        whole = await llm(daemon, *ask, "--no-stream")
        assert streamed == whole and whole.strip()
        (kept,) = logged
        assert kept["response"] == streamed.removesuffix("\n")
        first, second = records(list(daemon.ledger.events()), Call)
        assert kept["output_tokens"] == first.tokens_out == second.tokens_out == 8
        assert kept["input_tokens"] == first.tokens_in
        assert first.answer == kept["response"]
        assert {task.client for task in records(list(daemon.ledger.events()), Task)} == {"OpenAI"}


async def test_its_schema_is_met_and_its_conversation_is_one_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        schema = ("--schema", "room str: one word, shade int")
        made = json.loads(await llm(daemon, "A kitchen, shade 3", "-m", "aide", *schema))
        assert isinstance(made["room"], str) and isinstance(made["shade"], int)
        more = await llm(daemon, "-c", "And now?", "-o", "max_tokens", "4")
        assert more.strip()
        first, second = records(list(daemon.ledger.events()), Task)
        assert first.session == second.session


async def test_its_tool_is_run_and_what_it_returned_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    async with proxied(tmp_path, monkeypatch, pool) as daemon:
        said = await llm(
            daemon,
            *("What is the weather in Paris?", "-m", "aide", "-o", "max_tokens", "32"),
            *("--functions", WEATHER),
        )
        assert said.strip()
        logged = json.loads(await llm(daemon, "logs", "--json"))
        calls = [call for one in logged for call in one["tool_calls"]]
        assert [(c["name"], c["arguments"]) for c in calls] == [("get_weather", {"city": "Paris"})]
        (outcome,) = records(list(daemon.ledger.events()), Outcome)
        assert outcome.status == "done"
