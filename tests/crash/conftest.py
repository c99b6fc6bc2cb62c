"""Where the crash tests work, and how they count."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.forks import Forks
from tests.crash.merges import write_models

Count = Callable[..., None]


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, where there is one that takes half a gigabyte: thousands of syncs cost nothing there."""
    shared = Path("/dev/shm")
    facts = os.statvfs(shared) if shared.is_dir() else None
    if facts is None or facts.f_bavail * facts.f_frsize < 512 * 1024**2:
        yield tmp_path_factory.mktemp("crash")
        return
    folder = Path(tempfile.mkdtemp(prefix="mergegraph-crash-", dir=shared))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def models(memory: Path) -> Path:
    return write_models(memory / "models")


@pytest.fixture
def place(memory: Path) -> Iterator[Path]:
    """An empty folder in memory, gone after the test."""
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


@pytest.fixture(scope="session")
def mounts() -> Iterator[Forks]:
    """Forks that see mounts of their own; a skip for whom the kernel does not let mount."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    with Forks(own_mounts=True) as server:
        yield server


@pytest.fixture(scope="session")
def small_models(memory: Path) -> Path:
    """3 MB each."""
    return write_models(memory / "small", layers=6)


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """`count("kill -9", tried=7, lost=0)`: added up over all tests in the summary."""

    def counted(kind: str, **counts: int) -> None:
        record_property(kind, counts)

    return counted
