"""A handle: one node of a recipe that is being written in Python, with the handles of its inputs.

`node` makes any operation, and checks its fields and spaces at once; the operators make the linear ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, cast

from mergegraph.builder.written import as_change, as_soup, unscaled, written
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.expr import Space
from mergegraph.methods.base import Method, SpaceError
from mergegraph.methods.linear import Scale, Sum
from mergegraph.recipe.grammar import is_exact
from mergegraph.recipe.validate import read_method
from mergegraph.recipe.wiring import named_nodes


@dataclass(frozen=True, eq=False)
class Handle:
    """A node: a model or a delta, as `space` says. `method` names its inputs by the keys of `inputs`.

    `name` was given with `name=`, or is empty; then `called` is used where it is free. Deltas and models add and
    subtract as in `base + 0.6 * (code - base)`; a number may multiply either.
    """

    method: Method
    inputs: Mapping[str, Handle]
    space: Space
    name: str = ""
    called: str = ""
    folder: Path = field(default_factory=Path.cwd)
    at: Location = field(default_factory=lambda: caller())

    __array_ufunc__: ClassVar[None] = None
    """Tells numpy to leave `array * handle` to the handle, which refuses it."""

    def __add__(self, other: object) -> Handle:
        if not isinstance(other, Handle):
            raise _no_term(self, other)
        return _added(self, other)

    def __radd__(self, other: object) -> Handle:
        """`sum([a, b, c])` begins with 0."""
        if type(other) is not int or other != 0:
            raise _no_term(self, other)
        return self

    def __sub__(self, other: object) -> Handle:
        if not isinstance(other, Handle):
            raise _no_term(self, other)
        if other.space == "delta":
            return _added(self, -other)
        if self.space == "delta":
            raise refused(
                f"{written(self)} is a delta, and a model is subtracted from it.",
                f"take the difference of models first, as in {written(other)} - BASE",
            )
        return node("delta", model=self, base=other)

    def __rsub__(self, other: object) -> Handle:
        raise _no_term(self, other)

    def __mul__(self, by: object) -> Handle:
        return _scaled(self, _factor(self, by))

    __rmul__ = __mul__

    def __truediv__(self, by: object) -> Handle:
        divisor = _factor(self, by)
        if divisor == 0:
            raise refused(f"{written(self)} is divided by zero.", "divide by another number")
        return _scaled(self, 1 / divisor)

    def __rtruediv__(self, other: object) -> Handle:
        raise refused(f"{_shown(other)} is divided by {written(self)}.", "divide models and deltas by plain numbers")

    def __neg__(self) -> Handle:
        is_scaled = isinstance(self.method, Scale) or self.space == "weights"
        return _scaled(self, -1) if is_scaled else node("negate", input=self)

    def __repr__(self) -> str:
        return f"<{self.space} {written(self)}>"


def node(op: str, *, name: str = "", **fields: object) -> Handle:
    """Any operation, its fields as in a recipe, with handles where a recipe has node names.

    RecipeError when a field is wrong, or an input has the wrong space.
    """
    inputs: dict[str, Handle] = {}
    given = {"op": op, **{key: _keyed(value, inputs) for key, value in fields.items()}}
    found = read_method(name or op, given, lambda path: caller())
    if isinstance(found, tuple):
        raise RecipeError(*found)
    return Handle(found, inputs, _space(found, inputs, name), name)


def _space(method: Method, inputs: Mapping[str, Handle], name: str) -> Space:
    """The space of the result; RecipeError where the inputs do not fit, or are not handles."""
    for path, key in named_nodes(method):
        if key not in inputs:
            fact = f'{method.op} takes a handle for "{path[0]}", not the name "{key}".'
            raise refused(fact, f'{key} = mg.load("PATH") makes one')
    edges = method.edges()
    try:
        return method.space([inputs[edge.node].space for edge in edges]) if edges else "weights"
    except SpaceError as error:
        raise RecipeError(Problem(f"{error}.", caller(), name, fix=error.fix)) from error


def _keyed(value: object, inputs: dict[str, Handle]) -> Any:
    """`value` with every handle replaced by the key it gets in `inputs`: what it is called, told apart by a number."""
    if isinstance(value, Handle):
        key = next((key for key, known in inputs.items() if known is value), "")
        if not key:
            key = unique(_word(value), inputs)
            inputs[key] = value
        return key
    if isinstance(value, Mapping):
        return {key: _keyed(item, inputs) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_keyed(item, inputs) for item in cast("Sequence[object]", value)]
    return str(value) if isinstance(value, Path) else value


def _added(left: Handle, right: Handle) -> Handle:
    """One `sum` of everything that was added; a sum that has a name stays a node of its own."""
    if left.space == right.space == "weights":
        raise refused(
            f"Two models are added: {written(left)} + {written(right)}.",
            f"average them: {as_soup([left, right])}; or add what training changed: "
            f"{written(unscaled(left)[1])} + {as_change(right)}",
        )
    return node("sum", inputs=[*_terms(left), *_terms(right)])


def _terms(handle: Handle) -> Iterator[Handle]:
    if isinstance(handle.method, Sum) and not handle.name:
        yield from (handle.inputs[edge.node] for edge in handle.method.edges())
    else:
        yield handle


def _scaled(handle: Handle, by: float) -> Handle:
    """One `scale` for a product of numbers, where a float can say it exactly."""
    method = handle.method
    if isinstance(method, Scale) and not handle.name and isinstance(method.by, float):
        product = Fraction(repr(method.by)) * Fraction(repr(by))
        if is_exact(product):
            return node("scale", input=handle.inputs[method.input], by=float(product))
    return node("scale", input=handle, by=by)


def caller() -> Location:
    """The line of Python, outside this package, that is being run."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("mergegraph.", "dataclasses")):
        frame = frame.f_back
    if frame is None:
        return Location("python")
    file, here = Path(frame.f_code.co_filename), Path.cwd()
    return Location(str(file.relative_to(here) if file.is_relative_to(here) else file), frame.f_lineno)


def _factor(handle: Handle, by: object) -> float:
    """A plain number, of numpy's float64 too. RecipeError for anything else."""
    if isinstance(by, float):
        return float(by)
    if isinstance(by, int) and not isinstance(by, bool):
        return by
    fix = "multiply or divide by a plain number, as in 0.5 * DELTA"
    if isinstance(by, Handle):
        fix = f"average them: {as_soup([handle, by])}" if handle.space == by.space else "add the delta to the model"
    elif not isinstance(by, bool):
        fix = "a plain number, as float(x), or numbers by layer: mg.scale(DELTA, by=[0.2, 0.8])"
    raise refused(f"{written(handle)} is multiplied or divided by {_shown(by)}, which is no number.", fix)


def _no_term(handle: Handle, other: object) -> RecipeError:
    fix = f"to change its strength, multiply: 0.5 * ({written(handle)}); models are made by mg.load"
    return refused(f"{_shown(other)} is added to or subtracted from {written(handle)}, and is no model or delta.", fix)


def _shown(value: object) -> str:
    if isinstance(value, Handle):
        return f"({written(value)})"
    return repr(value) if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def _word(handle: Handle) -> str:
    return handle.name or handle.called or handle.method.op


def refused(fact: str, fix: str) -> RecipeError:
    return RecipeError(Problem(fact, caller(), fix=fix))


def unique(name: str, taken: Container[str]) -> str:
    """`name`, with a number where it is taken."""
    return name if name not in taken else next(n for i in count(2) if (n := f"{name}_{i}") not in taken)
