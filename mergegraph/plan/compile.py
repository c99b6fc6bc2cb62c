"""Every tensor of every node becomes an expression over stored tensors.

One pass over the nodes in order; a node's expressions are built from its inputs' and simplified at once, so a
diamond costs what it has nodes. Tensors that are not floating point are never computed on: they come from the
trunk, and what the others hold is compared before the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mergegraph.expr import Expr, Read, linear, read
from mergegraph.methods.base import Parameters
from mergegraph.plan.rewrite import simplify
from mergegraph.resolve import Resolved, ResolvedNode

Table = dict[str, Expr]


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
    saves = {name: compiling.tables[name] for name in resolved.graph.saves}
    return Compiled(saves, tuple(compiling.comparisons))


def _load_table(node: ResolvedNode) -> Table:
    space = node.node.space
    return {
        name: read(stored.path, stored.name, stored.dtype.code, stored.shape, stored.offset, stored.nbytes, space)
        for name, stored in node.stored.items()
    }


def _table(compiling: _Compiling, node: ResolvedNode) -> Table:
    inputs = [compiling.tables[name] for name in node.node.inputs]
    spaces = [compiling.resolved.nodes[name].node.space for name in node.node.inputs]
    same_numbers: dict[tuple[object, ...], Parameters] = {}
    table: Table = {}
    for name, kind in node.tensors.items():
        operands = _operands(node, inputs, name)
        if not kind.dtype.is_float:
            table[name] = _uncomputed(compiling, node, name, operands)
        elif any(x is None and space == "weights" for x, space in zip(operands, spaces, strict=True)) and (
            name not in node.routes
        ):
            kept = operands[node.trunk]
            table[name] = kept if kept is not None and node.node.space == "weights" else linear([], node.node.space)
        else:
            key = tuple(schedule.value(name) for schedule in node.schedules.values())
            if key not in same_numbers:
                same_numbers[key] = node.parameters(name)
            table[name] = simplify(node.method.expand(operands, same_numbers[key], node.node.space))
    return table


def _operands(node: ResolvedNode, inputs: list[Table], name: str) -> list[Expr | None]:
    """The node's inputs for one of its tensors, by edge; only one of them where the tensor is routed."""
    if name in node.routes:
        edge, source = node.routes[name]
        operand = inputs[edge].get(source, linear([], node.node.space))
        return [operand if index == edge else None for index in range(len(inputs))]
    return [table.get(name) for table in inputs]


def _uncomputed(compiling: _Compiling, node: ResolvedNode, name: str, operands: list[Expr | None]) -> Expr:
    """The trunk's own bytes; the other inputs' are compared with them."""
    present = [operand for operand in operands if isinstance(operand, Read)]
    trunk = operands[node.trunk]
    kept = trunk if isinstance(trunk, Read) else present[0]
    compiling.comparisons += [
        Comparison(node.node.written_as, name, kept, other) for other in present if other is not kept
    ]
    return kept
