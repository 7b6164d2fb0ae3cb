"""Every recipe, by its own examples: it builds, parses, and runs in the real sandbox."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.core import Step, Task
from runtime.tools.recipe import Proposal
from runtime.tools.shell import recipes
from runtime.tools.shell.command import build, complete
from runtime.tools.shell.recipes import ShellRecipe
from runtime.tools.shell.risk import classify
from runtime.tools.shell.tool import ShellTool
from runtime.tools.shell.verify import missing_programs

ALL = recipes.load()
_OK = '[[recipe]]\nid = "x"\ndoes = "d"\nrisk = "read"\noutput = { kind = "text" }\n'


def _furnish(folder: Path, recipe: ShellRecipe, arguments: Mapping[str, Any]) -> None:
    """Make the relative paths that an example speaks of."""
    for slot in recipe.slots:
        value = str(arguments.get(slot.name, ""))
        path = folder / value
        if recipe.want.get(slot.name) == "in_folder":
            path.parent.mkdir(parents=True, exist_ok=True)
        if slot.type != "path" or not value or value[0] in "/~" or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        inner = folder / "content.txt"
        inner.write_text("milk 2\nfoo\n")
        if recipe.want.get(slot.name) == "folder" or ("." not in path.name and slot.name != "file"):
            path.mkdir()
            (path / "a.txt").write_text("a\n")
            (path / "b.pdf").write_text("b\n")
        elif path.suffix == ".gz" and ".tar" not in path.name:
            path.write_bytes(gzip.compress(b"text"))
        elif path.suffix in (".xz", ".bz2") and ".tar" not in path.name:
            module = __import__("lzma" if path.suffix == ".xz" else "bz2")
            path.write_bytes(module.compress(b"text"))
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(inner, "inner.txt")
        elif ".tar" in path.name or path.suffix == ".tgz":
            mode: Any = "w:" + {"gz": "gz", "tgz": "gz", "xz": "xz"}.get(path.suffix[1:], "")
            with tarfile.open(path, mode) as tar:
                tar.add(inner, "inner.txt")
        else:
            path.write_text("one,2,3,4\nERROR two,5,6,7\nfoo,8,9,10\n")


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.id)
def test_examples_run_in_the_sandbox(recipe: ShellRecipe, tool: ShellTool, tmp_path: Path) -> None:
    for i, example in enumerate(recipe.examples):
        folder = tmp_path / f"example{i}"
        folder.mkdir()
        _furnish(folder, recipe, example.arguments)
        paths = [example.arguments.get(s.name) for s in recipe.slots if s.type == "path"]
        if any(str(p)[:1] == "/" and not Path(str(p)).exists() for p in paths):
            continue  # a folder that only some machines have
        line = build(recipe, complete(recipe, example.arguments, example.text), folder)
        if missing_programs(classify(line).programs):
            pytest.skip("a program of this recipe is not installed")
        task = Task("t", example.text, folder=str(folder))
        step = Step("s", "t", 0, "shell", example.text)
        action = tool.prepare(task, step, Proposal(recipe, example.arguments, 1.0))
        outcome = tool.run(task, action)
        assert outcome.status == "done", f"{example.text}: {action.preview}: {outcome.error}"
        expected: dict[str, Any] = {
            "rows": list,
            "lines": list,
            "text": str,
            "number": (int, float),
        }
        if recipe.output.kind in expected:
            assert isinstance(outcome.data, expected[recipe.output.kind]), example.text
        shutil.rmtree(folder)


@pytest.mark.parametrize("recipe", ALL, ids=lambda r: r.id)
def test_the_parsed_risk_is_no_higher_than_declared(recipe: ShellRecipe) -> None:
    order = ["read", "write", "sensitive"]
    for example in recipe.examples:
        line = build(recipe, complete(recipe, example.arguments, example.text), Path("/w"))
        found = classify(line)
        assert found.parsed, line
        assert order.index(found.risk) <= order.index(recipe.risk), (line, found.reasons)
        assert recipe.risk != "read" or found.risk == "read"


def test_there_are_enough_recipes_and_examples() -> None:
    assert len(ALL) >= 60
    assert all(len(r.examples) >= 4 for r in ALL)
    texts = [e.text.lower() for r in ALL for e in r.examples]
    assert len(texts) == len(set(texts)), "an example stands under two recipes"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('command = "cat {file}"\nexamples = []', "no slot"),
        ('command = "cat {f:nope}"\nslots = [{name="f", type="path", does="f"}]\nexamples = []',
         "no such form"),
        ('command = "ls"\nslots = [{name="f", type="path", does="f"}]\nexamples = []',
         "never uses"),
        ('command = "ls {f}"\nslots = [{name="f", type="path", does="f", required=false}]\n'
         'examples = []', "outside any"),
        ('command = "ls {f}"\nslots = [{name="f", type="fish", does="f"}]\nexamples = []',
         "no type"),
        ('command = "ls"\nexamples = [["x", {n = 1}]]', "fills"),
        ('command = "ls {f}"\nslots = [{name="f", type="path", does="f"}]\nexamples = [["x", {}]]',
         "leaves f out"),
        ('command = "ls"\nexamples = []\nsurprise = 1', "unknown keys"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_on_load(body: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        recipes.read(_OK + body)


def test_two_recipes_of_one_name_are_refused() -> None:
    body = _OK + 'command = "ls"\nexamples = []\n'
    with pytest.raises(ValueError, match="two recipes"):
        recipes.read(body + body)
