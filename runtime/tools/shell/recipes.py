"""Shell recipes: a typed command template each, loaded from ``recipes.toml`` and checked.

A template is a Bash line. ``{slot}`` stands for the slot's value as one quoted word (or part of
one), ``{slot:form}`` for the value in another form (see ``command.FORMS``), and a
``[ … {slot} … ]`` segment is left out when its slot has no value. Brackets without a slot, such
as ``[[:alnum:]]``, are plain text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from runtime.core import Risk
from runtime.tools.recipe import Example, Recipe, Slot, SlotType
from runtime.tools.shell.output import Output

Need = Literal["processes", "network", "variable"]
"""What a recipe's sandbox shows beyond the usual: the machine's process table, its network
interfaces, or the one environment variable that it asks for."""

Effect = Literal["", "exists", "absent", "moved", "written"]
"""How a finished write can be told from one that never happened (``tool.ShellTool.look``)."""

PLACEHOLDER = re.compile(r"\{([a-z_]+)(?::([a-z]+))?\}")
SEGMENT = re.compile(r"\[([^\[\]]*\{[a-z_]+(?::[a-z]+)?\}[^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Variant:
    """Another template, for when a slot's path ends in ``suffix``; or, with ``new_folder``, when
    it names a folder still to be made: nothing is there, and a file with an extension is to go
    to a name without one."""

    slot: str
    command: str
    suffix: str = ""
    new_folder: bool = False

    def fits(self, where: Mapping[str, Path]) -> bool:
        """Whether it is the one for these paths."""
        path = where[self.slot]
        if not self.new_folder:
            return path.name.lower().endswith(self.suffix)
        source = where["source"]
        return not path.exists() and not path.suffix and source.is_file() and bool(source.suffix)


@dataclass(frozen=True, slots=True)
class Counted:
    """How many are meant where the request gives no number: ``one`` for "the largest file",
    ``many`` for "the largest files", no limit for "each file". Plural ``nouns`` tell many from
    one; where there are ``singular`` ones, only these mean one. ``whole`` words mean all."""

    slot: str
    nouns: tuple[str, ...] = ()
    singular: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    one: int = 1
    many: int = 10

    def count(self, request: str) -> int | None:
        """The number that the wording means; None for all."""
        if _says(self.whole, request):
            return None
        if self.singular:
            return self.one if _says(self.singular, request) else self.many
        return self.many if _says(self.nouns, request) else self.one


def _says(words: Iterable[str], request: str) -> bool:
    return any(re.search(rf"\b{re.escape(w)}\b", request, re.IGNORECASE) for w in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRecipe(Recipe):
    """A recipe that is acted out as a command line."""

    command: str
    output: Output
    variants: tuple[Variant, ...] = ()
    needs: tuple[Need, ...] = ()
    counted: Counted | None = None
    codes: tuple[int, ...] = (0,)
    """Exit codes that mean success, such as 1 for a grep that found nothing."""
    writes: frozenset[str] = frozenset()
    """Slots whose path is changed: it must lie inside the work folder."""
    want: Mapping[str, str] = field(default_factory=dict)
    """Slots whose existing path must be a ``file`` or a ``folder``."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Slots whose bare name lands next to another slot's path, as in a rename."""
    overwrites: str = ""
    """Slot whose existing file would be replaced: that makes the action sensitive."""
    effect: Effect = ""

    def slot(self, name: str) -> Slot:
        """The slot of that name. Raises KeyError."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise KeyError(name)

    def template(self, where: Mapping[str, Path]) -> str:
        """The template that these paths call for."""
        return next((v.command for v in self.variants if v.fits(where)), self.command)


@cache
def load() -> tuple[ShellRecipe, ...]:
    """The recipes that ship with Aidecamp, checked."""
    source = resources.files("runtime.tools.shell").joinpath("recipes.toml")
    return read(source.read_text("utf-8"))


def read(text: str) -> tuple[ShellRecipe, ...]:
    """Recipes from TOML. Raises ValueError naming the recipe and what is wrong with it."""
    table = tomllib.loads(text)
    shared = {name: dict(body, name=name) for name, body in table.get("slot", {}).items()}
    recipes = tuple(_recipe(body, shared) for body in table["recipe"])
    ids = [r.id for r in recipes]
    for id_ in ids:
        if ids.count(id_) > 1:
            raise ValueError(f"recipes.toml: two recipes are called {id_!r}")
    return recipes


_SLOT_EXTRAS = ("want", "beside", "writes")
_RECIPE_KEYS = {
    *("id", "does", "risk", "command", "slots", "examples", "output", "variants", "needs"),
    *("counted", "codes", "overwrites", "effect"),
}


def _recipe(body: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> ShellRecipe:
    where = f"recipes.toml: {body.get('id', '?')}"
    if unknown := set(body) - _RECIPE_KEYS:
        raise ValueError(f"{where}: unknown keys {sorted(unknown)}")
    slots = [_whole_slot(s, shared, where) for s in body.get("slots", ())]
    counted = body.get("counted")
    recipe = ShellRecipe(
        id=body["id"],
        kind="shell",
        does=body["does"],
        slots=tuple(_slot(s, where) for s in slots),
        examples=tuple(Example(text, arguments) for text, arguments in body["examples"]),
        risk=body["risk"],
        command=body["command"],
        output=Output.read(body["output"]),
        variants=tuple(Variant(**v) for v in body.get("variants", ())),
        needs=tuple(body.get("needs", ())),
        counted=_counted(counted) if counted else None,
        codes=tuple(body.get("codes", (0,))),
        writes=frozenset(s["name"] for s in slots if s.get("writes")),
        want={s["name"]: s["want"] for s in slots if "want" in s},
        beside={s["name"]: s["beside"] for s in slots if "beside" in s},
        overwrites=body.get("overwrites", ""),
        effect=body.get("effect", ""),
    )
    _check(recipe, where)
    return recipe


def _counted(body: Mapping[str, Any]) -> Counted:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
    return Counted(**values)


def _whole_slot(
    slot: str | Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Any]:
    """A slot's table: by the name of a shared one, or a shared one with changes on top."""
    if isinstance(slot, str):
        if slot not in shared:
            raise ValueError(f"{where}: no shared slot {slot!r}")
        return dict(shared[slot])
    base = shared.get(slot["like"], {}) if "like" in slot else {}
    return {**base, **{k: v for k, v in slot.items() if k != "like"}}


def _slot(body: Mapping[str, Any], where: str) -> Slot:
    values = {k: v for k, v in body.items() if k not in _SLOT_EXTRAS}
    if values["type"] not in get_args(SlotType):
        raise ValueError(f"{where}: slot {values['name']} has no type {values['type']!r}")
    values["choices"] = tuple(values.get("choices", ()))
    return Slot(**values)


def _check(recipe: ShellRecipe, where: str) -> None:
    from runtime.tools.shell.command import FORMS

    names = {s.name for s in recipe.slots}
    templates = [recipe.command, *(v.command for v in recipe.variants)]
    for template in templates:
        for name, form in PLACEHOLDER.findall(template):
            if name not in names:
                raise ValueError(f"{where}: the command names {{{name}}}, which is no slot")
            if form and form not in FORMS:
                raise ValueError(f"{where}: {{{name}:{form}}} has no such form")
        outside = set(_names(SEGMENT.sub("", template)))
        counted = recipe.counted.slot if recipe.counted and not recipe.counted.whole else ""
        for slot in recipe.slots:
            always = slot.required or slot.default is not None or slot.name == counted
            if slot.name in outside and not always:
                raise ValueError(f"{where}: optional {slot.name} stands outside any [segment]")
    used = {n for t in templates for n in _names(t)}
    if unused := names - used:
        raise ValueError(f"{where}: the command never uses {sorted(unused)}")
    if recipe.risk not in get_args(Risk) or recipe.effect not in get_args(Effect):
        raise ValueError(f"{where}: no such risk or effect")
    if set(recipe.needs) - set(get_args(Need)):
        raise ValueError(f"{where}: no such need in {recipe.needs}")
    for example in recipe.examples:
        if unknown := set(example.arguments) - names:
            raise ValueError(f"{where}: example {example.text!r} fills {sorted(unknown)}")
        for slot in recipe.slots:
            if slot.required and slot.name not in example.arguments:
                raise ValueError(f"{where}: example {example.text!r} leaves {slot.name} out")


def _names(template: str) -> Iterable[str]:
    return (name for name, _ in PLACEHOLDER.findall(template))
