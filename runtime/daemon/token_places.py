"""Where the daemon's tokens are kept: a 0600 file of the user's, or the system's keyring."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from models.errors import StorageFailed

KEYRING_NAME = "daemon tokens"

Stamp = tuple[int, int, int, int]
"""Changes whenever what is kept does."""


class Place(Protocol):
    """Where the text of the tokens is kept. ``read`` gives None where none was made yet."""

    where: str

    def read(self) -> str | None: ...
    def write(self, text: str) -> None: ...
    def stamp(self) -> Stamp | None: ...


class File:
    """A 0600 file, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def stamp(self) -> Stamp | None:
        return _stamp(self._path)

    def read(self) -> str | None:
        try:
            with self._path.open(encoding="utf-8") as file:
                _refuse_shared(self._path, os.fstat(file.fileno()))
                return file.read()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StorageFailed(
                f"{self._path} cannot be read: {error}.", hint="It must be a file of yours."
            ) from error

    def write(self, text: str) -> None:
        from runtime.private_file import write_private

        write_private(self._path, text)


class Keyring:
    """The system's keyring. A file beside it, rewritten at every change, tells other processes
    that there was one."""

    def __init__(self, path: Path) -> None:
        self._mark = path.with_name("tokens.changed")
        self.where = "The keyring"

    def stamp(self) -> Stamp | None:
        return _stamp(self._mark) or (0, 0, 0, 0)

    def read(self) -> str | None:
        import keyring

        from runtime.config import KEYRING_SERVICE

        with _keyring_errors():
            return keyring.get_password(KEYRING_SERVICE, KEYRING_NAME)

    def write(self, text: str) -> None:
        import keyring

        from runtime.config import KEYRING_SERVICE
        from runtime.private_file import write_private

        with _keyring_errors():
            keyring.set_password(KEYRING_SERVICE, KEYRING_NAME, text)
            if keyring.get_password(KEYRING_SERVICE, KEYRING_NAME) != text:
                # keyring's null back end forgets what it is given, and says nothing.
                raise RuntimeError("it does not keep what it is given")
        write_private(self._mark, secrets.token_hex(8))


@contextmanager
def _keyring_errors() -> Iterator[None]:
    try:
        yield
    # Back ends let errors of D-Bus and of their own through.
    except Exception as error:
        raise StorageFailed(
            f"The keyring cannot be used for the daemon's tokens: {error}",
            hint='Unlock it, or set daemon.tokens_in = "file" in config.toml.',
        ) from error


def _refuse_shared(path: Path, info: os.stat_result) -> None:
    if sys.platform == "win32":
        return  # Its access lists are not in the mode; the user's profile is private by default.
    if info.st_uid != os.getuid():
        raise StorageFailed(
            f"{path} belongs to another user, so its tokens are not used.",
            hint="Remove it, or set AIDECAMP_HOME to a folder of yours.",
        )
    if info.st_mode & 0o077:
        raise StorageFailed(
            f"Other users can read {path}, so its tokens are not used.",
            hint=f"If nobody did: chmod 600 {path}. Else remove it, and new tokens are made.",
        )


def _stamp(path: Path) -> Stamp | None:
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be read: {error}.", hint="It must be a file of yours."
        ) from error
    return (info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_size)
