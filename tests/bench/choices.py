"""How well typed choices are calibrated: ``python -m tests.bench.choices [--fit]``.

CLINC150 (CC-BY-3.0, github.com/clinc/oos-eval). ``choice``: the intent of a request among eight,
the right one and seven others at random. ``yes_no``: whether a request is about an intent, half of
them right. Measured on rows of ``val``, once with temperature 1 and once with the temperature that
``models/specialists/choice/temperatures.json`` holds for the model file. ``--fit`` first fits both
temperatures on rows of ``train`` and writes them there. Progress goes to stderr; the last line on
stdout is one JSON object; shares are fractions.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base import Message
from models.choices import NO, TEMPERATURES, YES, Kind
from models.llama import LlamaGenerator
from models.store import Store
from runtime.calibrate import expected_calibration_error, fit_temperature, log_loss, softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATA = Path(__file__).parents[3] / "shared" / "data"
CLINC = "clinc150/train_val.json.gz"
OPTIONS = 8
ROWS = {"train": 200, "val": 300}
SEED = 0
EXAMPLES = (
    ("how do i say thank you in german", "translate", None),
    ("set an alarm for six in the morning", "alarm", "weather"),
    ("how much money is in my savings account", "balance", "cook time"),
    ("tell me something funny", "tell joke", None),
)
"""Shown before every question: a request, its intent, and for No another intent."""
KINDS: tuple[Kind, ...] = ("choice", "yes_no")


@dataclass(frozen=True, slots=True)
class Question:
    messages: list[Message]
    options: tuple[str, ...]
    right: int


@dataclass(frozen=True, slots=True)
class Answers:
    """``scores``: mean log-probabilities, shape ``[rows, options]``; ``right``: the right ones."""

    scores: NDArray[np.float64]
    right: NDArray[np.int64]

    def measure(self, temperature: float) -> dict[str, float]:
        """Accuracy, negative log-likelihood in nats, expected calibration error (15 bins)."""
        import numpy as np

        probabilities = softmax(self.scores, temperature)
        best = probabilities.argmax(axis=1)
        ece = expected_calibration_error(probabilities.max(axis=1), best == self.right)
        return {
            "accuracy": round(float(np.mean(best == self.right)), 4),
            "nll": round(log_loss(self.scores, self.right, temperature), 4),
            "ece": round(ece, 4),
        }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def questions(kind: Kind, rows: Sequence[tuple[str, str]], intents: list[str]) -> list[Question]:
    """One question for each row, drawn with a fixed seed."""
    chance = random.Random(f"{SEED} {kind}")
    return [
        _choice(text, intent, intents, chance)
        if kind == "choice"
        else _yes_no(text, intent, intents, chance, yes=index % 2 == 0)
        for index, (text, intent) in enumerate(rows)
    ]


def _choice(text: str, intent: str, intents: list[str], chance: random.Random) -> Question:
    options = [*chance.sample([i for i in intents if i != intent], OPTIONS - 1), intent]
    chance.shuffle(options)
    messages = _conversation(
        "Name the intent of the user's request.",
        [(f"Request: {text}", intent) for text, intent, _ in EXAMPLES],
        f"Request: {text}",
    )
    return Question(messages, tuple(o.replace("_", " ") for o in options), options.index(intent))


def _yes_no(
    text: str, intent: str, intents: list[str], chance: random.Random, *, yes: bool
) -> Question:
    asked = intent if yes else chance.choice([i for i in intents if i != intent])
    form = 'Request: {}\nIs this request about "{}"?'
    messages = _conversation(
        "Answer the question with Yes or No.",
        [
            (form.format(text, other or intent), NO if other else YES)
            for text, intent, other in EXAMPLES
        ],
        form.format(text, asked.replace("_", " ")),
    )
    return Question(messages, (YES, NO), 0 if yes else 1)


def _conversation(system: str, examples: list[tuple[str, str]], last: str) -> list[Message]:
    messages = [{"role": "system", "content": system}]
    for question, answer in examples:
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    return [*messages, {"role": "user", "content": last}]


async def ask(generator: LlamaGenerator, asked: Sequence[Question]) -> Answers:
    import numpy as np

    choices = [await generator.choose(q.messages, q.options, temperature=1.0) for q in asked]
    return Answers(
        np.array([choice.scores for choice in choices]), np.array([q.right for q in asked])
    )


def load(data: Path) -> dict[str, list[tuple[str, str]]]:
    path = data / CLINC
    if not path.is_file():
        sys.exit(
            f"CLINC150 is not at {path}. It is published at https://github.com/clinc/oos-eval "
            "(data_full.json); give the folder that holds it with --data."
        )
    with gzip.open(path, "rt", encoding="utf-8") as file:
        parts: dict[str, list[tuple[str, str]]] = json.load(file)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with clinc150/")
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the default model's")
    parser.add_argument("--fit", action="store_true", help="fit and write the temperatures first")
    parser.add_argument("--rows", type=int, help="rows of each part (default: 200 and 300)")
    arguments = parser.parse_args()

    parts = load(arguments.data)
    intents = sorted({intent for _, intent in parts["train"]})
    known = json.loads(TEMPERATURES.read_text(encoding="utf-8"))
    generator = LlamaGenerator(arguments.model or Store().file("smollm2-135m", "model"))
    entry: dict[str, Any] = known.get(generator.model, {}) if not arguments.fit else {}
    used = ("train", "val") if arguments.fit else ("val",)
    chosen = {
        part: random.Random(f"{SEED} {part}").sample(parts[part], arguments.rows or ROWS[part])
        for part in used
    }
    results: dict[str, Any] = {"model": generator.model, "rows": len(chosen["val"])}
    fitted: dict[str, Any] = {}
    for kind in KINDS:
        if arguments.fit:
            train = asyncio.run(ask(generator, questions(kind, chosen["train"], intents)))
            fitted[kind] = round(fit_temperature(train.scores, train.right), 4)
            say(f"{kind}: temperature {fitted[kind]} from {len(train.right)} rows of train")
        temperature = fitted.get(kind) or entry.get(kind, 1.0)
        begun = time.perf_counter()
        val = asyncio.run(ask(generator, questions(kind, chosen["val"], intents)))
        ms = (time.perf_counter() - begun) * 1000 / len(val.right)
        before, after = val.measure(1.0), val.measure(temperature)
        say(f"{kind}: {ms:.0f} ms a call; temperature 1: {before}; {temperature}: {after}")
        results[kind] = {
            "temperature": temperature,
            "accuracy": after["accuracy"],
            "chance": round(1 / len(val.scores[0]), 4),
            "nll": {"before": before["nll"], "after": after["nll"]},
            "ece": {"before": before["ece"], "after": after["ece"]},
        }
    generator.close()
    if arguments.fit:
        known[generator.model] = {
            "model": generator.name,
            **fitted,
            "n": {part: len(rows) for part, rows in chosen.items()},
            "val": {kind: results[kind] for kind in KINDS},
            "data": "CLINC150 (github.com/clinc/oos-eval)",
            "licence": "CC-BY-3.0",
        }
        TEMPERATURES.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
