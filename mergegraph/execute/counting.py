"""What is summed over the elements of one tensor, as text of TorchScript: a run is part of one call without the
interpreter's lock, however many operations it makes.

Rows are those of a matrix [rows, elements] of one compute dtype: the base where there is one, the changes τ_1 … τ_k of
the sources, and the result W*, of which τ* is taken here.
"""

from __future__ import annotations

from typing import Any

import torch

RUN_ELEMENTS = 65_536
"""Products are summed over runs of so many elements; the runs are added exactly."""
CHUNK = 1_024
"""Products in the compute dtype are of so many elements; chunks are added in float64."""
PIECE_ELEMENTS = 4_096
"""What is counted at most at a time, times rows: what it takes stays within `plan.memory.REDUCE_BYTES`."""
PIECE_NUMBERS = 4 * PIECE_ELEMENTS
SQUARES = 1 << 24
"""Squares of mantissas are summed as multiples of 1 / this, so that the sums are exact in any order."""
ONE = 1 << 40
"""An element is counted as this, beside its square, in one float64: at most 4,096 of both are exact."""

# `multiplied`: products of matrices chunk by chunk read the rows once: 0.4 ns an element for four rows, where dots took
# 1.3. Against float64 the error of a run's sum is below 1e-5 of the sum of the magnitudes (measured: 1e-7).
# `counted`: everything is a few operations over all rows, since each costs 2 microseconds beside its arithmetic.
SOURCE = f"""
def multiplied(rows: Tensor) -> Tensor:
    n = rows.size(1)
    whole = n // {CHUNK}
    found: List[Tensor] = []
    if whole > 0:
        cut = rows.narrow(1, 0, whole * {CHUNK}).view(rows.size(0), whole, {CHUNK}).transpose(0, 1)
        found.append(torch.bmm(cut, cut.transpose(1, 2)))
    if n > whole * {CHUNK}:
        rest = rows.narrow(1, whole * {CHUNK}, n - whole * {CHUNK})
        found.append(torch.mm(rest, rest.t()).unsqueeze(0))
    return torch.cat(found)


def carefully(rows: List[Tensor], changes: bool, width: int, missing: Tensor) -> Tensor:
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for first in range(0, rows[0].numel(), width):
        matrix = torch.stack([row[first : first + width] for row in rows])
        if changes:
            matrix[-1].sub_(matrix[0])
        missing.add_(torch.isfinite(matrix).logical_not_().sum(1))
        finite = matrix.to(torch.float64).nan_to_num_(0.0, 0.0, 0.0)
        total.add_(torch.mm(finite, finite.t()))
    return total


def checked(chunks: Tensor, rows: List[Tensor], changes: bool, width: int) -> Tensor:
    total = chunks.sum(0, dtype=torch.float64)
    missing = torch.zeros(len(rows), dtype=torch.float64)
    squares = total.diagonal()
    if not bool(torch.logical_and(squares >= 1e-30, squares < 1e300).all()):
        is_plain = bool(torch.isfinite(total).all())
        if is_plain:
            for i in range(len(rows)):
                if float(squares[i]) < 1e-30:
                    if changes and i == len(rows) - 1:
                        is_plain = is_plain and not bool((rows[i] != rows[0]).any())
                    else:
                        is_plain = is_plain and not bool((rows[i] != 0).any())
        if not is_plain:
            total = carefully(rows, changes, width, missing)
    return torch.cat([total.view(-1), missing])


def strips(rows: List[Tensor], inner: int, number: int, block: int, blocks: int) -> List[Tensor]:
    strip = {PIECE_ELEMENTS} // inner
    first = number % inner * strip
    return [row.narrow(0, block * {PIECE_ELEMENTS}, blocks * {PIECE_ELEMENTS}).view(blocks, {PIECE_ELEMENTS})
            .narrow(1, first, strip) for row in rows]


def counted(rows: Tensor, words: Tensor, bins: Tensor, has_base: bool, has_result: bool, k: int, like: Tensor,
            limit: float, tolerance: float) -> Tensor:
    count, is_double = rows.size(1), rows.dtype == torch.float64
    base, result = rows[0], rows[-1]
    changes = rows.narrow(0, int(has_base), k + int(has_result))
    if has_base and has_result:
        result = result.clone()
        changes[k].sub_(base)
    n = changes.size(0)
    missing, finite = torch.zeros(n, dtype=torch.float64), bool(torch.isfinite(changes.sum()))
    if not finite:
        missing = torch.isfinite(changes).logical_not_().sum(1).to(torch.float64)
        changes.nan_to_num_(0.0, 0.0, 0.0)
    size, signs, wide = changes.abs(), torch.sign(changes), changes.to(torch.float64)
    there = signs.abs()
    squares = wide * wide
    cubes = squares * wide
    found = [wide.sum(1), size.sum(1, dtype=torch.float64), cubes.sum(1),
             torch.mul(squares, squares, out=cubes).sum(1), size.amax(1).to(torch.float64)]
    both, signed = torch.mm(there, there.t()).to(torch.float64), torch.mm(signs, signs.t()).to(torch.float64)
    found += [count - missing - both.diagonal(), missing]
    found += [both.narrow(0, 0, k).narrow(1, 0, k).reshape(-1), signed.narrow(0, 0, k).narrow(1, 0, k).reshape(-1)]
    found.append(wide.narrow(0, 0, k).sum(0).abs_().sum().view(1))
    sizes = size.narrow(0, 0, k)
    largest = sizes.amax(0)
    won = (sizes == largest).to(rows.dtype)
    if k > 1:
        won.mul_(won.cumsum(0) == 1.0)
    found.append(won.mul_(torch.sign(largest)).sum(1).to(torch.float64))
    if has_result:
        sources, change = changes.narrow(0, 0, k), changes[k]
        low, high, slack = sources.amin(0), sources.amax(0), result.abs()
        if has_base:
            low.clamp_(max=0.0)
            high.clamp_(min=0.0)
            slack.add_(base.abs())
        beyond = torch.maximum(change - high, low.sub_(change))
        found.append((beyond > slack.mul_(tolerance)).sum().to(torch.float64).view(1))
        given = result if limit == 0.0 else result.clamp(-limit, limit)
        rounded = given.to(like.dtype).to(rows.dtype)
        error = (result - rounded).to(torch.float64)
        if not finite or not bool(torch.isfinite(rounded.sum())):
            error.nan_to_num_(0.0, 0.0, 0.0)
        found.append(torch.dot(error, error).view(1))
        if has_base:
            before = (base if limit == 0.0 else base.clamp(-limit, limit)).to(like.dtype).to(rows.dtype)
            found.append(torch.dot((rounded == before).to(rows.dtype), there[k]).to(torch.float64).view(1))
        else:
            found.append(torch.zeros(1, dtype=torch.float64))
    words = words.narrow(0, int(has_base), n)
    if is_double:
        place = words.bitwise_right_shift(52).bitwise_and_(2047)
        place.add_(2048 * torch.arange(n).view(-1, 1))
        words.bitwise_and_(0xFFFFFFFFFFFFF).bitwise_or_(0x3FF0000000000000)
    else:
        place = words.bitwise_right_shift(23).bitwise_and_(255)
        place.add_(256 * torch.arange(n, dtype=torch.int32).view(-1, 1))
        words.bitwise_and_(0x7FFFFF).bitwise_or_(0x3F800000)
    torch.mul(changes, changes, out=wide) if is_double else wide.copy_(changes).mul_(wide)
    wide.mul_({SQUARES}.0).round_().add_({ONE}.0)
    packed = torch.bincount(place.view(-1), wide.view(-1), minlength=bins.size(1)).to(torch.int64)
    bins[0].add_(packed.bitwise_right_shift(40))
    bins[1].add_(packed.bitwise_and_({ONE - 1}))
    return torch.cat(found)


def count_run(rows: List[Tensor], room: Tensor, words: Tensor, bins: Tensor, like: Tensor, number: int, inner: int,
              width: int, has_base: bool, has_result: bool, k: int, limit: float, tolerance: float,
              found: List[Tensor]):
    n, count = k + int(has_result), rows[0].numel()
    totals = torch.zeros(7 * n + 2 * k * k + k + 1 + 3 * int(has_result), dtype=torch.float64)
    largest = torch.zeros_like(totals)
    together = width
    if inner > 1:
        together = max(width * inner // {PIECE_ELEMENTS}, 1)
        count = count // {PIECE_ELEMENTS}
    for first in range(0, count, together):
        here = min(together, count - first)
        if inner > 1:
            cut = strips(rows, inner, number, first, here)
        else:
            cut = [row[first : first + here] for row in rows]
        m = cut[0].numel()
        sample, bits = room[: len(rows) * m].view(len(rows), m), words[: len(rows) * m].view(len(rows), m)
        for i in range(len(rows)):
            sample[i].view_as(cut[i]).copy_(cut[i])
        sums = counted(sample, bits, bins, has_base, has_result, k, like, limit, tolerance)
        totals.add_(sums)
        largest = torch.maximum(largest, sums)
    found.append(totals)
    found.append(largest)


def look_at(rows: Tensor, room: Tensor, words: Tensor, bins: Tensor, like: Tensor, number: int, inner: int, every: int,
            width: int, has_base: bool, has_result: bool, k: int, limit: float, tolerance: float,
            found: List[Tensor]):
    cut = rows.unbind(0)
    if number % every == 0:
        count_run(cut, room, words, bins, like, number // every, inner, width, has_base, has_result, k, limit,
                  tolerance, found)
    if has_base and has_result:
        rows[-1].sub_(rows[0])
    found.append(checked(multiplied(rows), cut, False, width))


def look_at_tile(rows: List[Tensor], leaf: int, block: Tensor, room: Tensor, words: Tensor, bins: Tensor, like: Tensor,
                 first_run: int, inner: int, every: int, width: int, has_base: bool, has_result: bool, k: int,
                 limit: float, tolerance: float) -> List[Tensor]:
    found: List[Tensor] = []
    count, number, changes = rows[0].numel(), first_run, has_base and has_result
    if block.numel() < len(rows) * {CHUNK}:
        block = torch.empty(len(rows) * {CHUNK}, dtype=rows[0].dtype)
    most = block.numel() // len(rows) // {CHUNK} * {CHUNK}
    for begin in range(0, count, leaf):
        end = min(begin + leaf, count)
        for first in range(begin, end, {RUN_ELEMENTS}):
            cut = [row[first : min(first + {RUN_ELEMENTS}, end)] for row in rows]
            if number % every == 0:
                count_run(cut, room, words, bins, like, number // every, inner, width, has_base, has_result, k, limit,
                          tolerance, found)
            chunks: List[Tensor] = []
            for i in range(0, cut[0].numel(), most):
                n = min(most, cut[0].numel() - i)
                matrix = block[: len(rows) * n].view(len(rows), n)
                for j in range(len(rows)):
                    matrix[j].copy_(cut[j].narrow(0, i, n))
                if changes:
                    matrix[-1].sub_(matrix[0])
                chunks.append(multiplied(matrix))
            found.append(checked(torch.cat(chunks), cut, changes, width))
            number += 1
    return found
"""

_unit: Any = None


def compiled() -> Any:
    """The functions. Made when first asked for, in a moment (10 ms)."""
    global _unit
    if _unit is None:
        _unit = torch.jit.CompilationUnit(SOURCE)
    return _unit
