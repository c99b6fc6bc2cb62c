"""Expressions that share reads become one list of steps on a few numbered tiles.

A step works on one tile (a run of elements) of every operand. Slots are reused as soon as their value is no
longer needed, so `0.5 a + 0.3 b + 0.2 c` needs two however many inputs there are. Pure: allocates nothing.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Apply, Cast, Expr, Linear, Read, Value, operands, walk
from mergegraph.methods.registry import methods


@dataclass(frozen=True, slots=True)
class Fetch:
    """slot = the read's elements, in the compute dtype."""

    slot: int
    read: Read


@dataclass(frozen=True, slots=True)
class Zero:
    """slot = 0."""

    slot: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """slot = coefficient · source; slot may be source."""

    slot: int
    source: int
    coefficient: float


@dataclass(frozen=True, slots=True)
class Accumulate:
    """slot += coefficient · source."""

    slot: int
    source: int
    coefficient: float


@dataclass(frozen=True, slots=True)
class Call:
    """slot = the kernel of `op` on `sources`, with `scratch` slots to use."""

    slot: int
    op: str
    sources: tuple[int, ...]
    parameters: tuple[tuple[str, Value], ...]
    scratch: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """root number `root` = slot, rounded to `dtype` (a safetensors code)."""

    root: int
    slot: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Copy:
    """root number `root` = the read's bytes, unchanged."""

    root: int
    read: Read


Step = Fetch | Zero | Scaled | Accumulate | Call | Store | Copy


@dataclass(frozen=True)
class Program:
    """Steps for one tile of some roots. `double`: computed in float64, else float32.

    `raw_bits` and `out_bits` are the widest element that is staged on the way in and out.
    """

    steps: tuple[Step, ...]
    slots: int
    double: bool
    raw_bits: int
    out_bits: int


def computes_in_double(root: Expr) -> bool:
    """Float64 where any input of the tensor is float64."""
    return any(isinstance(expr, Read) and expr.dtype == "F64" for expr in walk(root))


def program(roots: Sequence[Expr]) -> Program:
    """The steps that compute `roots` (each a `Cast`, or a `Read` to copy), in order."""
    double = any(computes_in_double(root) for root in roots if isinstance(root, Cast))
    uses = Counter(operand for expr in walk(*roots) if not isinstance(expr, Cast) for operand in operands(expr))
    uses.update(root.operand for root in roots if isinstance(root, Cast))
    builder = _Builder(uses, as_double if double else as_single)
    for index, root in enumerate(roots):
        builder.root(index, root)
    width = 64 if double else 32
    staged = [BY_CODE[step.read.dtype].bits for step in builder.steps if isinstance(step, Copy)]
    staged += [
        BY_CODE[step.read.dtype].bits
        for step in builder.steps
        if isinstance(step, Fetch) and BY_CODE[step.read.dtype].bits != width
    ]
    out = [BY_CODE[step.dtype].bits for step in builder.steps if isinstance(step, Store)]
    return Program(tuple(builder.steps), builder.count, double, max(staged, default=0), max(out, default=0))


@dataclass
class _Builder:
    """Emits steps and hands out slots. `uses` counts how often each expression is still needed."""

    uses: Counter[Expr]
    number: Callable[[Fraction], float]
    steps: list[Step] = field(default_factory=list[Step])
    holds: dict[Expr, int] = field(default_factory=dict[Expr, int])
    free: list[int] = field(default_factory=list[int])
    count: int = 0

    def take(self) -> int:
        if self.free:
            return self.free.pop()
        self.count += 1
        return self.count - 1

    def release(self, expr: Expr) -> None:
        """One use of `expr` is over; its slot is free after the last."""
        self.uses[expr] -= 1
        if not self.uses[expr]:
            self.free.append(self.holds.pop(expr))

    def root(self, index: int, root: Expr) -> None:
        if isinstance(root, Cast):
            slot = self.value(root.operand)
            self.steps.append(Store(index, slot, root.dtype))
            self.release(root.operand)
        else:
            assert isinstance(root, Read), "a root is cast or copied"
            self.steps.append(Copy(index, root))

    def value(self, expr: Expr) -> int:
        """The slot that holds `expr`, computed now if it is not held yet."""
        if expr in self.holds:
            return self.holds[expr]
        match expr:
            case Read():
                slot = self.take()
                self.steps.append(Fetch(slot, expr))
            case Linear():
                slot = self.linear(expr)
            case Apply():
                slot = self.call(expr)
            case Cast():
                raise AssertionError("a cast stands at the root only")
        self.holds[expr] = slot
        return slot

    def linear(self, expr: Linear) -> int:
        if not expr.terms:
            slot = self.take()
            self.steps.append(Zero(slot))
            return slot
        (coefficient, first), *rest = expr.terms
        source = self.value(first)
        self.release(first)
        slot = self.take() if first in self.holds else self._retake(source)
        self.steps.append(Scaled(slot, source, self.number(coefficient)))
        for coefficient, operand in rest:
            self.steps.append(Accumulate(slot, self.value(operand), self.number(coefficient)))
            self.release(operand)
        return slot

    def _retake(self, slot: int) -> int:
        """A slot that was freed this moment becomes the result's: the operation works in place."""
        self.free.remove(slot)
        return slot

    def call(self, expr: Apply) -> int:
        sources = tuple(self.value(operand) for operand in expr.operands)
        slot = self.take()
        scratch = tuple(self.take() for _ in range(methods()[expr.kernel].scratch))
        self.steps.append(Call(slot, expr.kernel, sources, expr.parameters, scratch))
        self.free += scratch
        for operand in expr.operands:
            self.release(operand)
        return slot


def as_double(coefficient: Fraction) -> float:
    """The nearest float64."""
    return float(coefficient)


@cache
def as_single(coefficient: Fraction) -> float:
    """The nearest float32 (as a Python float), rounded once: through float64 it would be rounded twice."""
    close = struct.unpack("<I", struct.pack("<f", float(coefficient)))[0]
    candidates = [struct.unpack("<f", struct.pack("<I", close + step))[0] for step in (-1, 0, 1) if close + step >= 0]
    finite = [candidate for candidate in candidates if math.isfinite(candidate)]
    return min(finite, key=lambda candidate: (abs(Fraction(candidate) - coefficient), _is_odd(candidate)))


def _is_odd(single: float) -> bool:
    return bool(struct.pack("<f", single)[0] & 1)
