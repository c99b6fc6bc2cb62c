"""What the plan dialog says, of plans of small models and of what stands at their outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mergegraph_tui.model.planned import (
    BeingWritten,
    Exists,
    Nothing,
    OtherPartial,
    Planned,
    Resumes,
    Standing,
    planned,
)
from mergegraph_tui.model.steps import steps_of

from mergegraph.graph import Graph
from mergegraph.opening import open_adapters, open_inputs
from mergegraph.pipeline import plan, wire
from mergegraph.plan.plan import Plan
from mergegraph.recipe.load import load_recipe
from mergegraph.tensors.lock import FolderLock
from mergegraph.tensors.writer import OutputFolder
from tests.cli.tiny_models import BLEND, write_blend

LLAMAS = Path(__file__).resolve().parents[2] / "recipes" / "models" / "tiny-llama"
TRIMMED = BLEND.replace("boost: {op: scale, input: d_code, by: 0.5}", "boost: {op: trim, input: d_code, density: 0.5}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_blend(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(folder: Path) -> tuple[Plan, Graph]:
    recipe = load_recipe(folder / "blend.yaml")
    assert not open_adapters(recipe, 1 << 20)
    return plan(recipe, workers=1), wire(recipe, open_inputs(recipe, 1 << 20))


def shown(folder: Path) -> Planned:
    return planned(*made(folder))


def test_the_order_of_work_is_that_of_the_graph(folder: Path) -> None:
    nodes = shown(folder).nodes
    assert [(node.name, node.op, node.inputs) for node in nodes] == [
        ("base", "load", ()), ("code", "load", ()), ("d_code", "delta", ("code", "base")),
        ("boost", "scale", ("d_code",)), ("merged", "sum", ("base", "boost")), ("out", "save", ("merged",)),
    ]  # fmt: skip


def test_an_expression_is_one_node(folder: Path) -> None:
    (folder / "blend.yaml").write_text(
        "mergegraph: 1\nmodels: {base: ./base, code: ./code}\n"
        "nodes:\n  m: base + 0.5*(code - base)\n  out: {op: save, input: m, path: out}\n"
    )
    assert [(node.name, node.op) for node in shown(folder).nodes][2:] == [("m", "expression"), ("out", "save")]


def test_memory_at_each_step(folder: Path) -> None:
    steps = shown(folder).steps
    assert steps is not None
    slot = 4 * steps.tile_elements
    assert [(row.text, row.held_bytes // slot, row.is_peak) for row in steps.rows] == [
        ("read base", 1, False), ("begin with base", 2, False), ("read code", 3, True), ("subtract base", 3, False),
        ("add 0.5 × the difference", 2, False), ("write the sum", 1, False),
    ]  # fmt: skip


def test_every_pass_is_told(folder: Path) -> None:
    (folder / "blend.yaml").write_text(TRIMMED)
    told = shown(folder)
    assert told.steps is not None
    assert {row.pass_number for row in told.steps.rows} == set(range(1, told.passes + 1))
    assert sum(row.is_peak for row in told.steps.rows) == 1
    assert any(row.text.startswith("count ") for row in told.steps.rows)


ADAPTER = f"legal: {{op: lora, adapter: {LLAMAS}/legal-lora, base: base}}"
LOW = "low: {op: low_rank, base: base, input: code, rank: 4}\n  mlp: {op: select, cases: [{kind: mlp, from: low}]}"
FACTORS = ["read code", "read base", "subtract base", "factors of rank 4 of the difference"]

TOLD = [
    ("nothing to compute", "out: {op: save, input: base, path: out}", ["copy base byte for byte"]),
    ("another type", "out: {op: save, input: base, path: out, dtype: float16}", ["read base", "write base"]),
    ("an adapter", f"{ADAPTER}\n  out: {{op: save, input: legal, path: out, format: delta}}",
     ["B A of legal", "write B A of legal"]),
    ("a strength of 0", "d: {op: delta, model: code, base: base}\n  none: {op: scale, input: d, by: 0}\n"
     "  out: {op: save, input: none, path: out, format: delta}", ["begin with 0", "write 0"]),
    ("a change as an adapter", f"{LOW}\n  out: {{op: save, input: mlp, path: out, format: peft}}",
     [*FACTORS, "write a factor", "write a factor"]),
    ("a sum as an adapter", f"{ADAPTER}\n  {LOW}\n  both: {{op: sum, inputs: [legal, mlp]}}\n"
     "  out: {op: save, input: both, path: out, format: peft}",
     [*FACTORS, "put 2 matrices one below the other and write them", "put 2 matrices side by side and write them"]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "nodes", "told"), TOLD, ids=[row[0] for row in TOLD])
def test_every_kind_of_step_is_told_in_words(tmp_path: Path, reason: str, nodes: str, told: list[str]) -> None:
    recipe = tmp_path / "merge.yaml"
    recipe.write_text(f"mergegraph: 1\nmodels: {{base: {LLAMAS}/base, code: {LLAMAS}/python}}\nnodes:\n  {nodes}\n")
    steps = steps_of(plan(load_recipe(recipe)))
    assert steps is not None
    assert [row.text for row in steps.rows] == told, reason


def test_bytes_and_memory_are_those_of_the_plan(folder: Path) -> None:
    plan_, graph = made(folder)
    told = planned(plan_, graph)
    assert (told.read_bytes, told.write_bytes) == (plan_.read_bytes, plan_.write_bytes)
    assert told.pool_bytes == plan_.projection.pool_bytes >= told.workers * told.tile_set_bytes
    assert told.fits_budget
    (output,) = told.outputs
    assert output.fits
    assert not replace(output, disk_free_bytes=output.write_bytes - 1).fits


def stopped(folder: Path) -> None:
    """A run that has recorded one tensor."""
    from mergegraph.plan.encode import output_digests

    plan_, _ = made(folder)
    output = plan_.outputs[0]
    computed, _ = output_digests(plan_, output)
    with OutputFolder.open(output.path, output.layout, result_id="r", engine="e", plan_sha256=computed) as kept:
        tensor = output.tensors[0].name
        kept.write(tensor, 0, memoryview(bytes(output.layout.specs[tensor].nbytes)))
        kept.tensor_done(tensor, "0")


def stopped_and_changed(folder: Path) -> None:
    stopped(folder)
    recipe = folder / "blend.yaml"
    recipe.write_text(BLEND.replace("0.5", "0.25"))


def locked(folder: Path) -> None:
    (folder / "out.partial").mkdir()
    held.append(FolderLock.take(folder / "out.partial" / "lock"))


def somebodys(folder: Path) -> None:
    (folder / "out.partial").mkdir()
    (folder / "out.partial" / "thesis.txt").write_text("a")


held: list[FolderLock] = []


@pytest.mark.parametrize(
    ("before", "standing"),
    [
        (lambda folder: None, Nothing()),
        (stopped, Resumes(1, 3, 128)),
        (stopped_and_changed, OtherPartial("it is of another plan")),
        (somebodys, OtherPartial("it has no journal")),
        (lambda folder: (folder / "out").mkdir(), Exists()),
        (locked, BeingWritten(os.getpid())),
    ],
)
def test_what_stands_there(folder: Path, before: Callable[[Path], None], standing: Standing) -> None:
    before(folder)
    try:
        (output,) = shown(folder).outputs
        if isinstance(standing, Resumes) and isinstance(output.standing, Resumes):
            standing = replace(standing, bytes_kept=output.standing.bytes_kept)
            assert 0 < output.standing.bytes_kept < output.write_bytes
        assert output.standing == standing
    finally:
        while held:
            held.pop().release()
