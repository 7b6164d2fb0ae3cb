"""Takes over a changed ``config.toml`` or ``policy.toml`` while the daemon runs.

An invalid file is logged, and the old settings stay in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from models.errors import AidecampError
from runtime.config import Config, config_file, load_config, policy_file
from runtime.policy import Policy

log = logging.getLogger(__name__)

WATCH_S = 1.0
"""How often the two files are looked at: one ``stat`` each."""
AT_START = ("tcp", "host", "port", "tls_cert", "tls_key", "tokens_in")
"""Settings of ``[daemon]`` that are read when it starts, and only then."""

OnChange = Callable[[Config, Policy], None]
Stamp = tuple[int, int, int] | None


class Reloader:
    """Reads the settings again where their files changed, or when told to.

    ``on_change`` is called in the event loop's thread with what holds from now on. Where it
    raises, the old settings stay. ``config`` is what holds now.
    """

    def __init__(self, on_change: OnChange, config: Config) -> None:
        self._on_change = on_change
        self._stamps = stamps()
        self._config = config
        self._first = config.daemon
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have :meth:`watch` reload now. Called from the event loop's thread."""
        self._asked.set()

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._config

    async def reload(self) -> bool:
        """Read both files and hand on what they say; whether it was taken over."""
        self._stamps = stamps()
        try:
            config, policy = await asyncio.to_thread(_read)
            self._on_change(config, policy)
        except AidecampError as error:
            log.error(
                "the settings in force stay, the new ones do not hold: %s %s",
                error.message,
                error.hint,
            )
            return False
        except (OSError, ValueError) as error:  # A file that cannot be read, or is no UTF-8.
            log.error("the settings in force stay, the new ones cannot be read: %s", error)
            return False
        except Exception:
            log.exception("the settings in force stay: the new ones could not be put to use")
            return False
        self._config = config
        log.info("the settings were read again from %s", config_file().parent)
        for name in self.waiting():
            log.warning("daemon.%s changed: it holds from `aidecamp daemon restart` on", name)
        return True

    def waiting(self) -> tuple[str, ...]:
        """Settings of ``[daemon]`` that changed since the start, and wait for a restart."""
        now = self._config.daemon
        return tuple(n for n in AT_START if getattr(now, n) != getattr(self._first, n))

    async def watch(self) -> None:
        """Reload whenever a file changed, or it was asked for; for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await self._asked.wait()
            if self._asked.is_set() or stamps() != self._stamps:
                self._asked.clear()
                await self.reload()


def _read() -> tuple[Config, Policy]:
    config = load_config()
    return config, config.make_policy()


def stamps() -> tuple[Stamp, Stamp]:
    """What tells that a file is another than before: mtime, size and inode; None: there is none."""
    return _stamp(config_file()), _stamp(policy_file())


def _stamp(file: Path) -> Stamp:
    try:
        info = file.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino
