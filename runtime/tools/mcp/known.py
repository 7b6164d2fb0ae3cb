"""What was said of each MCP tool when the user took it on: a tool that now says something else
has to be taken on again (``aidecamp mcp accept``).

One JSON file, ``{server: {tool: sha256}}``. A tool that was never seen is noted as it is: its
risk is what the user configured, or sensitive.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from models.errors import StorageFailed
from runtime.private_file import write_private


class Known:
    """The digests in ``path``. Where the file cannot be read, every tool counts as changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def changed(self, server: str, tools: Mapping[str, str]) -> frozenset[str]:
        """Which of ``tools`` (digests by name) say something else than when they were taken on.
        Those not seen before are noted now, and are not among them."""
        with self._lock:
            kept = self._read()
            if kept is None:
                return frozenset(tools)
            known = kept.setdefault(server, {})
            fresh = {name: digest for name, digest in tools.items() if name not in known}
            if fresh:
                known.update(fresh)
                self._write(kept)
            return frozenset(name for name, digest in tools.items() if known[name] != digest)

    def accept(self, server: str, tools: Mapping[str, str]) -> None:
        """Take ``tools`` on as they are now."""
        with self._lock:
            kept = self._read() or {}
            kept.setdefault(server, {}).update(tools)
            self._write(kept)

    def _read(self) -> dict[str, dict[str, str]] | None:
        try:
            body = json.loads(self._path.read_text("utf-8"))
            return {str(s): {str(t): str(d) for t, d in ts.items()} for s, ts in body.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError):
            return None

    def _write(self, kept: Mapping[str, Mapping[str, str]]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(
                f"{self._path} cannot be written: {error}.",
                hint="Set AIDECAMP_HOME to a folder that you may write.",
            ) from error
        write_private(self._path, json.dumps(kept, indent=2, sort_keys=True))
