"""A plan in words."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from mergegraph.expr import Expr, apply, linear, read
from mergegraph.plan.text import explain, formula, number_text, plan_text
from tests.plan.small_plans import planned, vector, write_vectors
from tests.tiny_models import llama_tensors, write_model

A, B, BASE = (read(name, "w", "F32", (4,), 0, 16) for name in ("/a", "/b", "/base"))
LABELS = {"/a": "code", "/b": "chat"}
ONE = Fraction(1)
difference = linear([(ONE, A), (-ONE, B)], "delta")

FORMULAS: list[tuple[Expr, str]] = [
    (A, "code"),
    (BASE, "/base"),
    (linear([], "delta"), "0"),
    (linear([(Fraction(1, 3), A), (Fraction(2, 3), B)], "weights"), "0.333333 code + 0.666667 chat"),
    (linear([(-ONE, A)], "delta"), "-code"),
    (linear([(ONE, A), (Fraction(-1, 2), B)], "weights"), "code - 0.5 chat"),
    (linear([(Fraction(2), A), (ONE, difference)], "weights"), "2 code + (code - chat)"),
    (linear([(Fraction(1, 10**9), A)], "weights"), "1e-09 code"),
    (apply("clamp", (difference, A), (), "weights"), "clamp(code - chat, code)"),
    (
        apply("slerp", (A, B), (("t", 0.5), ("mode", "row"), ("n", 3)), "weights"),
        "slerp(code, chat, t=0.5, mode=row, n=3)",
    ),
]


@pytest.mark.parametrize(("expr", "text"), FORMULAS, ids=[text for _, text in FORMULAS])
def test_a_formula_reads_as_a_person_writes_it(expr: Expr, text: str) -> None:
    assert formula(expr, LABELS) == text


def test_numbers_have_the_digits_of_a_float32() -> None:
    assert [number_text(Fraction(n, 7)) for n in (1, 700, 7 * 10**9)] == ["0.142857", "100", "1e+09"]


def test_the_text_of_a_plan(tmp_path: Path) -> None:
    """One screen: 600 elements of float32 are 2,400 bytes; w is averaged, ids compared and copied, x only in a."""
    ids = torch.arange(100)
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, {"w": vector(seed, 600), "ids": ids, "x": vector(9, 10)})
    nodes = "m: {op: soup, inputs: [a, {from: b, weight: 3}]}\nout: {op: save, input: m, path: out}"
    nodes += "\nhalf: {op: save, input: m, path: half, dtype: fp16}"
    text = plan_text(planned(tmp_path, nodes, budget_bytes=6 << 20, workers=2))
    stored = 2 * (tmp_path / "a" / "model.safetensors").stat().st_size
    lines = text.replace(str(tmp_path), ".").splitlines()
    assert stored == 6864
    assert lines == [
        "test",
        "  reads    5.5 KiB of 6.7 KiB in 2 files: a, b",
        "  writes   5.1 KiB",
        "  memory   3.8 MiB (2 workers, tiles of 65,536 elements) of a budget of 6.0 MiB",
        "  passes   1, 3 groups of tensors read once for several outputs",
        "  compares 1 tensor that are not floating point, before the run",
        "",
        "out -> ./out",
        "  3 tensors (int64, float32), 1 copied byte for byte; 1 file, 3.4 KiB",
        "       2 x  0.25 a + 0.75 b",
        "       1 x  a",
        "",
        "half -> ./half",
        "  3 tensors (int64, float16), 1 copied byte for byte; 1 file, 2.2 KiB",
        "       2 x  0.25 a + 0.75 b",
        "       1 x  a",
    ]


def test_many_formulas_are_cut_short_and_the_most_common_stay(tmp_path: Path) -> None:
    base = llama_tensors(12)
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, llama_tensors(noise_of=base, seed=seed))
    nodes = (
        "m: {op: soup, normalize: false, inputs: [{from: a, weight: [0, 1]}, b]}\nout: {op: save, input: m, path: out}"
    )
    lines = plan_text(planned(tmp_path, nodes)).splitlines()
    formulas = [line for line in lines if " x  " in line]
    # Outside the layers: the embedding has layer 0's number, head and norm the last layer's.
    assert formulas[:2] == ["      11 x  a + b", "      10 x  b"]
    assert len(formulas) == 8
    assert lines[-1] == "          and 4 more formulas; --explain shows every tensor"


def test_explain_shows_every_tensor_with_its_numbers(tmp_path: Path) -> None:
    base = llama_tensors(3)
    for seed, name in enumerate(["base", "a"]):
        write_model(tmp_path / name, llama_tensors(noise_of=base, seed=seed))
    nodes = (
        "d: {op: delta, model: a, base: base}\n"
        "s: {op: scale, input: d, "
        "by: [{kind: attention, value: [0.25, 0.75]}, {kind: norm, value: 0}, {value: 0.125}]}\n"
        "m: {op: sum, inputs: [base, s]}\nout: {op: save, input: m, path: out, dtype: bf16}"
    )
    plan = planned(tmp_path, nodes)
    head, *lines = explain(plan)
    assert head == f"out -> {tmp_path / 'out'}"
    assert len(lines) == len(plan.outputs[0].tensors) == 30
    shown = {line.split()[0]: line.split("bfloat16 ")[1].strip() for line in lines}
    for layer, number in enumerate(("0.25", "0.5", "0.75")):
        assert shown[f"model.layers.{layer}.self_attn.k_proj.weight"] == f"base + {number} (a - base)"
    assert shown["model.layers.0.mlp.down_proj.weight"] == "base + 0.125 (a - base)"
    assert shown["model.norm.weight"] == "base"
    down = next(line for line in lines if "0.mlp.down_proj" in line)
    assert "[8, 16] bfloat16" in down


def test_explain_goes_through_every_save(tmp_path: Path) -> None:
    write_vectors(tmp_path)
    plan = planned(tmp_path, "one: {op: save, input: a, path: one}\ntwo: {op: save, input: b, path: two, dtype: fp16}")
    lines = [line.replace(str(tmp_path), ".") for line in explain(plan)]
    assert [line.split() for line in lines] == [
        ["one", "->", "./one"],
        ["w", "[4]", "float32", "a"],
        ["two", "->", "./two"],
        ["w", "[4]", "float16", "b"],
    ]
