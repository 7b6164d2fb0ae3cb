"""Small files of the user's own: written whole or not at all, and never readable by others."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from models.errors import StorageFailed


def write_private(path: Path, text: str) -> None:
    """Write a file whole, 0600 from its first moment. Raises StorageFailed."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be written: {error}.",
            hint="Set AIDECAMP_HOME to a folder that you may write.",
        ) from error
