"""What the Router's head sees of a text: its embedding, and the words themselves.

The embedding generalizes over wording, but blurs what kind of sentence it is; hashed words and
word pairs (Weinberger et al. 2009, arXiv 0902.2206) bring "type", "click", "no such file" and
"as JSON" back. Quoted text is data, not a request, so the head reads a placeholder for it:
``type "list all files"`` is about typing.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.base import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD_COLUMNS = 1024
PLACEHOLDER = '"text"'
_QUOTED = re.compile(r'"[^"]{3,}"|“[^”]{3,}”|(?<!\w)\'[^\']{3,}\'(?!\w)')
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_MAX_CHARS = 8192
"""Words beyond this are not counted: the encoder reads 128 tokens at most."""


def without_quotes(text: str) -> str:
    """``text`` with each quoted part replaced, unless there is nothing else."""
    masked = _QUOTED.sub(PLACEHOLDER, text)
    return text if masked.strip() == PLACEHOLDER else masked


def words(text: str) -> NDArray[np.float32]:
    """Hashed words, word pairs and opening words, as a unit vector (zero for no word)."""
    import numpy as np

    tokens = ["0" if t.isdigit() else t for t in _TOKEN.findall(text[:_MAX_CHARS].lower())]
    found = {*tokens, *(f"{a} {b}" for a, b in itertools.pairwise(tokens))}
    found |= {"^" + " ".join(tokens[:n]) for n in (1, 2) if tokens}
    row = np.zeros(WORD_COLUMNS, np.float32)
    for feature in found:
        code = zlib.crc32(feature.encode("utf-8", "replace"))
        row[code % WORD_COLUMNS] += 1.0 if code & 0x80000000 else -1.0
    unit: NDArray[np.float32] = row / max(float(np.linalg.norm(row)), 1.0)
    return unit


def features(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Shape ``[len(texts), encoder.dimension + WORD_COLUMNS]``; the embedding comes first."""
    import numpy as np

    masked = [without_quotes(text) for text in texts]
    return np.hstack([encoder.embed(masked), np.stack([words(text) for text in masked])])
