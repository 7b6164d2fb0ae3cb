"""The MCP SDK's client: on standard input and output where arguments name a server to start, else
over HTTP. Prints the tools that it is shown, and what some of them answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def use(client: Client) -> None:
    folder = {"folder": os.environ["WORK_FOLDER"]}
    got: dict[str, Any] = {"tools": sorted(t.name for t in (await client.list_tools()).tools)}
    for tool, arguments in (
        ("route", {"text": "set a timer for 5 minutes"}),
        ("format_to_schema", {"data": "Ann is 30 years old.", "output_schema": SCHEMA}),
        ("run_in_sandbox", {"recipe": "count_files", "arguments": {"folder": "."}, **folder}),
        ("decisions", {}),
    ):
        result = await client.call_tool(tool, arguments)
        got[tool] = result.model_dump(mode="json")
    print(json.dumps(got))


async def main() -> None:
    if command := sys.argv[1:]:
        # The SDK hands a server a few variables of its own choice, and these.
        kept = {name: value for name, value in os.environ.items() if name.startswith("AIDECAMP_")}
        server = StdioServerParameters(command=command[0], args=command[1:], env=kept)
        async with Client(server) as client:
            await use(client)
        return
    url = os.environ["OPENAI_BASE_URL"].removesuffix("/v1") + "/mcp"
    bearer = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        await use(client)


asyncio.run(main())
