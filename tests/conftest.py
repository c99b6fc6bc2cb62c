"""Keeps the folders of runs out of the home folder, and tests off the network; adds up what the crash tests counted,
over all workers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator

import pytest

_hub = ""
"""The Hub's folder of this process."""


def pytest_configure() -> None:
    """huggingface_hub and torch read these once, when they are imported: while tests are collected. Children inherit
    them. One thread of torch's own: the models are small, and the test workers take the processors."""
    global _hub
    _hub = tempfile.mkdtemp(prefix="mergegraph-hub-")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": _hub, "OMP_NUM_THREADS": "1"}


def pytest_unconfigure() -> None:
    shutil.rmtree(_hub, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Children inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`kill -9: 42 points tried, 0 lost, 0 redone`, one line for each kind of fault."""
    totals: dict[str, Counter[str]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for kind, counts in report.user_properties:
            if isinstance(counts, dict):
                totals.setdefault(kind, Counter()).update(counts)
    for kind, total in sorted(totals.items()):
        counted = ", ".join(f"{count:,} {what}" for what, count in total.items())
        terminalreporter.write_line(f"{kind}: {counted}")
