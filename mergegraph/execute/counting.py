"""What is summed over the elements of one tensor, as two functions of TorchScript: each is one call without the
interpreter's lock, however many operations it makes.

Rows are 1-D tensors of one compute dtype: the changes τ_1 … τ_k of the sources, then that of the result.
"""

from __future__ import annotations

from typing import Any

import torch

RUN_ELEMENTS = 65_536
"""Products are summed over runs of so many elements; the runs are added exactly."""
PIECE_ELEMENTS = 4_096
"""What is counted at most at a time, times rows: what it takes stays within `plan.memory.REDUCE_BYTES`."""
PIECE_NUMBERS = 4 * PIECE_ELEMENTS
EXPONENTS = 2_048
"""Of a float64. The exponent e stands at e + 1023; zero and what is subnormal in float64 at 0."""
SQUARES = 1 << 24
"""Squares of mantissas are summed as multiples of 1 / this, so that the sums are exact in any order."""
ONE = 1 << 40
"""An element is counted as this, beside its square, in one float64: at most 4,096 of both are exact."""

# Products are float32 where the tiles are. Against float64 the error of a run's sum is below 1e-5 of the sum of the
# magnitudes (measured: 1e-6). One product of matrices in place of the dots was no faster, and less exact.
_SOURCE = """
def products(cut: List[Tensor], product: Tensor, is_aligned: bool) -> Tensor:
    found: List[Tensor] = []
    for i in range(len(cut)):
        for j in range(i, len(cut)):
            if is_aligned:
                found.append(torch.dot(cut[i], cut[j]))
            else:
                both = product[: cut[i].numel()]
                torch.mul(cut[i], cut[j], out=both)
                found.append(both.sum())
    return torch.stack(found)


def counted(changes: Tensor, bits: Tensor, base: Optional[Tensor], result: Optional[Tensor], k: int, dtype: int,
            limit: float, tolerance: float) -> Tuple[Tensor, Tensor]:
    rows, count = changes.size(0), changes.size(1)
    missing = torch.zeros(rows, dtype=torch.float64)
    if not bool(torch.isfinite(changes.sum())):
        missing = torch.isfinite(changes).logical_not_().sum(1).to(torch.float64)
        changes.nan_to_num_(0.0, 0.0, 0.0)
    size, squares, signs = changes.abs(), changes * changes, torch.sign(changes)
    there, mask = signs.abs(), torch.empty_like(changes[0])
    cubes = squares * changes
    found = [changes.sum(1), size.sum(1), cubes.sum(1), torch.mul(squares, squares, out=cubes).sum(1), size.amax(1),
             count - missing - there.sum(1), missing]
    sources, sizes, signs, there = changes[:k], size[:k], signs[:k], there[:k]
    found += [torch.mm(there, there.t()).view(-1), torch.mm(signs, signs.t()).view(-1)]
    found.append(sources.sum(0).abs_().sum().view(1))
    largest = sizes.amax(0)
    open = torch.sign(largest)
    for i in range(k):
        torch.eq(sizes[i], largest, out=mask)
        mask.mul_(open)
        open.sub_(mask)
        found.append(mask.sum().view(1))
    if result is not None:
        exact, change = result.to(torch.float64), changes[k]
        low, high, slack = sources.amin(0), sources.amax(0), exact.abs()
        if base is not None:
            low.clamp_(max=0.0)
            high.clamp_(min=0.0)
            slack.add_(base.abs())
        slack.mul_(tolerance)
        torch.lt(change, low.sub_(slack), out=mask)
        torch.gt(change, high.add_(slack), out=low)
        found.append(mask.add_(low).sum().view(1))
        rounded = (result if limit == 0.0 else result.clamp(-limit, limit)).to(dtype)
        error = exact - rounded
        if not bool(torch.isfinite(error.sum())):
            error.nan_to_num_(0.0, 0.0, 0.0)
        found.append(torch.dot(error, error).view(1))
        if base is not None:
            before = (base if limit == 0.0 else base.clamp(-limit, limit)).to(dtype)
            torch.eq(rounded.to(result.dtype), before.to(result.dtype), out=mask)
            found.append(torch.dot(mask, torch.sign(change).abs_()).view(1))
        else:
            found.append(torch.zeros(1, dtype=torch.float64))
    place = bits.bitwise_right_shift(52)
    place.bitwise_and_(2047)
    place += 2048 * torch.arange(rows).view(-1, 1)
    bits.bitwise_and_(0xFFFFFFFFFFFFF).bitwise_or_(0x3FF0000000000000)
    square = changes.mul_(changes).mul_(16777216.0).round_().add_(1099511627776.0)
    return torch.cat(found), torch.bincount(place.view(-1), square.view(-1), minlength=2048 * rows)


def count_run(rows: List[Tensor], doubles: Tensor, bits: Tensor, bins: Tensor, width: int, inner: int, number: int,
              has_base: bool, has_result: bool, k: int, dtype: int, limit: float,
              tolerance: float) -> Tuple[Tensor, Tensor]:
    count, strip = rows[0].numel(), 4096 // inner
    if inner > 1:
        first = number % inner * strip
        rows = [row[: count // 4096 * 4096].view(-1, 4096)[:, first : first + strip].reshape(-1) for row in rows]
        count = rows[0].numel()
    n = k + int(has_result)
    totals = torch.zeros(7 * n + 2 * k * k + k + 1 + 3 * int(has_result), dtype=torch.float64)
    largest = torch.zeros_like(totals)
    for first in range(0, count, width):
        here = [row[first : first + width] for row in rows]
        m = here[0].numel()
        changes, words = doubles[: n * m].view(n, m), bits[: n * m].view(n, m)
        base: Optional[Tensor] = None
        result: Optional[Tensor] = None
        if has_base:
            base = here[0]
        for i in range(k):
            changes[i].copy_(here[i + int(has_base)])
        if has_result:
            result = here[-1]
            if has_base:
                changes[k].copy_(here[-1] - here[0])
            else:
                changes[k].copy_(here[-1])
        sums, found = counted(changes, words, base, result, k, dtype, limit, tolerance)
        packed = found.to(torch.int64)
        bins[0].add_(packed.bitwise_right_shift(40))
        bins[1].add_(packed.bitwise_and_(1099511627775))
        bins[2, 0].add_(m)
        totals.add_(sums)
        largest = torch.maximum(largest, sums)
    return totals, largest


def measured(rows: List[Tensor], leaf: int, run: int, first_run: int, inner: int, every: int, change: Tensor,
             product: Tensor, doubles: Tensor, bits: Tensor, bins: Tensor, width: int, has_base: bool, has_result: bool,
             is_aligned: bool, k: int, dtype: int, limit: float,
             tolerance: float) -> Tuple[Tensor, List[Tensor], List[Tensor]]:
    found: List[Tensor] = []
    totals: List[Tensor] = []
    largest: List[Tensor] = []
    count, number = rows[0].numel(), first_run
    for begin in range(0, count, leaf):
        end = min(begin + leaf, count)
        for first in range(begin, end, run):
            last = min(first + run, end)
            cut = [row[first:last] for row in rows]
            changes = cut
            if has_base and has_result:
                changed = change[: last - first]
                torch.sub(cut[-1], cut[0], out=changed)
                changes = cut[:-1] + [changed]
            found.append(products(changes, product, is_aligned))
            if number % every == 0:
                total, most = count_run(cut, doubles, bits, bins, width, inner, number // every, has_base, has_result,
                                        k, dtype, limit, tolerance)
                totals.append(total)
                largest.append(most)
            number += 1
    return torch.stack(found).to(torch.float64), totals, largest
"""

_unit: Any = None


def compiled() -> Any:
    """The function `measured`, with what it needs. Made when first asked for, in a moment (10 ms)."""
    global _unit
    if _unit is None:
        _unit = torch.jit.CompilationUnit(_SOURCE)
    return _unit
