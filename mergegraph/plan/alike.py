"""Tensors that are computed alike: one expression is built and simplified, the others are its copies.

Most tensors of a model differ only in what they read. What a node makes of a tensor depends on what its inputs
are made of, on the numbers and on whether it is a matrix, and all of that is one hashable `Key`; the first tensor
with a key is the example, and the others exchange its leaves (reads, noise) for their own when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergegraph.expr import (
    Apply,
    Cast,
    Expr,
    Factor,
    Joined,
    Linear,
    Noise,
    Part,
    Product,
    Read,
    Stat,
    apply,
    cast,
    factor,
    joined,
    linear,
    product,
    stat,
)
from mergegraph.walking import parts, walk_parts

Key = tuple[object, ...]
Leaf = Read | Noise


@dataclass(slots=True, eq=False)
class Made:
    """One tensor of one node. `leaves` are what it is made of, in the order they first occur.

    `made_by`, of an example: the node that made each part of the expression, in the order of `walk_parts`.
    """

    leaves: tuple[Leaf, ...]
    example: Made | None = None
    _expr: Expr | None = None
    made_by: tuple[str, ...] = ()

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


def stored(read: Read, like: Made | None, node: str) -> Made:
    """A tensor of a checkpoint. All those of one load node are alike."""
    return Made((read,), like, read, (node,))


def of_expression(expr: Expr, leaves: tuple[Leaf, ...], node: str, operands: Sequence[Made | None] = ()) -> Made:
    """A tensor with no others like it yet, which `node` makes of `operands`."""
    before: dict[Part, str] = {}
    for operand in operands:
        if operand is not None:
            before.update(zip(walk_parts(operand.expr), operand.kind.made_by, strict=False))
    return Made(leaves, None, expr, tuple([before.get(part, node) for part in walk_parts(expr)]))


@dataclass
class Examples:
    """The tensors of one node that stand for all others like them."""

    node: str
    known: dict[Key, Made] = field(default_factory=dict[Key, Made])

    def make(
        self,
        operands: Sequence[Made | None],
        noises: Sequence[Noise],
        numbers: Key,
        build: Callable[[list[Expr | None]], Expr],
    ) -> Made:
        """The node's tensor from its operands; `build` is called for the first of those that are alike."""
        position: dict[Leaf, int] = {}
        for operand in operands:
            for leaf in operand.leaves if operand is not None else ():
                position.setdefault(leaf, len(position))
        for drawn in noises:
            position.setdefault(drawn, len(position))
        leaves = tuple(position)
        inputs = tuple([x and (x.kind, tuple([position[leaf] for leaf in x.leaves])) for x in operands])
        shapes = tuple([(leaf.space, len(leaf.shape) > 1) for leaf in leaves if isinstance(leaf, Read)])
        key = (numbers, inputs, tuple([position[drawn] for drawn in noises]), shapes)
        example = self.known.get(key)
        if example is not None:
            return Made(leaves, example)
        made = of_expression(build([operand and operand.expr for operand in operands]), leaves, self.node, operands)
        self.known[key] = made
        return made


def exchanged(root: Expr, leaves: Mapping[Part, Part]) -> Expr:
    """`root` with every leaf replaced; those that `leaves` does not have stay."""
    return rebuilt(root, lambda expr: expr, leaves)


def rebuilt(root: Expr, change: Callable[[Linear], Expr], known: Mapping[Part, Part]) -> Expr:
    """`root` with every sum changed, from the bottom; a part that is `known` is replaced and not looked into.

    Populations are of the whole model, and stay.
    """
    if root in known:
        return known[root]  # pyright: ignore[reportReturnType]
    made: dict[Part, Any] = dict(known)
    for part in walk_parts(root, below=lambda part: () if part in known else parts(part)):
        if part in known:
            continue
        match part:
            case Linear():
                made[part] = change(linear([(coefficient, made[x]) for coefficient, x in part.terms], part.space))
            case Apply():
                operands = [made[x] for x in part.operands]
                drawn = None if part.noise is None else made[part.noise]
                stats = [made[x] for x in part.stats]
                made[part] = apply(part.kernel, operands, part.parameters, part.space, stats, drawn)
            case Stat(population=None):
                made[part] = stat(part.kind, [made[x] for x in part.operands], part.parameters)
            case Cast():
                made[part] = cast(made[part.operand], part.dtype)
            case Product():
                made[part] = product(made[part.left], made[part.right], part.space, is_transposed=part.is_transposed)
            case Factor():
                made[part] = factor(made[part.operand], part.rank, part.side, part.shape)
            case Joined():
                made[part] = joined([(coefficient, made[x]) for coefficient, x in part.terms], part.axis)
            case Read() | Noise() | Stat():
                made[part] = part
    whole: Expr = made[root]
    return whole
