"""Turns chat messages into tokens by the model's own template.

The template's text may name control tokens; the content of a message never can. So the template
is rendered around placeholders, and each content is tokenized apart, as plain text.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from models.base import Message
from models.errors import ModelCorrupt, UsageError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROLES = ("system", "user", "assistant")


class ChatTemplate:
    """A Jinja chat template, as ``tokenizer.chat_template`` in a GGUF file holds it.

    It comes with the model, so it runs sandboxed. Raises ModelCorrupt where it does not parse.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ModelCorrupt(f"the model's chat template does not parse: {error}") from error
        self._special = {"bos_token": bos, "eos_token": eos}

    def tokens(
        self, messages: Sequence[Message], tokenize: Callable[[str, bool], Sequence[int]]
    ) -> tuple[list[int], int]:
        """Tokens of the whole prompt, up to where the assistant's answer begins, and how many of
        them come before the content of the last message.

        ``tokenize(text, special)`` reads control tokens only where ``special`` is true.
        """
        tokens: list[int] = []
        head = 0
        for text, special in self.pieces(messages):
            if not special:
                head = len(tokens)
            if text:
                tokens += tokenize(text, special)
        return tokens, head

    def pieces(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The prompt in order: (text, True) from the template, (text, False) from a message.

        Raises UsageError on an unknown role, on no message at all, or where the template has no
        place for a message: nothing is dropped silently.
        """
        import jinja2

        if not messages:
            raise UsageError("there is no message to answer")
        nonce = secrets.token_hex(8)
        marked: list[dict[str, str]] = []
        for index, message in enumerate(messages):
            if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
                raise UsageError(
                    f"message {index} needs a role ({', '.join(ROLES)}) and a text as content"
                )
            marked.append({"role": message["role"], "content": f"{nonce}-{index}-"})
        try:
            prompt = self._template.render(
                messages=marked, add_generation_prompt=True, **self._special
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise UsageError(
                f"the model's chat template refuses these messages: {error}"
            ) from error

        pieces: list[tuple[str, bool]] = []
        placed: set[int] = set()
        for number, part in enumerate(re.split(rf"{nonce}-(\d+)-", prompt)):
            if number % 2:
                placed.add(int(part))
                pieces.append((messages[int(part)]["content"], False))
            else:
                pieces.append((part, True))
        missing = [i for i in range(len(messages)) if i not in placed]
        if missing:
            role = messages[missing[0]]["role"]
            raise UsageError(
                f"the model's chat template has no place for message {missing[0]} ({role})"
            )
        return pieces


def _raise(message: Any) -> None:
    import jinja2

    raise jinja2.TemplateError(str(message))
