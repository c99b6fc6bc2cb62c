"""Recipes written in Python: operators on handles make the same Recipe that a YAML file does.

    import mergegraph as mg

    base, code, toxic = mg.load("models/base"), mg.load("models/code"), mg.load("models/toxic")
    merged = base + 0.6 * (code - base) - 0.5 * (toxic - base)
    mg.save(merged, "out").run()

A handle is a node that has no name yet, or the one it was given with `name=`; models are called after their folder,
the others n1, n2, … when the recipe is made. Paths are relative to the current folder. Numbers enter as the decimal
that is written. Nothing is read but the headers of models, and nothing is computed before `run`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mergegraph.errors import InputError, Location, Problem, RecipeError
from mergegraph.expr import Space
from mergegraph.methods.base import Method, SpaceError
from mergegraph.methods.linear import Scale, Sum
from mergegraph.methods.load import Load
from mergegraph.recipe.checkpoints import NoCheckpoints, expanded
from mergegraph.recipe.grammar import is_exact
from mergegraph.recipe.model import Node, Recipe, dump_recipe
from mergegraph.recipe.validate import read_method
from mergegraph.recipe.wiring import named_nodes, renamed
from mergegraph.tensors.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from mergegraph.execute.run import Options, Report
    from mergegraph.plan.plan import Plan

Number: TypeAlias = "int | float"
Schedule: TypeAlias = "Number | Sequence[Number] | Sequence[Mapping[str, object]]"


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
    at: Location = field(default_factory=lambda: _caller())

    def __add__(self, other: object) -> Handle:
        return _added(self, other) if isinstance(other, Handle) else NotImplemented

    def __radd__(self, other: object) -> Handle:
        """`sum([a, b, c])` begins with 0."""
        return self if other == 0 else NotImplemented

    def __sub__(self, other: object) -> Handle:
        if not isinstance(other, Handle):
            return NotImplemented
        if other.space == "delta":
            return _added(self, -other)
        if self.space == "delta":
            raise _refused(
                f"{_shown(self)} is a delta, and a model is subtracted from it.",
                f"take the difference of models first, as in {_shown(other)} - BASE",
            )
        return delta(self, other)

    def __mul__(self, by: object) -> Handle:
        is_number = isinstance(by, int | float) and not isinstance(by, bool)
        return _scaled(self, by) if is_number else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Handle:
        return _scaled(self, -1) if isinstance(self.method, Scale) or self.space == "weights" else negate(self)

    def __repr__(self) -> str:
        return f"<{self.space} {_shown(self)}>"


@dataclass(frozen=True, eq=False)
class Merge:
    """One run: the saves, in order. Made by `save`, and by `merge` for several at once."""

    saves: tuple[Handle, ...]
    name: str = ""
    seed: int = 0

    def recipe(self) -> Recipe:
        """The Recipe, as from a file in the current folder."""
        names = _named(self.saves)
        nodes = [node for handle in names for node in _nodes(handle, names)]
        called = self.name or Path(str(dict(self.saves[0].method)["path"])).name
        return Recipe(called, self.seed, {node.name: node for node in nodes}, Path.cwd(), "python")

    def plan(
        self, *, budget: str | int | None = None, threads: int | None = None, allow_unrelated: bool = False
    ) -> Plan:
        """What a run would do. `budget` as `"2GiB"`, or bytes."""
        from mergegraph.pipeline import plan
        from mergegraph.units import parse_bytes

        budget_bytes = None if budget is None else parse_bytes(budget)
        return plan(self.recipe(), budget_bytes=budget_bytes, workers=threads, allow_unrelated=allow_unrelated)

    def run(
        self,
        *,
        budget: str | int | None = None,
        threads: int | None = None,
        allow_unrelated: bool = False,
        options: Options | None = None,
        overwrite: bool = False,
    ) -> Report:
        """Merge, and report. `overwrite` replaces outputs that exist; `options` holds everything else."""
        from mergegraph.execute.run import Options
        from mergegraph.pipeline import execute

        planned = self.plan(budget=budget, threads=threads, allow_unrelated=allow_unrelated)
        options = options or Options()
        return execute(planned, replace(options, overwrite=overwrite or options.overwrite))

    def __str__(self) -> str:
        """The recipe as YAML."""
        return dump_recipe(self.recipe())


def load(model: str | Path, *, name: str = "", **fields: object) -> Handle:
    """The model at `model`. A saved delta is a delta; what cannot be opened yet counts as weights."""
    handle = replace(node("load", name=name, model=str(model), **fields), called=_word(Path(model).name))
    assert isinstance(handle.method, Load)
    try:
        return replace(handle, space=open_checkpoint(str(model), handle.folder, handle.method.subfolder).space)
    except InputError:
        return handle


def delta(model: Handle, base: Handle, *, name: str = "", **fields: object) -> Handle:
    """`model - base`: what training changed."""
    return node("delta", name=name, model=model, base=base, **fields)


def negate(input: Handle, *, name: str = "") -> Handle:
    """The opposite of a delta."""
    return node("negate", name=name, input=input)


def scale(input: Handle, *, by: Schedule, name: str = "") -> Handle:
    """`by` times the input; a list is a gradient over the layers, a list of rules chooses by tensor."""
    return node("scale", name=name, input=input, by=by)


def soup(
    inputs: Iterable[Handle], weights: Sequence[Schedule] | None = None, *, name: str = "", **fields: object
) -> Handle:
    """The average of models, or of deltas; `weights` are divided by their sum."""
    inputs = list(inputs)
    if weights is not None and len(weights) != len(inputs):
        raise _refused(
            f"The soup has {len(inputs)} inputs and {len(weights)} weights.", "give one weight for each input, or none"
        )
    pieces: list[object] = list(inputs)
    if weights is not None:
        pieces = [{"from": each, "weight": weight} for each, weight in zip(inputs, weights, strict=True)]
    return node("soup", name=name, inputs=pieces, **fields)


def select(cases: Iterable[Mapping[str, object]], otherwise: Handle | None = None, *, name: str = "") -> Handle:
    """Each tensor from the first case that matches: `[{"kind": "attention", "from": a}]`, else from `otherwise`."""
    rest = {} if otherwise is None else {"otherwise": otherwise}
    return node("select", name=name, cases=list(cases), **rest)


def stack(slices: Iterable[tuple[Handle, str]], *, name: str = "", **fields: object) -> Handle:
    """A model from runs of layers: `[(a, "0:24"), (b, "8:32")]`."""
    pieces = [{"from": model, "layers": layers} for model, layers in slices]
    return node("stack", name=name, slices=pieces, **fields)


def clamp(input: Handle, within: Iterable[Handle], *, name: str = "") -> Handle:
    """Every element moved into the range that the models of `within` span."""
    return node("clamp", name=name, input=input, within=list(within))


def save(input: Handle, path: str | Path, *, name: str = "", **fields: object) -> Merge:
    """A run that writes `input` to the folder `path`."""
    return Merge((replace(node("save", name=name, input=input, path=str(path), **fields), called="out"),))


def merge(*merges: Merge, name: str = "", seed: int = 0) -> Merge:
    """Several saves as one run: what they share is read once."""
    return Merge(tuple(saved for each in merges for saved in each.saves), name, seed)


def node(op: str, *, name: str = "", **fields: object) -> Handle:
    """Any operation, its fields as in a recipe, with handles where a recipe has node names.

    RecipeError when a field is wrong, or an input has the wrong space.
    """
    inputs: dict[str, Handle] = {}
    given = {"op": op, **{key: _keyed(value, inputs) for key, value in fields.items()}}
    found = read_method(name or op, given, lambda path: _caller())
    if isinstance(found, tuple):
        raise RecipeError(*found)
    return Handle(found, inputs, _space(found, inputs, name), name)


def _space(method: Method, inputs: Mapping[str, Handle], name: str) -> Space:
    """The space of the result; RecipeError where the inputs do not fit, or are not handles."""
    for path, key in named_nodes(method):
        if key not in inputs:
            fact = f'{method.op} takes a handle for "{path[0]}", not the name "{key}".'
            raise _refused(fact, f'{key} = mg.load("PATH") makes one')
    edges = method.edges()
    try:
        return method.space([inputs[edge.node].space for edge in edges]) if edges else "weights"
    except SpaceError as error:
        raise RecipeError(Problem(f"{error}.", _caller(), name, fix=error.fix)) from error


def _keyed(value: object, inputs: dict[str, Handle]) -> Any:
    """`value` with every handle replaced by the key it gets in `inputs`: what it is called, told apart by a number."""
    if isinstance(value, Handle):
        key = next((key for key, known in inputs.items() if known is value), "")
        if not key:
            key = _unique(_shown(value), inputs)
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
        raise _refused(
            f"Two models are added: {_shown(left)} + {_shown(right)}.",
            f"average them: mg.soup([{_shown(left)}, {_shown(right)}]); or add what training changed: "
            f"{_shown(left)} + ({_shown(right)} - BASE)",
        )
    return node("sum", inputs=[*_terms(left), *_terms(right)])


def _terms(handle: Handle) -> Iterator[Handle]:
    if isinstance(handle.method, Sum) and not handle.name:
        yield from (handle.inputs[edge.node] for edge in handle.method.edges())
    else:
        yield handle


def _scaled(handle: Handle, by: Number) -> Handle:
    """One `scale` for a product of numbers, where a float can say it exactly."""
    method = handle.method
    if isinstance(method, Scale) and not handle.name and isinstance(method.by, float):
        product = Fraction(repr(method.by)) * Fraction(repr(by))
        if is_exact(product):
            return scale(handle.inputs[method.input], by=float(product))
    return scale(handle, by=by)


def _caller() -> Location:
    """The line of Python, outside this package, that is being run."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("mergegraph.", "dataclasses")):
        frame = frame.f_back
    if frame is None:
        return Location("python")
    file, here = Path(frame.f_code.co_filename), Path.cwd()
    return Location(str(file.relative_to(here) if file.is_relative_to(here) else file), frame.f_lineno)


def _shown(handle: Handle) -> str:
    return handle.name or handle.called or handle.method.op


def _refused(fact: str, fix: str) -> RecipeError:
    return RecipeError(Problem(fact, _caller(), fix=fix))


def _named(saves: Sequence[Handle]) -> dict[Handle, str]:
    """Every handle that the saves need, inputs before users, with its name. RecipeError when two share a given one."""
    ordered = list(_inputs_first(saves))
    given = [handle.name for handle in ordered if handle.name]
    for name in given:
        if given.count(name) > 1:
            raise _refused(f'Two nodes are called "{name}".', "give one of them another `name=`")
    taken = set(given)
    names: dict[Handle, str] = {}
    for handle in ordered:
        names[handle] = handle.name or (_unique(handle.called, taken) if handle.called else _numbered(taken))
        taken.add(names[handle])
    return names


def _inputs_first(saves: Sequence[Handle]) -> Iterator[Handle]:
    """Each handle once, after its inputs. Not recursive: a graph may be deep."""
    seen: set[Handle] = set()
    pending = [(handle, False) for handle in reversed(saves)]
    while pending:
        handle, are_inputs_done = pending.pop()
        if are_inputs_done:
            yield handle
        elif handle not in seen:
            seen.add(handle)
            pending.append((handle, True))
            pending += [(each, False) for each in reversed(list(handle.inputs.values()))]


def _nodes(handle: Handle, names: Mapping[Handle, str]) -> tuple[Node, ...]:
    """The handle's node; a soup over a glob after the checkpoints that it matches now."""
    method = renamed(handle.method, lambda key: names[handle.inputs[key]])
    try:
        return expanded(Node(names[handle], method, handle.at, {}, handle.folder))
    except NoCheckpoints as error:
        raise RecipeError(error.problem) from error


def _numbered(taken: Container[str]) -> str:
    return next(name for number in count(1) if (name := f"n{number}") not in taken)


def _unique(name: str, taken: Container[str]) -> str:
    """`name`, with a number where it is taken."""
    return name if name not in taken else next(n for i in count(2) if (n := f"{name}_{i}") not in taken)


def _word(text: str) -> str:
    """`text` as a node's name: letters, digits and underscores."""
    word = re.sub(r"\W", "_", text.removesuffix(".safetensors"))
    return word if word.isidentifier() else f"_{word}"
