"""Scoring options behind one prompt: a tree of their tokens, decoded in one batch.

Each option has a sequence forked from the prompt; tokens that several options begin with belong
to all of them and are decoded once. An option's score is the mean log-probability of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.base import Choice
from models.feed import Feed, Progress, Rows
from models.sampling import log_softmax
from models.usage import usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP_OPTIONS = 32
GROUP_TOKENS = 256
"""Options, and tokens of them, in one batch."""


@dataclass(slots=True)
class Node:
    """A token of one or more options, at ``depth`` behind the prompt, from 0."""

    token: int
    depth: int
    options: list[int]
    children: dict[int, Node] = field(default_factory=dict)
    row: int = 0
    """Its index in the feed."""


@dataclass(slots=True)
class Options:
    """Options to score. ``acquire`` and ``release`` lend sequences, ``fork`` fills one."""

    model: str
    adapter: str | None
    prompt: Sequence[int]
    sequence: int
    cached: int
    tokens: Sequence[Sequence[int]]
    texts: Sequence[str]
    temperature: float
    progress: Progress
    acquire: Callable[[], int]
    release: Callable[[int], None]
    fork: Callable[[int, int, int], None]

    def decode(self) -> Generator[Feed, Rows, Choice]:
        """Yields what the model has to decode, and returns the choice."""
        import numpy as np

        scores = [0.0] * len(self.tokens)
        decoded = self.cached
        for group in _groups(self.tokens):
            sequences = {option: self.acquire() for option in group}
            try:
                yield from self._score(group, sequences, decoded, scores)
            finally:
                for sequence in sequences.values():
                    self.release(sequence)
            # The prompt's last token is decoded again: its logits are needed.
            decoded = len(self.prompt) - 1
        means = np.array([s / len(t) for s, t in zip(scores, self.tokens, strict=True)])
        probabilities = np.exp(log_softmax(means / self.temperature))
        return Choice(
            tuple(self.texts),
            tuple(map(float, probabilities)),
            int(probabilities.argmax()),
            self.model,
            usage(self.progress.clock, prompt=len(self.prompt), cached=self.cached),
            scores=tuple(map(float, means)),
            temperature=self.temperature,
            adapter=self.adapter,
        )

    def _score(
        self,
        group: Sequence[int],
        sequences: dict[int, int],
        decoded: int,
        scores: list[float],
    ) -> Generator[Feed, Rows, None]:
        for sequence in sequences.values():
            self.fork(self.sequence, sequence, decoded)
        rest = self.prompt[decoded:]
        root = Node(self.prompt[-1], -1, list(group), row=len(rest) - 1)
        inner = _tree(root, self.tokens)
        everyone = (self.sequence, *sequences.values())
        own = everyone if decoded == self.cached else tuple(sequences.values())
        rows = yield Feed(
            tokens=[*rest, *(node.token for node in inner)],
            positions=[
                *range(decoded, len(self.prompt)),
                *(len(self.prompt) + node.depth for node in inner),
            ],
            sequences=[own] * len(rest)
            + [tuple(sequences[option] for option in node.options) for node in inner],
            outputs=[False] * (len(rest) - 1) + [True] * (1 + len(inner)),
        )
        self.progress.prefilled = True
        for node in (root, *inner):
            logits: NDArray[np.float32] = rows.row(node.row)
            odds = log_softmax(logits)
            for child in node.children.values():
                for option in child.options:
                    scores[option] += float(odds[child.token])


def _groups(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Options by number, in groups that fit in one batch."""
    groups: list[list[int]] = []
    size = 0
    for option, own in enumerate(tokens):
        size += len(own)
        if not groups or len(groups[-1]) == GROUP_OPTIONS or size > GROUP_TOKENS:
            groups.append([])
            size = len(own)
        groups[-1].append(option)
    return groups


def _tree(root: Node, tokens: Sequence[Sequence[int]]) -> list[Node]:
    """Grow the options' tree under ``root``; its inner nodes, parents first.

    The last token of an option is scored by the row before it, and need not be decoded.
    """
    for option in root.options:
        node = root
        for depth, token in enumerate(tokens[option]):
            child = node.children.setdefault(token, Node(token, depth, []))
            child.options.append(option)
            node = child
    inner: list[Node] = []
    level = [root]
    while level:
        level = [child for node in level for child in node.children.values() if child.children]
        inner += level
    for index, node in enumerate(inner, root.row + 1):
        node.row = index
    return inner
