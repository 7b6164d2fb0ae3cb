"""OpenAI's Python SDK, its asynchronous half. Prints what each part that was named got."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Literal

import openai
from openai import AsyncOpenAI
from pydantic import BaseModel

LOCAL = "local/smollm2-135m"


class Paint(BaseModel):
    colour: Literal["blue", "green"]
    shade: int


def body(words: str, **more: Any) -> Any:
    return {"model": LOCAL, "messages": [{"role": "user", "content": words}], **more}


async def chat(client: AsyncOpenAI) -> Any:
    raw = await client.chat.completions.with_raw_response.create(**body("Say hello.", max_tokens=8))
    chunks = await client.chat.completions.create(
        **body("Say hello.", max_tokens=8), stream=True, stream_options={"include_usage": True}
    )
    text, usage = "", []
    async for chunk in chunks:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        if chunk.usage:
            usage.append(chunk.usage.completion_tokens)
    return {
        "route": raw.headers["x-aidecamp-route"],
        "whole": raw.parse().choices[0].message.content,
        "text": text,
        "usage": usage,
    }


async def parse(client: AsyncOpenAI) -> Any:
    made = await client.chat.completions.parse(
        **body("The sky's colour, shade 3"), response_format=Paint
    )
    paint = made.choices[0].message.parsed
    return paint.model_dump() if paint else None


async def together(client: AsyncOpenAI) -> Any:
    """Calls at once: each gets its own answer."""

    async def one(number: int) -> str | None:
        schema: Any = {"type": "object", "properties": {"id": {"const": number}}}
        schema |= {"required": ["id"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "one", "schema": schema}}
        answer = await client.chat.completions.create(
            **body(f"Number {number}", response_format=form)
        )
        content: str | None = answer.choices[0].message.content
        return content

    return await asyncio.gather(*map(one, range(6)))


async def embeddings(client: AsyncOpenAI) -> Any:
    made = await client.embeddings.create(model="auto", input="a river")
    return len(made.data[0].embedding)


async def responses(client: AsyncOpenAI) -> Any:
    events = await client.responses.create(
        model=LOCAL, input="Say hello.", max_output_tokens=8, stream=True
    )
    kinds, text, final = [], "", ""
    async for event in events:
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.completed", "response.incomplete"):
            final = event.response.output_text
    return {"kinds": kinds, "text": text, "final": final}


async def cancelled(client: AsyncOpenAI) -> Any:
    """A stream that is closed, one whose task is cancelled, and a call that is."""
    story = body("Write a long story.", max_tokens=1000)
    held = await client.chat.completions.create(**story, stream=True)
    async for chunk in held:
        if chunk.choices[0].delta.content:
            break
    await held.close()

    begun = asyncio.Event()

    async def reading() -> None:
        async for chunk in await client.chat.completions.create(**story, stream=True):
            if chunk.choices[0].delta.content:
                begun.set()

    task = asyncio.create_task(reading())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    short = await client.chat.completions.create(**body("hi", max_tokens=1))
    return short.choices[0].finish_reason


async def errors(client: AsyncOpenAI) -> Any:
    try:
        await client.chat.completions.create(**body("hi", top_logprobs=2))
    except openai.BadRequestError as error:
        return {"param": error.param, "status": error.status_code}


async def main() -> None:
    async with AsyncOpenAI(max_retries=0) as client:
        print(json.dumps({name: await globals()[name](client) for name in sys.argv[1:]}))


asyncio.run(main())
