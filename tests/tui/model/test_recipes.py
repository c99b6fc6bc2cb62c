"""What is known of the recipes and searches that can be opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mergegraph_tui.model import runs
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.recipes import Looked, ago, look, picture, recipes

from mergegraph.runs.progress import Progress
from tests.search.searches import write_search
from tests.tui.screens import search_stage as stage
from tests.tui.test_run_rows import MERGING

TEXT = "mergegraph: 1\nmodels: {a: ./a}\nnodes:\n  out: {op: save, input: a, path: out}\n"


def looked(path: Path) -> Looked:
    return look(path, Headers(), (40, 10))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59, "just now"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago"), (86399, "23 h ago"),
        (86400, "yesterday"), (2 * 86400, "2 days ago"), (14 * 86400, "2 weeks ago"),
    ],
)  # fmt: skip
def test_how_long_ago_something_was(seconds: float, said: str) -> None:
    assert ago(seconds) == said


def test_recipes_are_listed_two_levels_deep_and_not_in_hidden_folders(tmp_path: Path) -> None:
    for folder in (".", "one", "one/two", "one/two/three", ".hidden"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "merge.yaml").write_text(TEXT)
    (tmp_path / "other.yaml").write_text("name: x\n")
    shown = [each.shown for each in recipes(tmp_path)]
    assert shown == ["merge.yaml", "one/merge.yaml", "one/two/merge.yaml"]


def test_a_recipe_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(TEXT)
    found = looked(path)
    assert (found.nodes, found.errors, found.is_search) == (2, 1, False), "the model is not there"
    assert "out" in "\n".join(found.picture)
    assert "none.yaml" in looked(tmp_path / "none.yaml").problem
    assert picture("nodes: [", 40, 10) == ()


@dataclass
class LivingRun:
    """One that was started in `started_in`."""

    started_in: Path
    says: Progress | None = MERGING
    arguments: tuple[str, ...] = ("merge", "--threads=1", "merge.yaml")

    def progress(self) -> Progress | None:
        return self.says


def test_a_run_of_a_recipe_that_lives_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(TEXT)
    elsewhere, here = LivingRun(tmp_path / "other"), LivingRun(tmp_path)
    monkeypatch.setattr(runs, "living", lambda: [elsewhere])
    assert looked(path).run == ""
    monkeypatch.setattr(runs, "living", lambda: [elsewhere, here])
    assert looked(path).run == "run 3/7"
    monkeypatch.setattr(runs, "living", lambda: [replace(here, says=None)])
    assert looked(path).run == "run", "it has not begun to merge"


def written(folder: Path, **fields: Any) -> Path:
    """A search whose text says at the beginning of a line that it is one, as a YAML file does."""
    path = write_search(folder, **fields)
    path.write_text(path.read_text().replace(' "search":', "search:"))
    return path


def test_a_search_shows_its_kind_its_state_and_the_best_so_far(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = looked(path)
    assert (found.is_search, found.run, found.picture[1]) == (True, "not begun", "not begun")
    stage.put(tmp_path / "found", stage.ended())
    found = looked(path)
    assert (found.run, found.picture) == ("done", ("greedy_soup", "done", "", "soup_5 + soup_4"))
    broken = looked(written(tmp_path, metrics={"loss": "least"}))
    assert (broken.is_search, broken.errors) == (True, 1)
    assert "least" in broken.problem
    path.write_text("# the search:\nsearch: [\n")
    assert looked(path).is_search
