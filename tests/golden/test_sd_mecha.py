"""Merges of sd-mecha 1.1.8, written as recipes: the same numbers where both have the method.

Its model_stock gives a delta, and ours the model: the two are compared on the base.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from mergegraph import pipeline
from mergegraph.execute.run import Options
from mergegraph.recipe.load import parse_recipe
from tests.golden.cases import CASES
from tests.golden.inputs import model, write_inputs

THREE = "base: base, inputs: [a, b, d]"

RECIPES = {
    "weighted_sum": ["m: 0.7*a + 0.3*b"],
    "n_average": ["m: {op: soup, inputs: [a, b, c]}"],
    "slerp_distant": [
        "m: {op: karcher, inputs: [{from: base, weight: 0.7}, {from: far_a, weight: 0.3}], tol: 1.0e-12, max_iter: 50}"
    ],
    "slerp_nearly_colinear": [
        "m: {op: karcher, inputs: [{from: a, weight: 0.7}, {from: b, weight: 0.3}], tol: 1.0e-12, max_iter: 50}"
    ],
    "add_difference": ["m: base + 1.3*(a - base)"],
    "perpendicular_component": ["da: a - base", "db: b - base", "m: {op: perpendicular, input: db, along: da}"],
    "clamp": ["m: {op: clamp, input: far_a, within: [a, b, base]}"],
    "ties_sum_untrimmed": [f"m: {{op: ties, {THREE}, density: 1.0, sign: count}}"],
    "ties_sum_extended_plain": ["m: {op: ties, base: base, inputs: [a, b, c], density: 1.0}"],
    "model_stock_two": ["m: {op: model_stock, base: base, inputs: [a, b], axis: row}"],
    "model_stock_opposed": ["m: {op: model_stock, base: base, inputs: [a, d], axis: row}"],
    "truncate_rank": ["m: {op: low_rank, base: base, input: a, rank: 2}"],
}
"""Case → nodes that say the same; `m` is the result."""

KEPT_APART = {
    "ties_sum": "trimming keeps one element more there, and an election without a majority gives zero",
    "ties_sum_mass": "the same",
    "ties_sum_even": "the same",
    "ties_sum_extended": "multiplied by the factor of a model stock, under a parameter that says the opposite",
    "model_stock_three": "only neighbours in the list are compared there; here every pair",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def test_every_case_is_compared_or_its_difference_named() -> None:
    names = {case.name for case in CASES if case.peer == "sd_mecha" and not case.random}
    assert names == RECIPES.keys() | KEPT_APART.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_says_the_same_gives_the_same(name: str, inputs: Path) -> None:
    case = next(case for case in CASES if case.name == name and case.peer == "sd_mecha")
    models = ", ".join(f"{each}: ./{each}" for each in {*case.models, "base"})
    onto_base = name.startswith("model_stock")
    form = "delta" if case.space == "delta" and not onto_base else "weights"
    lines = [*RECIPES[name], f"out: {{op: save, input: m, path: out-{name}, format: {form}}}"]
    text = f"mergegraph: 1\nmodels: {{{models}}}\nnodes:\n" + "".join(f"  {line}\n" for line in lines)
    plan = pipeline.plan(parse_recipe(text, file="case.yaml", folder=inputs), allow_unrelated=True)
    pipeline.execute(plan, Options(sync=False))
    ours = load_file(inputs / f"out-{name}" / "model.safetensors")
    assert case.expected()
    for tensor, found in case.expected().items():
        wanted = found + model("base")[tensor] if onto_base else found
        apart = np.abs(ours[tensor].astype(np.float64) - wanted).max()
        assert apart <= case.tolerance * np.abs(wanted).max(), f"{tensor}: {apart / np.abs(wanted).max():.3g}"
