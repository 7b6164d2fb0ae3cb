"""Every format that the benchmark plants is redacted among the other words of a task."""

from __future__ import annotations

import random

import pytest
from detect_secrets.plugins import keyword

from runtime import redact_secrets
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


LABELLED_LINES = (
    "my passphrase is correcthorse9",
    "the pwd for the wifi is Blue7tree",
    "the Licence Key was A1-B2-C3",
    "with the recovery code 99-ab-7f",
    "use the access-key 'k9!x' now",
    "my PIN of the card is 4821",
    "X-Auth-Token: abcdef123456",
    "sid=0123456789ab; signature: zzzzyyyy1111",
    "Authorization: Bearer abc.def-ghi123",
    "Authorization: BASIC dXNlcjpwYXNz",
    "mysql --password hunter22x",
    "tool --api-key=aa11bb22 --auth_code cc33dd44",
    "curl -u jane:s3cret http://localhost",
    "curl --user jane:s3cret http://localhost",
    "tool --licence-key L1L2L3 --encryption key E1E2",
    "tool -secret=v1v2v3 --credentials u7u8u9 --key k1k2k3",
    "my \u017fecret is abc123x",
    "my pa\u017f\u017fword is abc123x",
    "the to\u212aen is abc123x",
)
"""Among them letters that a pattern in any case takes for others: the long s, Kelvin's K."""


def test_a_pattern_that_is_not_tried_would_have_found_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = Draw(random.Random(3))
    lines = [plant(name, LISTED[name], draw).text for name in LISTED for _ in range(5)]
    lines += [line for task in private_tasks(40, seed=12) for line in task.output.splitlines()]
    every = [kind for line in (*LABELLED_LINES, *lines) for kind in (line, line.upper())]
    quick = [list(redact_secrets.secrets(line)) for line in every]
    monkeypatch.setattr(redact_secrets, "_may_hold", lambda line, needed: True)
    assert quick == [list(redact_secrets.secrets(line)) for line in every]
    assert all(list(redact_secrets.secrets(line)) for line in LABELLED_LINES)


def test_the_librarys_keywords_are_all_looked_for() -> None:
    for word in keyword.DENYLIST:
        assert any(needed in word for needed in redact_secrets._KEYWORDS), word
