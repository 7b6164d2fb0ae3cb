"""Who may call the daemon: named tokens with scopes, in a file that its user alone can read.

``admin`` may everything, ``act`` may act and infer, ``infer`` may only infer. The user's own token
is kept as it is, since the command line must read it; of every other one only its SHA-256 is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from models.errors import StorageFailed, UsageError
from runtime.daemon.errors import Conflict, NotFound
from runtime.daemon.token_places import File, Keyring, Place, Stamp

Scope = Literal["infer", "act", "admin"]
SCOPES: tuple[Scope, ...] = ("infer", "act", "admin")
"""Each implies those before it."""

OWN = "own"
"""The name of the user's own token."""
PREFIX = "adc_"
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LOCK_S = 10.0
"""How long another process may keep the tokens locked."""


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


class TokenStore:
    """The tokens of one user. Any number of processes may share them; a change is seen at once.

    Every method raises StorageFailed where the tokens cannot be read or kept, or where others
    could read them.
    """

    def __init__(
        self, folder: Path | None = None, kept_in: Literal["file", "keyring"] = "file"
    ) -> None:
        if folder is None:
            from runtime.config import data_dir

            folder = data_dir()
        self._folder = folder
        path = self._folder / "tokens.json"
        self._place: Place = File(path) if kept_in == "file" else Keyring(path)
        self._guard = threading.Lock()
        self._seen: Stamp | None = None
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


def _secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
