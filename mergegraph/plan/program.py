"""Expressions that share reads become one list of steps on a few numbered tiles.

A step works on one tile (a run of elements) of every operand. Slots are reused as soon as their value is no
longer needed, so `0.5 a + 0.3 b + 0.2 c` needs two however many inputs there are. Pure: allocates nothing.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Apply, Cast, Expr, Linear, Read, Value, operands, walk
from mergegraph.expr import reads as reads_of
from mergegraph.methods.registry import methods


@dataclass(frozen=True, slots=True)
class Fetch:
    """slot = the elements of read number `read`, stored as `dtype` (a safetensors code), in the compute dtype."""

    slot: int
    read: int
    dtype: str


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
    """root number `root` = the bytes of read number `read`, unchanged."""

    root: int
    read: int
    dtype: str


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


def computes_in_double(reads: Iterable[Read]) -> bool:
    """Float64 where any input of the tensor is float64."""
    return any([read.dtype == "F64" for read in reads])


@dataclass(frozen=True, slots=True)
class Computation:
    """A program and the stored tensors its steps name by number."""

    program: Program
    reads: tuple[Read, ...]


def computation(roots: Sequence[Expr]) -> Computation:
    """The steps that compute `roots` (each a `Cast`, or a `Read` to copy), in order.

    Most tensors of a model differ only in what they read, so the programs of equal outlines are one object.
    """
    key, reads = outline(roots)
    known = _programs.get(key)
    if known is None:
        if len(_programs) >= _PROGRAMS_KEPT:
            _programs.clear()
        known = _programs[key] = _program(roots, reads)
    return Computation(known, reads)


_programs: dict[object, Program] = {}
_PROGRAMS_KEPT = 10_000
"""A search that plans thousands of recipes in one process must not keep them all."""


def outline(roots: Sequence[Expr]) -> tuple[object, tuple[Read, ...]]:
    """(what the roots are, up to which tensors they read; the reads in the order they are first needed)."""
    index: dict[Expr, int] = {}
    entries: list[object] = []
    reads: list[Read] = []
    for expr in walk(*roots):
        match expr:
            case Read():
                reads.append(expr)
                entry: object = expr.dtype
            case Linear():
                entry = tuple([(*c.as_integer_ratio(), index[x]) for c, x in expr.terms])
            case Apply():
                types = tuple([type(value) for _, value in expr.parameters])
                entry = (expr.kernel, tuple([index[x] for x in expr.operands]), expr.parameters, types)
            case Cast():
                entry = (index[expr.operand], expr.dtype)
        index[expr] = len(entries)
        entries.append(entry)
    return (tuple(entries), tuple([index[root] for root in roots])), tuple(reads)


def _program(roots: Sequence[Expr], reads: Sequence[Read]) -> Program:
    double = any(computes_in_double(reads_of(root)) for root in roots if isinstance(root, Cast))
    uses = Counter(operand for expr in walk(*roots) if not isinstance(expr, Cast) for operand in operands(expr))
    uses.update(root.operand for root in roots if isinstance(root, Cast))
    number = as_double if double else as_single
    builder = _Builder(uses, number, {read: position for position, read in enumerate(reads)})
    for position, root in enumerate(roots):
        builder.root(position, root)
    compute_bits = 64 if double else 32
    fetched = [BY_CODE[step.dtype].bits for step in builder.steps if isinstance(step, Fetch)]
    staged = [bits for bits in fetched if bits != compute_bits]
    staged += [BY_CODE[step.dtype].bits for step in builder.steps if isinstance(step, Copy)]
    out = [BY_CODE[step.dtype].bits for step in builder.steps if isinstance(step, Store)]
    return Program(tuple(builder.steps), builder.count, double, max(staged, default=0), max(out, default=0))


@dataclass
class _Builder:
    """Emits steps and hands out slots. `uses` counts how often each expression is still needed."""

    uses: Counter[Expr]
    number: Callable[[Fraction], float]
    read_number: Mapping[Read, int]
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
            self.steps.append(Copy(index, self.read_number[root], root.dtype))

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
                self.steps.append(Fetch(slot, self.read_number[expr], expr.dtype))
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
