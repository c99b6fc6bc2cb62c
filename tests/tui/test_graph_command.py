"""`mergegraph graph` draws boxes where the interface is installed, and one node a line where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mergegraph_tui.model.drawing import DIRECTIONS, SIZES
from mergegraph_tui.model.fit import Layouts, Room
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.model.text import drawn_lines, painted_lines

from mergegraph.cli import main
from mergegraph.graph import build
from mergegraph.recipe.load import load_recipe
from tests.tui.shapes import experts, twelve

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
PICTURES = Path(__file__).with_name("pictures")
SHAPES = {"twelve-80": (twelve(), 80), "experts-8-120": (experts(8, 1), 120), "experts-16-200": (experts(16, 1), 200)}


def same_as(picture: str, name: str) -> None:
    """Compare with tests/tui/pictures; UPDATE_PICTURES=1 writes what is drawn now."""
    path = PICTURES / f"{name}.txt"
    if "UPDATE_PICTURES" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(picture, encoding="utf-8")
    assert picture == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipes_are_drawn_as_they_were(name: str) -> None:
    graph = build(load_recipe(RECIPES / f"{name}.yaml"))
    lines = drawn_lines(graph, width=100)
    assert lines is not None
    same_as("\n".join([*lines, ""]), name)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shapes_are_drawn_as_they_were(name: str) -> None:
    graph, width = SHAPES[name]
    for ascii_only in (False, True):
        lines = painted_lines(graph, Layouts(graph).fit(Room(width, 50)), ascii_only=ascii_only)
        same_as("\n".join([*lines, ""]), f"{name}-ascii" if ascii_only else name)


def test_a_recipe_is_drawn_as_the_graph_that_is_built_of_it() -> None:
    for path in sorted(RECIPES.glob("*.yaml")):
        recipe = load_recipe(path)
        drawn: DrawnGraph = graph_of(recipe)
        assert drawn == graph_of(build(recipe)), path.name
        assert all(node.space == build(recipe).nodes[name].space for name, node in drawn.nodes.items())


@pytest.fixture
def with_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point, whatever is installed."""
    metadata = tmp_path / "drawing-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: drawing\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[mergegraph.drawing]\nboxes = mergegraph_tui.model.text:drawn_lines\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.usefixtures("with_boxes")
def test_the_command_draws_boxes_and_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = str(RECIPES / "alignment-blend.yaml")

    def drawn(*options: str) -> str:
        assert main(["graph", recipe, *options]) == 0
        return capsys.readouterr().out

    assert "│ Δ learnt" in drawn()
    assert "▶" in drawn("--direction", "right", "--size", "box")
    assert "├─●  learnt" in drawn("--rail")
    assert drawn("--ascii").isascii()
    assert drawn("--ascii", "--rail").isascii()
    monkeypatch.setenv("COLUMNS", "10")
    assert "├─●  learnt" in drawn()
    assert "│ Δ learnt" in drawn("--size", "box")


CYCLES = """mergegraph: 1
models: {a: /nowhere}
nodes:
  z: {op: scale, input: z2, by: 0.5}
  z2: {op: soup, inputs: [z, a]}
  w: {op: scale, input: w, by: 0.5}
  f: 0.5*f + 0.5*a
  out: {op: save, input: z, path: out}
"""


@pytest.mark.usefixtures("with_boxes")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_cycles_are_drawn_above_what_is_said_of_them(
    size: str, direction: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cycles.yaml"
    path.write_text(CYCLES)
    assert main(["graph", str(path), "--size", size, "--direction", direction]) == 2
    shown = capsys.readouterr()
    same_as(shown.out, f"cycles-{size}-{direction}")
    assert shown.out.count("↺") == 4
    assert shown.err.count("form a cycle") == 3


@pytest.mark.parametrize(("option", "value"), [("--direction", "up"), ("--size", "huge")])
def test_a_value_that_an_option_does_not_have_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", str(RECIPES / "slerp.yaml"), option, value]) == 2
    assert f'{option} has no "{value}"' in capsys.readouterr().err


def test_the_model_imports_no_textual() -> None:
    code = (
        "import importlib, pkgutil, sys, mergegraph_tui.model as model\n"
        "for each in pkgutil.iter_modules(model.__path__):\n"
        "    importlib.import_module(f'mergegraph_tui.model.{each.name}')\n"
        "print([name for name in ('textual', 'rich', 'torch') if name in sys.modules], len(list(sys.modules)) > 50)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[] True\n"
