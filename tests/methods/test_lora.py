"""What an adapter adds: the formula in float64, the same bits for any tile, and merges from a recipe's text."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from mergegraph.errors import DoesNotFit, InputError, RecipeError, RunError
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.plan.encode import decode_expressions, encode_expressions
from mergegraph.plan.plan import Plan
from mergegraph.plan.text import plan_text
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import dump_recipe
from tests.execute.merging import BLOCK, merged, planned
from tests.tiny_adapters import PREFIX, matrices, write_adapter
from tests.tiny_models import write_model

Q = "model.layers.0.self_attn.q_proj"
NODES = """\
base: {op: load, model: base}
added: {op: lora, adapter: lora, base: base, scale: 0.5}
"""
SUM = NODES + "m: {op: sum, inputs: [base, added]}\nout: {op: save, input: m, path: out, dtype: float32}"
DELTA = NODES + "out: {op: save, input: added, path: out, dtype: float32, format: delta}"


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def result(folder: Path, nodes: str) -> dict[str, Tensor]:
    merged(planned(folder, nodes), overwrite=True)
    return load_file(folder / "out/model.safetensors")


def pair(name: str, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    return {f"{PREFIX}{name}.lora_A.weight": right, f"{PREFIX}{name}.lora_B.weight": left}


A, B = normal(3, 13, seed=2), normal(17, 3, seed=3)
HALF = torch.bfloat16
FORMULAS: list[tuple[str, dict[str, Tensor], dict[str, Any], tuple[int, ...], Tensor]] = [
    ("plain", pair(Q, B, A), {}, (17, 13), B.double() @ A.double() * 2),
    ("rank-stabilised", pair(Q, B, A), {"use_rslora": True}, (17, 13), B.double() @ A.double() * 6 / math.sqrt(3)),
    ("alpha_pattern", pair(Q, B, A), {"alpha_pattern": {"q_proj": 1}}, (17, 13), B.double() @ A.double() / 3),
    ("fan_in_fan_out", pair(Q, B, A), {"fan_in_fan_out": True}, (13, 17), (B.double() @ A.double() * 2).T),
    (
        "an embedding",
        {f"{PREFIX}{Q}.lora_embedding_A": A, f"{PREFIX}{Q}.lora_embedding_B": B},
        {},
        (13, 17),
        (B.double() @ A.double() * 2).T,
    ),
    (
        "a convolution",
        pair(Q, normal(7, 3, 1, 1, seed=4), normal(3, 5, 2, 3, seed=5)),
        {},
        (7, 5, 2, 3),
        torch.einsum("or,rikl->oikl", normal(7, 3, seed=4).double(), normal(3, 5, 2, 3, seed=5).double()) * 2,
    ),
    ("bfloat16", pair(Q, B.to(HALF), A.to(HALF)), {}, (17, 13), B.to(HALF).double() @ A.to(HALF).double() * 2),
    ("two dtypes", pair(Q, B.to(HALF), A), {}, (17, 13), B.to(HALF).double() @ A.double() * 2),
    ("one row", pair(Q, B[:1], A), {}, (1, 13), B[:1].double() @ A.double() * 2),
]


@pytest.mark.parametrize(
    ("tensors", "config", "shape", "delta"), [row[1:] for row in FORMULAS], ids=[r[0] for r in FORMULAS]
)
def test_formula(
    tensors: dict[str, Tensor], config: dict[str, Any], shape: tuple[int, ...], delta: Tensor, tmp_path: Path
) -> None:
    base = {f"{Q}.weight": normal(*shape), "model.norm.weight": normal(11)}
    write_model(tmp_path / "base", base)
    write_adapter(tmp_path / "lora", tensors, **config)
    made = result(tmp_path, SUM)
    torch.testing.assert_close(
        made[f"{Q}.weight"].double(), base[f"{Q}.weight"].double() + delta / 2, rtol=0, atol=2e-5
    )
    assert torch.equal(made["model.norm.weight"], base["model.norm.weight"]), "an adapter is zero elsewhere"
    only = result(tmp_path, DELTA)
    assert list(only) == [f"{Q}.weight"]
    torch.testing.assert_close(only[f"{Q}.weight"].double(), delta / 2, rtol=0, atol=2e-5)


def test_float64_factors_are_multiplied_in_float64(tmp_path: Path) -> None:
    left, right = normal(17, 3, seed=3).double() / 3, normal(3, 13, seed=2).double() / 3
    write_model(tmp_path / "base", {f"{Q}.weight": normal(17, 13)})
    write_adapter(tmp_path / "lora", pair(Q, left, right))
    made = result(tmp_path, DELTA.replace("float32", "float64"))
    torch.testing.assert_close(made[f"{Q}.weight"], left @ right, rtol=1e-14, atol=1e-14)


def large(folder: Path) -> dict[str, tuple[int, int]]:
    """Tensors of several blocks: both orientations, a row beyond a block, and rows that no block divides."""
    shapes = {"a": (3001, 97), "b": (5, 70_001), "c": (1009, 211)}
    write_model(folder / "base", {f"{m}.weight": normal(*shape).to(HALF) for m, shape in shapes.items()})
    turned = {"c": (211, 1009)}
    tensors = matrices({m: shapes[m] for m in ("a", "b")} | turned, dtype=HALF)
    write_adapter(folder / "lora", tensors)
    return shapes


def cut(plan: Plan, workers: int, tile_elements: int) -> Plan:
    """The plan on so many workers, in tiles of about so many elements, with memory for any."""
    given = replace(plan.projection, workers=workers, tile_elements=tile_elements, special_bytes=32 << 20)
    return replace(plan, projection=given)


def outcome(plan: Plan, **options: Any) -> bytes:
    merged(plan, overwrite=True, **options)
    return (plan.outputs[0].path / "model.safetensors").read_bytes()


MIXED = (
    NODES
    + """\
kept: {op: trim, input: added, density: 0.5}
m: {op: sum, inputs: [base, added, kept]}
out: {op: save, input: m, path: out, dtype: float32}
"""
)


@pytest.mark.parametrize("nodes", [SUM, MIXED], ids=["alone", "under a kernel and its statistic"])
def test_bits_do_not_depend_on_tiles_workers_or_the_executor(nodes: str, tmp_path: Path) -> None:
    large(tmp_path)
    plan = planned(tmp_path, nodes)
    expected = outcome(plan, executor=for_loop)
    for workers, tile in ((1, BLOCK), (2, 2 * BLOCK), (3, 16 * BLOCK)):
        assert outcome(cut(plan, workers, tile)) == expected, f"{workers} workers, tiles of {tile}"
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert outcome(plan) == expected, "another number of threads outside"
    finally:
        torch.set_num_threads(threads)


def test_bits_do_not_depend_on_the_budget(tmp_path: Path) -> None:
    large(tmp_path)
    plans = [planned(tmp_path, SUM, budget_bytes=budget) for budget in (6 << 20, 2 << 30)]
    assert plans[0].projection.tile_elements < plans[1].projection.tile_elements
    assert outcome(plans[0]) == outcome(plans[1])


def test_the_plan_counts_the_factors_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """The held factor is [rank, columns] of float32, whatever the tile."""
    write_model(tmp_path / "base", {f"{Q}.weight": torch.zeros(2, 50_000)})
    sizes: dict[int, int] = {}
    for rank in (3, 103):
        write_adapter(tmp_path / "lora", matrices({Q: (2, 50_000)}, rank=rank), r=rank)
        plan = planned(tmp_path, SUM)
        sizes[rank] = plan.projection.tile_set_bytes
    assert 0 <= sizes[103] - sizes[3] - 100 * 50_000 * 4 < 10_000
    with pytest.raises(DoesNotFit, match=r"lora works on whole rows(.|\n)*to work in"):
        planned(tmp_path, SUM, budget_bytes=20 << 20).validate()


def test_a_plan_with_products_survives_being_written_out(tmp_path: Path) -> None:
    large(tmp_path)
    plan = planned(tmp_path, MIXED)
    roots = [tensor.root for tensor in plan.outputs[0].tensors]
    files = [file.path for file in plan.inputs]
    table, indices = encode_expressions(roots, files)
    assert decode_expressions(json.loads(json.dumps(table)), indices, files) == roots


def test_the_plan_names_the_adapter(tmp_path: Path) -> None:
    large(tmp_path)
    text = plan_text(planned(tmp_path, SUM))
    assert "base + B A of added" in text
    assert "base + B A of added (transposed)" in text
    assert [file.label for file in planned(tmp_path, SUM).inputs] == ["base", "added"]


def test_an_adapter_may_be_scaled_by_layer_and_combined(tmp_path: Path) -> None:
    modules = {f"model.layers.{n}.self_attn.q_proj": (6, 4) for n in range(2)}
    base = {f"{module}.weight": normal(6, 4) for module in modules}
    tensors = matrices(modules)
    write_model(tmp_path / "base", base)
    write_adapter(tmp_path / "lora", tensors)
    made = result(tmp_path, "base: {op: load, model: base}\nx: {op: lora, adapter: lora, base: base, scale: [1, 3]}\n"
                  'y: "x - 0.5*x"\nout: {op: save, input: y, path: out, format: delta}')  # fmt: skip
    for n, module in enumerate(modules):
        whole = tensors[f"{PREFIX}{module}.lora_B.weight"] @ tensors[f"{PREFIX}{module}.lora_A.weight"]
        torch.testing.assert_close(made[f"{module}.weight"], whole * (1 + 2 * n))


def test_a_nan_in_an_adapter_is_blamed_on_it(tmp_path: Path) -> None:
    tensors = matrices({Q: (6, 4)})
    tensors[f"{PREFIX}{Q}.lora_A.weight"][1, 2] = math.nan
    write_model(tmp_path / "base", {f"{Q}.weight": normal(6, 4)})
    write_adapter(tmp_path / "lora", tensors)
    with pytest.raises(RunError) as refused:
        merged(planned(tmp_path, SUM))
    assert '"added" holds 1 NaN and 0 Inf' in str(refused.value)
    assert f"{Q}.weight" in str(refused.value)


def small(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: Any) -> None:
    write_model(folder / "base", {f"{Q}.weight": normal(6, 4), "model.norm.weight": normal(4)}, config={"n": 1})
    write_adapter(folder / "lora", tensors or matrices({Q: (6, 4)}), **config)


def test_what_is_wrong_is_said_at_its_line(tmp_path: Path) -> None:
    small(tmp_path, matrices({"model.layers.7.up_proj": (6, 4)}))
    with pytest.raises(RecipeError, match=r'"base" does not have: model.layers.7.up_proj') as refused:
        planned(tmp_path, SUM)
    assert str(refused.value.problems[0].at) == "merge.yaml:5"
    small(tmp_path, use_dora=True)
    with pytest.raises(InputError, match="use_dora") as unopened:
        planned(tmp_path, SUM)
    assert unopened.value.problems[0].node == "added"


def test_a_base_must_be_a_model_and_an_output_stays_out_of_the_adapter(tmp_path: Path) -> None:
    small(tmp_path)
    with pytest.raises(RecipeError, match="lora takes weights"):
        planned(
            tmp_path, SUM.replace("base: base, scale", "base: d, scale") + "\nd: {op: delta, model: base, base: base}"
        )
    with pytest.raises(RecipeError, match="lies inside an input"):
        planned(tmp_path, SUM.replace("path: out", "path: lora/out"))


SHORT = "m: {op: load, model: base+lora}\nout: {op: save, input: m, path: out, dtype: float32, files_from: m}"


def test_base_plus_adapter_is_their_sum(tmp_path: Path) -> None:
    small(tmp_path)
    assert outcome(planned(tmp_path, SHORT)) == outcome(planned(tmp_path, SUM.replace(", scale: 0.5", "")))
    assert json.loads((tmp_path / "out/config.json").read_text())["n"] == 1
    both = result(tmp_path, SHORT.replace("base+lora", "base+lora+./lora"))
    one = result(tmp_path, SHORT)
    base = load_file(tmp_path / "base/model.safetensors")
    name = f"{Q}.weight"
    torch.testing.assert_close(both[name] - base[name], 2 * (one[name] - base[name]), msg="each adapter is added")


def test_base_plus_adapter_survives_being_written_out(tmp_path: Path) -> None:
    text = "mergegraph: 1\nmodels: {m: base+lora}\nnodes: {out: {op: save, input: m, path: out}}"
    recipe = parse_recipe(text, file="merge.yaml", folder=tmp_path)
    assert list(recipe.nodes) == ["m.base", "m.adapter", "m", "out"]
    assert parse_recipe(dump_recipe(recipe), file="again.yaml", folder=tmp_path) == recipe


def test_a_path_with_a_plus_sign_that_exists_is_that_path(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "base").rename(tmp_path / "base+lora")
    assert torch.equal(result(tmp_path, SHORT)[f"{Q}.weight"], normal(6, 4))
    text = SHORT.replace("base+lora", "base+lora+lora")
    assert not torch.equal(result(tmp_path, text)[f"{Q}.weight"], normal(6, 4)), "an adapter on top of that"


def test_from_the_command_line(tmp_path: Path) -> None:
    small(tmp_path)
    # Not the test runner's threads: the processors are shared with other tests.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mergegraph", "run", "-e", "m", "-m", "m=base+lora", "-o", "out", "--quiet"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    tensors = matrices({Q: (6, 4)})
    expected = normal(6, 4) + 2 * tensors[f"{PREFIX}{Q}.lora_B.weight"] @ tensors[f"{PREFIX}{Q}.lora_A.weight"]
    torch.testing.assert_close(load_file(tmp_path / "out/model.safetensors")[f"{Q}.weight"], expected)
