"""Expressions become the steps of one pass, on as few slots as a walk from the bottom needs.

Slots are reused as soon as their value is no longer needed, so `0.5 a + 0.3 b + 0.2 c` needs two however many
inputs there are.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Part, Product, Read, Stat, as_matrix
from mergegraph.methods.registry import kernels
from mergegraph.plan.steps import (
    Accumulate,
    Call,
    Copy,
    Fetch,
    Join,
    Multiply,
    Piece,
    Reduce,
    Scaled,
    Split,
    Step,
    Store,
    Zero,
)  # fmt: skip
from mergegraph.walking import operands


@dataclass
class Emitter:
    """Emits the steps of one pass and hands out slots. `uses` counts how often each expression is still needed.

    `parts`: what each step computes, reads or stores, None where it feeds the caller's reductions; `statistics`: the
    others, by number.
    """

    uses: Counter[Expr]
    number: Callable[[Fraction], float]
    numbered: Mapping[Part, int]
    statistics: Mapping[int, Stat]
    steps: list[Step] = field(default_factory=list[Step])
    parts: list[Part | None] = field(default_factory=list[Part | None])
    holds: dict[Expr, int] = field(default_factory=dict[Expr, int])
    free: list[int] = field(default_factory=list[int])
    count: int = 0

    def emit(self, step: Step, part: Part | None) -> None:
        self.steps.append(step)
        self.parts.append(part)

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
        if isinstance(root, Cast) and isinstance(root.operand, Joined):
            self.join(index, root.operand, root.dtype)
        elif isinstance(root, Cast):
            slot = self.value(root.operand)
            self.emit(Store(index, slot, root.dtype), root)
            self.release(root.operand)
        else:
            assert isinstance(root, Read), "a root is cast or copied"
            self.emit(Copy(index, self.numbered[root], root.dtype), root)

    def value(self, expr: Expr) -> int:
        """The slot that holds `expr`, computed now if it is not held yet.

        What is needed first is computed first, from the bottom of the chain: chains may be longer than the stack.
        """
        chain = [expr]
        while chain[-1] not in self.holds and (below := operands(chain[-1])):
            chain.append(below[0])
        for link in reversed(chain[1:]):
            self._computed(link)
        return self._computed(expr)

    def _computed(self, expr: Expr) -> int:
        if expr in self.holds:
            return self.holds[expr]
        match expr:
            case Read():
                slot = self.take()
                self.emit(Fetch(slot, self.numbered[expr], expr.dtype, expr.scale is not None), expr)
            case Linear():
                slot = self.linear(expr)
            case Apply():
                slot = self.call(expr)
            case Product():
                slot = self.multiply(expr)
            case Factor():
                slot = self.split(expr)
            case Cast() | Joined():
                raise AssertionError("it stands at the root only")
        self.holds[expr] = slot
        return slot

    def linear(self, expr: Linear) -> int:
        if not expr.terms:
            slot = self.take()
            self.emit(Zero(slot), expr)
            return slot
        (coefficient, first), *rest = expr.terms
        source = self.value(first)
        self.release(first)
        slot = self.take() if first in self.holds else self._retake(source)
        if (number := self.number(coefficient)) != 1 or slot != source:
            self.emit(Scaled(slot, source, number), expr)
        for coefficient, operand in rest:
            self.emit(Accumulate(slot, self.value(operand), self.number(coefficient)), expr)
            self.release(operand)
        return slot

    def _retake(self, slot: int) -> int:
        """A slot that was freed this moment becomes the result's: the operation works in place."""
        self.free.remove(slot)
        return slot

    def call(self, expr: Apply) -> int:
        sources = tuple(self.value(operand) for operand in expr.operands)
        slot = self.take()
        wanted = kernels()[expr.kernel].scratch + (expr.noise is not None)
        scratch = tuple(self.take() for _ in range(wanted))
        stats = tuple([self.numbered[each] for each in expr.stats])
        noise = None if expr.noise is None else self.numbered[expr.noise]
        self.emit(Call(slot, expr.kernel, sources, expr.parameters, scratch, stats, noise), expr)
        self.free += scratch
        for operand in expr.operands:
            self.release(operand)
        return slot

    def multiply(self, expr: Product) -> int:
        slot, left, right = self.take(), expr.left, expr.right
        numbers, dtypes = (self.numbered[left], self.numbered[right]), (left.dtype, right.dtype)
        self.emit(Multiply(slot, *numbers, dtypes, expr.rank, expr.columns, expr.is_transposed), expr)
        return slot

    def split(self, expr: Factor) -> int:
        """The slot of one factor. The other is found with it, and kept where it is needed."""
        source, slot, other = self.value(expr.operand), self.take(), self.take()
        left, right = (slot, other) if expr.side == "left" else (other, slot)
        self.emit(Split(left, right, source, expr.rank, expr.shape), expr)
        self.release(expr.operand)
        if self.uses[expr.other]:
            self.holds[expr.other] = other
            self.release(expr.operand)
        else:
            self.free.append(other)
        return slot

    def join(self, root: int, expr: Joined, dtype: str) -> None:
        """Everything is in place before the matrices are put together."""
        pieces = [
            Piece(self.value(part), as_matrix(part), self.number(coefficient))
            if isinstance(part, Factor)
            else Piece(self.numbered[part], as_matrix(part), self.number(coefficient), part.dtype)
            for coefficient, part in expr.terms
        ]
        self.emit(Join(root, tuple(pieces), expr.axis, dtype), expr)
        for part in operands(expr):
            self.release(part)

    def reduce(self, stat: int, expressions: Sequence[Expr]) -> None:
        """Feed a statistic."""
        sources = tuple([self.value(each) for each in expressions])
        follow = sources == tuple(range(sources[0], sources[0] + len(sources)))
        step = Reduce(stat, sources, follow and self.uses[expressions[-1]] == 1)
        self.emit(step, self.statistics.get(stat))
        for each in expressions:
            self.release(each)


def as_double(coefficient: Fraction) -> float:
    """The nearest float64. OverflowError beyond its range."""
    return float(coefficient)


@cache
def as_single(coefficient: Fraction) -> float:
    """The nearest float32 (as a Python float), rounded once: through float64 it would be rounded twice.

    OverflowError beyond its range.
    """
    close = struct.unpack("<I", struct.pack("<f", float(coefficient)))[0]
    candidates = [struct.unpack("<f", struct.pack("<I", close + step))[0] for step in (-1, 0, 1) if close + step >= 0]
    finite = [candidate for candidate in candidates if math.isfinite(candidate)]
    return min(finite, key=lambda candidate: (abs(Fraction(candidate) - coefficient), _is_odd(candidate)))


def _is_odd(single: float) -> bool:
    return bool(struct.pack("<f", single)[0] & 1)
