"""What one output tensor is made of: a small, immutable, hash-consed expression.

    Read     elements of a stored tensor
    Product  two stored matrices, multiplied
    Linear   numbers times expressions, summed in order; no terms is zero
    Apply    a kernel on equal-shape operands, with statistics and random numbers if it asks for them
    Stat     a number found out from all elements of an expression, or of a whole model's
    Noise    random numbers, one for each element
    Cast     rounded once to a dtype
    Factor   one of the two matrices whose product approximates an expression best
    Joined   stored matrices and factors, side by side: for an adapter that is written

Stats and noise stand beside a kernel's operands, never among them. Equal sub-expressions are the same object, so
`is` compares and a shared input is read once per tile. An expression whose root is a `Read` is a byte copy.
Coefficients are exact fractions until the executor rounds them once. Evaluates nothing and knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from mergegraph.views import MEAN_ROW, BlockScale, RowMap

Space = Literal["weights", "delta"]
Value = float | int | str | bool


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Read:
    """A stored tensor: `nbytes` bytes at `offset` of `path`, as `dtype` (a safetensors code) and `shape`.

    With `rows` it is a view, and `shape` and `nbytes` are the view's. With `scale` the numbers are multiplied, block
    by block, when they are read.
    """

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    space: Space = "weights"
    rows: RowMap | None = None
    scale: BlockScale | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that it is read from."""
        return (self.path,) if self.scale is None else (self.path, self.scale.path)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a view; 0 where it has none."""
        return self.nbytes // self.shape[0] if self.shape and self.shape[0] else 0

    @property
    def fetched_bytes(self) -> int:
        """Bytes that are read from disk for all of it: of a view the rows that it takes, and those of their mean."""
        if self.rows is None:
            return self.nbytes
        taken = sum([count for first, count in self.rows.runs if first >= 0])
        averaged = self.rows.own if any([first == MEAN_ROW for first, _ in self.rows.runs]) else 0
        return (taken + averaged) * self.row_bytes


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Linear:
    """Σ coefficient · operand, added in this order. In space "delta" over weights it is a difference."""

    terms: tuple[tuple[Fraction, Expr], ...]
    space: Space
    is_difference: bool
    """A delta formed from weights, `x - base`: computed first wherever it is used."""


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Noise:
    """Uniform random numbers in [0, 1): element i gets a hash of (`key`, i), whatever the tile. `key`: 64 bits."""

    key: int


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Population:
    """Expressions whose elements are looked at together: one of each tensor of a model, with its shape."""

    members: tuple[tuple[Expr, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Stat:
    """A reduction `kind` (see `mergegraph.statistic`) over all elements of `operands`, or of a `population`.

    Operands are recomputed in the pass that reduces them, never stored. A population is no part of the
    expression: it is reduced once, before the tensors are computed.
    """

    kind: str
    operands: tuple[Expr, ...]
    parameters: tuple[tuple[str, Value], ...]
    population: Population | None


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Apply:
    """The kernel named `kernel` on `operands`, with this tensor's plain numbers in `parameters`."""

    kernel: str
    operands: tuple[Expr, ...]
    parameters: tuple[tuple[str, Value], ...]
    space: Space
    stats: tuple[Stat, ...] = ()
    noise: Noise | None = None


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Cast:
    """`operand` rounded to `dtype` (a safetensors code): once, at the root of what is computed."""

    operand: Expr
    dtype: str

    @property
    def space(self) -> Space:
        return self.operand.space


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Product:
    """`left` [n, rank] times `right` [rank, m], or the transpose of that; further dimensions count as one.

    The factors are read by whoever computes it, a block of rows at a time: they are no operands.
    """

    left: Read
    right: Read
    is_transposed: bool
    space: Space

    @property
    def rank(self) -> int:
        return self.right.shape[0]

    @property
    def columns(self) -> int:
        """Elements of a row of the result."""
        return self.left.shape[0] if self.is_transposed else prod(self.right.shape[1:])


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Factor:
    """The left [rows, rank] or right [rank, columns] factor of the best approximation of rank `rank` of `operand`,
    which is a matrix of `shape`. Stands in a `Joined` only: it has fewer elements than its operand."""

    operand: Expr
    rank: int
    side: Literal["left", "right"]
    shape: tuple[int, int]
    space: Space = "delta"

    @property
    def other(self) -> Factor:
        """The factor that it is multiplied with; both are found at once."""
        return factor(self.operand, self.rank, "right" if self.side == "left" else "left", self.shape)


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Joined:
    """Matrices times numbers, one below the other (`axis` 0) or side by side (`axis` 1). Below a root's cast only."""

    terms: tuple[tuple[Fraction, Read | Factor], ...]
    axis: Literal[0, 1]
    space: Space = "delta"


Expr = Read | Linear | Apply | Cast | Product | Factor | Joined
Part = Expr | Stat | Noise

_interned: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()
_E = TypeVar("_E", Read, Linear, Apply, Cast, Product, Factor, Joined, Stat, Noise, Population)


def _intern(made: _E, *key: object) -> _E:
    return _interned.setdefault((type(made), *key), made)


def read(
    path: str,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    offset: int,
    nbytes: int,
    space: Space = "weights",
    rows: RowMap | None = None,
    scale: BlockScale | None = None,
) -> Read:
    """The one `Read` of this storage. Two names of the same bytes (two nodes of one model) are one read."""
    made = Read(path, name, dtype, shape, offset, nbytes, space, rows, scale)
    return _intern(made, path, offset, nbytes, dtype, shape, space, rows, scale)


def linear(terms: Iterable[tuple[Fraction, Expr]], space: Space) -> Linear:
    """Σ coefficient · operand, exactly as given; `mergegraph.plan.rewrite` simplifies it."""
    kept = tuple(terms)
    difference = space == "delta" and any(operand.space == "weights" for _, operand in kept)
    # Integer pairs hash ten times faster than fractions.
    key = tuple([(*coefficient.as_integer_ratio(), operand) for coefficient, operand in kept])
    return _intern(Linear(kept, space, difference), key, space)


def apply(
    kernel: str,
    operands: Iterable[Expr],
    parameters: Iterable[tuple[str, Value]],
    space: Space,
    stats: Iterable[Stat] = (),
    noise: Noise | None = None,
) -> Apply:
    """`kernel` is a name in `mergegraph.methods.registry.kernels()`; operands have equal shapes."""
    operands, parameters, stats = tuple(operands), tuple(parameters), tuple(stats)
    made = Apply(kernel, operands, parameters, space, stats, noise)
    return _intern(made, kernel, operands, parameters, _types(parameters), space, stats, noise)


def product(left: Read, right: Read, space: Space, *, is_transposed: bool = False) -> Product:
    """`left` times `right`, or the transpose of that."""
    assert prod(left.shape[1:]) == right.shape[0], f"{left.shape} times {right.shape}"
    return _intern(Product(left, right, is_transposed, space), left, right, is_transposed, space)


def factor(operand: Expr, rank: int, side: Literal["left", "right"], shape: tuple[int, int]) -> Factor:
    """`rank` is at most the short side of `shape`."""
    return _intern(Factor(operand, rank, side, shape), operand, rank, side, shape)


def joined(terms: Iterable[tuple[Fraction, Read | Factor]], axis: Literal[0, 1]) -> Joined:
    """The matrices of `terms`, times their numbers; they agree in the other axis."""
    kept = tuple(terms)
    return _intern(Joined(kept, axis), tuple([(*c.as_integer_ratio(), x) for c, x in kept]), axis)


def as_matrix(part: Read | Factor) -> tuple[int, int]:
    """(rows, columns): dimensions after the first count as one."""
    if isinstance(part, Factor):
        rows, columns = part.shape
        return (rows, part.rank) if part.side == "left" else (part.rank, columns)
    return part.shape[0], prod(part.shape[1:])


def noise(key: int) -> Noise:
    """The random numbers of a 64-bit key."""
    return _intern(Noise(key), key)


def population(members: Iterable[tuple[Expr, tuple[int, ...]]]) -> Population:
    """Each member once: a tensor that stands under two names counts once. Zeros have no name, and all count."""
    seen: set[Expr] = set()
    kept: list[tuple[Expr, tuple[int, ...]]] = []
    for expr, shape in members:
        if expr not in seen:
            kept.append((expr, shape))
        if not (isinstance(expr, Linear) and not expr.terms):
            seen.add(expr)
    return _intern(Population(tuple(kept)), tuple(kept))


def stat(kind: str, operands: Iterable[Expr], parameters: Iterable[tuple[str, Value]] = ()) -> Stat:
    """A statistic of one tensor; `kind` is a name in `mergegraph.statistic`."""
    operands, parameters = tuple(operands), tuple(parameters)
    return _intern(Stat(kind, operands, parameters, None), kind, operands, parameters, _types(parameters))


def model_stat(kind: str, over: Population, parameters: Iterable[tuple[str, Value]] = ()) -> Stat:
    """A statistic of all elements of a population."""
    parameters = tuple(parameters)
    return _intern(Stat(kind, (), parameters, over), kind, over, parameters, _types(parameters))


def _types(parameters: tuple[tuple[str, Value], ...]) -> tuple[type, ...]:
    """1, 1.0 and True are equal, and a kernel may tell them apart."""
    return tuple([type(value) for _, value in parameters])


def cast(operand: Expr, dtype: str) -> Expr:
    """`operand` as `dtype`; itself where it is already stored so (a byte copy)."""
    if isinstance(operand, Read) and operand.dtype == dtype and operand.scale is None:
        return operand
    return _intern(Cast(operand, dtype), operand, dtype)
