"""Every tensor of every node becomes an expression over stored tensors.

One pass over the nodes in order; a node's expressions are built from its inputs' and simplified at once, so a
diamond costs what it has nodes; tensors that are computed alike are simplified once. What is not floating point is
never computed on: it comes from the trunk, and what the others hold is compared before the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial

from mergegraph.alignment import RowView
from mergegraph.expr import Expr, Noise, Population, Read, Space, linear, noise, population, product, read
from mergegraph.methods.base import Method
from mergegraph.plan.alike import Examples, Made, of_expression, rebuilt, stored
from mergegraph.plan.rewrite import simplify
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.tensors.header import StoredTensor
from mergegraph.views import RowMap

Table = dict[str, Made]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Stored tensors that should hold the same bytes: the one that is kept, and another input's."""

    node: str
    tensor: str
    kept: Read
    other: Read
    must_agree: bool = False
    """A stored duplicate, which no warning can excuse."""


@dataclass(frozen=True)
class Compiled:
    """Each save's tensors, and the comparisons of what is not computed on. `leaves`: the tensors of load and lora
    nodes."""

    tables: Mapping[str, Table]
    comparisons: tuple[Comparison, ...]
    leaves: Mapping[str, Table]


@dataclass
class _Compiling:
    resolved: Resolved
    tables: dict[str, Table] = field(default_factory=dict[str, Table])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    compared: set[frozenset[Read]] = field(default_factory=set[frozenset[Read]])

    def compare(self, node: ResolvedNode, name: str, kept: Expr, other: Expr) -> None:
        """Have two stored tensors compared, once for the whole graph."""
        assert isinstance(kept, Read)
        assert isinstance(other, Read)
        pair = frozenset((kept, other))
        if len(pair) == 2 and pair not in self.compared:
            self.compared.add(pair)
            self.comparisons.append(Comparison(node.node.written_as, name, kept, other))


def compile_graph(resolved: Resolved) -> Compiled:
    """Expressions for every save of the graph; `Cast` to the output dtype is the plan's."""
    compiling = _Compiling(resolved)
    for name, node in resolved.nodes.items():
        if node.adapter is not None:
            compiling.tables[name] = _adapter_table(node)
        elif node.checkpoint is None:
            compiling.tables[name] = _table(compiling, node)
        else:
            compiling.tables[name] = _load_table(node)
            compiling.comparisons += _duplicates(node)
    saves = {name: compiling.tables[name] for name in resolved.graph.saves}
    leaves = {name: compiling.tables[name] for name, node in resolved.nodes.items() if node.checkpoint or node.adapter}
    return Compiled(saves, tuple(compiling.comparisons), leaves)


def _load_table(node: ResolvedNode) -> Table:
    space, by = node.node.space, node.node.written_as
    table: Table = {}
    example: Made | None = None
    for name, tensor in node.stored.items():
        if name in node.views:
            table[name] = _viewed(tensor, node.views[name], space, by)
            continue
        leaf = _leaf(tensor, space)
        table[name] = stored(leaf, example, by)
        example = example or table[name]
    return table


def _adapter_table(node: ResolvedNode) -> Table:
    """What an adapter adds: a number times a product of two stored matrices, for each tensor that it changes."""
    by = node.node.written_as
    examples, table = Examples(by), Table()
    left = right = None
    for name, target in node.targets.items():
        factors = target.factors
        number = node.schedules["scale",].value(name) * factors.scaling
        sides = stored(_leaf(factors.left, "delta"), left, by), stored(_leaf(factors.right, "delta"), right, by)
        left, right = left or sides[0], right or sides[1]
        multiply = partial(_multiplied, number, target.is_transposed)
        table[name] = examples.make(sides, [], (number, target.is_transposed), multiply)
    return table


def _multiplied(number: Fraction, is_transposed: bool, sides: Sequence[Expr | None]) -> Expr:
    left, right = sides
    assert isinstance(left, Read)
    assert isinstance(right, Read)
    return simplify(linear([(number, product(left, right, "delta", is_transposed=is_transposed))], "delta"))


def _leaf(tensor: StoredTensor, space: Space, rows: RowMap | None = None) -> Read:
    """A stored tensor, or the view of it that has `rows`."""
    shape, nbytes = tensor.shape, tensor.nbytes
    if rows is not None:
        shape = (rows.row_count, *tensor.shape[1:])
        nbytes = nbytes // tensor.shape[0] * rows.row_count
    return read(tensor.path, tensor.name, tensor.dtype.code, shape, tensor.offset, nbytes, space, rows, tensor.scale)


def _viewed(tensor: StoredTensor, view: RowView, space: Space, node: str) -> Made:
    """A tensor in the rows of another vocabulary. What fills its gaps is added: each is zero where the other is not."""
    leaves = [_leaf(tensor, space, view.rows), *(_leaf(other, space, rows) for other, rows in view.fills)]
    if len(leaves) == 1:
        return of_expression(leaves[0], (leaves[0],), node)
    return of_expression(linear([(Fraction(1), leaf) for leaf in leaves], space), tuple(leaves), node)


def _duplicates(node: ResolvedNode) -> Iterator[Comparison]:
    """The heads that a tied model stores all the same."""
    for head, embedding in node.duplicates.items():
        kept, other = _leaf(node.stored[embedding], "weights"), _leaf(node.stored[head], "weights")
        if kept is not other:
            yield Comparison(node.node.written_as, head, kept, other, must_agree=True)


def _table(compiling: _Compiling, node: ResolvedNode) -> Table:
    inputs = [compiling.tables[name] for name in node.node.inputs]
    spaces: list[Space] = [compiling.resolved.nodes[name].node.space for name in node.node.inputs]
    zero = of_expression(linear([], node.node.space), (), node.node.written_as)
    building = _Node(node, compiling.resolved.graph.recipe.seed, zero, Examples(node.node.written_as))
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
    if node.node.space == "delta" and spaces[node.trunk] == "weights":
        _compare_beside_delta(compiling, node, inputs)
    return table


def _compare_beside_delta(compiling: _Compiling, node: ResolvedNode, inputs: Sequence[Table]) -> None:
    """A delta has no tensors that are not floating point; the models that it is formed of should agree on theirs."""
    trunk = compiling.resolved.nodes[node.node.inputs[node.trunk]]
    names = [name for name, kind in trunk.tensors.items() if not kind.dtype.is_float]
    for source, table in zip(node.node.inputs, inputs, strict=True):
        if compiling.resolved.nodes[source].node.space == "weights":
            for name in (name for name in names if name in table):
                compiling.compare(node, name, inputs[node.trunk][name].expr, table[name].expr)


def _lacks_weights(operands: Sequence[Made | None], spaces: Sequence[Space]) -> bool:
    """Whether a model lacks the tensor; a delta that does is zero there."""
    return any(x is None and space == "weights" for x, space in zip(operands, spaces, strict=True))


@dataclass
class _Node:
    """The computed tensors of one node."""

    node: ResolvedNode
    recipe_seed: int
    zero: Made
    examples: Examples
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
        compiling.compare(node, name, kept.expr, other.expr)
    return kept
