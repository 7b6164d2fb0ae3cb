"""The shell as a tool: recipes to pick from, prepared with a preview, run in the sandbox."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.errors import ToolFailed
from runtime.config import config_file, data_dir
from runtime.core import Action, Outcome, Step, Task, new_id
from runtime.policy import Policy
from runtime.tools.recipe import Proposal
from runtime.tools.shell import recipes as shell_recipes
from runtime.tools.shell.command import build, complete, paths
from runtime.tools.shell.output import decode
from runtime.tools.shell.recipes import ShellRecipe
from runtime.tools.shell.risk import classify, worse
from runtime.tools.shell.sandbox import Finished, Grant, Limits, Sandbox, secret_places
from runtime.tools.shell.verify import missing_programs, problems

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|PRIVATE", re.IGNORECASE)
_PACKAGES = {
    **{"zip": "zip", "unzip": "unzip", "file": "file", "ps": "procps", "free": "procps"},
    **{"pgrep": "procps", "uptime": "procps", "ip": "iproute2", "ss": "iproute2"},
}
_SIGPIPE = 141


class ShellTool:
    """Acts recipes out as command lines in a sandbox.

    ``own``: Aidecamp's own folders (ledger, configuration), which no command may see; those of
    this installation by default.
    """

    name = "shell"

    def __init__(self, policy: Policy | None = None, *, own: Iterable[Path] | None = None) -> None:
        policy = policy or Policy()
        self._own = tuple(own if own is not None else (data_dir(), config_file().parent))
        self._by_id = {r.id: r for r in shell_recipes.load()}
        self._sandbox = Sandbox(
            Limits(policy.command_timeout_s, policy.command_memory_mb),
            hidden=secret_places(Path.home(), self._own),
        )

    @property
    def recipes(self) -> tuple[ShellRecipe, ...]:
        return tuple(self._by_id.values())

    def prepare(self, task: Task, step: Step, proposal: Proposal) -> Action:
        recipe = self._recipe(proposal.recipe.id)
        folder = self._folder(task)
        arguments = complete(recipe, proposal.arguments, f"{step.text}\n{task.text}")
        if found := problems(recipe, arguments, folder):
            raise ToolFailed(" ".join(found), hint="Name a path that exists, or another folder.")
        self._refuse_secrets(recipe, arguments, folder)
        line = build(recipe, arguments, folder)
        assessment = classify(line)
        if absent := missing_programs(assessment.programs):
            packages = " ".join(sorted({_PACKAGES.get(p, p) for p in absent}))
            raise ToolFailed(
                f"{', '.join(absent)} is not installed on this machine.",
                hint=f"apt install {packages}",
            )
        risk = worse(recipe.risk, assessment.risk)
        if _replaces(recipe, arguments, folder):
            risk = "sensitive"
        return Action(
            id=new_id("act"),
            task_id=task.id,
            step_id=step.id,
            tool=self.name,
            recipe=recipe.id,
            arguments=arguments,
            preview=line,
            risk=risk,
            sandbox=self._sandbox.describe(folder, self._grant(recipe, arguments, folder)),
        )

    def run(self, task: Task, action: Action) -> Outcome:
        recipe = self._recipe(action.recipe)
        folder = self._folder(task)
        try:
            grant = self._grant(recipe, action.arguments, folder)
            finished = self._sandbox.run(action.preview, folder, grant, key=action.id)
        except ToolFailed as error:
            return _outcome(action, "failed", error=error.message)
        return _read(recipe, action, finished, folder)

    def look(self, task: Task, action: Action) -> Outcome:
        recipe = self._recipe(action.recipe)
        if recipe.risk == "read":
            return _outcome(
                action, "interrupted", error="It only reads: nothing changed, and it may run again."
            )
        where = paths(recipe, action.arguments, self._folder(task))
        happened = _happened(recipe, where)
        if happened is None:
            return _outcome(action, "interrupted", error="It may have happened, whole or in part.")
        if happened:
            return _outcome(action, "done", output="Its effect is there.")
        return _outcome(action, "failed", error="It did not happen: nothing was changed.")

    def stop(self, action: Action) -> None:
        self._sandbox.stop(action.id)

    def close(self) -> None:
        self._sandbox.stop()

    def _recipe(self, id_: str) -> ShellRecipe:
        if id_ not in self._by_id:
            raise ToolFailed(f"The shell has no recipe {id_!r}.")
        return self._by_id[id_]

    def _folder(self, task: Task) -> Path:
        folder = Path(os.path.realpath(task.folder or Path.cwd()))
        if not folder.is_dir():
            raise ToolFailed(f"The work folder {folder} does not exist.")
        place = self._sandbox.hides(folder)
        if place is not None and (place not in self._own or folder.samefile(place)):
            raise ToolFailed(
                f"The work folder {folder} lies in {place}, which no command may read.",
                hint="Start in a folder of your own.",
            )
        return folder

    def _grant(self, recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path) -> Grant:
        write = recipe.risk != "read"
        if write and folder == Path("/"):
            raise ToolFailed(
                "The work folder is the whole file system, which no command may write to.",
                hint="Start in a folder of your own.",
            )
        shown = tuple(
            path
            for path in paths(recipe, arguments, folder).values()
            if self._sandbox.private(path) and not path.is_relative_to(folder) and path.exists()
        )
        environment: dict[str, str] = {}
        if "variable" in recipe.needs:
            name = str(arguments["name"])
            if _SECRET_NAME.search(name):
                raise ToolFailed(f"{name} looks like a secret: it is not shown.")
            if name in os.environ:
                environment[name] = os.environ[name]
        return Grant(
            write=write,
            processes="processes" in recipe.needs,
            network="network" in recipe.needs,
            read=shown,
            environment=environment,
        )

    def _refuse_secrets(
        self, recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path
    ) -> None:
        for path in paths(recipe, arguments, folder).values():
            if (place := self._sandbox.hides(path)) and not path.is_relative_to(folder):
                raise ToolFailed(f"{path} lies in {place}, which no command may read.")
            if place and place not in self._own:
                raise ToolFailed(f"{path} lies in {place}, which no command may read.")


def _replaces(recipe: ShellRecipe, arguments: Mapping[str, Any], folder: Path) -> bool:
    """True where the command would replace a file that exists."""
    if not recipe.overwrites:
        return False
    where = paths(recipe, arguments, folder)
    target = where[recipe.overwrites]
    if target.is_dir() and "source" in where:
        target = target / where["source"].name
    return target.exists() and not target.is_dir()


def _happened(recipe: ShellRecipe, where: Mapping[str, Path]) -> bool | None:
    """Whether a write took place, told from what it leaves behind; None where it cannot be."""
    target = next((where[n] for n in where if n in recipe.writes), None)
    match recipe.effect:
        case "exists":
            return target is not None and target.exists()
        case "absent":
            if target is not None and not os.path.lexists(target):
                return True
            return None if target is None or target.is_dir() else False
        case "written":
            return None if target is None or target.exists() else False
        case "moved":
            source, destination = where["source"], where["destination"]
            if destination.is_dir() and os.path.lexists(destination / source.name):
                destination = destination / source.name
            arrived, left = os.path.lexists(destination), not os.path.lexists(source)
            if arrived and left:
                return True
            return False if not left and (not arrived or destination.is_dir()) else None
        case _:
            return None


def _read(recipe: ShellRecipe, action: Action, finished: Finished, folder: Path) -> Outcome:
    """What a finished command means: its exit code, its notes, its data."""
    raw, said = decode(finished.output), decode(finished.errors).strip()
    shown = recipe.output.show(raw)
    if finished.broke:
        return _outcome(action, "failed", shown, f"Stopped: {finished.broke}.", finished.ms)
    lines = said.splitlines()
    # Folders that this user may not read do not spoil what was found in the others: a note.
    unreadable = bool(lines) and all("ermission denied" in line for line in lines)
    fine = finished.code in (0, _SIGPIPE) or (finished.code in recipe.codes and not lines)
    if not fine and not (recipe.risk == "read" and unreadable and raw):
        error = said or f"It ended with exit code {finished.code}."
        return _outcome(action, "failed", shown, error, finished.ms)
    try:
        data = recipe.output.parse(raw, folder)
    except ValueError as error:
        return _outcome(action, "failed", shown, f"Its output cannot be read: {error}", finished.ms)
    return Outcome(
        action.id, action.task_id, action.step_id, "done", shown, data, said, finished.ms
    )


def _outcome(
    action: Action, status: Any, output: str = "", error: str = "", ms: float = 0.0
) -> Outcome:
    return Outcome(action.id, action.task_id, action.step_id, status, output, None, error, ms)
