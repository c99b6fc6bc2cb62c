from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui import keeping

LLAMAS = Path(__file__).resolve().parents[3] / "recipes" / "models" / "tiny-llama"

RECIPE = f"""# two of one base
mergegraph: 1
models:
  base: {LLAMAS}/base   # the base
  code: {LLAMAS}/python
nodes:
  merged: base + 0.6*(code - base)
  out: {{op: save, input: merged, path: out/merged}}
"""


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 3600.0)  # tests look at the file when they want to
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """base + 0.6 × (code − base) of the real small language models."""
    path = tmp_path / "merge.yaml"
    path.write_text(RECIPE)
    return path
