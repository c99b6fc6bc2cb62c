"""Tensors that are computed alike: one expression is built and simplified, the others are its copies.

Most tensors of a model differ only in what they read. What a node makes of a tensor depends on what its inputs
are made of, on the numbers and on whether it is a matrix, and all of that is one hashable `Key`; the first tensor
with a key is the example, and the others exchange its reads for their own when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph.expr import Apply, Cast, Expr, Linear, Read, apply, cast, linear, walk

Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Made:
    """One tensor of one node. `leaves` are the distinct stored tensors below it, in the order they first occur."""

    leaves: tuple[Read, ...]
    example: Made | None = None
    _expr: Expr | None = None

    @property
    def kind(self) -> Made:
        """The same object for all tensors that are computed alike."""
        return self if self.example is None else self.example

    @property
    def expr(self) -> Expr:
        """What the tensor is made of."""
        if self._expr is None:
            assert self.example is not None
            self._expr = exchanged(self.example.expr, dict(zip(self.example.leaves, self.leaves, strict=True)))
        return self._expr


def stored(read: Read, like: Made | None) -> Made:
    """A tensor of a checkpoint. All those of one load node are alike."""
    return Made((read,), like, read)


def of_expression(expr: Expr, leaves: tuple[Read, ...]) -> Made:
    """A tensor with no others like it yet."""
    return Made(leaves, None, expr)


@dataclass
class Examples:
    """The tensors of one node that stand for all others like them."""

    known: dict[Key, Made] = field(default_factory=dict[Key, Made])

    def make(self, operands: Sequence[Made | None], numbers: Key, build: Callable[[list[Expr | None]], Expr]) -> Made:
        """The node's tensor from its operands; `build` is called for the first of those that are alike."""
        position: dict[Read, int] = {}
        for operand in operands:
            for leaf in operand.leaves if operand is not None else ():
                position.setdefault(leaf, len(position))
        leaves = tuple(position)
        inputs = tuple([x and (x.kind, tuple([position[leaf] for leaf in x.leaves])) for x in operands])
        key = (numbers, inputs, tuple([(leaf.space, len(leaf.shape) > 1) for leaf in leaves]))
        example = self.known.get(key)
        if example is not None:
            return Made(leaves, example)
        made = of_expression(build([operand and operand.expr for operand in operands]), leaves)
        self.known[key] = made
        return made


def exchanged(root: Expr, reads: Mapping[Read, Read]) -> Expr:
    """`root` with every read replaced; those that `reads` does not have stay."""
    made: dict[Expr, Expr] = {}
    for expr in walk(root):
        match expr:
            case Read():
                made[expr] = reads.get(expr, expr)
            case Linear():
                made[expr] = linear([(coefficient, made[x]) for coefficient, x in expr.terms], expr.space)
            case Apply():
                made[expr] = apply(expr.kernel, [made[x] for x in expr.operands], expr.parameters, expr.space)
            case Cast():
                made[expr] = cast(made[expr.operand], expr.dtype)
    return made[root]
