"""LangChain's ChatOpenAI. Prints what each part that was named got."""
# mypy: disable-error-code="import-not-found, untyped-decorator"

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

LOCAL = "local/smollm2-135m"


class Paint(BaseModel):
    """Paint for a wall."""

    colour: Literal["blue", "green"]
    shade: int


@tool
def get_weather(city: str) -> str:
    """Tells the current weather in a city."""
    return f"18 degrees and sunny in {city}"


def model(**options: Any) -> Any:
    return ChatOpenAI(model=LOCAL, max_retries=0, **options)


def chat() -> Any:
    message = model(max_tokens=8).invoke("Say hello.")
    return {
        "text": message.content,
        "usage": message.usage_metadata,
        "finish": message.response_metadata["finish_reason"],
        "model": message.response_metadata["model_name"],
    }


def stream() -> Any:
    whole: AIMessageChunk | None = None
    for chunk in model(max_tokens=8, stream_usage=True).stream("Say hello."):
        whole = chunk if whole is None else whole + chunk
    return {"text": whole.content, "usage": whole.usage_metadata} if whole else None


def tools() -> Any:
    asked: list[Any] = [HumanMessage("What is the weather in Paris?")]
    bound = model(max_tokens=32).bind_tools([get_weather])
    called: AIMessage = bound.invoke(asked)
    results: list[ToolMessage] = [get_weather.invoke(call) for call in called.tool_calls]
    answer = bound.invoke([*asked, called, *results])
    both = bound.invoke("Tell me the weather in Paris, and then tell me the weather in Rome.")
    return {
        "calls": [call["args"] for call in called.tool_calls],
        "results": [one.content for one in results],
        "answer": answer.content,
        "both": [call["args"] for call in both.tool_calls],
    }


def structured() -> Any:
    """By each of its three methods."""
    made = {}
    for method in ("json_schema", "function_calling", "json_mode"):
        options: Any = {"max_tokens": 64} if method == "json_mode" else {}
        shape = Paint if method != "json_mode" else None
        asking = model(**options).with_structured_output(shape, method=method)
        answer = asking.invoke("As JSON: paint the wall blue, shade 3")
        made[method] = answer.model_dump() if isinstance(answer, BaseModel) else answer
    return made


def responses() -> Any:
    message = model(max_tokens=16, use_responses_api=True).invoke("Say hello.")
    return {"text": message.text, "usage": message.usage_metadata}


def embeddings() -> Any:
    """Its texts are sent as they are: tokens of a tokenizer of OpenAI's say nothing here."""
    made = OpenAIEmbeddings(model="auto", check_embedding_ctx_length=False)
    return [len(vector) for vector in made.embed_documents(["a river", "the same river"])]


print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
