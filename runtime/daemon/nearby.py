"""The daemon that a command may use: of the same data folder, version and settings, or none.

A daemon of another ``AIDECAMP_HOME`` writes another record, one of another version may decide
otherwise, and one with other settings could send words where this command would not.
"""

from __future__ import annotations

import contextlib
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from runtime.config import Config
    from runtime.daemon.client import Client


def fingerprint(config: Config) -> str:
    """A digest of the settings; keys of Generals are not in it."""
    secret: Any = {"general": {"api_key"}, "generals": {"__all__": {"api_key"}}}
    body = config.model_dump_json(exclude=secret)
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def differs(health: Mapping[str, Any], config: Config, ledger: Path) -> str:
    """Why the daemon that said ``health`` may not be used by a command with ``config``; empty
    where it may."""
    if health["version"] != version("aidecamp"):
        return f"it is version {health['version']}"
    if Path(health["ledger"]).resolve() != ledger.resolve():
        return f"it keeps another record, {health['ledger']}"
    if health["settings"] != fingerprint(config):
        return "it was started with other settings"
    return ""


@contextlib.asynccontextmanager
async def reached(config: Config) -> AsyncIterator[tuple[Client | None, str]]:
    """A client of the daemon that a command with ``config`` may use, and None where there is none;
    where one runs that it may not use, why not."""
    from runtime.daemon import place

    if not place.socket_path().exists():
        yield None, ""
        return
    from models.errors import AidecampError
    from runtime.daemon.client import Client
    from runtime.daemon.errors import DaemonMissing
    from runtime.team import ledger_path

    async with Client() as client:
        try:
            why = differs(await client.health(), config, ledger_path())
        except DaemonMissing:
            yield None, ""
            return
        except (AidecampError, KeyError) as error:
            why = f"it cannot be asked: {error}"
        yield (None, why) if why else (client, "")
