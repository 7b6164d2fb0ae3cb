"""Who may call the daemon: named tokens with scopes, in a file that its user alone can read.

``admin`` may everything, ``act`` may act and infer, ``infer`` may only infer. The user's own token
is kept as it is, since the command line must read it; of every other one only its SHA-256 is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from models.errors import StorageFailed, UsageError
from runtime.config import KEYRING_SERVICE, data_dir
from runtime.daemon.errors import Conflict, NotFound

Scope = Literal["infer", "act", "admin"]
SCOPES: tuple[Scope, ...] = ("infer", "act", "admin")
"""Each implies those before it."""

OWN = "own"
"""The name of the user's own token."""
PREFIX = "adc_"
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEYRING_NAME = "daemon tokens"
LOCK_S = 10.0
"""How long another process may keep the tokens locked."""

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of its token, and what that token may."""

    name: str
    scope: Scope

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


@dataclass(frozen=True, slots=True)
class Named:
    """A token as it is listed: never its secret."""

    name: str
    scope: Scope
    made: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Everything that is kept, and the digests that a presented token is compared with."""

    own: str = ""
    own_made: str = ""
    tokens: tuple[tuple[Named, bytes], ...] = ()

    def digests(self) -> list[tuple[Caller, bytes]]:
        found = [(Caller(named.name, named.scope), digest) for named, digest in self.tokens]
        if self.own:
            found.append((Caller(OWN, "admin"), _digest(self.own.encode())))
        return found

    def dump(self) -> str:
        tokens = [
            {"name": n.name, "scope": n.scope, "made": n.made, "sha256": digest.hex()}
            for n, digest in self.tokens
        ]
        body = {"own": self.own, "own_made": self.own_made, "tokens": tokens}
        return json.dumps(body, indent=2) + "\n"

    @staticmethod
    def load(text: str) -> _Kept:
        """Raises ValueError, KeyError or TypeError where ``text`` is not what ``dump`` writes."""
        body = json.loads(text)
        tokens = []
        for one in body["tokens"]:
            if one["scope"] not in SCOPES:
                raise ValueError(f"{one['scope']!r} is no scope")
            digest = bytes.fromhex(one["sha256"])
            tokens.append((Named(str(one["name"]), one["scope"], str(one["made"])), digest))
        own = body["own"]
        if not isinstance(own, str):
            raise TypeError("the own token is no text")
        return _Kept(own, str(body["own_made"]), tuple(tokens))


class _Place(Protocol):
    """Where the text of the tokens is kept. ``read`` gives None where none was made yet."""

    where: str

    def read(self) -> str | None: ...
    def write(self, text: str) -> None: ...
    def stamp(self) -> _Stamp | None: ...


class TokenStore:
    """The tokens of one user. Any number of processes may share them; a change is seen at once.

    Every method raises StorageFailed where the tokens cannot be read or kept, or where others
    could read them.
    """

    def __init__(
        self, folder: Path | None = None, kept_in: Literal["file", "keyring"] = "file"
    ) -> None:
        self._folder = folder or data_dir()
        path = self._folder / "tokens.json"
        self._place: _Place = _File(path) if kept_in == "file" else _Keyring(path)
        self._guard = threading.Lock()
        self._seen: _Stamp | None = None
        self._kept = _Kept()
        self._digests: list[tuple[Caller, bytes]] = []

    def own(self) -> str:
        """The user's own token, which may everything. It is made the first time."""
        if own := self._load().own:
            return own
        with self._changing() as kept:
            # Another process may have made it meanwhile.
            own = kept.own or _secret()
            if not kept.own:
                self._save(_Kept(own, _now(), kept.tokens))
        return own

    def add(self, name: str, scope: Scope) -> str:
        """Make a token and return its secret, which is shown this once.

        Raises UsageError on a name or scope that cannot be; Conflict where the name is taken.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a token.",
                hint="Use 1 to 64 letters, digits, dots, dashes and underscores.",
            )
        if scope not in SCOPES:
            raise UsageError(f"{scope!r} is no scope.", hint=f"There are: {', '.join(SCOPES)}.")
        with self._changing() as kept:
            if name == OWN or any(named.name == name for named, _ in kept.tokens):
                raise Conflict(
                    f"There is a token {name!r} already.",
                    hint="Choose another name, or remove that one first.",
                )
            secret = _secret()
            made = (Named(name, scope, _now()), _digest(secret.encode()))
            self._save(_Kept(kept.own, kept.own_made, (*kept.tokens, made)))
        return secret

    def remove(self, name: str) -> None:
        """Whoever holds the token is refused from now on. Of the own token a new one is made when
        it is next needed. Raises NotFound."""
        with self._changing() as kept:
            rest = tuple(one for one in kept.tokens if one[0].name != name)
            if name == OWN and kept.own:
                self._save(_Kept("", "", rest))
            elif len(rest) < len(kept.tokens):
                self._save(_Kept(kept.own, kept.own_made, rest))
            else:
                raise NotFound(
                    f"There is no token {name!r}.", hint="`aidecamp daemon token list` names them."
                )

    def names(self) -> tuple[Named, ...]:
        """Every token, the user's own first."""
        kept = self._load()
        own = (Named(OWN, "admin", kept.own_made),) if kept.own else ()
        return (*own, *(named for named, _ in kept.tokens))

    def check(self, presented: bytes) -> Caller | None:
        """Whose token this is. Takes the same time whichever it is, and whether it is one."""
        self._load()
        digest = _digest(presented)
        found: Caller | None = None
        for caller, known in self._digests:
            if hmac.compare_digest(digest, known):
                found = caller
        return found

    def _load(self) -> _Kept:
        with self._guard:
            stamp = self._place.stamp()
            if stamp is None:
                self._seen, self._kept, self._digests = None, _Kept(), []
            elif stamp != self._seen:
                self._take(self._place.read())
                self._seen = stamp
            return self._kept

    def _take(self, text: str | None) -> None:
        try:
            self._kept = _Kept.load(text) if text is not None else _Kept()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(
                f"{self._place.where} does not hold the daemon's tokens: {error}.",
                hint="Remove it; new tokens are then made, and clients need the new ones.",
            ) from error
        self._digests = self._kept.digests()

    @contextmanager
    def _changing(self) -> Iterator[_Kept]:
        """What is kept now, while no other process can change it."""
        import filelock

        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = filelock.FileLock(self._folder / "tokens.lock", timeout=LOCK_S, mode=0o600)
            lock.acquire()
        except (OSError, filelock.Timeout) as error:
            raise StorageFailed(
                f"The daemon's tokens in {self._folder} cannot be changed: {error}.",
                hint="Set AIDECAMP_HOME to a folder that you may write.",
            ) from error
        try:
            yield self._load()
        finally:
            lock.release()

    def _save(self, kept: _Kept) -> None:
        self._place.write(kept.dump())
        # The next look finds another stamp, and reads what others will read.


def configured() -> TokenStore:
    """The tokens where ``daemon.tokens_in`` says that they are. Raises UsageError."""
    from runtime.config import load_config

    return TokenStore(kept_in=load_config().daemon.tokens_in)


class _File:
    """A 0600 file, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def stamp(self) -> _Stamp | None:
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
        _replace(self._path, text)


class _Keyring:
    """The system's keyring. A file beside it, rewritten at every change, tells other processes
    that there was one."""

    def __init__(self, path: Path) -> None:
        self._mark = path.with_name("tokens.changed")
        self.where = "The keyring"

    def stamp(self) -> _Stamp | None:
        return _stamp(self._mark) or (0, 0, 0, 0)

    def read(self) -> str | None:
        import keyring

        with _keyring_errors():
            return keyring.get_password(KEYRING_SERVICE, KEYRING_NAME)

    def write(self, text: str) -> None:
        import keyring

        with _keyring_errors():
            keyring.set_password(KEYRING_SERVICE, KEYRING_NAME, text)
            if keyring.get_password(KEYRING_SERVICE, KEYRING_NAME) != text:
                # keyring's null back end forgets what it is given, and says nothing.
                raise RuntimeError("it does not keep what it is given")
        _replace(self._mark, secrets.token_hex(8))


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


def _replace(path: Path, text: str) -> None:
    """Write a file whole, 0600 from its first moment."""
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


def _stamp(path: Path) -> _Stamp | None:
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be read: {error}.", hint="It must be a file of yours."
        ) from error
    return (info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_size)


def _secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
