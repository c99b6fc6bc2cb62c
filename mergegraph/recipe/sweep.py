"""One recipe for many values: `--sweep boost.by=0.2:0.9:0.1` makes eight outputs from one read of the inputs.

The recipe is built once for each combination of values. A node that turns out the same in all of them is shared; one
that differs, or depends on one that does, appears once for each value it depends on, as `name@0.2`, or `name@0.2,7`
where it depends on several sweeps (in the order they were given).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mergegraph.errors import Location, Problem, RecipeError, raise_errors
from mergegraph.recipe.document import parse_value
from mergegraph.recipe.model import Node, Recipe, expanded_from, output_path
from mergegraph.recipe.override import Setting
from mergegraph.recipe.saves import place_problems, saves
from mergegraph.recipe.scalars import Value, as_text, plain_decimal
from mergegraph.recipe.wiring import named_nodes, renamed

_RANGE = re.compile(r"\s*([^:\s]+)\s*:\s*([^:\s]+)\s*:\s*([^:\s]+)\s*")
_NO_STEP = re.compile(r"\s*([^:\s]+)\s*:\s*([^:\s]+)\s*")
_DECIMAL = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?", re.ASCII)
_MAX_RUNS = 1_000

Point = tuple[int, ...]
"""A combination: the index of the value of each sweep."""


@dataclass(frozen=True)
class Sweep:
    """A place in the recipe, and the values it takes. `labels` stand for them in names and paths."""

    path: str
    values: tuple[Value, ...]
    labels: tuple[str, ...]

    def setting(self, index: int) -> Setting:
        shown = f"--sweep {self.path}={as_text(self.values[index])}"
        return Setting(tuple(self.path.split(".")), self.values[index], shown)


def read_sweep(text: str) -> Sweep:
    """`boost.by=0.2:0.9:0.1` (start, stop, step, in exact decimals) or `boost.by=0.2,0.5`.

    RecipeError says what is wrong. A range ends with the last value that is less than half a step beyond the stop, so
    that the stop is in it.
    """
    path, equals, written = text.partition("=")
    at = Location(f"--sweep {text}")
    if not equals or not path.strip() or not written.strip():
        fix = "write --sweep NODE.FIELD=START:STOP:STEP, or =A,B,C"
        raise RecipeError(Problem(f'"{text}" does not say what to sweep, and over which values.', at, fix=fix))
    matched = _RANGE.fullmatch(written)
    if matched and all(map(_DECIMAL.fullmatch, matched.groups())):
        start, stop, step = (Decimal(number) for number in matched.groups())
        values = [_value(number) for number in _steps(start, stop, step, at)]
    elif (ends := _ends(path, written)) is not None:
        start, stop = ends
        fix = f"--sweep {path.strip()}={start}:{stop}:{plain_decimal(_some_step(start, stop))}"
        raise RecipeError(Problem("The range of the sweep has no step.", at, fix=fix))
    else:
        listed = parse_value(f"[{written}]", str(at))
        values = listed if isinstance(listed, list) else []
    if not values or any(value in values[:index] for index, value in enumerate(values)):
        fact = "A value of the sweep is written twice." if values else "The sweep has no values."
        raise RecipeError(Problem(fact, at, fix="list each value once: =0.2,0.5"))
    return Sweep(path.strip(), tuple(values), _labels(values))


def settings(sweeps: Sequence[Sweep], point: Point) -> list[Setting]:
    """What to set for one combination."""
    return [sweep.setting(index) for sweep, index in zip(sweeps, point, strict=True)]


def labels(sweeps: Sequence[Sweep], point: Point) -> dict[str, str]:
    """What each swept path reads as in a save's path, for one combination."""
    return {sweep.path: sweep.labels[index] for sweep, index in zip(sweeps, point, strict=True)}


def points(sweeps: Sequence[Sweep]) -> list[Point]:
    """Every combination, the last sweep fastest. RecipeError when they are too many, or two sweeps share a place."""
    paths = [sweep.path for sweep in sweeps]
    for path in {path for path in paths if paths.count(path) > 1}:
        at = Location(f"--sweep {path}")
        raise RecipeError(Problem(f"{path} is swept twice.", at, fix="put all its values in one --sweep"))
    count = 1
    for sweep in sweeps:
        count *= len(sweep.values)
    if count > _MAX_RUNS:
        fact = f"The sweep makes {count:,} combinations; at most {_MAX_RUNS:,} are built."
        raise RecipeError(
            Problem(fact, Location(f"--sweep {paths[0]}"), fix="take larger steps, or sweep in several runs")
        )
    return list(itertools.product(*(range(len(sweep.values)) for sweep in sweeps)))


def combine(sweeps: Sequence[Sweep], recipes: Mapping[Point, Recipe], paths: Mapping[str, str]) -> Recipe:
    """One recipe from that of each combination. RecipeError when several results go to one path.

    `paths`: the path of each save as it is written, with its placeholders.
    """
    combined = _Combining(sweeps, recipes)
    nodes = combined.nodes()
    first = next(iter(recipes.values()))
    origins = expanded_from(nodes)
    nodes = {
        name: Node(name, node.method, node.at, node.lines, node.folder, origins[name]) for name, node in nodes.items()
    }
    raise_errors(_path_problems(nodes, sweeps, paths), RecipeError)
    raise_errors(place_problems(nodes, first.file, are_all_known=True), RecipeError)
    warnings = dict.fromkeys(problem for recipe in recipes.values() for problem in recipe.warnings)
    return Recipe(first.name, first.seed, nodes, first.folder, first.file, tuple(warnings))


class _Combining:
    """The recipes of all combinations, and for each node which sweeps it depends on."""

    def __init__(self, sweeps: Sequence[Sweep], recipes: Mapping[Point, Recipe]) -> None:
        self.sweeps, self.recipes = sweeps, recipes
        self.names = list(dict.fromkeys(name for recipe in recipes.values() for name in recipe.nodes))
        self.depends = {name: self.differs_with(name) for name in self.names}
        self.spread()

    def differs_with(self, name: str) -> set[int]:
        """The sweeps whose value alone changes the node itself."""
        found: set[int] = set()
        for axis in range(len(self.sweeps)):
            first: dict[Point, object] = {}
            for point, recipe in self.recipes.items():
                others = point[:axis] + point[axis + 1 :]
                if first.setdefault(others, recipe.nodes.get(name)) != recipe.nodes.get(name):
                    found.add(axis)
                    break
        return found

    def spread(self) -> None:
        """Who uses a node depends on what it depends on."""
        users: dict[str, set[str]] = {}
        for recipe in self.recipes.values():
            for name, node in recipe.nodes.items():
                for _, used in named_nodes(node.method):
                    users.setdefault(used, set()).add(name)
        pending = [name for name in self.names if self.depends[name]]
        while pending:
            name = pending.pop()
            for user in users.get(name, ()):
                if not self.depends[name] <= self.depends[user]:
                    self.depends[user] |= self.depends[name]
                    pending.append(user)

    def name_at(self, name: str, point: Point) -> str:
        axes = sorted(self.depends.get(name, ()))
        if not axes:
            return name
        return f"{name}@{','.join(self.sweeps[axis].labels[point[axis]] for axis in axes)}"

    def nodes(self) -> dict[str, Node]:
        made: dict[str, Node] = {}
        for name in self.names:
            for point, recipe in self.recipes.items():
                full, node = self.name_at(name, point), recipe.nodes.get(name)
                if node is not None and full not in made:
                    made[full] = self.clone(node, full, point)
        return made

    def clone(self, node: Node, name: str, point: Point) -> Node:
        method = renamed(node.method, lambda other: self.name_at(other, point))
        return Node(name, method, node.at, node.lines, node.folder)


def _steps(start: Decimal, stop: Decimal, step: Decimal, at: Location) -> list[Decimal]:
    if step == 0 or (stop - start) * step < 0:
        fact = f"Steps of {step} do not lead from {start} to {stop}."
        raise RecipeError(Problem(fact, at, fix=f"write {start}:{stop}:{plain_decimal(-step) if step else '0.1'}"))
    count = -int(-((stop - start) / step + Decimal("0.5")).to_integral_value(rounding="ROUND_CEILING"))
    if count > _MAX_RUNS:
        raise RecipeError(
            Problem(f"The range has {count:,} values; at most {_MAX_RUNS:,} are built.", at, fix="take larger steps")
        )
    return [start + index * step for index in range(count)]


def _ends(path: str, written: str) -> tuple[Decimal, Decimal] | None:
    """Start and stop of a range without a step; None for anything else. `layers: 0:16` is a value by itself."""
    matched = _NO_STEP.fullmatch(written)
    if not matched or path.strip().endswith("layers") or not all(map(_DECIMAL.fullmatch, matched.groups())):
        return None
    return Decimal(matched[1]), Decimal(matched[2])


def _some_step(start: Decimal, stop: Decimal) -> Decimal:
    """A power of ten with which 2 to 11 values lead from `start` to `stop`."""
    between = stop - start
    size = Decimal(1).scaleb((between * Decimal("0.99")).adjusted()) if between else Decimal("0.1")
    return size.copy_sign(between)


def _value(number: Decimal) -> Value:
    return int(number) if number == number.to_integral_value() else float(number)


def _labels(values: Sequence[Value]) -> tuple[str, ...]:
    """Text for each value that can stand in a node's name and in a path; numbered where two would be the same."""
    words = [as_text(value) for value in values]
    plain = [re.sub(r"[^\w.]", "_", word[1:] if word[:1] == "-" else word) or "_" for word in words]
    signed = ["-" * (word[:1] == "-") + text for word, text in zip(words, plain, strict=True)]
    return tuple(f"{word}_{index}" if signed.count(word) > 1 else word for index, word in enumerate(signed, 1))


def _path_problems(nodes: Mapping[str, Node], sweeps: Sequence[Sweep], paths: Mapping[str, str]) -> Iterator[Problem]:
    """Saves whose results for several combinations go to one path; `paths` are their paths as they are written."""
    clones: dict[str, list[Node]] = {}
    places: dict[str, set[str]] = {}
    for node, save in saves(nodes.values()):
        name = node.name.partition("@")[0]
        clones.setdefault(name, []).append(node)
        places.setdefault(name, set()).add(output_path(node, save.path))
    for name, made in clones.items():
        if len(places[name]) < len(made):
            path = paths.get(name, "")
            absent = [f"{{{sweep.path}}}" for sweep in sweeps if f"{{{sweep.path}}}" not in path]
            fact = f"The sweep makes {len(made)} results, and its path{f', {path},' if path else ''} only "
            fact += "one place." if len(places[name]) == 1 else f"{len(places[name])} places."
            fix = f'path: "{path.rstrip("/") or "./out"}/{"-".join(absent)}"'
            yield Problem(fact, made[0].where(("path",)), name, fix=fix)
