"""`save … format: peft`: an adapter whose product is the delta, and what cannot be one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from mergegraph.errors import RecipeError
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.plan.encode import decode_expressions, encode_expressions
from mergegraph.plan.text import plan_text
from tests.execute.merging import merged, planned
from tests.tiny_adapters import PREFIX, matrices, write_adapter
from tests.tiny_models import llama_tensors, write_model

LAYERS = [f"model.layers.{n}" for n in range(2)]
Q = [f"{layer}.self_attn.q_proj" for layer in LAYERS]
UP = [f"{layer}.mlp.up_proj" for layer in LAYERS]
MODELS = """\
base: {op: load, model: base}
tuned: {op: load, model: tuned}
d: {op: delta, model: tuned, base: base}
a: {op: lora, adapter: a, base: base}
b: {op: lora, adapter: b, base: base, scale: 0.25}
slim: {op: low_rank, input: d, rank: 2}
inner: {op: select, cases: [{kind: attention, from: slim}, {kind: mlp, from: slim}]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two relatives, and two adapters: `a` for all q and up, `b` of another rank for q of one layer."""
    base = llama_tensors()
    write_model(tmp_path / "base", base, config={"model_type": "llama"})
    write_model(tmp_path / "tuned", llama_tensors(noise_of=base, seed=5), config={"model_type": "llama"})
    write_adapter(tmp_path / "a", matrices(dict.fromkeys(Q, (8, 8)) | dict.fromkeys(UP, (16, 8))))
    write_adapter(tmp_path / "b", matrices({Q[1]: (8, 8)}, rank=2, seed=7), r=2, lora_alpha=5)
    return tmp_path


def written(folder: Path, what: str, **options: Any) -> dict[str, Tensor]:
    """The adapter that `what` is saved as."""
    merged(planned(folder, f"{MODELS}{what}\nout: {{op: save, input: x, path: out, format: peft}}"), **options)
    return load_file(folder / "out/adapter_model.safetensors")


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out/adapter_config.json").read_text())


def product(adapter: dict[str, Tensor], module: str, kind: str = "") -> Tensor:
    if kind:
        return (adapter[f"{PREFIX}{module}.lora_embedding_B"] @ adapter[f"{PREFIX}{module}.lora_embedding_A"]).T
    return adapter[f"{PREFIX}{module}.lora_B.weight"] @ adapter[f"{PREFIX}{module}.lora_A.weight"]


EXACT = [
    ("x: {op: scale, input: a, by: 1}", "an adapter"),
    ("x: {op: negate, input: a}", "turned round"),
    ('x: "0.5*a - 3*b"', "a sum of adapters"),
    ('x: "a + b + inner"', "of adapters and an approximation"),
    ("x: {op: scale, input: inner, by: [0.5, 2]}", "an approximation, scaled by layer"),
    ("x: {op: soup, inputs: [a, {from: b, weight: 3}]}", "an average"),
]


@pytest.mark.parametrize(("what", "reason"), EXACT, ids=[reason for _, reason in EXACT])
def test_the_product_of_the_matrices_is_the_delta(what: str, reason: str, folder: Path) -> None:
    adapter = written(folder, what)
    merged(planned(folder, f"{MODELS}{what}\nout: {{op: save, input: x, path: whole, format: delta, dtype: float32}}"))
    delta = load_file(folder / "whole/model.safetensors")
    assert {name.removeprefix(PREFIX).partition(".lora")[0] + ".weight" for name in adapter} == set(delta)
    for name, tensor in delta.items():
        torch.testing.assert_close(product(adapter, name.removesuffix(".weight")), tensor, rtol=0, atol=1e-5)


def test_written_again_it_is_the_same_delta(folder: Path) -> None:
    """Alpha is the rank everywhere, so that nothing is left to scale; where ranks differ the patterns say so."""
    written(folder, 'x: "a + b + 0.5*inner"')
    told = config(folder)
    assert told["r"] == told["lora_alpha"] == 2
    assert told["rank_pattern"] == told["alpha_pattern"] == {UP[0]: 5, UP[1]: 5, Q[0]: 5, Q[1]: 7}
    nodes = f'{MODELS}x: "a + b + 0.5*inner"\nagain: {{op: lora, adapter: out, base: base}}\nz: "x - again"\n'
    merged(planned(folder, nodes + "o: {op: save, input: z, path: left, format: delta, dtype: float32}"))
    left = load_file(folder / "left/model.safetensors")
    assert len(left) == 14
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=1e-5, msg=name)


def test_a_lone_adapter_is_copied_and_its_scaling_folded_into_b(folder: Path) -> None:
    ours, theirs = written(folder, "x: {op: scale, input: a, by: 1}"), load_file(folder / "a/adapter_model.safetensors")
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor * 2 if "lora_B" in name else tensor), name
    planned_again = planned(folder, f"{MODELS}out: {{op: save, input: a, path: other, format: peft}}")
    assert sum(tensor.is_copy for tensor in planned_again.outputs[0].tensors) == 4


def test_the_config_names_the_base_and_the_modules(folder: Path) -> None:
    written(folder, "x: {op: scale, input: a, by: 1}")
    told = config(folder)
    assert told["base_model_name_or_path"] == "base"
    assert told["target_modules"] == ["q_proj", "up_proj"]
    assert (told["peft_type"], told["fan_in_fan_out"], told["bias"]) == ("LORA", False, "none")
    assert told["rank_pattern"] == {}
    assert not (folder / "out/config.json").exists()
    card = (folder / "out/README.md").read_text()
    assert "library_name: peft" in card
    assert "a LoRA adapter" in card


def test_a_module_that_only_some_layers_have_is_named_in_full(folder: Path) -> None:
    written(folder, "x: {op: scale, input: b, by: 1}")
    assert config(folder)["target_modules"] == [Q[1]]


def test_a_pattern_that_would_catch_another_module_is_written_out(tmp_path: Path) -> None:
    """peft takes the first pattern that a name ends with."""
    inner, outer, third = "blocks.0.q", "tower.blocks.0.q", "tower.other"
    write_model(tmp_path / "base", {f"{module}.weight": torch.zeros(6, 4) for module in (inner, outer, third)})
    tensors = matrices({inner: (6, 4)}, rank=2) | matrices({outer: (6, 4), third: (6, 4)})
    write_adapter(tmp_path / "a", tensors, rank_pattern={f"^{inner}": 2})
    nodes = "base: {op: load, model: base}\na: {op: lora, adapter: a, base: base}\n"
    merged(planned(tmp_path, nodes + "out: {op: save, input: a, path: out, format: peft}"))
    pattern = config(tmp_path)["rank_pattern"]
    for module, rank in ((inner, 2), (outer, 3), (third, 3)):
        found = next((rank for key, rank in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), 3)
        assert found == rank, module


@pytest.mark.parametrize("way", ["embedding", "transposed", "convolution"])
def test_other_ways_of_storing_keep_theirs(way: str, tmp_path: Path) -> None:
    """Two adapters joined. peft transposes an embedding, and where `fan_in_fan_out` says so."""
    pairs = {
        "embedding": ((13, 6), {"lora_embedding_A": (3, 13), "lora_embedding_B": (6, 3)}),
        "transposed": ((13, 6), {"lora_A.weight": (3, 13), "lora_B.weight": (6, 3)}),
        "convolution": ((6, 5, 2, 2), {"lora_A.weight": (3, 5, 2, 2), "lora_B.weight": (6, 3, 1, 1)}),
    }
    shape, sides = pairs[way]
    write_model(tmp_path / "base", {"w.weight": torch.zeros(shape)})
    for n, name in enumerate("ab"):
        source = torch.Generator().manual_seed(n)
        tensors = {f"{PREFIX}w.{side}": torch.randn(size, generator=source) for side, size in sides.items()}
        write_adapter(tmp_path / name, tensors, fan_in_fan_out=way == "transposed")
    nodes = "base: {op: load, model: base}\n" + "".join(
        f"{n}: {{op: lora, adapter: {n}, base: base}}\n" for n in "ab"
    ) + 'x: "a - 2*b"\n'  # fmt: skip
    merged(planned(tmp_path, nodes + "o: {op: save, input: x, path: whole, format: delta, dtype: float32}\n"
                   "p: {op: save, input: x, path: out, format: peft}"))  # fmt: skip
    adapter = load_file(tmp_path / "out/adapter_model.safetensors")
    assert {name.removeprefix(f"{PREFIX}w."): tuple(tensor.shape) for name, tensor in adapter.items()} == {
        side: tuple(6 if size == 3 else size for size in shape) for side, shape in sides.items()
    }
    assert config(tmp_path)["fan_in_fan_out"] == (way == "transposed")
    merged(planned(tmp_path, "base: {op: load, model: base}\nx: {op: lora, adapter: out, base: base}\n"
                   "o: {op: save, input: x, path: again, format: delta, dtype: float32}"))  # fmt: skip
    whole, again = (load_file(tmp_path / name / "model.safetensors")["w.weight"] for name in ("whole", "again"))
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_dtype_that_is_asked_for(dtype: str, folder: Path) -> None:
    nodes = f'{MODELS}x: "a + inner"\nout: {{op: save, input: x, path: out, format: peft, dtype: {dtype}}}'
    merged(planned(folder, nodes))
    tensors = load_file(folder / "out/adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}


def test_the_reference_executor_writes_the_same_bits(folder: Path) -> None:
    what = 'x: "a + 0.3*b - inner"'
    first, second = written(folder, what), written(folder, what, executor=for_loop, overwrite=True)
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())


def test_a_matrix_is_approximated_once_for_both_of_its_factors(folder: Path) -> None:
    plan = planned(folder, f"{MODELS}out: {{op: save, input: inner, path: out, format: peft}}")
    assert [len(group.members) for group in plan.groups] == [2] * 14
    assert all(sum(type(step).__name__ == "Split" for step in g.computation.program.steps) == 1 for g in plan.groups)


def test_the_plan_shows_and_keeps_what_is_joined(folder: Path) -> None:
    plan = planned(folder, f'{MODELS}x: "a - 2*inner"\nout: {{op: save, input: x, path: out, format: peft}}')
    text = plan_text(plan)
    assert "2 a | -2 left(tuned - base, rank=2)" in text
    assert "a over right(tuned - base, rank=2)" in text
    roots, files = [tensor.root for tensor in plan.outputs[0].tensors], [file.path for file in plan.inputs]
    table, indices = encode_expressions(roots, files)
    assert decode_expressions(json.loads(json.dumps(table)), indices, files) == roots


REFUSED: list[tuple[str, str, tuple[str, ...], str]] = [
    ("d", "", ('node "d"', "(delta) made it", "op: low_rank, input: d, rank: 16"), "a full difference"),
    ("x", "x: {op: trim, input: a, density: 0.5}", ('node "x"', "low_rank, input: x"), "a method on an adapter"),
    ("y", 'x: {op: trim, input: a, density: 0.5}\ny: "2*x + b"', ('node "x"', "low_rank, input: x"), "below a sum"),
    ("x", "x: {op: low_rank, input: d, energy: 0.5}", ('node "x"', "`rank: 16` in place of `energy: 0.5`"), "energy"),
    ("slim", "", ('node "slim"', "embedding", "op: select"), "an embedding that is approximated"),
    (
        "x",
        "x: {op: select, cases: [{kind: norm, from: slim}]}",
        ('node "slim"', "op: select", "input_layernorm"),
        "what low_rank leaves as it is",
    ),
    ("x", 'x: "0*a"', ("zero everywhere",), "nothing at all"),
    ("base", "", ("`format: peft` needs a delta",), "a model"),
]


@pytest.mark.parametrize(("node", "more", "said", "reason"), REFUSED, ids=[row[3] for row in REFUSED])
def test_what_is_no_product_names_its_node(
    node: str, more: str, said: tuple[str, ...], reason: str, folder: Path
) -> None:
    with pytest.raises(RecipeError) as refused:
        planned(folder, f"{MODELS}{more}\nout: {{op: save, input: {node}, path: out, format: peft}}")
    text = str(refused.value)
    assert all(part in text for part in said), text


def test_a_base_that_stores_its_matrices_the_other_way_is_refused(tmp_path: Path) -> None:
    """GPT-2's layers are [in, out]; their biases tell."""
    name = "transformer.h.0.mlp.c_fc"
    base = {f"{name}.weight": torch.randn(8, 32), f"{name}.bias": torch.zeros(32)}
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "tuned", {n: tensor * 1.01 for n, tensor in base.items()})
    nodes = MODELS.replace("a: {op: lora, adapter: a, base: base}\n", "")
    nodes = "".join(line for line in nodes.splitlines(keepends=True) if "lora" not in line)
    with pytest.raises(RecipeError, match=r"\[in, out\]"):
        planned(tmp_path, f"{nodes}out: {{op: save, input: inner, path: out, format: peft}}")


def test_a_prefix_that_the_adapter_has_and_the_base_has_not_is_kept(tmp_path: Path) -> None:
    write_model(tmp_path / "base", {"h.0.q.weight": torch.zeros(6, 4)})
    write_adapter(tmp_path / "a", matrices({"transformer.h.0.q": (6, 4)}))
    nodes = "base: {op: load, model: base}\na: {op: lora, adapter: a, base: base}\n"
    merged(planned(tmp_path, nodes + "out: {op: save, input: a, path: out, format: peft}"))
    adapter = load_file(tmp_path / "out/adapter_model.safetensors")
    assert set(adapter) == {f"{PREFIX}transformer.h.0.q.lora_{side}.weight" for side in "AB"}
