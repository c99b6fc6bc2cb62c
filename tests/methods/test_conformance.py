"""What every operation in the registry says of itself, worked out from its class alone: the next is tested as it is."""

from __future__ import annotations

import inspect
import itertools
import re
from fractions import Fraction
from pathlib import Path

import pytest

from mergegraph.errors import MergegraphError
from mergegraph.expr import Space
from mergegraph.graph import build
from mergegraph.methods.base import Parameters
from mergegraph.methods.registry import methods
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe, dump_recipe
from tests.methods.examples import OPS, example


def example_recipe(op: str, folder: Path, saved_as: str = "weights") -> Recipe:
    """The class's example with a load node for every node it names, and a save where it is not one."""
    name, method = example(op)
    loads = [f"{edge}: {{op: load, model: ./{edge}}}" for edge in dict.fromkeys(edge.node for edge in method.edges())]
    saves = [] if op == "save" else [f"saved: {{op: save, input: {name}, path: saved, format: {saved_as}}}"]
    lines = [f"  {line}" for line in (*loads, methods()[op].example, *saves)]
    return parse_recipe("\n".join(["mergegraph: 1", "nodes:", *lines]), file="example.yaml", folder=folder)


@pytest.mark.parametrize("op", OPS)
def test_docstring_has_summary_formula_and_source(op: str) -> None:
    summary, formula, *source = inspect.cleandoc(methods()[op].__doc__ or "").split("\n\n")
    assert re.fullmatch(r"[A-Z].*\.", summary, re.DOTALL), "the summary is a sentence"
    assert " = " in formula, "the second paragraph is the formula"
    assert source, "the last paragraph names the source"


@pytest.mark.parametrize("op", OPS)
def test_the_formula_speaks_of_fields(op: str) -> None:
    """Something on the formula's right is a field of the class, or x, its tensors in general."""
    formula = inspect.cleandoc(methods()[op].__doc__ or "").split("\n\n")[1]
    symbols = set(re.findall(r"[A-Za-z]+", formula.partition("=")[2]))
    assert symbols & {*methods()[op].model_fields, "x", "stored"}


@pytest.mark.parametrize("op", OPS)
def test_the_example_is_a_node_of_this_op(op: str, tmp_path: Path) -> None:
    name, method = example(op)
    assert example_recipe(op, tmp_path).nodes[name].method == method


@pytest.mark.parametrize("op", OPS)
def test_the_example_survives_being_written_out(op: str, tmp_path: Path) -> None:
    recipe = example_recipe(op, tmp_path)
    assert parse_recipe(dump_recipe(recipe), file="again.yaml", folder=tmp_path) == recipe


@pytest.mark.parametrize("op", OPS)
def test_the_example_can_be_wired(op: str, tmp_path: Path) -> None:
    """For some choice of which of the nodes it names are deltas."""
    _, method = example(op)
    named = list(dict.fromkeys(edge.node for edge in method.edges()))
    assert any(
        _wires(example_recipe(op, tmp_path, saved_as), dict(zip(named, spaces, strict=True)))
        for saved_as in ("weights", "delta")
        for spaces in itertools.product(("weights", "delta"), repeat=len(named))
    )


def _wires(recipe: Recipe, spaces: dict[str, Space]) -> bool:
    try:
        build(recipe, spaces)
    except MergegraphError:
        return False
    return True


@pytest.mark.parametrize("op", OPS)
def test_every_field_of_a_node_is_described_by_its_name_or_in_words(op: str) -> None:
    """A plain option says what it does; an edge or a coefficient is explained by the formula."""
    cls = methods()[op]
    shown = {*re.findall(r"\w+", inspect.cleandoc(cls.__doc__ or "") + cls.example)}
    unexplained = [
        name
        for name, info in cls.model_fields.items()
        if name not in ("op", "skip") and not info.description and (info.alias or name) not in shown
    ]
    assert unexplained == []


def test_op_names_are_what_their_files_promise() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", op) and cls.op_name() == op for op, cls in methods().items())


def test_parameters_are_exact_and_found_by_path_or_name() -> None:
    numbers = Parameters({("by",): Fraction(1, 3), ("inputs", 0, "weight"): Fraction(2)})
    assert numbers.by == Fraction(1, 3)
    assert numbers["inputs", 0, "weight"] == 2
    assert list(numbers) == [("by",), ("inputs", 0, "weight")]
    with pytest.raises(AttributeError, match="weight"):
        _ = numbers.weight
