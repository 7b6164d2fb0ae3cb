"""Out of a loop: what a small model writes over and over in a JSON answer is brought to its end.

Greedy decoding of a small model may repeat itself without end (Holtzman et al. 2020, arXiv
1904.09751): ``"search+search+search…`` fills any bound that a string has. Once a span has been
written three times in a row, only tokens that close the value, or the array that it repeats in,
are left to choose from. What the request itself repeats may be copied. The token is recorded with
the probability that it had before, and with no margin: the model did not want it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.base import Token
from models.drafts import open_string

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIMES = 3
"""A span written so often in a row is a loop."""
LEAST_TOKENS = 16
"""Tokens of a loop, at least: shorter runs are numbers, and words that do come twice."""
LONGEST = 48
"""Tokens of the span that is looked for, at most."""


def looped(tokens: Sequence[Token]) -> str:
    """The text of the last tokens, where they are one span over and over; else ""."""
    for period in range(1, min(LONGEST, len(tokens) // TIMES) + 1):
        if tokens[-1].id != tokens[-1 - period].id:
            continue
        length = max(TIMES * period, LEAST_TOKENS)
        tail = [token.id for token in tokens[-length:]]
        if len(tail) == length and tail[:-period] == tail[period:]:
            return "".join(token.text for token in tokens[-length:])
    return ""


@dataclass(slots=True)
class LoopBreaker:
    """For one answer in JSON. ``source``: the request, whose own repetitions are no loops."""

    source: str
    piece: Callable[[int], bytes]
    _closing: bool = False

    def narrow(
        self, tokens: Sequence[Token], allowed: NDArray[np.intp], written: bytes | bytearray
    ) -> NDArray[np.intp] | None:
        """Those of the ``allowed`` token ids that lead out of a loop; None where there is none.

        ``tokens`` are what was ``written`` so far. Behind the value the array, or object, that it
        stands in is closed, if it may end there.
        """
        import numpy as np

        if not self._closing:
            text = looped(tokens)
            self._closing = bool(text) and text not in self.source
        if not self._closing:
            return None
        inside = open_string(written.decode("utf-8", "replace")) is not None
        pieces = {int(token): self.piece(int(token)) for token in allowed}
        for first in (b'"',) if inside else (b"]", b"}", b","):
            ends = [token for token, piece in pieces.items() if piece.startswith(first)]
            # A token such as `","` closes a string and begins the next one.
            ends = [token for token in ends if b"," not in pieces[token][1:]] or ends
            if ends:
                self._closing = inside or first == b"}"
                return np.array(ends, np.intp)
        self._closing = False
        return None
