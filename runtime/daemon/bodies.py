"""What clients may send: the request bodies, checked before anything is started."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from runtime.core import Privacy, Surface, Task, new_id

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class TaskBody(BaseModel):
    """A task to start: ``runtime.core.Task`` without what the daemon itself decides."""

    model_config = ConfigDict(extra="forbid")

    text: Text
    surface: Surface = "auto"
    privacy: Privacy | None = None
    folder: str | None = None
    now: datetime | None = None
    tools: tuple[dict[str, Any], ...] = ()
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    template: str | None = None
    dry_run: bool = False
    yes: bool = False
    budget_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("text", "template")
    @classmethod
    def _encodable(cls, value: str | None) -> str | None:
        try:
            (value or "").encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds half a surrogate pair, which is no character") from error
        return value

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
            text=self.text,
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


class AnswerBody(BaseModel):
    """Which question is answered (an action's id); none: the only one that waits."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
