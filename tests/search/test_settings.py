"""Values that a grid tries: what may be written, and that all which is wrong is said before the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import RecipeError
from tests.search.searches import RECIPE, entries, run, write_search


def grid(folder: Path, over: dict[str, Any], **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "merge.yaml").write_text(RECIPE)
    return write_search(folder, "grid", recipe="merge.yaml", over=over, **fields)


@pytest.mark.parametrize(
    ("over", "settings", "reason"),
    [
        ({"description": ["a,b", "x: y", "[a"]}, ["a,b", "x: y", "[a"], "text stays as it is"),
        ({"boost.by": [[0, 1], 0.5]}, [[0, 1], 0.5], "a gradient over the layers"),
        ({"boost.by": [[{"kind": "mlp", "value": 1}, {"value": 0}]]}, [[{"kind": "mlp", "value": 1}, {"value": 0}]],
         "a schedule"),
        ({"boost.by": "1:0:-0.5"}, [1, 0.5, 0], "downwards"),
    ],
)  # fmt: skip
def test_a_value_may_be_whatever_the_recipe_takes(
    tmp_path: Path, over: dict[str, Any], settings: list[Any], reason: str
) -> None:
    run(grid(tmp_path, over, report_on=None))
    (place,) = over
    tried = [entry["facts"]["settings"][place] for entry in entries(tmp_path, "evaluated")]
    assert tried == (settings[:1] if place == "description" else settings), reason
    assert len(entries(tmp_path, "decided")) == len(settings), "also where the model is the same"


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"bost.by": "0:1:0.5"}, ["Did you mean boost?"]),
        ({"boost.by": "1:0:0.1", "seed": []}, ["1:0:-0.1", "no value to try for seed"]),
        ({"boost.by": [0.5, 0.5]}, ["has the value 0.5 twice"]),
        ({"boost.by": "lots"}, ['"0:1:0.1"']),
        ({"out.dtype": ["float32", "flaot16"]}, ["flaot16"]),
        ({"boost.by": "0:1:0.0001"}, ["take larger steps"]),
        ({"boost.by": "0:1:0.01", "seed": "0:50:1"}, ["The grid has 5,151 candidates"]),
    ],
)
def test_what_does_not_fit_is_said_with_the_line_of_the_search(
    tmp_path: Path, over: dict[str, Any], says: list[str]
) -> None:
    path = grid(tmp_path, over)
    with pytest.raises(RecipeError) as refused:
        run(path)
    for each in says:
        assert each in str(refused.value)
    assert all(problem.at is not None and problem.at.file.endswith("search.yaml") for problem in refused.value.problems)
    assert not (tmp_path / "found").exists()
