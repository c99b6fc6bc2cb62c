"""Every tensor of every node becomes an expression over stored tensors.

One pass over the nodes in order; a node's expressions are built from its inputs' and simplified at once, so a
diamond costs what it has nodes; tensors that are computed alike are simplified once. What is not floating point is
never computed on: it comes from the trunk, and what the others hold is compared before the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph.expr import Expr, Noise, Population, Read, Space, linear, noise, population, read
from mergegraph.methods.base import Method
from mergegraph.plan.alike import Examples, Made, of_expression, rebuilt, stored
from mergegraph.plan.rewrite import simplify
from mergegraph.resolve import Resolved, ResolvedNode

Table = dict[str, Made]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Stored tensors that should hold the same bytes: the one that is kept, and another input's."""

    node: str
    tensor: str
    kept: Read
    other: Read


@dataclass(frozen=True)
class Compiled:
    """The expression of each save's tensors, and the comparisons of what is not computed on."""

    tables: Mapping[str, Mapping[str, Expr]]
    comparisons: tuple[Comparison, ...]


@dataclass
class _Compiling:
    resolved: Resolved
    tables: dict[str, Table] = field(default_factory=dict[str, Table])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])


def compile_graph(resolved: Resolved) -> Compiled:
    """Expressions for every save of the graph; `Cast` to the output dtype is the plan's."""
    compiling = _Compiling(resolved)
    for name, node in resolved.nodes.items():
        compiling.tables[name] = _load_table(node) if node.checkpoint is not None else _table(compiling, node)
    saves = {
        name: {tensor: made.expr for tensor, made in compiling.tables[name].items()} for name in resolved.graph.saves
    }
    return Compiled(saves, tuple(compiling.comparisons))


def _load_table(node: ResolvedNode) -> Table:
    space = node.node.space
    table: Table = {}
    example: Made | None = None
    for name, tensor in node.stored.items():
        leaf = read(tensor.path, tensor.name, tensor.dtype.code, tensor.shape, tensor.offset, tensor.nbytes, space)
        table[name] = stored(leaf, example)
        example = example or table[name]
    return table


def _table(compiling: _Compiling, node: ResolvedNode) -> Table:
    inputs = [compiling.tables[name] for name in node.node.inputs]
    spaces: list[Space] = [compiling.resolved.nodes[name].node.space for name in node.node.inputs]
    building = _Node(node, compiling.resolved.graph.recipe.seed, of_expression(linear([], node.node.space), ()))
    operands = {name: _operands(node, inputs, name, building.zero) for name in node.tensors}
    plain = [
        name
        for name, kind in node.tensors.items()
        if kind.dtype.is_float and (name in node.routes or not _lacks_weights(operands[name], spaces))
    ]
    building.gather({name: operands[name] for name in plain if not building.is_passed(name)})
    computed = set(plain)
    table: Table = {}
    for name, kind in node.tensors.items():
        if not kind.dtype.is_float:
            table[name] = _uncomputed(compiling, node, name, operands[name])
        elif name in computed:
            table[name] = building.computed(name, operands[name])
        else:
            kept = operands[name][node.trunk]
            table[name] = kept if kept is not None and node.node.space == "weights" else building.zero
    return table


def _lacks_weights(operands: Sequence[Made | None], spaces: Sequence[Space]) -> bool:
    """Whether a model lacks the tensor; a delta that does is zero there."""
    return any(x is None and space == "weights" for x, space in zip(operands, spaces, strict=True))


@dataclass
class _Node:
    """The computed tensors of one node."""

    node: ResolvedNode
    recipe_seed: int
    zero: Made
    examples: Examples = field(default_factory=Examples)
    populations: tuple[Population, ...] = ()

    @property
    def method(self) -> Method:
        return self.node.method

    def is_passed(self, name: str) -> bool:
        """Whether the method leaves a tensor out."""
        few = self.method.matrices_only and len(self.node.tensors[name].shape) < 2
        return few or name in self.node.exempt

    def noises(self, name: str) -> list[Noise]:
        """Random numbers for each edge, that no other node, input or tensor has."""
        if not self.method.random:
            return []
        seed = getattr(self.method, "seed", None)
        source = self.node.node.name if seed is None else seed
        count = len(self.method.edges())
        return [noise(_key(self.recipe_seed, source, position, name)) for position in range(count)]

    def gather(self, operands: Mapping[str, list[Made | None]]) -> None:
        """Collect what the method wants to look at over all tensors."""
        if type(self.method).gathered is Method.gathered:
            return
        gathered: list[list[tuple[Expr, tuple[int, ...]]]] = []
        for name, each in operands.items():
            exprs = [operand and operand.expr for operand in each]
            found = self.method.gathered(exprs, self.node.parameters(name), self.node.node.space)
            gathered += [[] for _ in range(len(found) - len(gathered))]
            for members, expr in zip(gathered, found, strict=True):
                members.append((_simplified(expr, exprs), self.node.tensors[name].shape))
        self.populations = tuple([population(members) for members in gathered])

    def computed(self, name: str, operands: list[Made | None]) -> Made:
        noises, passed = self.noises(name), self.is_passed(name)

        def build(exprs: list[Expr | None]) -> Expr:
            if passed:
                return simplify(self.method.passed(exprs, self.node.node.space))
            numbers = self.node.parameters(name).with_parts(noises, self.populations)
            return _simplified(self.method.expand(exprs, numbers, self.node.node.space), exprs)

        numbers = (passed, *[schedule.value(name) for schedule in self.node.schedules.values()])
        return self.examples.make(operands, noises, numbers, build)


def _simplified(expr: Expr, operands: Sequence[Expr | None]) -> Expr:
    """What a method made of `operands`, which are simplified already, with every sum in it simplified."""
    return rebuilt(expr, simplify, {operand: operand for operand in operands if operand is not None})


def _key(*source: object) -> int:
    """64 bits that depend on all of `source`."""
    return int.from_bytes(hashlib.blake2b(json.dumps(source).encode(), digest_size=8).digest(), "little")


def _operands(node: ResolvedNode, inputs: list[Table], name: str, zero: Made) -> list[Made | None]:
    """The node's inputs for one of its tensors, by edge; only one of them where the tensor is routed."""
    if name in node.routes:
        edge, source = node.routes[name]
        operand = inputs[edge].get(source, zero)
        return [operand if index == edge else None for index in range(len(inputs))]
    return [table.get(name) for table in inputs]


def _uncomputed(compiling: _Compiling, node: ResolvedNode, name: str, operands: list[Made | None]) -> Made:
    """The trunk's own bytes; the other inputs' are compared with them."""
    present = [operand for operand in operands if operand is not None and isinstance(operand.expr, Read)]
    trunk = operands[node.trunk]
    kept = trunk if trunk is not None and isinstance(trunk.expr, Read) else present[0]
    for other in present:
        if other.expr is not kept.expr:
            assert isinstance(kept.expr, Read)
            assert isinstance(other.expr, Read)
            compiling.comparisons.append(Comparison(node.node.written_as, name, kept.expr, other.expr))
    return kept
