"""Real records of statistics: two fine-tunes of the small language models against their base, counted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.pipeline import look, plan
from mergegraph.plan.outputs import Stats
from mergegraph.recipe.load import load_recipe
from mergegraph.stats.files import to_json

LLAMAS = Path(__file__).resolve().parents[2] / "recipes" / "models" / "tiny-llama"

TWO_TUNED = f"""# two of one base
mergegraph: 1
models:
  base: {LLAMAS}/base   # the base
  code: {LLAMAS}/python
  french: {LLAMAS}/french
nodes:
  merged: base + 0.6*(code - base) + 0.4*(french - base)
  out: {{op: save, input: merged, path: out/merged}}
"""


@pytest.fixture
def two_tuned(tmp_path: Path) -> Path:
    path = tmp_path / "merge.yaml"
    path.write_text(TWO_TUNED)
    return path


@pytest.fixture(scope="session")
def record_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The statistics of `two_tuned`."""
    return measured(tmp_path_factory.mktemp("record"), "stronger", TWO_TUNED)


@pytest.fixture(scope="session")
def weaker_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With half of the code."""
    return measured(tmp_path_factory.mktemp("record"), "weaker", TWO_TUNED.replace("0.6", "0.3"))


def measured(folder: Path, name: str, text: str) -> Path:
    """The statistics of a recipe, as a file of this name in the folder."""
    (folder / "merge.yaml").write_text(text)
    found = look(plan(load_recipe(folder / "merge.yaml"), stats=Stats(writes=False)))
    file = folder / f"{name}.json"
    file.write_bytes(to_json(found.records[0]))
    return file
