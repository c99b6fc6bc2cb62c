"""Operations on whole matrices inside a budget: what they take, tensor by tensor, and what is said when it is too
much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergegraph.errors import DoesNotFit
from mergegraph.methods.registry import kernels
from mergegraph.plan.memory import WORKER_BYTES
from mergegraph.plan.plan import Plan
from mergegraph.plan.projecting import set_bytes
from tests.plan.small_plans import planned, vector, write_vectors
from tests.tiny_models import llama_tensors, write_model

MIB = 1 << 20
WIDE = (96, 4096)

NODES = "m: {op: sum, inputs: [base, t]}\nout: {op: save, input: m, path: out}\n"
TSV = "t: {op: tsv, base: base, inputs: [a, b]}\n"


def write(folder: Path, **shapes: tuple[int, ...]) -> Path:
    """A base, and fine-tunes a and b of it, with a float32 tensor of each name and shape."""
    base = {name: torch.randn(shape, generator=torch.Generator().manual_seed(7)) for name, shape in shapes.items()}
    write_model(folder / "base", base)
    for seed, name in enumerate(("a", "b")):
        write_model(folder / name, llama_tensors(seed=seed, noise_of=base))
    return folder


def needed(plan: Plan, tensor: str) -> int:
    """Bytes of a worker's tile set for a tensor."""
    group = next(
        group for group in plan.groups
        if any(plan.outputs[output].tensors[index].name == tensor for output, index in group.members)
    )  # fmt: skip
    return set_bytes(group.computation.program, group.extent, plan.projection.tile_elements)


def test_a_matrix_that_does_not_fit_is_named_with_what_would_help(tmp_path: Path) -> None:
    write(tmp_path, **{"layers.0.up.weight": (512, 700), "layers.1.up.weight": WIDE, "norm": (300,)})
    plan = planned(tmp_path, TSV + NODES, budget_bytes=8 * MIB, workers=2)
    (problem,) = plan.problems
    buffer = 512 * 700 * 4
    work = kernels()["tsv"].workspace(512, 700, 2) * 4
    slots = next(g.computation.program.slots for g in plan.groups if g.extent.columns == 700)
    assert slots >= 4, "two deltas, the base that is added, the result"
    assert needed(plan, "layers.0.up.weight") == plan.projection.tile_set_bytes == slots * buffer + buffer + work
    total = plan.projection.pool_bytes / MIB
    assert str(problem) == (
        f"The plan needs {total:.1f} MiB; the budget is 8.0 MiB.\n"
        '  where   test.yaml:9, node "m", tensor layers.0.up.weight [512, 700] float32\n'
        f"  why     tsv works on whole matrices: {slots} buffers of {buffer / MIB:.1f} MiB, and {work / MIB:.1f} MiB "
        "to work in\n"
        f'  fix     --budget {int(total) + 1}MiB, or leave this tensor out: `except: {{match: "layers.0.up.weight"}}`'
    )
    with pytest.raises(DoesNotFit):
        plan.validate()


def test_both_fixes_work(tmp_path: Path) -> None:
    write(tmp_path, **{"layers.0.up.weight": (512, 700), "norm": (300,)})
    (problem,) = planned(tmp_path, TSV + NODES, budget_bytes=8 * MIB, workers=2).problems
    budget = int(problem.fix.split("MiB")[0].removeprefix("--budget ")) * MIB
    planned(tmp_path, TSV + NODES, budget_bytes=budget, workers=2).validate()
    left_out = 't: {op: tsv, base: base, inputs: [a, b], except: {match: "layers.0.up.weight"}}\n'
    planned(tmp_path, left_out + NODES, budget_bytes=8 * MIB, workers=2).validate()


def test_workers_go_before_the_plan_is_given_up(tmp_path: Path) -> None:
    write(tmp_path, w=(512, 700))
    one = needed(planned(tmp_path, TSV + NODES, budget_bytes=1 << 30, workers=1), "w")
    for count, workers in ((1, 1), (1.9, 1), (2, 2), (3.5, 3), (9, 4)):
        plan = planned(tmp_path, TSV + NODES, budget_bytes=int(count * (one + WORKER_BYTES)), workers=4)
        assert (plan.projection.workers, plan.problems) == (workers, ())


def test_a_stack_takes_the_memory_of_one_of_its_matrices(tmp_path: Path) -> None:
    write(tmp_path, experts=(5, 320, 256), one=(320, 256))
    plan = planned(tmp_path, TSV + NODES, budget_bytes=1 << 30, workers=1)
    extents = {g.extent.elements: g.extent for g in plan.groups}
    assert (extents[5 * 320 * 256].unit, extents[5 * 320 * 256].columns) == (320 * 256, 256)
    assert plan.projection.tile_elements < 2 * 320 * 256
    assert needed(plan, "experts") == needed(plan, "one")


def test_a_convolution_takes_that_of_the_matrix_of_its_outputs(tmp_path: Path) -> None:
    write(tmp_path, conv=(64, 16, 8, 8), flat=(64, 1024))
    plan = planned(tmp_path, TSV + NODES, budget_bytes=1 << 30, workers=1)
    assert {g.extent.columns for g in plan.groups} == {1024}
    assert needed(plan, "conv") == needed(plan, "flat")


def test_tensors_of_one_dimension_need_no_matrix(tmp_path: Path) -> None:
    """Their deltas are averaged, tile by tile."""
    write_vectors(tmp_path, ("base", "a", "b"), long=({"w": vector(9)}))
    plan = planned(tmp_path, TSV + NODES, budget_bytes=3 * MIB, workers=1)
    assert [g.computation.program.granularity for g in plan.groups] == ["element"]
    assert plan.problems == ()


SPECTRAL = ["low_rank", "tsv", "iso_c", "iso_cts", "wudi", "wudi_exact", "svc", "knots_mean", "knots_ties"]


@pytest.mark.parametrize("kernel", SPECTRAL)
def test_a_workspace_grows_with_the_matrix_and_never_with_the_far_side_squared(kernel: str) -> None:
    """The columns of wudi are the inputs whose products it needs; for all others either side may be the long one."""
    workspace = kernels()[kernel].workspace
    assert 0 < workspace(64, 64, 2) < workspace(256, 256, 2) < workspace(1024, 1024, 2)
    assert workspace(100_000, 64, 2) < 100_000 * 64 * 20
    if not kernel.startswith("wudi"):
        assert workspace(64, 100_000, 2) < 100_000 * 64 * 20


@pytest.mark.parametrize(("axis", "shape"), [("row", (60_000,)), ("row", (3, 60_000)), ("tensor", (300, 200))])
def test_ranks_take_memory_that_the_plan_knows_of(axis: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Sorted magnitudes, places, counts and means of what is ranked together: 56 bytes an element."""
    write(tmp_path, w=shape)
    nodes = f"t: {{op: della, base: base, input: a, density: 0.5, axis: {axis}}}\n"
    assert needed(planned(tmp_path, nodes + NODES), "w") > 56 * 60_000
