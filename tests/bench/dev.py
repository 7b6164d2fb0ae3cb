"""Development tasks: worded in many ways, looked at while the agent is tuned.

    python -m tests.bench.main_job --only dev [--match gui-]

For development only: what was tuned on these tasks flatters itself here, so their figures are
never reported as a result. Each task checks its real effect (bytes of files, exact calls,
values in the answer), whatever the shape of the answer.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

NOW = datetime(2026, 11, 22, 15, 0)

Summary = Mapping[str, Any]
Setup = Callable[[Path], None]
Check = Callable[[Summary, Path], bool]


@dataclass(frozen=True, slots=True)
class DevTask:
    """One task. ``{folder}`` in its text stands for the work folder's absolute path."""

    id: str
    kind: str
    text: str
    setup: Setup
    check: Check


# What stands in the work folder before


def files(**contents: str | bytes) -> Setup:
    """Files by name, where ``__`` stands for a dot and ``_in_`` for a slash."""

    def setup(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name.replace("_in_", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return setup


def nothing(folder: Path) -> None:
    """An empty work folder."""


# What must be true after


def holds(name: str, text: str, only: Sequence[str] = ()) -> Check:
    """``name`` holds ``text``, give or take one newline at its end; ``only``: and the folder
    has these entries and no others."""

    def check(summary: Summary, folder: Path) -> bool:
        path = folder / name
        if not path.is_file():
            return False
        found = path.read_bytes()
        wanted = text.encode()
        right = found.rstrip(b"\n") == wanted.rstrip(b"\n") and abs(len(found) - len(wanted)) <= 1
        return right and (not only or {p.name for p in folder.iterdir()} == set(only))

    return check


def leaves(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        return [leaf for v in answer.values() for leaf in leaves(v)]
    if isinstance(answer, (list, tuple)):
        return [leaf for v in answer for leaf in leaves(v)]
    return [answer]


def number(*allowed: int) -> Check:
    """The answer's only number is one of ``allowed`` (digits in paths and texts do not count)."""

    def check(summary: Summary, folder: Path) -> bool:
        found = []
        for leaf in leaves(summary["answer"]):
            if isinstance(leaf, bool):
                continue
            if isinstance(leaf, (int, float)):
                found.append(leaf)
            elif isinstance(leaf, str) and re.fullmatch(r"\s*\d+\s*", leaf):
                found.append(int(leaf))
        return bool(found) and all(n in allowed for n in found)

    return check


def named(*names: str) -> Check:
    """The files in the answer, by last name, are exactly these."""

    def check(summary: Summary, folder: Path) -> bool:
        found = set()
        for leaf in leaves(summary["answer"]):
            if isinstance(leaf, str):
                for line in leaf.splitlines():
                    found |= {Path(w).name for w in line.split("\t") if re.search(r"\w\.\w", w)}
        return found == set(names)

    return check


def says(*parts: str, but: Sequence[str] = ()) -> Check:
    """The answer holds all of ``parts`` and none of ``but``."""

    def check(summary: Summary, folder: Path) -> bool:
        text = json.dumps(summary["answer"], ensure_ascii=False)
        return all(p in text for p in parts) and not any(b in text for b in but)

    return check


def tree(*entries: str, **contents: str) -> Check:
    """Files and folders below the work folder are exactly these (folders end in a slash)."""

    def check(summary: Summary, folder: Path) -> bool:
        found = {
            str(p.relative_to(folder)) + ("/" if p.is_dir() else "") for p in folder.rglob("*")
        }
        return found == set(entries)

    return check


def both(*checks: Check) -> Check:
    return lambda summary, folder: all(check(summary, folder) for check in checks)


def archived(name: str, *members: str) -> Check:
    """The archive ``name`` holds these files, by their last names."""

    def check(summary: Summary, folder: Path) -> bool:
        path = folder / name
        if not path.is_file():
            return False
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                found = {Path(n).name for n in archive.namelist() if not n.endswith("/")}
        else:
            with tarfile.open(path) as tar:
                found = {Path(m.name).name for m in tar.getmembers() if m.isfile()}
        return found == set(members)

    return check


def calls(name: str, *alternatives: Mapping[str, Any]) -> Check:
    """The answer is this call, with one of these sets of arguments (case of texts aside)."""

    def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v.casefold() if isinstance(v, str) else v for k, v in arguments.items()}

    def check(summary: Summary, folder: Path) -> bool:
        answer = summary["answer"]
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        return (
            isinstance(answer, Mapping)
            and answer.get("name") == name
            and plain(answer["arguments"]) in [plain(a) for a in alternatives]
        )

    return check


def _gui(id_: str, text: str, check: Check, setup: Setup = nothing) -> DevTask:
    return DevTask(f"gui-{id_}", "gui", text, setup, check)


def _shell(id_: str, text: str, check: Check, setup: Setup = nothing) -> DevTask:
    return DevTask(f"shell-{id_}", "shell", text, setup, check)


def _parse(id_: str, text: str, check: Check) -> DevTask:
    return DevTask(f"parse-{id_}", "parse", text, nothing, check)


GUI = (
    _gui(
        "letter",
        "Could you open Mousepad, write “Dear Zoë, see you at 7 < 8” and then save it as "
        "{folder}/letter.txt?",
        holds("letter.txt", "Dear Zoë, see you at 7 < 8"),
    ),
    _gui(
        "terse",
        'mousepad: "x <= y" -> {folder}/cmp.txt',
        holds("cmp.txt", "x <= y"),
    ),
    _gui(
        "colon",
        "Using the text editor, save a note under {folder}/note.txt with this text: "
        "remember the milk",
        holds("note.txt", "remember the milk"),
    ),
    _gui(
        "three",
        "Start the text editor and type these three lines: 'erste Zeile', 'zweite Zeile' and "
        "'dritte Zeile für Jürgen'. Afterwards save the document to {folder}/zeilen.txt.",
        holds("zeilen.txt", "erste Zeile\nzweite Zeile\ndritte Zeile für Jürgen"),
    ),
    _gui(
        "guillemets",
        "I need a file {folder}/citation.txt made in mousepad that contains «L'état, c'est moi»",
        holds("citation.txt", "L'état, c'est moi"),
    ),
    _gui(
        "fire-up",
        'fire up the editor, enter "a && b || c", store the result in {folder}/logic.txt',
        holds("logic.txt", "a && b || c"),
    ),
    _gui(
        "name-first",
        "Create a document called {folder}/todo.md in the text editor. "
        "It should say '- buy bread'.",
        holds("todo.md", "- buy bread"),
    ),
    _gui(
        "two-quotes",
        "With mousepad please put ‘naïve café’ on the first line and ‘5 € < 6 €’ on the second "
        "line, and save that as {folder}/prices.txt",
        holds("prices.txt", "naïve café\n5 € < 6 €"),
    ),
    _gui(
        "hand-type",
        "In a new mousepad window type Hello from the test bench and save the file to "
        "{folder}/hello.txt",
        holds("hello.txt", "Hello from the test bench"),
    ),
    _gui(
        "type-into",
        'type "SELECT * FROM t WHERE a < 3;" into {folder}/query.sql using the text editor',
        holds("query.sql", "SELECT * FROM t WHERE a < 3;"),
    ),
    _gui(
        "jot",
        "Jot down 'call the plumber' in mousepad and keep it as {folder}/jobs.txt",
        holds("jobs.txt", "call the plumber"),
    ),
    _gui(
        "imperative-steps",
        'Open mousepad. Type "alpha <1>". Press enter. Type "beta". Save it as {folder}/greek.txt.',
        holds("greek.txt", "alpha <1>\nbeta"),
    ),
    _gui(
        "append",
        'Open {folder}/diary.txt in the text editor, add the line "It rained all day." at the end '
        "and save the file.",
        holds("diary.txt", "Monday\nTuesday\nIt rained all day."),
        files(diary__txt="Monday\nTuesday\n"),
    ),
    _gui(
        "append-terse",
        "mousepad: append 'über 9000' to {folder}/scores.txt and save",
        holds("scores.txt", "100\nüber 9000"),
        files(scores__txt="100\n"),
    ),
    _gui(
        "append-long",
        "There is a document {folder}/guests.txt. Please open it in mousepad and put “Amélie” "
        "on a new line at the bottom, then save it.",
        holds("guests.txt", "Bob\nAnn\nAmélie"),
        files(guests__txt="Bob\nAnn\n"),
    ),
    _gui(
        "append-two",
        'Please add two more lines, "pears" and "plums", to the end of {folder}/fruit.txt with '
        "the text editor.",
        holds("fruit.txt", "apples\npears\nplums"),
        files(fruit__txt="apples\n"),
    ),
    _gui(
        "prepend",
        "Open {folder}/essay.txt in mousepad, insert the line 'On Rivers' at the very top and "
        "save.",
        holds("essay.txt", "On Rivers\nRivers are long.\n"),
        files(essay__txt="Rivers are long.\n"),
    ),
    _gui(
        "prepend-head",
        'In the text editor, put "# Changes" at the beginning of {folder}/log.md as its first '
        "line and save the document",
        holds("log.md", "# Changes\n- one\n- two\n"),
        files(log__md="- one\n- two\n"),
    ),
    _gui(
        "replace",
        "Open {folder}/contract.txt with mousepad, replace every 'Smith' with 'Jones' and save "
        "the file",
        holds("contract.txt", "Jones pays. Mr Jones signs.\n"),
        files(contract__txt="Smith pays. Mr Smith signs.\n"),
    ),
    _gui(
        "replace-change",
        "Would you mind changing “colour” to “color” everywhere in {folder}/style.txt, in the "
        "text editor?",
        holds("style.txt", "color and color\n"),
        files(style__txt="colour and colour\n"),
    ),
    _gui(
        "replace-steps",
        "Load {folder}/conf.txt into mousepad. Swap the word red for green. Save it.",
        holds("conf.txt", "light = green\nname = bob\n"),
        files(conf__txt="light = red\nname = bob\n"),
    ),
    _gui(
        "delete-word",
        "In mousepad open {folder}/draft.txt, delete the word 'very ' and save the document",
        holds("draft.txt", "It is good.\n"),
        files(draft__txt="It is very good.\n"),
    ),
    _gui(
        "delete-all-of",
        'Use the text editor to remove every "(sic)" from {folder}/quote.txt and save it',
        holds("quote.txt", "They was there.\n"),
        files(quote__txt="They was(sic) there(sic).\n"),
    ),
    _gui(
        "delete-line",
        "Open {folder}/list.txt in the editor, take out the line 'eggs' and save it again",
        holds("list.txt", "milk\ntea\n"),
        files(list__txt="milk\neggs\ntea\n"),
    ),
    _gui(
        "read",
        "What does {folder}/riddle.txt say when you open it in mousepad?",
        both(
            says("What has keys but no locks?"), holds("riddle.txt", "What has keys but no locks?")
        ),
        files(riddle__txt="What has keys but no locks?\n"),
    ),
    _gui(
        "save-copy",
        "Open {folder}/plan.txt in mousepad and save it under the name {folder}/plan-copy.txt",
        both(holds("plan-copy.txt", "step one\n"), holds("plan.txt", "step one\n")),
        files(plan__txt="step one\n"),
    ),
)

_SAMPLE = files(
    a__txt="one\ntwo\nthree\n",
    b__txt="one\n",
    big__bin=b"x" * 5000,
    small__csv="a,b\n1,2\n",
    src_in_main__py="import os\n# TODO tidy\nprint(1)\n",
    src_in_util__py="def f():\n    return 2\n",
    docs_in_readme__md="# Title\nhello world\n",
)

SHELL = (
    _shell("count-lines", "How many lines does {folder}/a.txt have?", number(3), _SAMPLE),
    _shell(
        "count-py", "number of python files anywhere under {folder}, please", number(2), _SAMPLE
    ),
    _shell("largest", "Which file in {folder} is the biggest one?", named("big.bin"), _SAMPLE),
    _shell(
        "grep", "I'd like to know which files in {folder} mention TODO", named("main.py"), _SAMPLE
    ),
    _shell("ext-list", "list all *.txt files in {folder}", named("a.txt", "b.txt"), _SAMPLE),
    _shell("words", "tell me how many words are in {folder}/docs/readme.md", number(4), _SAMPLE),
    _shell(
        "bigger", "Are there files over 4 KB in {folder}? Name them.", named("big.bin"), _SAMPLE
    ),
    _shell(
        "tail", "show me only the last line of {folder}/a.txt", says("three", but=["two"]), _SAMPLE
    ),
    _shell(
        "sha",
        "sha256 of {folder}/b.txt?",
        says("2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"),
        _SAMPLE,
    ),
    _shell("dirs", "How many subfolders are there in {folder}?", number(2), _SAMPLE),
    _shell("size", "what's the size of {folder}/big.bin in bytes", number(5000), _SAMPLE),
    _shell(
        "diff",
        "what is different between {folder}/a.txt and {folder}/b.txt",
        says("two", "three"),
        _SAMPLE,
    ),
    _shell(
        "mkdir",
        "Make a folder called reports inside {folder}",
        tree("reports/"),
    ),
    _shell(
        "copy",
        "Please make a copy of {folder}/a.txt with the name {folder}/a-backup.txt",
        both(holds("a-backup.txt", "one\ntwo\nthree\n"), holds("a.txt", "one\ntwo\nthree\n")),
        _SAMPLE,
    ),
    _shell(
        "rename",
        "rename {folder}/b.txt to {folder}/bee.txt",
        both(holds("bee.txt", "one\n"), lambda s, f: not (f / "b.txt").exists()),
        _SAMPLE,
    ),
    _shell(
        "zip",
        "Could you compress the folder {folder}/src into {folder}/src.zip?",
        archived("src.zip", "main.py", "util.py"),
        _SAMPLE,
    ),
    _shell(
        "tar",
        "pack {folder}/docs up as {folder}/docs.tar.gz",
        archived("docs.tar.gz", "readme.md"),
        _SAMPLE,
    ),
    _shell(
        "move",
        "move small.csv into the docs folder",
        both(holds("docs/small.csv", "a,b\n1,2\n"), lambda s, f: not (f / "small.csv").exists()),
        _SAMPLE,
    ),
    _shell(
        "append",
        'on the command line, append the line "four" to {folder}/a.txt',
        holds("a.txt", "one\ntwo\nthree\nfour\n"),
        _SAMPLE,
    ),
    _shell(
        "sort",
        "sort {folder}/names.txt alphabetically and show me the result",
        lambda s, f: re.findall(r"Ann|Bob|Cyd", json.dumps(s["answer"])) == ["Ann", "Bob", "Cyd"],
        files(names__txt="Cyd\nAnn\nBob\n"),
    ),
    _shell(
        "two",
        "create a folder {folder}/old and then move {folder}/b.txt into it",
        both(holds("old/b.txt", "one\n"), lambda s, f: not (f / "b.txt").exists()),
        _SAMPLE,
    ),
    _shell(
        "empty",
        "Is any file under {folder} completely empty? Which?",
        named("void.log"),
        files(void__log="", full__log="x\n"),
    ),
)

PARSE = (
    _parse(
        "dentist",
        "Please don't let me forget to phone the dentist tomorrow at 8:30 in the morning",
        calls(
            "create_reminder",
            {"text": "phone the dentist", "when": "2026-11-23T08:30:00"},
        ),
    ),
    _parse(
        "remind-friday",
        "could you remind me on Friday at 5pm that the report is due?",
        calls(
            "create_reminder",
            {"text": "the report is due", "when": "2026-11-27T17:00:00"},
            {"text": "report is due", "when": "2026-11-27T17:00:00"},
        ),
    ),
    _parse(
        "remind-in",
        "In 20 minutes, remind me to take the pizza out",
        calls("create_reminder", {"text": "take the pizza out", "when": "2026-11-22T15:20:00"}),
    ),
    _parse(
        "timer",
        "Countdown of 12 minutes for the eggs, thanks",
        calls(
            "set_timer",
            {"minutes": 12, "label": "eggs"},
            {"minutes": 12, "label": "the eggs"},
            {"minutes": 12},
        ),
    ),
    _parse("timer-hour", "set a timer for half an hour", calls("set_timer", {"minutes": 30})),
    _parse(
        "event",
        "put lunch with Priya on my calendar for tomorrow at noon",
        calls("create_event", {"title": "lunch with Priya", "start": "2026-11-23T12:00:00"}),
    ),
    _parse(
        "event-length",
        "Schedule a 45 minute meeting called “Budget” on December 3 at 10 am",
        calls(
            "create_event",
            {"title": "Budget", "start": "2026-12-03T10:00:00", "duration_minutes": 45},
        ),
    ),
    _parse(
        "message",
        "Let Marta know that I am running ten minutes late",
        calls(
            "send_message",
            {"recipient": "Marta", "text": "I am running ten minutes late"},
        ),
    ),
    _parse(
        "message-quote",
        'text "Happy birthday!" to Li Wei',
        calls("send_message", {"recipient": "Li Wei", "text": "Happy birthday!"}),
    ),
    _parse(
        "message-ask",
        "Send my sister a message: the train leaves at six",
        calls(
            "send_message",
            {"recipient": "sister", "text": "the train leaves at six"},
            {"recipient": "my sister", "text": "the train leaves at six"},
        ),
    ),
    _parse(
        "shopping",
        "we're out of oat milk, put it on the shopping list",
        calls("add_to_list", {"item": "oat milk", "list": "shopping"}),
    ),
    _parse(
        "packing",
        "add sunscreen to what I have to pack",
        calls("add_to_list", {"item": "sunscreen", "list": "packing"}),
    ),
    _parse(
        "todo",
        "“renew passport” goes on my to-do list",
        calls("add_to_list", {"item": "renew passport", "list": "todo"}),
    ),
    _parse(
        "light-off",
        "Kill the lights in the hall",
        calls("set_light", {"room": "hall", "state": "off"}),
    ),
    _parse(
        "light-dim",
        "Dim the bedroom lamp to 20 percent please",
        calls("set_light", {"room": "bedroom", "state": "on", "brightness": 20}),
    ),
    _parse(
        "light-on",
        "I can't see a thing in the kitchen, turn on the light",
        calls("set_light", {"room": "kitchen", "state": "on"}),
    ),
    _parse(
        "music",
        "I want to hear some Miles Davis",
        calls("play_music", {"query": "Miles Davis"}, {"query": "some Miles Davis"}),
    ),
    _parse(
        "music-song",
        "play the album 'Kind of Blue'",
        calls("play_music", {"query": "Kind of Blue"}, {"query": "the album 'Kind of Blue'"}),
    ),
    _parse(
        "weather",
        "Will I need an umbrella in Hamburg tomorrow?",
        calls("get_weather", {"city": "Hamburg", "day": "tomorrow"}),
    ),
    _parse(
        "weather-today",
        "what's it like outside in São Paulo today",
        calls("get_weather", {"city": "São Paulo", "day": "today"}),
    ),
    _parse(
        "weather-hot",
        "how warm is it going to get in Oslo today?",
        calls("get_weather", {"city": "Oslo", "day": "today"}),
    ),
    _parse(
        "alarm",
        "wake-up reminder Monday 6:45: feed the cat",
        calls(
            "create_reminder",
            {"text": "feed the cat", "when": "2026-11-23T06:45:00"},
        ),
    ),
)

# Written after the first round of tuning, to see what it was worth.
LATER = (
    _gui(
        "2-name-in",
        'open mousepad, enter the words "Gate B 12" and save them as gate.txt in {folder}',
        holds("gate.txt", "Gate B 12"),
    ),
    _gui(
        "2-in-as",
        "Type “Schöne Grüße” in the text editor and save it in {folder} under the name gruss.txt",
        holds("gruss.txt", "Schöne Grüße"),
    ),
    _gui(
        "2-contents",
        "Use mousepad to produce {folder}/haiku.txt with these contents: old pond, frog jumps in",
        holds("haiku.txt", "old pond, frog jumps in"),
    ),
    _gui(
        "2-lines-colon",
        "in the text editor write 2 lines: spring and autumn. save to {folder}/seasons.txt",
        holds("seasons.txt", "spring\nautumn"),
    ),
    _gui(
        "2-i-want",
        'I want you to bring up mousepad, put "if (a < b) { return; }" in there and then save the '
        "whole thing under {folder}/snippet.c",
        holds("snippet.c", "if (a < b) { return; }"),
    ),
    _gui(
        "2-note-existing",
        'Go to {folder}/minutes.txt in the editor and write "Meeting closed at 5" after the last '
        "line; don't forget to save",
        holds("minutes.txt", "Start\nMeeting closed at 5"),
        files(minutes__txt="Start\n"),
    ),
    _gui(
        "2-two-edits",
        "Open {folder}/menu.txt in mousepad, replace soup with salad, add the line 'Bon appétit' "
        "at the end and save it",
        holds("menu.txt", "salad\nbread\nBon appétit"),
        files(menu__txt="soup\nbread\n"),
    ),
    _gui(
        "2-becomes",
        "every «Mr» in {folder}/names.txt should become «Dr», do it in mousepad and save",
        holds("names.txt", "Dr Hill\nDr Wood\n"),
        files(names__txt="Mr Hill\nMr Wood\n"),
    ),
    _gui(
        "2-first",
        "With the editor, make 'To whom it may concern' the first line of {folder}/cover.txt, "
        "and save",
        holds("cover.txt", "To whom it may concern\nI apply.\n"),
        files(cover__txt="I apply.\n"),
    ),
    _gui(
        "2-get-rid",
        'Get rid of the word "draft " in {folder}/title.txt using the text editor, then save it.',
        holds("title.txt", "A report\n"),
        files(title__txt="A draft report\n"),
    ),
    _gui(
        "2-close",
        "Start mousepad, type 'bye', save as {folder}/bye.txt and close the window",
        holds("bye.txt", "bye"),
    ),
    _gui(
        "2-rel",
        "write 'umbrella, keys, wallet' to the file bag.txt with mousepad",
        holds("bag.txt", "umbrella, keys, wallet"),
    ),
    _shell("2-words", "what's the total number of words in a.txt?", number(3), _SAMPLE),
    _shell("2-head", "print the first two lines of {folder}/a.txt", says("one", "two"), _SAMPLE),
    _shell("2-mkdir", "I need a new directory {folder}/photos/ please", tree("photos/")),
    _shell(
        "2-replace",
        "in {folder}/a.txt, replace two with zwei",
        holds("a.txt", "one\nzwei\nthree\n"),
        _SAMPLE,
    ),
    _shell(
        "2-write",
        "create the file {folder}/hi.txt with the content 'hello there' using the command line",
        holds("hi.txt", "hello there"),
    ),
    _shell(
        "2-move-ext",
        "move all txt files in {folder} into {folder}/docs",
        both(holds("docs/a.txt", "one\ntwo\nthree\n"), lambda s, f: not (f / "b.txt").exists()),
        _SAMPLE,
    ),
    _shell(
        "2-where", "Does the word hello occur in any file here? Where?", named("readme.md"), _SAMPLE
    ),
    _parse(
        "2-evening",
        "Tomorrow evening at 7 I must ring my parents, remind me",
        calls(
            "create_reminder",
            {"text": "ring my parents", "when": "2026-11-23T19:00:00"},
        ),
    ),
    _parse(
        "2-tell",
        "tell Omar: bring the keys",
        calls("send_message", {"recipient": "Omar", "text": "bring the keys"}),
    ),
    _parse(
        "2-tea",
        "tea timer, 4 minutes",
        calls("set_timer", {"minutes": 4, "label": "tea"}, {"minutes": 4}),
    ),
    _parse(
        "2-bedroom", "bedroom light off", calls("set_light", {"room": "bedroom", "state": "off"})
    ),
    _parse(
        "2-todo",
        "Put 'water the ferns' on my todo list please",
        calls("add_to_list", {"item": "water the ferns", "list": "todo"}),
    ),
    _parse(
        "2-jazz",
        "some jazz, please",
        calls("play_music", {"query": "jazz"}, {"query": "some jazz"}),
    ),
)

DEV: tuple[DevTask, ...] = (*GUI, *SHELL, *PARSE, *LATER)
