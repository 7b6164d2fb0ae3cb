"""A task is split where a new order begins, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.pool import Pool
from runtime.core import Kind
from runtime.roles.grounding import spans
from runtime.roles.refiner import Refiner
from runtime.roles.segments import clauses, refers, resolved
from runtime.router import Router
from tests.bench.dev_roles import SPLIT
from tests.fakes import FakeGenerator
from tests.runtime.roles.support import NOW, TOOLS, KeywordRouter, a_task

GUI_WORDS: dict[str, Kind] = {
    "mousepad": "gui", "type": "gui", "save": "gui", "plan": "plan", "light": "parse"
}  # fmt: skip


def parts(text: str) -> list[str]:
    return [c.text for c in clauses(text, spans(text, now=NOW, folder=Path("/nonexistent")))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('open mousepad, type "one, two; three" and save it as x.txt',
         ["open mousepad", 'type "one, two; three"', "save it as x.txt"]),
        ("Open the editor. Then please type hi!", ["Open the editor", "type hi"]),
        ("list the files; count them", ["list the files", "count them"]),
        ("- make a folder\n- list it", ["- make a folder", "list it"]),
        ("copy a.txt to b.txt, and then delete a.txt", ["copy a.txt to b.txt", "delete a.txt"]),
        ("show disk usage and list the running processes",
         ["show disk usage", "list the running processes"]),
        ("find files larger than 1 MB and older than 7 days",
         ["find files larger than 1 MB and older than 7 days"]),
        ("search for TODO and FIXME in main.py", ["search for TODO and FIXME in main.py"]),
        ("search all files for TODO and show the lines",
         ["search all files for TODO and show the lines"]),
        ("remind me to call Sam and buy milk", ["remind me to call Sam and buy milk"]),
        ("text Ana that I'm late, start without me", ["text Ana that I'm late, start without me"]),
        ("remind me at six to eat, then play some jazz",
         ["remind me at six to eat", "play some jazz"]),
        ("in mousepad, type hello", ["in mousepad, type hello"]),
        ("type 'save it. Then close it' and close it",
         ["type 'save it. Then close it'", "close it"]),
        ("what is 3.5 MB in bytes", ["what is 3.5 MB in bytes"]),
        ("show notes.txt", ["show notes.txt"]),
    ],
)  # fmt: skip
def test_clauses(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


def test_only_connectors_are_dropped() -> None:
    for text, _ in SPLIT:
        rest = text
        for part in parts(text):
            assert part in rest
            gap, rest = rest[: rest.index(part)], rest[rest.index(part) + len(part) :]
            assert set(gap.strip(" ,.;").split()) <= {"and", "then", "after", "that"}
        assert rest.strip(" .") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("delete it", "delete a.txt"),
        ("show its first 3 lines", "show the first 3 lines of a.txt"),
        ("show its size", "show the size of a.txt"),
        ("move summary.txt into it", "move summary.txt into a.txt"),
        ("delete that file", "delete a.txt"),
        ("limit the item", "limit the item"),
    ],
)
def test_references_become_what_they_stand_for(text: str, expected: str) -> None:
    assert resolved(text, "a.txt") == expected


def test_a_pronoun_inside_a_quotation_refers_to_nothing() -> None:
    text = 'write "it works" to b.txt'
    assert not refers(text, spans(text, now=NOW, folder=Path("/")))


async def refine(text: str, router: Any, **fields: Any) -> list[tuple[str, str]]:
    steps, calls = await Refiner(FakeGenerator(), _Encoder(), router).refine(a_task(text, **fields))
    assert calls and all(c.role == "refiner" and c.kind == "refine" for c in calls)
    assert [s.index for s in steps] == list(range(len(steps)))
    return [(s.kind, s.text) for s in steps]


class _Encoder:
    model, name, dimension = "sha256:encoder", "encoder", 2

    def embed(self, texts: Any) -> Any:
        raise AssertionError("the router embeds")

    def was_cut(self, text: str) -> bool:
        return False


async def test_a_hard_plan_stays_one_step() -> None:
    text = "plan the migration, list the risks and write a summary"
    assert await refine(text, KeywordRouter(GUI_WORDS)) == [("plan", text)]


async def test_references_resolve_in_the_shell_and_not_on_the_screen() -> None:
    router = KeywordRouter(GUI_WORDS)
    assert await refine("count the lines in a.txt, then delete it", router) == [
        ("shell", "count the lines in a.txt"), ("shell", "delete a.txt")]  # fmt: skip
    assert await refine("open a.txt in mousepad and save it as b.txt", router) == [
        ("gui", "open a.txt in mousepad"), ("gui", "save it as b.txt")]  # fmt: skip


async def test_with_function_tools_every_step_is_a_call_of_one() -> None:
    steps = await refine(
        "turn on the kitchen light and play some jazz", KeywordRouter({}), tools=tuple(TOOLS)
    )
    assert steps == [("parse", "turn on the kitchen light"), ("parse", "play some jazz")]


async def test_the_real_router_and_rules_split_the_development_tasks(pool: Pool) -> None:
    router = Router(pool.encoder())
    right = 0
    for text, expected in SPLIT:
        tools = tuple(TOOLS) if expected[0][0] == "parse" else ()
        steps, _ = await Refiner(FakeGenerator(), pool.encoder(), router).refine(
            a_task(text, tools=tools)
        )
        right += [s.text.lower() for s in steps] == [t.lower() for _, t in expected]
    assert right >= 0.9 * len(SPLIT)
