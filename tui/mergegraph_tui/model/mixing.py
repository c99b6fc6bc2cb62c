"""How much of each source's change is in a result, tensor by tensor, where a recipe is linear: with the numbers that it
has, or with others that are tried. No weight is read: methods are asked what they make of inputs that are only names.

With these coefficients `mergegraph.stats.predict` tells norms, cosines and retention of a merge that was not made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mergegraph.expr import Expr, Linear, Read, Space, read
from mergegraph.methods.base import Method, Parameters, Path, SpaceError
from mergegraph.recipe.expression import ExpressionError, expand
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.schedule import ResolvedSchedule, ScheduleValue, resolve_schedule
from mergegraph.stats.predict import Coefficients
from mergegraph.stats.record import Record, TensorRecord

Vector = Mapping[str, float]
"""Load or lora node to the coefficient of its tensor."""
_SAME = 1e-9


class NotLinear(ValueError):
    """Why nothing is predicted, in a few words."""


@dataclass(frozen=True, slots=True)
class Tried:
    """In place of what the recipe says: another schedule at `path` of a node, or with `expression` another one."""

    node: str
    path: Path = ()
    schedule: ScheduleValue = 0.0
    expression: str = ""


class Mixing:
    """Of the output that `record` is about, in the recipe as it was resolved."""

    def __init__(self, resolved: Resolved, record: Record) -> None:
        self._resolved, self._record = resolved, record
        self._save = _save(resolved, record)
        self._nodes = list(_above(resolved, self._save))
        self._known: dict[str, dict[str, Vector | None]] = {}
        self._weights: dict[object, tuple[float, ...]] = {}

    def coefficients(self, tried: Tried | None = None) -> Coefficients:
        """c_1 … c_k of a tensor of the record. Calling it raises NotLinear where they do not say what is made."""
        other = _Other(self._resolved, tried) if tried is not None else None
        below = self._below(other.node) if other is not None else []

        def of(tensor: TensorRecord) -> tuple[float, ...]:
            known = self._all(tensor.name)
            if other is not None:
                known = dict(known)
                for name in below:
                    known[name] = self._vector(name, tensor.name, known, other)
            return self._of_sources(known[self._save] or {})

        return of

    def _all(self, tensor: str) -> dict[str, Vector | None]:
        """What each node has of a tensor as the recipe is."""
        if tensor not in self._known:
            known: dict[str, Vector | None] = {}
            for name in self._nodes:
                known[name] = self._vector(name, tensor, known, None)
            self._known[tensor] = known
        return self._known[tensor]

    def _below(self, node: str) -> list[str]:
        """A node and all that are computed from it, in order."""
        reached = {name for name in self._nodes if self._resolved.nodes[name].node.written_as == node or name == node}
        if not reached:
            raise NotLinear(f"{node} is no part of {self._save}")
        for name in self._nodes:
            if reached.intersection(self._resolved.nodes[name].node.inputs):
                reached.add(name)
        return [name for name in self._nodes if name in reached]

    def _vector(self, name: str, tensor: str, known: dict[str, Vector | None], other: _Other | None) -> Vector | None:
        """None where a node has no such tensor."""
        node = self._resolved.nodes[name]
        if tensor not in node.tensors:
            return None
        if node.checkpoint is not None or node.adapter is not None:
            return {name: 1.0} if node.adapter is None or tensor in node.targets else {}
        if other is not None and name == other.node and other.methods:
            return self._expression(tensor, known, other)
        if tensor in node.routes:
            edge, source = node.routes[tensor]
            if source != tensor:
                raise NotLinear(f"{tensor} is made of tensors with other names")
            inputs = [known[each] if index == edge else None for index, each in enumerate(node.node.inputs)]
        else:
            inputs = [known[each] for each in node.node.inputs]
        spaces: list[Space] = [self._resolved.nodes[each].node.space for each in node.node.inputs]
        if tensor not in node.routes and any(
            vector is None and space == "weights" for vector, space in zip(inputs, spaces, strict=True)
        ):
            kept = inputs[node.trunk]
            return kept if kept is not None and node.node.space == "weights" else {}
        numbers = other.numbers(node, tensor) if other is not None else node.parameters(tensor)
        is_passed = tensor in node.exempt or (node.method.matrices_only and len(node.tensors[tensor].shape) < 2)
        present = [vector is not None for vector in inputs]
        key = name, tuple(present), is_passed, tuple(numbers.values())
        if key not in self._weights:
            self._weights[key] = _weights(node.method, spaces, present, numbers, node.node.space, is_passed=is_passed)
        return _mixed(self._weights[key], inputs)

    def _expression(self, tensor: str, known: Mapping[str, Vector | None], other: _Other) -> Vector | None:
        """The same for the nodes of another expression."""
        here: dict[str, tuple[Vector | None, Space]] = {}
        for name, method in other.methods:
            edges = [edge.node for edge in method.edges()]
            found = [here.get(each) or (known[each], self._resolved.nodes[each].node.space) for each in edges]
            inputs: list[Vector | None] = [vector for vector, _ in found]
            spaces: list[Space] = [space for _, space in found]
            numbers = Parameters({path: Fraction(repr(float(value))) for path, value in method.coefficients()})
            present = [vector is not None for vector in inputs]
            weights = _weights(method, spaces, present, numbers, method.space(spaces), is_passed=False)
            here[name] = _mixed(weights, inputs), method.space(spaces)
        return here[other.node][0]

    def _of_sources(self, vector: Vector) -> tuple[float, ...]:
        record = self._record
        unknown = [name for name in vector if name != record.base and name not in record.sources]
        if unknown:
            raise NotLinear(f"the record does not have {unknown[0]}: measure the recipe again")
        if record.base:
            total = sum(c for name, c in vector.items() if self._resolved.nodes[name].node.space == "weights")
            if abs(total - 1.0) > _SAME * max(1.0, *map(abs, vector.values())):
                raise NotLinear(f"its models do not add up to one, but to {total:.4g}")
        return tuple(vector.get(name, 0.0) for name in record.sources)


class _Other:
    """What is tried, against the tensors of its node."""

    def __init__(self, resolved: Resolved, tried: Tried) -> None:
        self.node, self._path = tried.node, tried.path
        self.methods: Sequence[tuple[str, Method]] = ()
        self._schedule: ResolvedSchedule | None = None
        if tried.expression:
            self.methods = _methods(resolved, tried)
        else:
            node = resolved.nodes.get(tried.node)
            if node is None:
                raise NotLinear(f"{tried.node} is not known yet")
            names = [name for name in node.tensors if name not in node.exempt]
            self._schedule, problems = resolve_schedule(tried.schedule, names, field="it", tied=node.tied)
            if wrong := next((each for each in problems if each.severity == "error"), None):
                raise NotLinear(wrong.fact)

    def numbers(self, node: ResolvedNode, tensor: str) -> Parameters:
        numbers = dict(node.parameters(tensor))
        if node.node.name == self.node and self._schedule is not None and self._path in numbers:
            numbers[self._path] = self._schedule.value(tensor)
        return Parameters(numbers)


def _methods(resolved: Resolved, tried: Tried) -> list[tuple[str, Method]]:
    def space_of(name: str) -> Space:
        if name not in resolved.nodes:
            raise NotLinear(f"{name} is not known yet")
        return resolved.nodes[name].node.space

    try:
        return expand(tried.node, tried.expression, space_of)
    except ExpressionError as error:
        raise NotLinear(error.problem.fact) from error


def _weights(
    method: Method, spaces: Sequence[Space], present: Sequence[bool], numbers: Parameters, space: Space, *,
    is_passed: bool,
) -> tuple[float, ...]:  # fmt: skip
    """What a method multiplies its inputs with, found by giving it names for inputs."""
    probes = [read("", f"input {i}", "F32", (1,), i, 4, each) for i, each in enumerate(spaces)]
    operands: list[Expr | None] = [probe if has else None for probe, has in zip(probes, present, strict=True)]
    try:
        made = method.passed(operands, space) if is_passed else method.expand(operands, numbers, space)
        total = _opened(made, Fraction(1), {})
    except (SpaceError, ArithmeticError, LookupError, ValueError) as error:
        raise NotLinear(f"{method.op} is not a plain sum of its inputs") from error
    return tuple(float(total.get(probe, Fraction(0))) for probe in probes)


def _opened(expr: Expr, times: Fraction, total: dict[Expr, Fraction]) -> dict[Expr, Fraction]:
    if isinstance(expr, Read):
        total[expr] = total.get(expr, Fraction(0)) + times
    elif isinstance(expr, Linear):
        for coefficient, operand in expr.terms:
            _opened(operand, times * coefficient, total)
    else:
        raise ValueError(type(expr).__name__)
    return total


def _mixed(weights: Sequence[float], inputs: Sequence[Vector | None]) -> Vector:
    total: dict[str, float] = {}
    for weight, vector in zip(weights, inputs, strict=True):
        for name, coefficient in (vector or {}).items():
            total[name] = total.get(name, 0.0) + weight * coefficient
    return total


def _save(resolved: Resolved, record: Record) -> str:
    saves = resolved.graph.saves
    if record.result in saves:
        return record.result
    raise NotLinear(f"the record is of {record.result or 'models'}, which this recipe does not save")


def _above(resolved: Resolved, save: str) -> Iterator[str]:
    """The nodes that a save is made from, in order, and the save."""
    reached = {save}
    for name in reversed(list(resolved.nodes)):
        if name in reached:
            reached.update(resolved.nodes[name].node.inputs)
    return (name for name in resolved.nodes if name in reached)
