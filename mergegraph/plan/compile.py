"""Every tensor of every node becomes an expression over stored tensors.

One pass over the nodes in order; a node's expressions are built from its inputs' and simplified at once, so a
diamond costs what it has nodes; tensors that are computed alike are simplified once. What is not floating point is
never computed on: it comes from the trunk, and what the others hold is compared before the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mergegraph.expr import Expr, Read, linear, read
from mergegraph.plan.alike import Examples, Made, of_expression, stored
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
    spaces = [compiling.resolved.nodes[name].node.space for name in node.node.inputs]
    zero = of_expression(linear([], node.node.space), ())
    examples = Examples()
    table: Table = {}
    for name, kind in node.tensors.items():
        operands = _operands(node, inputs, name, zero)
        if not kind.dtype.is_float:
            table[name] = _uncomputed(compiling, node, name, operands)
        elif any(x is None and space == "weights" for x, space in zip(operands, spaces, strict=True)) and (
            name not in node.routes
        ):
            kept = operands[node.trunk]
            table[name] = kept if kept is not None and node.node.space == "weights" else zero
        else:
            table[name] = _computed(node, name, operands, examples)
    return table


def _computed(node: ResolvedNode, name: str, operands: list[Made | None], examples: Examples) -> Made:
    def build(exprs: list[Expr | None]) -> Expr:
        return simplify(node.method.expand(exprs, node.parameters(name), node.node.space))

    numbers = tuple([schedule.value(name) for schedule in node.schedules.values()])
    return examples.make(operands, numbers, build)


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
