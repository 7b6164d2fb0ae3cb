"""OpenAI's Python SDK. Runs the parts that its arguments name; prints what each of them got.

Its base URL and key come from the environment, as the SDK reads them.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import openai
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel, Field

LOCAL = "local/smollm2-135m"
PLAN = "Plan a three-week trip through Asia and weigh the options against each other"
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "the city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}


class Paint(BaseModel):
    colour: Literal["blue", "green"]
    shade: int


class GetWeather(BaseModel):
    """Tells the current weather in a city."""

    city: str = Field(description="the city")


def said(*texts: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text} for text in texts]


def chat(client: OpenAI) -> Any:
    raw = client.chat.completions.with_raw_response.create(
        model=LOCAL, messages=said("Say hello."), max_completion_tokens=8
    )
    route, decision = (raw.headers.get(f"x-aidecamp-{name}") for name in ("route", "decision"))
    return {"route": route, "decision": decision, "answer": raw.parse().model_dump()}


def stream(client: OpenAI) -> Any:
    ask: Any = {"model": LOCAL, "messages": said("Count: one, two, three"), "max_tokens": 64}
    whole = client.chat.completions.create(**ask)
    chunks = list(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion()
    return {
        "whole": whole.model_dump(),
        "text": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
        "finish": [c.choices[0].finish_reason for c in chunks if c.choices][-1],
        "usage": [c.usage.model_dump() for c in chunks if c.usage],
        "ids": len({c.id for c in chunks}),
        "kinds": sorted(set(kinds)),
        "final": final.model_dump(),
    }


def tools(client: OpenAI) -> Any:
    messages = said("What is the weather in Paris in celsius?")
    first = client.chat.completions.create(model=LOCAL, messages=messages, tools=[WEATHER])
    message = first.choices[0].message
    assert message.tool_calls is not None
    messages.append(message.model_dump())  # type: ignore[arg-type]
    messages.append(
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "18 degrees, sunny"}
    )
    second = client.chat.completions.create(
        model=LOCAL, messages=messages, tools=[WEATHER], max_tokens=16
    )
    return {"first": first.model_dump(), "second": second.model_dump()}


def parallel(client: OpenAI) -> Any:
    words = said("Tell me the weather in Paris, and then tell me the weather in Rome.")
    two = client.chat.completions.create(model=LOCAL, messages=words, tools=[WEATHER])
    one = client.chat.completions.create(
        model=LOCAL, messages=words, tools=[WEATHER], parallel_tool_calls=False
    )
    with client.chat.completions.stream(model=LOCAL, messages=words, tools=[WEATHER]) as events:
        streamed = events.get_final_completion()
    return {"two": two.model_dump(), "one": one.model_dump(), "streamed": streamed.model_dump()}


def parse(client: OpenAI) -> Any:
    made = client.chat.completions.parse(
        model=LOCAL, messages=said("The sky's colour, shade 3"), response_format=Paint
    )
    paint = made.choices[0].message.parsed
    called = client.chat.completions.parse(
        model=LOCAL,
        messages=said("What is the weather in Paris?"),
        tools=[openai.pydantic_function_tool(GetWeather, name="get_weather")],
    )
    calls = called.choices[0].message.tool_calls
    assert calls is not None
    arguments = calls[0].function.parsed_arguments
    assert isinstance(arguments, GetWeather)
    with client.chat.completions.stream(
        model=LOCAL, messages=said("The sky's colour, shade 3"), response_format=Paint
    ) as events:
        streamed = events.get_final_completion().choices[0].message.parsed
    return {
        "type": type(paint).__name__,
        "paint": paint.model_dump() if paint else None,
        "streamed": streamed.model_dump() if streamed else None,
        "arguments": arguments.model_dump(),
    }


def choices(client: OpenAI) -> Any:
    return client.chat.completions.create(
        model=LOCAL,
        messages=said("Tell me about rivers."),
        n=3,
        seed=7,
        max_tokens=8,
        logprobs=True,
        top_logprobs=2,
    ).model_dump()


def embeddings(client: OpenAI) -> Any:
    words = ["a river", "the same river"]
    usual = client.embeddings.create(model="auto", input=words)
    plain = client.embeddings.create(model="auto", input=words, encoding_format="float")
    vectors = [one.embedding for one in usual.data]
    pairs = zip(vectors, [one.embedding for one in plain.data], strict=True)
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    return {
        "sizes": [len(v) for v in vectors],
        "apart": apart,
        "squares": [sum(x * x for x in v) for v in vectors],
        "usage": usual.usage.model_dump(),
    }


def responses(client: OpenAI) -> Any:
    made = client.responses.create(model=LOCAL, input="Say hello.", max_output_tokens=8)
    events = list(
        client.responses.create(model=LOCAL, input="Say hello.", max_output_tokens=8, stream=True)
    )
    with client.responses.stream(
        model=LOCAL, input="The sky's colour, shade 3", text_format=Paint
    ) as helped:
        final = helped.until_done().get_final_response().output_parsed
    parsed = client.responses.parse(
        model=LOCAL, input="The sky's colour, shade 3", text_format=Paint
    )
    called = client.responses.create(
        model=LOCAL,
        input="What is the weather in Paris?",
        tools=[
            {
                "type": "function",
                "name": "get_weather",
                "description": "Tells the current weather in a city.",
                "parameters": GetWeather.model_json_schema(),
                "strict": False,
            }
        ],
    )
    return {
        "text": made.output_text,
        "answer": made.model_dump(),
        "kinds": [event.type for event in events],
        "deltas": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
        "final": final.model_dump() if final else None,
        "parsed": parsed.output_parsed.model_dump() if parsed.output_parsed else None,
        "called": [one.model_dump() for one in called.output],
    }


def models(client: OpenAI) -> Any:
    listed = [model.id for model in client.models.list()]
    return {"listed": listed, "one": client.models.retrieve(LOCAL).model_dump()}


def errors(client: OpenAI) -> Any:
    """Each refusal, as the SDK's own class."""
    wrong = client.with_options(api_key="adc_wrong")
    body: Any = {"messages": said("hi"), "max_tokens": 1}
    attempts: dict[str, Any] = {
        "model": lambda: client.chat.completions.create(model="gpt-4o", **body),
        "retrieve": lambda: client.models.retrieve("local/nothing"),
        "token": lambda: wrong.chat.completions.create(model=LOCAL, **body),
        "stays": lambda: client.chat.completions.create(model="general", **body),
        "param": lambda: client.chat.completions.create(model=LOCAL, logit_bias={"5": 10}, **body),
        "range": lambda: client.chat.completions.create(model=LOCAL, temperature=3, **body),
        "streamed": lambda: client.chat.completions.create(model="gpt-4o", stream=True, **body),
        "embedded": lambda: client.embeddings.create(model="auto", input=["word " * 300]),
    }
    return {name: refusal(attempt) for name, attempt in attempts.items()}


def refusal(attempt: Any) -> Any:
    try:
        attempt()
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "param": error.param,
            "code": error.code,
            "type": error.type,
            "message": error.message,
        }
    return None


def busy(client: OpenAI) -> Any:
    """The one slot is taken by a stream that is read no further; then it is given up."""
    ask: Any = {"model": LOCAL, "messages": said("Write a long story."), "max_tokens": 1000}
    held = client.chat.completions.create(**ask, stream=True)
    first = next(c.choices[0].delta.content for c in held if c.choices[0].delta.content)
    try:
        client.chat.completions.create(model=LOCAL, messages=said("hi"), max_tokens=1)
    except openai.RateLimitError as error:
        refused = {"status": error.status_code, "after": error.response.headers["retry-after"]}
    held.close()
    again = client.with_options(max_retries=5).chat.completions.create(
        model=LOCAL, messages=said("hi"), max_tokens=1
    )
    return {"first": first, "refused": refused, "again": again.choices[0].finish_reason}


def general(client: OpenAI) -> Any:
    """What ``auto`` sends away comes back whole, and as a stream."""
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=said(PLAN))
    chunks = client.chat.completions.create(model="auto", messages=said(PLAN), stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return {
        "route": raw.headers["x-aidecamp-route"],
        "text": raw.parse().choices[0].message.content,
        "streamed": text,
    }


def main() -> None:
    client = OpenAI(max_retries=0)
    print(json.dumps({name: globals()[name](client) for name in sys.argv[1:]}))


main()
