"""The drawing of a graph has one meaning: the edges can be read back from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergegraph.cli.drawing import fold
from mergegraph.cli.rail import rail
from mergegraph.graph import build
from mergegraph.recipe.load import parse_recipe


def edges_of(rows: list[tuple[str, str]]) -> dict[str, set[str]]:
    """The inputs of every node, from the drawing alone."""
    lanes: dict[int, str] = {}
    inputs: dict[str, set[str]] = {}
    for drawing, node in rows:
        own = next(index for index, cell in enumerate(drawing) if cell in "○●■")
        read = {own} if own in lanes else set[int]()
        for step in (-1, 1):
            index = own + step
            while 0 <= index < len(drawing) and drawing[index] not in " ":
                read |= {index} if drawing[index] in "├┤┼╰╯┴" else set()
                index += step
        inputs[node] = {lanes[index] for index in read}
        for index in read:
            if drawing[index] in "╰╯┴":
                del lanes[index]
        lanes.pop(own, None)
        if drawing[own] != "■":
            lanes[own] = node
    return inputs


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    count = draw(st.integers(1, 14))
    return {
        f"n{index}": tuple(f"n{source}" for source in draw(st.sets(st.integers(0, index - 1), max_size=4)))
        if index
        else ()
        for index in range(count)
    }


@given(graphs())
def test_the_edges_can_be_read_back(inputs: Mapping[str, tuple[str, ...]]) -> None:
    rows = list(rail(inputs))
    assert [node for _, node in rows] == list(inputs)
    assert edges_of(rows) == {node: set(sources) for node, sources in inputs.items()}
    assert len({len(drawing) for drawing, _ in rows}) == 1


@pytest.mark.parametrize(
    ("inputs", "drawing"),
    [
        ({"a": (), "b": ("a",)}, ["○", "■"]),
        ({"base": (), "code": (), "d": ("code", "base"), "m": ("base", "d")}, ["○", "│ ○", "├─●", "■─╯"]),
        # the second component begins below the first, and is not joined to it
        ({"a": (), "b": ("a",), "c": (), "d": ("c",)}, ["○", "■", "○", "■"]),
        # a wire passes over one that is not touched
        ({"a": (), "b": (), "c": ("a",), "d": ("b",)}, ["○", "│ ○", "■ │", "  ■"]),
        ({"a": (), "b": (), "c": (), "x": ("a", "c"), "y": ("b",)}, ["○", "│ ○", "│ │ ○", "■─│─╯", "  ■"]),
        # both inputs are read again
        ({"a": (), "b": (), "x": ("a", "b"), "y": ("a", "b", "x")}, ["○", "│ ○", "├─┼─●", "■─┴─╯"]),
    ],
)
def test_drawings(inputs: Mapping[str, tuple[str, ...]], drawing: list[str]) -> None:
    assert [row.rstrip() for row, _ in rail(inputs)] == drawing


def test_a_diamond_of_sixty_levels_stays_narrow() -> None:
    inputs: dict[str, tuple[str, ...]] = {"x0": ()}
    for level in range(60):
        inputs |= {f"a{level}": (f"x{level}",), f"b{level}": (f"x{level}",)}
        inputs[f"x{level + 1}"] = (f"a{level}", f"b{level}")
    rows = list(rail(inputs))
    assert len(rows) == 181
    assert max(len(drawing.rstrip()) for drawing, _ in rows) <= 3


def test_expressions_and_globs_are_folded_into_what_was_written(tmp_path: Path) -> None:
    for name in ("run-1", "run-2", "base"):
        (tmp_path / name).mkdir()
    text = (
        "mergegraph: 1\nmodels: {base: ./base}\nnodes:\n"
        "  avg: {op: soup, models: './run-*'}\n  m: base + 0.5*(avg - base)\n  out: {op: save, input: m, path: out}\n"
    )
    drawn = fold(build(parse_recipe(text, file="x.yaml", folder=tmp_path)))
    assert {name: set(node.inputs) for name, node in drawn.items()} == {
        "base": set(),
        "avg": set(),
        "m": {"base", "avg"},
        "out": {"m"},
    }
    assert drawn["avg"].text == "soup(2 checkpoints)"
    assert drawn["m"].text == "= base + 0.5*(avg - base)"


def test_a_glob_node_that_others_read_too_keeps_its_own_line(tmp_path: Path) -> None:
    for name in ("run_1", "run_2"):
        (tmp_path / name).mkdir()
    text = (
        "mergegraph: 1\nnodes:\n  avg: {op: soup, models: './run_*'}\n"
        "  d: {op: delta, model: avg.run_1, base: avg}\n  out: {op: save, input: d, path: out, format: delta}\n"
    )
    drawn = fold(build(parse_recipe(text, file="x.yaml", folder=tmp_path)))
    assert {name: set(node.inputs) for name, node in drawn.items()} == {
        "avg.run_1": set(),
        "avg": {"avg.run_1"},
        "d": {"avg.run_1", "avg"},
        "out": {"d"},
    }
