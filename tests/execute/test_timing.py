"""Where the time of a run is counted: reads for loads, values for the nodes that make them, the rest for saves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergegraph.execute import timing
from mergegraph.execute.run import Options, run
from mergegraph.execute.timing import NodeTimes
from mergegraph.pipeline import plan
from mergegraph.plan.makers import MEASURING, MakersOf
from mergegraph.plan.outputs import Stats
from mergegraph.plan.plan import Plan
from mergegraph.plan.steps import Program
from mergegraph.recipe.load import parse_recipe
from tests.tiny_models import write_model

HEAD = "mergegraph: 1\nmodels: {base: ./base, a: ./a, b: ./b}\nnodes:\n"
DELTAS = """  da: {op: delta, model: a, base: base}
  sa: {op: scale, input: da, by: 0.5}
  t: {op: trim, input: da, density: 0.5%s}
  m: {op: sum, inputs: [base, sa, t]}
  out: {op: save, input: m, path: out}
"""
MATRICES = """  da: {op: delta, model: a, base: base}
  l: {op: low_rank, input: da, rank: 2}
  m: {op: sum, inputs: [base, l]}
  out: {op: save, input: m, path: out}
"""


def vector(seed: int, count: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("base", "a", "b")):
        tensors = {f"model.layers.{n}.mlp.up_proj.weight": vector(seed + n, 12_000).view(120, 100) for n in range(2)}
        write_model(tmp_path / name, {**tensors, "model.norm.weight": vector(seed + 9, 70).bfloat16()})
    return tmp_path


def planned(folder: Path, nodes: str, stats: Stats | None = None) -> Plan:
    recipe = parse_recipe(HEAD + nodes, file="merge.yaml", folder=folder)
    return plan(recipe, workers=1, stats=stats, allow_unrelated=True)


def names(made: Plan) -> list[tuple[tuple[str, ...], ...]]:
    """Of the first group: the node of each step, pass by pass, and of each root."""
    of, group = MakersOf(made), made.groups[0]
    makers = of.group(group.members, group.measured, group.computation)
    return [*makers.steps, makers.roots]


def test_a_step_is_of_the_node_that_made_its_value(folder: Path) -> None:
    """`sa` is folded into the sum, and so has no step."""
    counted, stored = ("a", "base", "da", "t"), ("base", "m", "a", "da", "m", "t", "m", "out")
    found = names(planned(folder, DELTAS % ""))
    assert [sorted(set(each)) for each in found[:-2]] == [sorted(counted)] * len(found[:-2])
    assert sorted(set(found[-2])) == sorted(set(stored))
    assert found[-1] == ("out",)


@pytest.mark.parametrize(
    ("nodes", "stats", "expected", "reason"),
    [
        ("  m: base + 0.5*(a - base)\n  out: {op: save, input: m, path: out}\n", None, {"base", "a", "m", "out"},
         "an expression is one node"),
        (DELTAS % ", scope: model", None, {"base", "a", "da", "t", "m", "out"}, "a population is its kernel's"),
        ("  m: {op: soup, inputs: [a, b]}\n  out: {op: save, input: m, path: out}\n", Stats(),
         {"a", "b", "m", "out", MEASURING}, "measuring has a name of its own"),
        ("  out: {op: save, input: a, path: out}\n", None, {"a", "out"}, "a copy is read and written"),
        (MATRICES, None, {"a", "base", "da", "l", "m", "out"}, "whole matrices go step by step"),
    ],
)  # fmt: skip
def test_every_second_is_counted_for_a_node(
    folder: Path, nodes: str, stats: Stats | None, expected: set[str], reason: str
) -> None:
    report = run(planned(folder, nodes, stats), Options(sync=False))
    assert report.node_seconds.keys() == expected, reason
    assert all(seconds > 0 for seconds in report.node_seconds.values())
    assert sum(report.node_seconds.values()) <= report.seconds


def test_looking_into_tiles_changes_no_byte(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(folder, DELTAS % "")
    run(made, Options(sync=False))
    without = (folder / "out" / "model.safetensors").read_bytes()
    monkeypatch.setattr(timing, "_FIRST_LOOK_SECONDS", 0.0)
    looked: list[list[float]] = []
    add = NodeTimes.add
    monkeypatch.setattr(
        NodeTimes, "add", lambda self, kind, tile: (looked.append(tile.looked), add(self, kind, tile))[1]
    )
    report = run(made, Options(sync=False, overwrite=True))
    assert (folder / "out" / "model.safetensors").read_bytes() == without
    assert any(sum(each) > 0 for each in looked), "some tiles were looked into"
    assert report.node_seconds["t"] > 0


def test_one_function_is_divided_as_in_the_tiles_that_were_looked_into() -> None:
    times = NodeTimes(may_look=True)
    program = Program(((),), 0, False, 0, 0)
    kind = timing.Kind(("a", "m", "out"), [0.0] * 3, [0.0] * 2)
    times._kinds["x"] = kind  # the kinds of a real program have steps
    assert times.kinds(timing.Makers(((),)), program)[0].names == ()
    for looks in (False, True):
        tile = times.begin(kind)
        assert tile.looks is looks
        tile.measured, tile.together = [1.0, 0.0, 2.0], 4.0
        tile.looked = [3.0, 1.0] if tile.looks else []
        times.add(kind, tile)
    assert times.by_node() == {"a": 2.0 + 6.0, "m": 2.0, "out": 4.0}


def test_without_room_nothing_is_looked_into() -> None:
    times = NodeTimes(may_look=False)
    kind = timing.Kind(("a",), [0.0], [0.0], together=100.0)
    assert not times.begin(kind).looks


def test_the_clock_is_there() -> None:
    """TorchScript has one clock, and the interpreted form has it too."""
    assert isinstance(torch.ops.prim.TimePoint(), int)
