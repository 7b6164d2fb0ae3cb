"""What clients may send: the request bodies, checked before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from runtime.core import Privacy, Surface, Task, new_id
from runtime.policy import Policy, with_settings

MAX_ID = 2**63 - 1
"""The largest row id that SQLite knows."""
MAX_TOML_CHARS = 200_000
MAX_NAME_CHARS = 200


def _json(value: Any) -> Any:
    """``value`` where it can be written as JSON and as UTF-8."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds half a surrogate pair, which is no character") from error
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it holds a number that is not finite")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _json(key)
            _json(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _json(inner)
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, (str, datetime)):
        raise ValueError("it must be a string")
    return value


Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
"""Words: more than white space."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]
Toml = Annotated[str, StringConstraints(max_length=MAX_TOML_CHARS)]
EventId = Annotated[int, Field(ge=0, le=MAX_ID)]
Json = Annotated[dict[str, Any], BeforeValidator(_json)]
Number = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]


class Body(BaseModel):
    """A JSON object without a field that is not known."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        return _json(value)


class TaskBody(Body):
    """A task to start: ``runtime.core.Task`` without what the daemon itself decides."""

    text: Text
    surface: Surface = "auto"
    privacy: Privacy | None = None
    folder: str | None = Field(default=None, description="Absolute path of a folder that exists.")
    now: Annotated[datetime, BeforeValidator(_text)] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    template: str | None = None
    dry_run: StrictBool = False
    yes: StrictBool = False
    budget_usd: Number | None = None
    attended: StrictBool = Field(
        default=True, description="False: nobody can be asked, so what needs a person is denied."
    )

    @field_validator("folder")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value is not None:
            path = Path(value)
            if "\0" in value or not path.is_absolute() or not path.is_dir():
                raise ValueError("it must be the absolute path of a folder that exists")
        return value

    def task(self, *, privacy: Privacy, folder: Path) -> Task:
        """The task, with the daemon's ``privacy`` and ``folder`` where the body has none."""
        now = self.now or datetime.now().astimezone()
        return Task(
            id=new_id("task"),
            text=self.text.strip(),
            surface=self.surface,
            privacy=self.privacy or privacy,
            folder=self.folder or str(folder),
            now=now.replace(tzinfo=None).isoformat(timespec="seconds"),
            tools=self.tools,
            schema=self.schema_,
            template=self.template,
            dry_run=self.dry_run,
            yes=self.yes,
            budget_usd=self.budget_usd,
        )


class AnswerBody(Body):
    """Which question is answered (an action's id); none: the only one that waits."""

    id: str | None = None


class MarkBody(Body):
    """Whether the answer given under a decision was right."""

    right: StrictBool
    note: Annotated[str, StringConstraints(max_length=10_000)] = ""


Setting = StrictInt | StrictFloat | str | dict[str, StrictInt | StrictFloat]


class ReplayBody(Body):
    """The other policy: a whole ``policy.toml`` as text, or ``settings`` on top of the one in
    force; neither: the one in force itself. Never the name of a file."""

    toml: Toml | None = None
    settings: dict[str, Setting] | None = Field(
        default=None, examples=[{"risk_alpha": 0.05, "route_threshold": {"shell": 0.7}}]
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.toml is not None and self.settings is not None:
            raise ValueError("toml and settings exclude each other")
        return self

    def policy(self, base: Policy, in_force: Policy) -> Policy:
        """``base`` is what a ``policy.toml`` stands on. Raises UsageError."""
        from runtime.policy_file import parsed

        if self.toml is not None:
            return parsed(self.toml, base)
        return with_settings(in_force, self.settings or {}, where="settings")


class CheckBody(Body):
    """A ``policy.toml`` as text."""

    toml: Toml


class ModelBody(Body):
    """A model by its name in the catalog: never a path, never a URL."""

    model: Name


class RouteBody(Body):
    """A step in words."""

    text: Text
    surface: Surface = "auto"
    privacy: Privacy | None = None
