"""A Hub of one's own for each test, with nothing remembered of another's."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from mergegraph.tensors.sources import door, http, hub, retry
from tests.tensors.sources.hub_server import HubServer, serving


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setattr(retry, "_FIRST_SECONDS", 0.001)
    for known in (door._known, door._prepared, door._small):
        known.clear()
    hub.forget()
    yield
    http.close_connections()


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
