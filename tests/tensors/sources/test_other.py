"""Schemes that only fsspec knows, with its file system in memory standing in for all of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import known_implementations

from mergegraph.errors import InputError, RunError
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.tensors.sources.test_hub import read_all
from tests.tiny_models import llama_tensors, write_model


@pytest.fixture
def memory(tmp_path: Path) -> Generator[Any]:
    """`memory://models/m` holds the model of `tmp_path / "m"`."""
    files = fsspec.filesystem("memory")
    folder = write_model(tmp_path / "m", llama_tensors(), config={"model_type": "llama"}, shards=2)
    for path in folder.iterdir():
        files.pipe_file(f"/models/m/{path.name}", path.read_bytes())
    yield files
    files.store.clear()


def test_a_model_is_read(memory: Any, tmp_path: Path) -> None:
    checkpoint = open_checkpoint("memory://models/m", tmp_path)
    assert read_all(checkpoint) == read_all(open_checkpoint(str(tmp_path / "m"), tmp_path))
    assert all(
        file.identity.startswith(f"memory:{file.path.removeprefix('memory://')}:bytes=") for file in checkpoint.files
    )


def test_a_file_that_became_shorter_is_noticed(memory: Any, tmp_path: Path) -> None:
    checkpoint = open_checkpoint("memory://models/m", tmp_path)
    for file in checkpoint.files:
        memory.pipe_file(file.path.removeprefix("memory:/"), b"short")
    with pytest.raises(RunError, match="cannot be read"):
        read_all(checkpoint)


def test_a_scheme_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nosuchscheme"):
        open_checkpoint("nosuchscheme://x/model.safetensors", tmp_path)


def test_what_is_missing_is_said_in_words(memory: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: nothing is there"):
        open_checkpoint("memory://models/other/model.safetensors", tmp_path)


def test_a_package_that_is_missing_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"class": "no_such_package.files.Files", "err": "Install it"}
    monkeypatch.setitem(known_implementations, "strange", known)
    with pytest.raises(InputError) as caught:
        open_checkpoint("strange://x/model.safetensors", tmp_path)
    assert "pip install no_such_package" in (caught.value.problems[0].fix or "")
