"""What one output tensor is made of: a small, immutable, hash-consed expression.

    Read     elements of a stored tensor
    Linear   numbers times expressions, summed in order; no terms is zero
    Apply    a method's kernel on equal-shape operands
    Cast     rounded once to a dtype

Equal sub-expressions are the same object, so `is` compares and a shared input is read once per tile.
An expression whose root is a `Read` is a byte copy. Coefficients are exact fractions until the executor
rounds them once. Evaluates nothing and knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

Space = Literal["weights", "delta"]
Value = float | int | str | bool


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Read:
    """A stored tensor: `nbytes` bytes at `offset` of `path`, as `dtype` (a safetensors code) and `shape`."""

    path: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    space: Space = "weights"


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Linear:
    """Σ coefficient · operand, added in this order. In space "delta" over weights it is a difference."""

    terms: tuple[tuple[Fraction, Expr], ...]
    space: Space
    is_difference: bool
    """A delta formed from weights, `x - base`: computed first wherever it is used."""


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Apply:
    """The kernel of op `kernel` on `operands`, with this tensor's plain numbers in `parameters`."""

    kernel: str
    operands: tuple[Expr, ...]
    parameters: tuple[tuple[str, Value], ...]
    space: Space


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Cast:
    """`operand` rounded to `dtype` (a safetensors code): once, at the root of what is computed."""

    operand: Expr
    dtype: str

    @property
    def space(self) -> Space:
        return self.operand.space


Expr = Read | Linear | Apply | Cast

_interned: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()
_E = TypeVar("_E", Read, Linear, Apply, Cast)


def _intern(made: _E, *key: object) -> _E:
    return _interned.setdefault((type(made), *key), made)


def read(
    path: str, name: str, dtype: str, shape: tuple[int, ...], offset: int, nbytes: int, space: Space = "weights"
) -> Read:
    """The one `Read` of this storage. Two names of the same bytes (two nodes of one model) are one read."""
    return _intern(Read(path, name, dtype, shape, offset, nbytes, space), path, offset, nbytes, dtype, shape, space)


def linear(terms: Iterable[tuple[Fraction, Expr]], space: Space) -> Linear:
    """Σ coefficient · operand, exactly as given; `mergegraph.plan.rewrite` simplifies it."""
    kept = tuple(terms)
    difference = space == "delta" and any(operand.space == "weights" for _, operand in kept)
    # Integer pairs hash ten times faster than fractions.
    key = tuple([(*coefficient.as_integer_ratio(), operand) for coefficient, operand in kept])
    return _intern(Linear(kept, space, difference), key, space)


def apply(kernel: str, operands: Iterable[Expr], parameters: Iterable[tuple[str, Value]], space: Space) -> Apply:
    """`kernel` is the op's name in the registry; operands have equal shapes."""
    operands, parameters = tuple(operands), tuple(parameters)
    # 1, 1.0 and True are equal, and a kernel may tell them apart.
    types = tuple([type(value) for _, value in parameters])
    return _intern(Apply(kernel, operands, parameters, space), kernel, operands, parameters, types, space)


def cast(operand: Expr, dtype: str) -> Expr:
    """`operand` as `dtype`; itself where it is already stored so (a byte copy)."""
    if isinstance(operand, Read) and operand.dtype == dtype:
        return operand
    return _intern(Cast(operand, dtype), operand, dtype)


def operands(expr: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions, in order."""
    match expr:
        case Read():
            return ()
        case Linear(terms=terms):
            return tuple(operand for _, operand in terms)
        case Apply(operands=direct):
            return direct
        case Cast(operand=operand):
            return (operand,)


def walk(*roots: Expr) -> Iterator[Expr]:
    """Every distinct sub-expression once, operands before users, left to right. Iterative: chains may be long."""
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        expr, expanded = stack.pop()
        if expr in seen:
            continue
        if expanded:
            seen.add(expr)
            yield expr
        else:
            stack.append((expr, True))
            stack.extend((operand, False) for operand in reversed(operands(expr)))


def reads(*roots: Expr) -> tuple[Read, ...]:
    """The distinct stored tensors that `roots` need, in the order they are first needed."""
    return tuple(expr for expr in walk(*roots) if isinstance(expr, Read))
