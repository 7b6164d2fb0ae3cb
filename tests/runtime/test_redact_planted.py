"""Every format that the benchmark plants is redacted among the other words of a task."""

from __future__ import annotations

import random

import pytest

from runtime.redact import Redactor
from tests.bench.privacy_data import LISTED, Draw, plant, private_tasks

REDACTOR = Redactor()


@pytest.mark.parametrize("name", LISTED)
def test_no_listed_value_is_left(name: str) -> None:
    draw = Draw(random.Random(name))
    for _ in range(20):
        planted = plant(name, LISTED[name], draw)
        text = f"Plan the move to the new server; {planted.text}; list the risks."
        result = REDACTOR.redact([{"role": "user", "content": text}])
        assert planted.value not in result.messages[0]["content"]
        assert result.restore(result.messages[0]["content"]) == text


def test_what_is_redacted_in_whole_tasks_comes_back() -> None:
    for task in private_tasks(60, seed=11):
        messages = [
            {"role": "user", "content": task.text},
            {"role": "user", "content": task.output},
        ]
        result = REDACTOR.redact(messages)
        sent = [m["content"] for m in result.messages]
        assert not any(p.value in text for p in task.listed for text in sent)
        assert [result.restore(text) for text in sent] == [task.text, task.output]
