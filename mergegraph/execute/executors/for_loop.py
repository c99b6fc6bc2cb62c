"""The reference: whole tensors, one after the other, computed straight from the expressions.

Shares nothing with the tiled executors but the kernels and the rounding: no tiles, no slots, no programs. Slow and
simple, and therefore what the others are tested against. Not for models that do not fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from mergegraph.execute.control import Control
from mergegraph.execute.evaluate import TORCH_DTYPES, Finished, Source, byte_view, round_once
from mergegraph.execute.work import Work
from mergegraph.expr import Apply, Cast, Expr, Linear, Read, reads
from mergegraph.methods.registry import methods
from mergegraph.plan.program import as_double, as_single, computes_in_double


def for_loop(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """Every unfinished tensor, whole."""
    for members, _ in work.unfinished():
        for place in members:
            if control.stopping:
                return
            tensor = work.tensor(place)
            work.finish(place, 0, tensor.element_count, whole_tensor(tensor.root, tensor.element_count, work.source))
            tick()


def whole_tensor(root: Expr, elements: int, source: Source) -> Finished:
    """The bytes of one output tensor, with its non-finite and overflow counts."""
    if isinstance(root, Read):
        return Finished(0, memoryview(_raw(root, source)), 0, 0)
    assert isinstance(root, Cast)
    dtype = torch.float64 if computes_in_double(reads(root)) else torch.float32
    value = _Whole(dtype, elements, source).value(root.operand)
    rounded = torch.empty(elements, dtype=TORCH_DTYPES[root.dtype])
    overflowed = round_once(value, rounded)
    return Finished(0, byte_view(rounded.view(torch.uint8)), int((~value.isfinite()).sum()), overflowed)


class _Whole:
    """Expressions as new 1-D tensors of one dtype; an expression that is used twice is computed once."""

    def __init__(self, dtype: torch.dtype, elements: int, source: Source) -> None:
        self.dtype, self.elements, self.source = dtype, elements, source
        self.known: dict[Expr, Tensor] = {}

    def value(self, expr: Expr) -> Tensor:
        if expr not in self.known:
            self.known[expr] = self._compute(expr)
        return self.known[expr]

    def _compute(self, expr: Expr) -> Tensor:
        match expr:
            case Read():
                raw = _raw(expr, self.source)
                stored = TORCH_DTYPES[expr.dtype]
                return (torch.frombuffer(raw, dtype=stored) if raw else torch.empty(0, dtype=stored)).to(self.dtype)
            case Linear():
                return self._linear(expr)
            case Apply():
                return self._apply(expr)
            case Cast():
                raise AssertionError("a cast stands at the root only")

    def _linear(self, expr: Linear) -> Tensor:
        number = as_double if self.dtype == torch.float64 else as_single
        total: Tensor | None = None
        for coefficient, operand in expr.terms:
            value, factor = self.value(operand), number(coefficient)
            total = value * factor if total is None else total.add(value, alpha=factor)
        return total if total is not None else torch.zeros(self.elements, dtype=self.dtype)

    def _apply(self, expr: Apply) -> Tensor:
        values = [self.value(operand) for operand in expr.operands]
        out = torch.empty_like(values[0])
        p = SimpleNamespace(**dict(expr.parameters))
        kernel = SimpleNamespace(ops=torch, out=out, p=p, scratch=lambda: torch.empty_like(out))
        methods()[expr.kernel].tile(kernel, *values)  # pyright: ignore[reportArgumentType]
        return out


def _raw(read: Read, source: Source) -> bytearray:
    raw = bytearray(read.nbytes)
    source(read.path, read.offset, memoryview(raw))
    return raw
