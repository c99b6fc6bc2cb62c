"""The reference: whole tensors, one after the other, computed straight from the expressions.

Shares nothing with the tiled executors but the kernels, the reductions and the rounding: no tiles, no slots, no
programs. Slow and simple, and therefore what the others are tested against. Not for models that do not fit in
memory.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from mergegraph.execute.accumulators import accumulator
from mergegraph.execute.control import Control
from mergegraph.execute.factors import byte_view, product
from mergegraph.execute.finished import Finished
from mergegraph.execute.noise import draw_equal, fill_uniform
from mergegraph.execute.reduce import Scratch, feed_in_runs
from mergegraph.execute.rounding import round_once
from mergegraph.execute.scales import scale_blocks
from mergegraph.execute.views import TORCH_DTYPES, Source, read_view
from mergegraph.execute.work import Work
from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Product, Read, Stat, as_matrix
from mergegraph.methods.low_rank import factors
from mergegraph.methods.registry import kernels
from mergegraph.plan.extent import Extent
from mergegraph.plan.program import as_double, as_single, computes_in_double, extent_of
from mergegraph.plan.rooms import block_rows
from mergegraph.statistic import Found
from mergegraph.walking import reads


def for_loop(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """Every unfinished tensor, whole."""
    populations: dict[Stat, Found] = {}
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for members, _ in work.unfinished():
            for place in members:
                if control.stopping:
                    return
                tensor = work.tensor(place)
                finished = whole_tensor(tensor.root, tensor.shape, work.source, populations)
                work.finish(place, 0, tensor.element_count, finished)
                tick()
    finally:
        torch.set_num_threads(previous)


def whole_tensor(
    root: Expr, shape: tuple[int, ...], source: Source, populations: dict[Stat, Found] | None = None
) -> Finished:
    """The bytes of one output tensor, with its non-finite and overflow counts.

    `populations` keeps the statistics of whole models from one tensor to the next.
    """
    if isinstance(root, Read):
        return Finished(0, memoryview(_raw(root, source)), 0, 0)
    assert isinstance(root, Cast)
    dtype = torch.float64 if computes_in_double(reads(root)) else torch.float32
    cut = extent_of(root, shape)
    value = _Whole(dtype, cut, source, {} if populations is None else populations).value(root.operand)
    rounded = torch.empty(value.numel(), dtype=TORCH_DTYPES[root.dtype])
    return Finished(0, byte_view(rounded.view(torch.uint8)), *round_once(value, rounded))


class _Whole:
    """Expressions as new 1-D tensors of one dtype; an expression that is used twice is computed once."""

    def __init__(self, dtype: torch.dtype, cut: Extent, source: Source, populations: dict[Stat, Found]) -> None:
        self.dtype, self.cut, self.source, self.populations = dtype, cut, source, populations
        self.known: dict[Expr, Tensor] = {}
        self.found: dict[Stat, Found] = {}

    def value(self, expr: Expr) -> Tensor:
        if expr not in self.known:
            self.known[expr] = self._compute(expr)
        return self.known[expr]

    def _compute(self, expr: Expr) -> Tensor:
        match expr:
            case Read():
                raw = _raw(expr, self.source)
                stored = TORCH_DTYPES[expr.dtype]
                value = (torch.frombuffer(raw, dtype=stored) if raw else torch.empty(0, dtype=stored)).to(self.dtype)
                scale_blocks(value, expr, 0, self.source)
                return value
            case Linear():
                return self._linear(expr)
            case Apply():
                return self._apply(expr)
            case Product():
                return self._product(expr)
            case Factor():
                side = expr.side == "right"
                return factors(torch, self.value(expr.operand).view(expr.shape), rank=expr.rank)[side].to(self.dtype)
            case Joined():
                number = as_double if self.dtype == torch.float64 else as_single
                pieces = [self.value(part).view(as_matrix(part)) * number(c) for c, part in expr.terms]
                return torch.cat(pieces, dim=expr.axis).view(-1)
            case Cast():
                raise AssertionError("a cast stands at the root only")

    def _product(self, expr: Product) -> Tensor:
        left, right = self.value(expr.left).view(-1, expr.rank), self.value(expr.right).view(expr.rank, -1)
        held, rows = (left, right.t()) if expr.is_transposed else (right, left)
        out = torch.empty(len(rows), expr.columns, dtype=self.dtype)
        step = block_rows(expr.columns)
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            block = block.t().contiguous() if expr.is_transposed else block.clone()
            product(block.view(-1), held.reshape(-1), out[first : first + step], is_transposed=expr.is_transposed)
        return out.view(-1)

    def _linear(self, expr: Linear) -> Tensor:
        number = as_double if self.dtype == torch.float64 else as_single
        total: Tensor | None = None
        for coefficient, operand in expr.terms:
            value, factor = self.value(operand), number(coefficient)
            total = value * factor if total is None else total.add(value, alpha=factor)
        return total if total is not None else torch.zeros(self.cut.elements, dtype=self.dtype)

    def _apply(self, expr: Apply) -> Tensor:
        values = [self.value(operand) for operand in expr.operands]
        out = torch.empty(self.cut.elements, dtype=self.dtype)
        stats = [self._stat(each) for each in expr.stats]
        granularity = kernels()[expr.kernel].granularity
        step = self.cut.unit if granularity == "matrix" else max(self.cut.elements, 1)
        for start in range(0, max(self.cut.elements, 1), step):
            part = slice(start, start + step)
            self._call(expr, [value[part] for value in values], out[part], stats, start, granularity == "element")
        return out

    def _call(self, expr: Apply, values: list[Tensor], out: Tensor, stats: list[Found], start: int, flat: bool) -> None:
        def shaped(tensor: Tensor) -> Tensor:
            return tensor if flat else tensor.view(-1, self.cut.columns)

        def uniform(into: Tensor) -> Tensor:
            assert expr.noise is not None
            fill_uniform(into.view(-1), expr.noise.key, start, torch.empty_like(into).view(-1))
            return into

        def chosen(operand: Tensor, size: float, share: float) -> None:
            assert expr.noise is not None
            draw_equal(out.view(-1), operand.view(-1), size, share, expr.noise.key, start)

        kernel = SimpleNamespace(
            ops=torch, out=shaped(out), p=SimpleNamespace(**dict(expr.parameters)), stats=stats,
            scratch=lambda: torch.empty_like(shaped(out)), uniform=uniform, draw_equal=chosen,
        )  # fmt: skip
        kernels()[expr.kernel].tile(kernel, *map(shaped, values))  # pyright: ignore[reportArgumentType]

    def _stat(self, stat: Stat) -> Found:
        if stat.population is not None:
            if stat not in self.populations:
                self.populations[stat] = self._population(stat)
            return self.populations[stat]
        if stat not in self.found:
            tiles = tuple([self.value(operand) for operand in stat.operands])
            self.found[stat] = _reduced(stat, [(tiles, self.cut)])
        return self.found[stat]

    def _population(self, stat: Stat) -> Found:
        """Over whole tensors that are computed as if each stood alone, in one dtype."""
        assert stat.population is not None
        exprs = [expr for expr, _ in stat.population.members]
        dtype = torch.float64 if computes_in_double(reads(*exprs)) else torch.float32
        fed: list[tuple[tuple[Tensor, ...], Extent]] = []
        for expr, shape in stat.population.members:
            cut = extent_of(expr, shape)
            fed.append(((_Whole(dtype, cut, self.source, self.populations).value(expr),), cut))
        return _reduced(stat, fed)


def _reduced(stat: Stat, fed: list[tuple[tuple[Tensor, ...], Extent]]) -> Found:
    """A statistic of whole tensors, in as many passes as it takes."""
    into, scratch = accumulator(stat.kind, stat.parameters), Scratch()
    result: Found | None = None
    while result is None:
        for tiles, cut in fed:
            feed_in_runs([(into, tiles)], 0, cut.leaf, scratch)
        result = into.end_pass()
    return result


def _raw(read: Read, source: Source) -> bytearray:
    raw = bytearray(read.nbytes)
    read_view(read, 0, memoryview(raw), source)
    return raw
