"""What MCP clients may ask of each tool: the arguments, checked before anything is started."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StrictBool, model_validator

from runtime.core import Kind, Privacy, Surface
from runtime.daemon.bodies import Body, Json, Name, Text

FOLDER = "Absolute path of the work folder: the only place where anything is written."
WORDS = "The step in plain words; a small model on this machine works out how to do it."
Folder = Annotated[str | None, Field(default=None, description=FOLDER)]


class Look(Body):
    image: StrictBool = Field(default=False, description="Also send the screen as a PNG image.")


class Doing(Body):
    """A step in words, or the name of what is to be done with its arguments."""

    NAMED: ClassVar[str]
    """The field that holds the name."""

    step: Text | None = Field(default=None, description=WORDS)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.step is None) == (self.named is None):
            raise ValueError("give either the step in words, or a name with its arguments")
        return self

    @property
    def named(self) -> str | None:
        name: str | None = getattr(self, self.NAMED)
        return name


class ActOnScreen(Doing):
    NAMED = "skill"

    skill: Name | None = Field(default=None, description="A skill by name, instead of words.")
    arguments: Json = Field(default={}, description="The skill's arguments.")
    folder: Folder


class RunInSandbox(Doing):
    NAMED = "recipe"

    recipe: Name | None = Field(default=None, description="A recipe by name, instead of words.")
    arguments: Json = Field(default={}, description="The recipe's arguments.")
    folder: Folder


class DoTask(Body):
    task: Text = Field(description="What is to be done, in plain words.")
    surface: Surface = Field(default="auto", description="Where it may be done.")
    privacy: Privacy | None = Field(
        default=None,
        description="local: nothing leaves this machine; ask: a person is asked first. Looser than"
        " the user's own setting needs a token with admin.",
    )
    folder: Folder
    answer_schema: Json | None = Field(
        default=None, description="JSON Schema that the answer must meet."
    )
    dry_run: StrictBool = Field(default=False, description="Only say what would be done.")
    budget_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class FormatToSchema(Body):
    data: Any = Field(description="Text, or any JSON, that holds the values.")
    output_schema: Json = Field(description="JSON Schema of what is wanted.")


class Route(Body):
    text: Text = Field(description="A step in plain words.")
    surface: Surface = "auto"


class Decisions(Body):
    kind: Kind | None = None
    chosen: Name | None = Field(default=None, description="Such as local:tool_user or general.")
    task_id: Name | None = None
    text: Name | None = Field(default=None, description="Words that the step contains.")
    limit: Annotated[int, Field(ge=1, le=200)] = 20
