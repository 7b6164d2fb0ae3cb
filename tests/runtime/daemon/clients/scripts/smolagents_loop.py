"""An agent loop of smolagents on ``model: auto``. Prints its answer, and what its tools were given.

Address and key come from the environment, as OpenAI's SDK beneath it reads them.
"""
# mypy: disable-error-code="import-not-found, misc, no-any-unimported"

from __future__ import annotations

import json
import sys
from typing import Any

from smolagents import LogLevel, OpenAIModel, Tool, ToolCallingAgent

given: dict[str, list[Any]] = {"set_timer": [], "get_weather": []}


class SetTimer(Tool):
    name = "set_timer"
    description = "Starts a timer."
    inputs = {"minutes": {"type": "integer", "description": "minutes"}}  # noqa: RUF012
    output_type = "string"

    def forward(self, minutes: int) -> str:
        given["set_timer"].append(minutes)
        return f"timer T-{minutes * 7} is running"


class GetWeather(Tool):
    name = "get_weather"
    description = "Tells the current weather in a city."
    inputs = {"city": {"type": "string", "description": "the city"}}  # noqa: RUF012
    output_type = "string"

    def forward(self, city: str) -> str:
        given["get_weather"].append(city)
        return f"18 degrees in {city}"


agent = ToolCallingAgent(
    tools=[SetTimer(), GetWeather()],
    model=OpenAIModel(model_id="auto", client_kwargs={"max_retries": 0}),
    max_steps=5,
    verbosity_level=LogLevel.OFF,
    stream_outputs="stream" in sys.argv[2:],
)
answer = agent.run(sys.argv[1])
print()  # the live display leaves its line open
print(json.dumps({"answer": answer, "given": given}))
