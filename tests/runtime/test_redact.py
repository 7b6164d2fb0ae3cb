"""Redaction: what is found, what stays, and that the way back is exact."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Message
from runtime.redact import Redacted, Redactor

REDACTOR = Redactor()


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def redacted(text: str) -> tuple[str, Redacted]:
    result = REDACTOR.redact([user(text)])
    return result.messages[0]["content"], result


def letters(rng: random.Random, length: int, alphabet: str) -> str:
    return "".join(rng.choices(alphabet, k=length))


BASE62 = string.ascii_letters + string.digits


SECRETS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "password": lambda rng: ("the password is {}", letters(rng, 6, BASE62) + "7!x"),
    "password-colon": lambda rng: ("password: {}, then", letters(rng, 8, BASE62)),
    "wifi": lambda rng: ("the password for the guest wifi is {}.", letters(rng, 8, BASE62)),
    "word": lambda rng: ("my password is {}", rng.choice(["sunshine", "Sommer", "blue-horse"])),
    "pin": lambda rng: ("set the PIN of my card to {}", letters(rng, 4, string.digits)),
    "env": lambda rng: ("export DB_PASSWORD='{}'", letters(rng, 12, BASE62)),
    "json": lambda rng: ('{{"api_key": "{}"}}', letters(rng, 24, BASE62)),
    "github": lambda rng: ("use {} to clone", "ghp_" + letters(rng, 36, BASE62)),
    "gitlab": lambda rng: ("token {}", "glpat-" + letters(rng, 20, BASE62)),
    "aws": lambda rng: ("key {} here", "AKIA" + letters(rng, 16, string.ascii_uppercase)),
    "slack": lambda rng: ("post with {}", f"xoxb-1234567890-{letters(rng, 24, BASE62)}"),
    "basic-auth": lambda rng: ("wget https://bob:{}@example.org/a", letters(rng, 9, BASE62)),
    "bearer": lambda rng: ("-H 'Authorization: Bearer {}'", letters(rng, 30, BASE62) + "9"),
    "query": lambda rng: ("GET /x?access_token={}&page=2", letters(rng, 14, BASE62) + "1"),
    "curl": lambda rng: ("curl -u admin:{} http://localhost", letters(rng, 9, BASE62)),
    "option": lambda rng: ("mysqldump --password={} shop", letters(rng, 9, BASE62) + "#1"),
    "hex": lambda rng: ("with {} as it is", letters(rng, 40, "0123456789abcdef")),
}

PERSONAL = {
    "EMAIL": ["jane.doe+news@example.co.uk", "o'neil@example.org", "jörg@müller-bau.de"],
    "PHONE": ["+49 30 901820", "(212) 736-5000", "020 7946 0958", "+33 1 42 68 53 00"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "NL91 ABNA 0417 1643 00"],
    "CARD": ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"],
    "IP": ["8.8.4.4", "2001:4860:4860::8888"],
    "ID": ["536-90-4399", "AB 12 34 56 C", "RCCMNL83S18D969H", "54362315K", "390.533.447-05"],
}

ORDINARY = [
    "Plan a three-day trip to Lisbon for two people with a budget of 900 euros.",
    "Move every file over 10 MB from ~/Downloads to /mnt/backup/2024-11-22 and zip it.",
    "Why does src/runtime/roles/tool_user.py fail at line 128 with KeyError: 'slots'?",
    "Remind me at 12:30:45 on 2026-11-22; the meeting ends at 2026-11-22T14:00:00.123456Z.",
    "Upgrade from 3.11.4 to v1.2.3.4 and pin lodash@4.17.21 and numpy==2.2.0rc1",
    "git clone git@github.com:org/repo.git && cd repo && make -j8 CFLAGS=-O2",
    "order 4155552671 came to 1732312345 yen, item 9781861972712, ref 1234567890123",
    "ping 192.168.1.1 from 10.0.0.7, then open http://127.0.0.1:8080/metrics",
    "std::vector<int> a::b; getElementById('x'); manylinux_2_28_x86_64.whl",
    "The token is invalid, reset the password to the default; the secret: be kind",
    'password = os.environ["DB_PASSWORD"]; password=getpass(); echo $PASSWORD',
    'set {"max_tokens": 2048, "tokens": 4096, "key": "value", "sort_key": "created"}',
    "row 123e4567-e89b-12d3-a456-426614174000 has 3,141,592 entries and 99.95 % uptime",
    "SELECT id, name FROM public.customer_addresses WHERE created_at > '2024-01-01'",
]


@pytest.mark.parametrize("kind", SECRETS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_planted_secret_is_gone_and_comes_back(kind: str, seed: int) -> None:
    frame, secret = SECRETS[kind](random.Random(seed))
    text = frame.format(secret)
    out, result = redacted(text)
    assert secret not in out
    assert result.restore(out) == text


@pytest.mark.parametrize(("type_", "value"), [(t, v) for t, vs in PERSONAL.items() for v in vs])
def test_personal_data_is_named_by_its_type(type_: str, value: str) -> None:
    out, result = redacted(f"Send it to {value} today, please.")
    assert out == f"Send it to <{type_}_1> today, please."
    assert result.found == {type_: 1}


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_task_stays_as_it_is(text: str) -> None:
    assert redacted(text)[0] == text


def test_a_number_that_fails_its_check_is_no_find() -> None:
    for value in ("DE89 3704 0044 0532 0130 01", "4111 1111 1111 1112", "390.533.447-06"):
        assert redacted(f"it says {value} there")[0] == f"it says {value} there"


def test_a_private_key_goes_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----"
    out, result = redacted(f"deploy with\n{key}\nto the server")
    assert out == "deploy with\n<SECRET_1>\nto the server"
    assert result.restore("first <SECRET_1>") == f"first {key}"


def test_two_cards_side_by_side_are_both_found() -> None:
    assert redacted("4111 1111 1111 1111 5555 5555 5555 4444")[0] == "<CARD_1> <CARD_2>"


def test_one_value_has_one_placeholder_in_all_messages() -> None:
    messages = [
        {"role": "system", "content": "You help jane@example.org."},
        user("The password is hunter22! Tell jane@example.org and ann@example.org."),
        user("Step: type hunter22! into the box"),
    ]
    result = REDACTOR.redact(messages)
    assert [m["content"] for m in result.messages] == [
        "You help <EMAIL_1>.",
        "The password is <SECRET_1> Tell <EMAIL_1> and <EMAIL_2>.",
        "Step: type <SECRET_1> into the box",
    ]
    assert [m["role"] for m in result.messages] == ["system", "user", "user"]
    assert result.found == {"EMAIL": 2, "SECRET": 1}


def test_a_placeholder_that_was_there_before_is_not_ours() -> None:
    out, result = redacted("What does <EMAIL_1> mean? And <email_2>? Ask bob@example.org.")
    assert out == "What does <EMAIL_1> mean? And <email_2>? Ask <EMAIL_3>."
    assert result.restore("<EMAIL_1> is for <EMAIL_3>") == "<EMAIL_1> is for bob@example.org"


def test_placeholders_survive_json_and_come_back_in_values() -> None:
    _, result = redacted('the password is "a \\ b" and mail bob@example.org')
    answer = json.dumps({"to": "<EMAIL_1>", "steps": ["type <SECRET_1>", 3, None]})
    assert result.restore_value(json.loads(answer)) == {
        "to": "bob@example.org",
        "steps": ["type a \\ b", 3, None],
    }


def test_originals_do_not_show_in_a_log() -> None:
    assert "hunter22" not in repr(redacted("password: hunter22")[1])


WORDS = st.sampled_from(
    [
        *ORDINARY,
        *(v for values in PERSONAL.values() for v in values),
        *("password:", "token=", "api_key is", "<SECRET_1>", "<EMAIL_2>", "<secret_1>", "Bearer"),
        *(
            "hunter22!",
            "https://a:b4@example.org",
            '"',
            "'",
            "=",
            ":",
            "-----BEGIN PRIVATE KEY-----",
        ),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=8).map(" ".join),
    st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=8).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_restoring_gives_back_every_text(texts: list[str]) -> None:
    result = REDACTOR.redact([user(t) for t in texts])
    sent = json.loads(json.dumps([dict(m) for m in result.messages]))
    assert [result.restore(m["content"]) for m in sent] == texts


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_redacting_what_was_redacted_changes_nothing(texts: list[str]) -> None:
    once = REDACTOR.redact([user(t) for t in texts])
    again = REDACTOR.redact(once.messages)
    assert again.messages == once.messages
    assert not again.found


def test_the_detectors_load_only_when_they_are_used() -> None:
    code = (
        "import sys, runtime.redact as r; "
        "assert not {'detect_secrets', 'phonenumbers', 'stdnum', 'requests'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
