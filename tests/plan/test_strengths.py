"""Strengths of a recipe are those of its expressions: exact, with a base or without, and none for other merges."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.pipeline import plan
from mergegraph.plan.outputs import Stats
from mergegraph.plan.strengths import strengths_in
from mergegraph.recipe.load import load_recipe
from mergegraph.stats.hints import Strengths
from tests.tiny_models import llama_tensors, write_model

SOURCES = "abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strengths")
    base = llama_tensors()
    for seed, name in enumerate(("base", *SOURCES)):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed) if seed else base)
    return folder


def strengths(folder: Path, merged: str, base: str = "") -> Strengths | None:
    loads = "".join(f"  {name}: {{op: load, model: ./{name}}}\n" for name in ("base", *SOURCES))
    text = f"mergegraph: 1\nname: t\nnodes:\n{loads}  m: {merged}\n  out: {{op: save, input: m, path: out}}\n"
    (folder / "t.yaml").write_text(text)
    (survey,) = plan(load_recipe(folder / "t.yaml"), stats=Stats(writes=False, base=base or None)).surveys
    return strengths_in(survey)


def alike(found: Strengths | None) -> dict[str, float | None]:
    """The strength of every source, which is that of all its kinds."""
    assert found is not None
    assert all(len(by_kind) > 3 and len(set(by_kind.values())) == 1 for by_kind in found.values())
    return {name: next(iter(by_kind.values())) for name, by_kind in found.items()}


@pytest.mark.parametrize(
    ("merged", "base", "expected"),
    [
        ("0.5*a + 0.5*b", "", {"a": 0.5, "b": 0.5}),  # nothing to compare with, and still no guess
        ("0.9*a + 0.1*b", "", {"a": 0.9, "b": 0.1}),
        ("{op: soup, inputs: [a, b, c, d, e, f]}", "", dict.fromkeys(SOURCES, 1 / 6)),
        ("{op: soup, inputs: [a, b, c, d, e, f]}", "a", dict.fromkeys("bcdef", 1 / 6)),  # against one of them
        ("base + 0.3*(a - base) + 0.7*(b - base)", "", {"a": 0.3, "b": 0.7}),
        ("base + 0.5*((a - base) + 0.5*(b - base)) - 0.25*(c - base)", "", {"a": 0.5, "b": 0.25, "c": -0.25}),
        ("{op: slerp, a: a, b: b, t: 0.5}", "", {"a": None, "b": None}),  # no plain combination
        ("base + t\n  t: {op: ties, base: base, inputs: [a, b], density: 0.5}", "", {"a": None, "b": None}),
    ],
)
def test_a_recipe_has_the_strengths_it_says(
    folder: Path, merged: str, base: str, expected: dict[str, float | None]
) -> None:
    assert alike(strengths(folder, merged, base)) == expected


def test_each_kind_has_its_own_and_one_that_changes_from_layer_to_layer_has_none(folder: Path) -> None:
    rules = "[{kind: mlp, value: 0.3}, {kind: attention, value: [0.1, 0.9]}, {value: 0.7}]"
    found = strengths(folder, f"base + y\n  x: a - base\n  y: {{op: scale, input: x, by: {rules}}}")
    assert found is not None
    assert (found["a"]["mlp"], found["a"]["attention"], found["a"]["embedding"]) == (0.3, None, 0.7)
