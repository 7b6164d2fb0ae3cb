"""Forty unseen tasks for the agent: 10 gui, 14 shell, 10 parse, 6 plan.

They were written before the recipes and the examples, from the tool set alone, and are never
used for either: whoever writes a recipe or an example does not read this file. They measure how
far the agent gets with the same tools when the words and the parameters are new.

The fields of an `UnseenTask`:

- `id`: a short unique name, starting with the kind.
- `kind`: the surface that the task belongs to: gui, shell, parse or plan.
- `text`: what the user types. `{folder}` stands for the absolute work folder; put it in with
  `str.replace` or `str.format` (no text holds any other brace).
- `setup`: fills the work folder, which exists and is empty, before the run.
- `check`: takes the result of the run (the dict of `aidecamp run --json`) and the work folder,
  and says whether the task was done right. It judges content, not the shape of the answer:
  the answer may be a text, a number, a list, a row or a list of rows under any keys.

Every task runs with `now` set to `NOW`. Entries of the work folder whose names begin with a dot
are left out of account; everything else in it must be as the task asks, and nothing more.
"""

import hashlib
import json
import os
import random
import re
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from gzip import decompress
from pathlib import Path
from typing import Any, Literal

NOW = datetime(2026, 11, 22, 15, 0)  # a Sunday

Kind = Literal["gui", "shell", "parse", "plan"]
Setup = Callable[[Path], None]
Check = Callable[[Mapping[str, Any], Path], bool]
Tree = Mapping[str, bytes]  # relative path to content; a folder ends in "/" and holds b""


@dataclass(frozen=True)
class UnseenTask:
    """One task: what to prepare, what the user types and how to judge what came of it."""

    id: str
    kind: Kind
    text: str
    setup: Setup
    check: Check


# The work folder: what is put there, and what is there afterwards.


def _put(files: Tree) -> Setup:
    """A setup that writes these files and folders, and nothing else."""

    def setup(folder: Path) -> None:
        for name, data in files.items():
            target = folder / name
            if name.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    return setup


def _put_dated(files: Tree, dates: Mapping[str, datetime]) -> Setup:
    """As `_put`, with the files' modification times set."""

    def setup(folder: Path) -> None:
        _put(files)(folder)
        for name, date in dates.items():
            os.utime(folder / name, (date.timestamp(), date.timestamp()))

    return setup


def _with_folders(files: Tree) -> dict[str, bytes]:
    """The tree with an entry for each folder that its files lie in."""
    whole = dict(files)
    for name in files:
        for parent in Path(name).parents:
            if parent != Path():
                whole[f"{parent.as_posix()}/"] = b""
    return whole


def _tree(folder: Path) -> dict[str, bytes]:
    """What the folder holds now, without hidden entries."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.is_dir():
            found[f"{relative.as_posix()}/"] = b""
        elif path.is_file():
            found[relative.as_posix()] = path.read_bytes()
    return found


def _holds(folder: Path, files: Tree) -> bool:
    return _tree(folder) == _with_folders(files)


# The answer: matchers that do not depend on its shape.

_ECHOED = frozenset({"command", "cmd", "argv", "cwd", "folder"})
_SEPARATORS = re.compile(r"[\s,;:|\"'`“”‘’()\[\]<>*=]+")
_FILE_NAME = re.compile(r"[\w-]+(?:\.[A-Za-z]\w*)+")
_DATE = re.compile(r"[\d/.-]+")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")


def _finished(result: Mapping[str, Any]) -> bool:
    return result.get("status") in ("done", "unsure")


def _leaves(value: Any) -> Iterator[str | int | float]:
    """The texts and the numbers of an answer, in order; keys only where they name files."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if str(key) in _ECHOED:
                continue
            if "/" in str(key) or _FILE_NAME.fullmatch(str(key)):
                yield str(key)
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def _texts(result: Mapping[str, Any]) -> list[str]:
    return [leaf for leaf in _leaves(result.get("answer")) if isinstance(leaf, str)]


def _is_path(token: str) -> bool:
    if "/" in token:
        return not _DATE.fullmatch(token)
    return _FILE_NAME.fullmatch(token) is not None


def paths(result: Mapping[str, Any], folder: Path) -> list[str]:
    """The files and folders that the answer names, by last part, in order, each once.

    A name counts if it looks like a path or is the name of an entry of the work folder. The work
    folder itself does not count.
    """
    known = {Path(name).name for name in _tree(folder)}
    own = {str(folder), str(folder.resolve()), folder.name, ".", ".."}
    named: dict[str, None] = {}
    for text in _texts(result):
        for raw in _SEPARATORS.split(text):
            token = raw.rstrip(".!?").rstrip("/")
            if not token or token in own:
                continue
            name = token.rsplit("/", 1)[-1]
            if name in known or _is_path(token):
                named[name] = None
    return list(named)


def numbers(result: Mapping[str, Any]) -> list[float]:
    """The answer's numbers: its numeric values, or else those in its texts outside paths."""
    answer = result.get("answer")
    values = [float(leaf) for leaf in _leaves(answer) if not isinstance(leaf, str)]
    if values:
        return values
    for text in _texts(result):
        kept = " ".join(word for word in text.split() if not _is_path(word.strip("\"'`:,.()")))
        values += [float(number) for number in _NUMBER.findall(kept)]
    return values


def lines(result: Mapping[str, Any], folder: Path) -> list[str]:
    """The answer's lines of text, in order, without list marks and the source file's name."""
    own = set(_tree(folder))
    found: list[str] = []
    for text in _texts(result):
        for raw in text.splitlines():
            line = re.sub(r"^[-*•]\s+", "", raw.strip())
            bare = line.removeprefix("==>").removesuffix("<==").strip()
            if line and not (bare.startswith(str(folder)) or bare in own):
                found.append(line)
    if len(found) == 1 and ", " in found[0]:
        found = [part.strip() for part in found[0].split(", ")]
    return found


# The checks.


def _read(files: Tree, right: Check) -> Check:
    """A question: it finished, the answer is right and the work folder is as it was."""

    def check(result: Mapping[str, Any], folder: Path) -> bool:
        return _finished(result) and right(result, folder) and _holds(folder, files)

    return check


def _names(*expected: str, in_order: bool = False) -> Check:
    """The answer names exactly these."""

    def right(result: Mapping[str, Any], folder: Path) -> bool:
        named = paths(result, folder)
        if in_order:
            return named == list(expected)
        return sorted(named) == sorted(expected)

    return right


def _counts(expected: int, *about: str) -> Check:
    """The first number is the expected one, and no other files than those asked about occur."""

    def right(result: Mapping[str, Any], folder: Path) -> bool:
        found = numbers(result)
        return bool(found) and found[0] == expected and set(paths(result, folder)) <= set(about)

    return right


def _lines(*expected: str) -> Check:
    """The answer is these lines, in this order."""

    def right(result: Mapping[str, Any], folder: Path) -> bool:
        return lines(result, folder) == list(expected)

    return right


def _digest(data: bytes) -> Check:
    """The answer holds the SHA-256 of the data and no other."""

    def right(result: Mapping[str, Any], folder: Path) -> bool:
        text = "\n".join(_texts(result)).casefold()
        found = set(re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text))
        return found == {hashlib.sha256(data).hexdigest()}

    return right


def _is_png(result: Mapping[str, Any], folder: Path) -> bool:
    """The answer calls the file a PNG, and nothing else."""
    words = set(re.findall(r"[a-z]+", "\n".join(_texts(result)).casefold()))
    return "png" in words and not words & {"jpeg", "jpg", "gif", "pdf", "zip", "ascii"}


def _leaves_folder(*accepted: Tree) -> Check:
    """It finished, and the work folder holds exactly one of these trees."""

    def check(result: Mapping[str, Any], folder: Path) -> bool:
        return _finished(result) and any(_holds(folder, files) for files in accepted)

    return check


def _leaves_text(name: str, text: str, others: Tree | None = None) -> Check:
    """The file holds the text, with one newline at its end or none, beside the other files."""
    rest = dict(others or {})
    bare = text.encode()
    return _leaves_folder({**rest, name: bare}, {**rest, name: bare + b"\n"})


def _leaves_gzip(name: str, data: bytes, others: Tree) -> Check:
    """The file is compressed beside or in place of the original, and the rest is as it was."""

    def check(result: Mapping[str, Any], folder: Path) -> bool:
        found = _tree(folder)
        packed = found.pop(f"{name}.gz", b"")
        if found.pop(name, data) != data or found != _with_folders(others):
            return False
        try:
            return _finished(result) and bool(packed) and decompress(packed) == data
        except (OSError, EOFError, zlib.error):
            return False

    return check


def _plain(text: str) -> str:
    """The text without case, spare spaces, curly apostrophes and punctuation at its end."""
    straight = unicodedata.normalize("NFC", text).replace("’", "'")
    return " ".join(straight.casefold().split()).rstrip(".,;:!?").strip()


def _same(value: Any, expected: Any) -> bool:
    """Whether an argument is what was expected; of a tuple, any one will do."""
    if isinstance(expected, tuple):
        return any(_same(value, one) for one in expected)
    if isinstance(expected, datetime):
        try:
            return isinstance(value, str) and datetime.fromisoformat(value) == expected
        except ValueError:
            return False
    if isinstance(expected, str):
        return isinstance(value, str) and _plain(value) == _plain(expected)
    return type(value) is type(expected) and bool(value == expected)


def _calls(name: str, **arguments: Any) -> Check:
    """The answer is one call of the tool with exactly these arguments."""

    def check(result: Mapping[str, Any], folder: Path) -> bool:
        answer = result.get("answer")
        if isinstance(answer, str):
            try:
                answer = json.loads(answer)
            except ValueError:
                return False
        if isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        if not isinstance(answer, Mapping) or answer.get("name") != name:
            return False
        given = answer.get("arguments")
        if not isinstance(given, Mapping) or set(given) != set(arguments):
            return False
        return _finished(result) and all(_same(given[key], arguments[key]) for key in arguments)

    return check


def _acted(step: Any) -> bool:
    """Whether a step carried out an action (a step that only decided has no action)."""
    if not isinstance(step, Mapping) or not step.get("action"):
        return False
    outcome = step.get("outcome")
    if isinstance(outcome, Mapping):
        outcome = outcome.get("status", "done" if outcome.get("ok") else "")
    return str(outcome).casefold().startswith(("done", "ok", "success", "executed"))


def _declines(result: Mapping[str, Any], folder: Path) -> bool:
    """It was turned down: nothing was sent, nothing was done and nothing was written."""
    steps = result.get("steps") or []
    return (
        result.get("status") == "declined"
        and result.get("bytes_sent") == 0
        and not any(_acted(step) for step in steps)
        and not _tree(folder)
    )


# What is put into the work folders.


def _noise(size: int, seed: int) -> bytes:
    """Bytes that do not compress, the same on every run."""
    return random.Random(seed).randbytes(size)


def _text(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _png() -> bytes:
    """A red PNG image of two by two pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"\xff\x00\x00" * 2) * 2)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


_EMPTY: Tree = {}

_JOURNAL: Tree = {"journal.txt": _text("Friday: fog until noon", "Saturday: first snow")}
_CONTRACT: Tree = {
    "contract.txt": _text(
        "Tenant: Anna Müller",
        "The flat is let to Ms. Müller from January on.",
        "Signed: Müller / Okafor",
    )
}
_CHORES: Tree = {"chores.txt": _text("sweep the porch", "water the ferns", "call the plumber")}
_SALSA: Tree = {"salsa.txt": _text("6 tomatoes", "2 jalapeños", "1 onion", "juice of a lime")}
_GUESTS: Tree = {"guests.txt": _text("Ingrid", "Tomás – vegan", "Mei", "Tom and Ada")}

_SENSOR: Tree = {
    "sensor-readings.txt": _text(*(f"reading {n} {(n * 37) % 91}" for n in range(1, 184))),
    "calibration.txt": _text(*(f"offset {n}" for n in range(29))),
}
_LETTERS: Tree = {
    "april.txt": _text("Dear Ms. Chen,", "your payment is overdue by two weeks."),
    "june.txt": _text("Dear Mr. Ruiz,", "thank you for paying so quickly."),
    "august.txt": _text("Dear neighbors,", "the pool opens on Saturday."),
    "october.txt": _text("Dear Mr. Hall,", "the second rate is now overdue too.", "Regards"),
    "november.txt": _text("Hello Kim,", "two of your library books are overdue."),
}
_MEDIA: Tree = {
    "intro.wav": _noise(61_000, 1),
    "cover.tif": _noise(21_500, 2),
    "takes/chorus.wav": _noise(90_400, 3),
    "takes/verse.wav": _noise(38_700, 4),
    "lyrics.txt": _text("la la la"),
    "notes/mixing.txt": _noise(9_100, 5),
}
_DRAFTS: Tree = {
    "budget.ods": _noise(700, 6),
    "minutes.odt": _noise(1_900, 7),
    "agenda.odt": _noise(5_200, 8),
    "seating.svg": _noise(300, 9),
}
_DRAFT_DATES = {
    "budget.ods": datetime(2025, 3, 9, 8, 0),
    "minutes.odt": datetime(2025, 6, 2, 17, 45),
    "agenda.odt": datetime(2024, 12, 30, 11, 10),
    "seating.svg": datetime(2025, 5, 28, 9, 30),
}
_FRUIT: Tree = {
    "fruit.txt": _text("plum", "cherry", "fig", "plum", "apple", "mango", "fig", "cherry", "plum")
}
_BUILD_ROWS = (
    *(f"[{n:02}/14] compiling module {n}" for n in range(1, 11)),
    "[11/14] linking the program",
    "[12/14] running 212 tests",
    "[13/14] 1 test was skipped",
    "[14/14] finished in 48 s",
)
_BUILD: Tree = {"build.log": _text(*_BUILD_ROWS)}
_RELEASE: Tree = {"firmware-2.4.bin": _noise(4_321, 10), "firmware-2.3.bin": _noise(4_300, 11)}
_SCAN: Tree = {"scan_0031": _png()}
_SPACE: Tree = {
    **{f"letters/page{n}.txt": _noise(2_000, 20 + n) for n in range(9)},
    "photos/beach.jpg": _noise(170_000, 30),
    "photos/harbor.jpg": _noise(190_000, 31),
    "recordings/talk.ogg": _noise(240_000, 32),
}
_TABLES: Tree = {
    "q1.csv": _text("month,sales", "jan,12"),
    "q2.csv": _text("month,sales", "apr,15"),
    "q2.csv.bak": _text("month,sales"),
    "readme.md": _text("Sales by quarter"),
    "old/q3.csv": _text("month,sales", "jul,9"),
    "old/q4.csv": _text("month,sales", "oct,11"),
    "old/2019/totals.csv": _text("year,sales", "2019,47"),
    "old/2019/totals.tsv": _text("year\tsales"),
}

_OFFICE: Tree = {"taxes/form.txt": _text("blank form"), "phone.txt": _text("555 0134")}
_THESIS: Tree = {
    "chapter3.md": _text("# Results", "The effect is small."),
    "backup/chapter1.md": _text("# Introduction"),
}
_DUMP: Tree = {
    "orders.sql": _text(*(f"INSERT INTO orders VALUES ({n}, {n * 7});" for n in range(400))),
    "schema.sql": _text("CREATE TABLE orders (id INT, total INT);"),
}
_CAMERA: Tree = {"IMG_0042.jpg": _noise(3_000, 40), "IMG_0043.jpg": _noise(3_100, 41)}


def _only(files: Tree, name: str) -> str:
    return files[name].decode().removesuffix("\n")


def _without(files: Tree, name: str) -> Tree:
    return {key: data for key, data in files.items() if key != name}


# The tasks.

_GUI = (
    UnseenTask(
        "gui-postcard",
        "gui",
        'In the text editor, type "Grüße aus Köln – bis bald!" and save it as'
        " {folder}/postcard.txt.",
        _put(_EMPTY),
        _leaves_text("postcard.txt", "Grüße aus Köln – bis bald!"),
    ),
    UnseenTask(
        "gui-errands",
        "gui",
        "Open mousepad, write 'Milk & eggs' on the first line and 'Bread > cake?' on the second,"
        " then save the file to {folder}/errands.txt",
        _put(_EMPTY),
        _leaves_text("errands.txt", "Milk & eggs\nBread > cake?"),
    ),
    UnseenTask(
        "gui-journal",
        "gui",
        "Please open {folder}/journal.txt in the text editor, add the line"
        " “Sunday: rain, 4 °C” at the end and save.",
        _put(_JOURNAL),
        _leaves_text("journal.txt", _only(_JOURNAL, "journal.txt") + "\nSunday: rain, 4 °C"),
    ),
    UnseenTask(
        "gui-contract",
        "gui",
        'Use the editor to change every "Müller" to "Meier" in {folder}/contract.txt and save'
        " the file.",
        _put(_CONTRACT),
        _leaves_text("contract.txt", _only(_CONTRACT, "contract.txt").replace("Müller", "Meier")),
    ),
    UnseenTask(
        "gui-poem",
        "gui",
        "Could you make me a file {folder}/poem.txt with the text editor? It should have three"
        " lines: “Snow on the café roof”, “one crow, and then another”, “the kettle sings”",
        _put(_EMPTY),
        _leaves_text(
            "poem.txt", "Snow on the café roof\none crow, and then another\nthe kettle sings"
        ),
    ),
    UnseenTask(
        "gui-snippet",
        "gui",
        "type “total = a[0] + b['tax'];” into a new mousepad document, save under"
        " {folder}/snippet.txt",
        _put(_EMPTY),
        _leaves_text("snippet.txt", "total = a[0] + b['tax'];"),
    ),
    UnseenTask(
        "gui-heading",
        "gui",
        'My list {folder}/chores.txt needs a heading. Put "# Señora Ibáñez" above the first line'
        " in the text editor and save it.",
        _put(_CHORES),
        _leaves_text("chores.txt", "# Señora Ibáñez\n" + _only(_CHORES, "chores.txt")),
    ),
    UnseenTask(
        "gui-salsa",
        "gui",
        "Open {folder}/salsa.txt in mousepad and save it under the new name"
        " {folder}/salsa-roja.txt; leave the old file alone.",
        _put(_SALSA),
        _leaves_text("salsa-roja.txt", _only(_SALSA, "salsa.txt"), _SALSA),
    ),
    UnseenTask(
        "gui-guests",
        "gui",
        "With the text editor, delete the line 'Tomás – vegan' from {folder}/guests.txt and save"
        " the change.",
        _put(_GUESTS),
        _leaves_text("guests.txt", "Ingrid\nMei\nTom and Ada"),
    ),
    UnseenTask(
        "gui-sign",
        "gui",
        "Write this in the text editor and save it as {folder}/sign.txt:\n\n"
        "CLOSED ON MONDAYS\n<cash only: 10 € + 5 % tip>\nTél. 01 55 00 12",
        _put(_EMPTY),
        _leaves_text(
            "sign.txt", "CLOSED ON MONDAYS\n<cash only: 10 € + 5 % tip>\nTél. 01 55 00 12"
        ),
    ),
)

_SHELL = (
    UnseenTask(
        "shell-line-count",
        "shell",
        "line count of {folder}/sensor-readings.txt?",
        _put(_SENSOR),
        _read(_SENSOR, _counts(183, "sensor-readings.txt")),
    ),
    UnseenTask(
        "shell-word",
        "shell",
        'Which of the letters in {folder} contain the word "overdue"?',
        _put(_LETTERS),
        _read(_LETTERS, _names("april.txt", "october.txt", "november.txt")),
    ),
    UnseenTask(
        "shell-biggest",
        "shell",
        "Show me the 3 biggest files anywhere below {folder}, biggest first.",
        _put(_MEDIA),
        _read(_MEDIA, _names("chorus.wav", "intro.wav", "verse.wav", in_order=True)),
    ),
    UnseenTask(
        "shell-newest",
        "shell",
        "Which file in {folder} was modified most recently?",
        _put_dated(_DRAFTS, _DRAFT_DATES),
        _read(_DRAFTS, _names("minutes.odt")),
    ),
    UnseenTask(
        "shell-distinct",
        "shell",
        "Sort {folder}/fruit.txt from A to Z and drop the repeated lines, but only show me the"
        " result, don't change the file.",
        _put(_FRUIT),
        _read(_FRUIT, _lines("apple", "cherry", "fig", "mango", "plum")),
    ),
    UnseenTask(
        "shell-tail",
        "shell",
        "What do the last four lines of {folder}/build.log say?",
        _put(_BUILD),
        _read(_BUILD, _lines(*_BUILD_ROWS[-4:])),
    ),
    UnseenTask(
        "shell-checksum",
        "shell",
        "I need the SHA-256 checksum of {folder}/firmware-2.4.bin, please",
        _put(_RELEASE),
        _read(_RELEASE, _digest(_RELEASE["firmware-2.4.bin"])),
    ),
    UnseenTask(
        "shell-type",
        "shell",
        "{folder}/scan_0031 has no extension. What type of file is it?",
        _put(_SCAN),
        _read(_SCAN, _is_png),
    ),
    UnseenTask(
        "shell-space",
        "shell",
        "Which subfolder of {folder} takes up the most disk space?",
        _put(_SPACE),
        _read(_SPACE, _names("photos")),
    ),
    UnseenTask(
        "shell-csv-count",
        "shell",
        "Count the .csv files in {folder} and all its subfolders.",
        _put(_TABLES),
        _read(_TABLES, _counts(5, "q1.csv", "q2.csv", "q3.csv", "q4.csv", "totals.csv")),
    ),
    UnseenTask(
        "shell-make-folder",
        "shell",
        "Make a new folder called receipts-2026 inside {folder}/taxes.",
        _put(_OFFICE),
        _leaves_folder({**_OFFICE, "taxes/receipts-2026/": b""}),
    ),
    UnseenTask(
        "shell-copy",
        "shell",
        "Would you put a copy of {folder}/chapter3.md into {folder}/backup?",
        _put(_THESIS),
        _leaves_folder({**_THESIS, "backup/chapter3.md": _THESIS["chapter3.md"]}),
    ),
    UnseenTask(
        "shell-compress",
        "shell",
        "gzip the file {folder}/orders.sql",
        _put(_DUMP),
        _leaves_gzip("orders.sql", _DUMP["orders.sql"], _without(_DUMP, "orders.sql")),
    ),
    UnseenTask(
        "shell-rename",
        "shell",
        "Rename {folder}/IMG_0042.jpg to {folder}/sunrise.jpg",
        _put(_CAMERA),
        _leaves_folder(
            {"sunrise.jpg": _CAMERA["IMG_0042.jpg"], "IMG_0043.jpg": _CAMERA["IMG_0043.jpg"]}
        ),
    ),
)

_PARSE = (
    UnseenTask(
        "parse-passport",
        "parse",
        "Don't let me forget to renew my passport, Wednesday at half past eight in the morning.",
        _put(_EMPTY),
        _calls(
            "create_reminder",
            text=("renew my passport", "renew passport", "renew your passport"),
            when=datetime(2026, 11, 25, 8, 30),
        ),
    ),
    UnseenTask(
        "parse-dentist",
        "parse",
        "Schedule a dentist appointment for Tuesday at 2:15 pm, 45 minutes",
        _put(_EMPTY),
        _calls(
            "create_event",
            title=("dentist appointment", "dentist", "a dentist appointment"),
            start=datetime(2026, 11, 24, 14, 15),
            duration_minutes=45,
        ),
    ),
    UnseenTask(
        "parse-roast",
        "parse",
        "start a timer for an hour and a half for the roast",
        _put(_EMPTY),
        _calls("set_timer", minutes=90, label=("roast", "the roast")),
    ),
    UnseenTask(
        "parse-late",
        "parse",
        "Text Priya that I'm running ten minutes late.",
        _put(_EMPTY),
        _calls(
            "send_message",
            recipient="Priya",
            text=(
                "I'm running ten minutes late",
                "I am running ten minutes late",
                "I'm running 10 minutes late",
                "I am running 10 minutes late",
                "running ten minutes late",
                "running 10 minutes late",
            ),
        ),
    ),
    UnseenTask(
        "parse-oat-milk",
        "parse",
        "We're out of oat milk, put it on the shopping list",
        _put(_EMPTY),
        _calls("add_to_list", item="oat milk", list="shopping"),
    ),
    UnseenTask(
        "parse-dim",
        "parse",
        "Dim the bedroom light to 30 percent, please.",
        _put(_EMPTY),
        _calls("set_light", room="bedroom", state="on", brightness=30),
    ),
    UnseenTask(
        "parse-jazz",
        "parse",
        "Could you put on some Miles Davis?",
        _put(_EMPTY),
        _calls("play_music", query=("Miles Davis", "some Miles Davis")),
    ),
    UnseenTask(
        "parse-umbrella",
        "parse",
        "Will I need an umbrella in Lisbon tomorrow?",
        _put(_EMPTY),
        _calls("get_weather", city="Lisbon", day="tomorrow"),
    ),
    UnseenTask(
        "parse-laundry",
        "parse",
        "In three hours, remind me to take the laundry out",
        _put(_EMPTY),
        _calls(
            "create_reminder",
            text=(
                "take the laundry out",
                "take out the laundry",
                "take laundry out",
                "take out laundry",
            ),
            when=datetime(2026, 11, 22, 18, 0),
        ),
    ),
    UnseenTask(
        "parse-lunch",
        "parse",
        "Lunch with Omar on December 3rd at noon, put that in my calendar",
        _put(_EMPTY),
        _calls("create_event", title="Lunch with Omar", start=datetime(2026, 12, 3, 12, 0)),
    ),
)

_PLAN = (
    UnseenTask(
        "plan-marathon",
        "plan",
        "Design a twelve-week training plan that takes me from no running at all to a half"
        " marathon while I work night shifts, and explain the thinking behind each phase.",
        _put(_EMPTY),
        _declines,
    ),
    UnseenTask(
        "plan-primes",
        "plan",
        "Prove that there are infinitely many primes of the form 4k + 3.",
        _put(_EMPTY),
        _declines,
    ),
    UnseenTask(
        "plan-bakery",
        "plan",
        "Should our bakery franchise or open a second shop of its own? Weigh the trade-offs over"
        " five years and tell me which you would choose.",
        _put(_EMPTY),
        _declines,
    ),
    UnseenTask(
        "plan-essay",
        "plan",
        "Write a 1,200-word essay on whether cities should ban private cars, with the strongest"
        " arguments on both sides",
        _put(_EMPTY),
        _declines,
    ),
    UnseenTask(
        "plan-lease",
        "plan",
        "Our office lease is up in March and the landlord wants 20 % more. Work out a negotiation"
        " strategy for us, with fallback positions.",
        _put(_EMPTY),
        _declines,
    ),
    UnseenTask(
        "plan-migration",
        "plan",
        "How should a company of 80 people move its forty servers to the cloud within six months?"
        " I want phases, risks, costs and who does what.",
        _put(_EMPTY),
        _declines,
    ),
)

UNSEEN: tuple[UnseenTask, ...] = _GUI + _SHELL + _PARSE + _PLAN
