"""What is summed over the elements of one tensor, as text of TorchScript: a run is part of one call without the
interpreter's lock, however many operations it makes.

Rows are those of a matrix [rows, elements] of one compute dtype: the base where there is one, the changes τ_1 … τ_k of
the sources, and the result W*, of which τ* is taken here.
"""

from __future__ import annotations

from typing import Any

import torch

from mergegraph.execute.script import functions, unoptimised
from mergegraph.plan.memory import DIRECT_STRIDE

RUN_ELEMENTS = 65_536
"""Products are summed over runs of so many elements; the runs are added exactly."""
CHUNK = 1_024
"""Products in the compute dtype are of so many elements; chunks are added in float64."""
PIECE_ELEMENTS = 4_096
"""What is counted at most at a time, times rows: what it takes stays within `plan.memory.REDUCE_BYTES`."""
PIECE_NUMBERS = 4 * PIECE_ELEMENTS
SQUARES = 1 << 24
"""Squares of mantissas are summed as multiples of 1 / this, so that the sums are exact in any order."""
TINY = 23
"""Places before the 256 of a float32: one for each power of two below the smallest that it has in full."""
ONE = 1 << 40
"""An element is counted as this, beside its square, in one float64: at most 4,096 of both are exact."""

# `multiplied`: products of matrices chunk by chunk read the rows once: 0.4 ns an element for four rows, where dots took
# 1.3. Against float64 the error of a run's sum is below 1e-5 of the sum of the magnitudes (measured: 1e-7).
# `are_zero`: a quarter of all tensors is frozen in many fine-tunes. The largest and the smallest of three rows of a run
# are found in 25 microseconds; a sum of magnitudes, which copies the rows first, took 80 more.
# `counted`: everything is a few operations over all rows, since each costs 2 microseconds beside its arithmetic.
# `count_tiny`: what a float32 has no full exponent for. It stands at the places before the others, and is nearly never
# there: then as many elements are without an exponent as are zero.
SOURCE = f"""
def multiplied(rows: Tensor) -> Tensor:
    n = rows.size(1)
    whole = n // {CHUNK}
    if whole * {CHUNK} == n:
        cut = rows.view(rows.size(0), whole, {CHUNK}).transpose(0, 1)
        return torch.bmm(cut, cut.transpose(1, 2))
    if whole == 0:
        return torch.mm(rows, rows.t()).unsqueeze(0)
    cut = rows.narrow(1, 0, whole * {CHUNK}).view(rows.size(0), whole, {CHUNK}).transpose(0, 1)
    rest = rows.narrow(1, whole * {CHUNK}, n - whole * {CHUNK})
    return torch.cat([torch.bmm(cut, cut.transpose(1, 2)), torch.mm(rest, rest.t()).unsqueeze(0)])


def carefully(rows: List[Tensor], changes: bool, width: int) -> Tensor:
    total = torch.zeros(len(rows) + 1, len(rows), dtype=torch.float64)
    for first in range(0, rows[0].numel(), width):
        matrix = torch.stack([row[first : first + width] for row in rows])
        if changes:
            matrix[-1].sub_(matrix[0])
        total[-1].add_(torch.isfinite(matrix).logical_not_().sum(1))
        finite = matrix.to(torch.float64).nan_to_num_(0.0, 0.0, 0.0)
        total[:-1].add_(torch.mm(finite, finite.t()))
    return total


def is_zero(row: Tensor) -> bool:
    return float(row.amax()) == 0.0 and float(row.amin()) == 0.0


def are_zero(total: Tensor, matrix: Tensor, rows: List[Tensor], changes: bool) -> bool:
    squares, first = total.diagonal(), 0
    while float(squares[first]) >= 1e-30:
        first += 1
    if len(rows) == 0:
        if is_zero(matrix[first:]):
            return True
        rows = matrix.unbind(0)
    for i in range(first, len(rows)):
        if float(squares[i]) < 1e-30:
            if not is_zero(rows[i] - rows[0] if changes and i == len(rows) - 1 else rows[i]):
                return False
    return True


def count_beyond(result: Tensor, products: Tensor, ceiling: float):
    low, high = torch.aminmax(result)
    if not (float(high) < ceiling and float(low) > -ceiling):
        products[-1, 0] += torch.isfinite(result).logical_and_(result.abs() >= ceiling).sum()


def add_up(chunks: Tensor, products: Tensor, matrix: Tensor, rows: List[Tensor], changes: bool, width: int):
    total = products.narrow(0, 0, products.size(1))
    torch.sum(chunks, [0], dtype=torch.float64, out=total)
    least, most = torch.aminmax(total.diagonal())
    if float(most) < 1e300 and (float(least) >= 1e-30 or are_zero(total, matrix, rows, changes)):
        return
    products[:-1].copy_(carefully(matrix.unbind(0) if len(rows) == 0 else rows, changes, width))


def count_tiny(wide: Tensor, bins: Tensor):
    mantissa, exponent = torch.frexp(wide)
    there = torch.logical_and(exponent < -125, wide != 0.0)
    place = exponent.add_(148).add_(torch.arange(0, bins.size(1), bins.size(1) // wide.size(0)).view(-1, 1))
    squares = (mantissa * mantissa).masked_select(there).mul_({4 * SQUARES}.0).round_().add_({ONE}.0)
    packed = torch.bincount(place.masked_select(there), squares, minlength=bins.size(1)).to(torch.int64)
    bins[0].add_(packed.bitwise_right_shift(40))
    bins[1].add_(packed.bitwise_and_({ONE - 1}))


def counted(rows: Tensor, words: Tensor, bins: Tensor, has_base: bool, has_result: bool, k: int, like: Tensor,
            limit: float, tolerance: float) -> Tensor:
    base, result = rows[0], rows[-1]
    changes, words = rows[int(has_base) :], words[int(has_base) :]
    if has_base and has_result:
        result = result.clone()
        changes[-1].sub_(base)
    n, missing, probe = changes.size(0), torch.zeros(changes.size(0)), float(changes.sum())
    if probe - probe != 0.0:
        missing = torch.isfinite(changes).logical_not_().sum(1).to(torch.float32)
        changes.nan_to_num_(0.0, 0.0, 0.0)
    wide, signs = changes.to(torch.float64), torch.sign(changes)
    size, there, squares = wide.abs(), signs.abs(), wide * wide
    found = [wide.sum(1), size.sum(1)]
    sources, sizes = wide[:k], size[:k]
    largest, wins = sizes[0], torch.zeros(k, sizes.size(1), dtype=torch.float32)
    for i in range(1, k):
        torch.gt(sizes[i], largest, out=wins[i])
        largest = torch.maximum(largest, sizes[i])
    anywhere = torch.gt(largest, 0.0, out=wins[0]).sum(dtype=torch.float64).view(1)
    for i in range(2, k):
        wins[1:i].mul_(1.0 - wins[i])
    beaten = wins[1:].sum(1, dtype=torch.float64)
    both = torch.mm(there, there.t())
    found += [size.amax(1), missing, both.view(-1), torch.mm(signs, signs.t()).view(-1)]
    found += [sources.sum(0).abs_().sum().view(1), sizes.size(1) - beaten.sum().view(1), beaten, anywhere]
    cubes = torch.mul(squares, wide, out=size)
    found.append(cubes.sum(1))
    found.append(squares.mul_(squares).sum(1))
    if has_result:
        change = changes[-1]
        low, high = changes[:k].amin(0), changes[:k].amax(0)
        beyond, slack = change.clone(), result.abs()
        if has_base:
            low.clamp_(max=0.0)
            high.clamp_(min=0.0)
            slack.add_(base.abs())
        beyond.clamp_(low, high).sub_(change).abs_()
        found.append(torch.gt(beyond, slack.mul_(tolerance), out=beyond).sum().view(1))
        rounded = (result if limit == 0.0 else result.clamp(-limit, limit)).to(like.dtype).to(rows.dtype)
        error = (result - rounded).to(torch.float64)
        lost = torch.dot(error, error)
        if float(lost) - float(lost) != 0.0:
            error.nan_to_num_(0.0, 0.0, 0.0)
            lost = torch.dot(error, error)
        found.append(lost.view(1))
        if has_base:
            before = (base if limit == 0.0 else base.clamp(-limit, limit)).to(like.dtype).to(rows.dtype)
            found.append(torch.dot(torch.eq(rounded, before, out=beyond), there[-1]).view(1))
        else:
            found.append(torch.zeros(1))
    if rows.dtype == torch.float64:
        place = words.bitwise_right_shift(52).bitwise_and_(2047)
        place.add_(torch.arange(0, 2048 * n, 2048).view(-1, 1))
        words.bitwise_and_(0xFFFFFFFFFFFFF).bitwise_or_(0x3FF0000000000000)
    else:
        place = words.bitwise_right_shift(23).bitwise_and_(255)
        place.add_(torch.arange({TINY}, {TINY + 256} * n, {TINY + 256}, dtype=torch.int32).view(-1, 1))
        words.bitwise_and_(0x7FFFFF).bitwise_or_(0x3F800000)
    squares.copy_(changes).mul_(squares).mul_({SQUARES}.0).round_().add_({ONE}.0)
    packed = torch.bincount(place.view(-1), squares.view(-1), minlength=bins.size(1)).to(torch.int64)
    held = torch.bitwise_right_shift(packed, 40)
    bins[0].add_(held)
    bins[1].add_(packed.bitwise_and_({ONE - 1}))
    if rows.dtype != torch.float64 and float(both.trace() + held.view(n, -1).select(1, {TINY}).sum()) != there.numel():
        count_tiny(wide, bins)
    return torch.cat(found)


def chosen(places: Tensor, run: int, stride: int, n: int) -> Tensor:
    here = places.narrow(0, run % stride * ({RUN_ELEMENTS} // stride), (n + stride - 1) // stride)
    if n % stride != 0 and int(here[-1]) >= n:
        return here[:-1]
    return here


def gather(rows: List[Tensor], places: Tensor, run: int, stride: int, room: Tensor, at: int) -> int:
    here = chosen(places, run, stride, rows[0].numel())
    for i in range(len(rows)):
        torch.index_select(rows[i], 0, here, out=room[i].narrow(0, at, here.numel()))
    return here.numel()


def count_run(rows: List[Tensor], room: Tensor, words: Tensor, bins: Tensor, places: Tensor, like: Tensor, run: int,
              stride: int, width: int, has_base: bool, has_result: bool, k: int, limit: float, tolerance: float,
              found: List[Tensor]):
    n, count = len(rows), rows[0].numel()
    here = places
    if stride > 1:
        here = chosen(places, run, stride, count)
        count = here.numel()
    totals, largest = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    for first in range(0, count, width):
        m = min(width, count - first)
        sample, bits = room[: n * m].view(n, m), words[: n * m].view(n, m)
        for i in range(n):
            if stride > 1:
                torch.index_select(rows[i], 0, here.narrow(0, first, m), out=sample[i])
            else:
                sample[i].copy_(rows[i].narrow(0, first, m))
        sums = counted(sample, bits, bins, has_base, has_result, k, like, limit, tolerance)
        if first == 0:
            totals, largest = sums, sums
        else:
            totals, largest = totals + sums, torch.maximum(largest, sums)
    found.append(totals)
    found.append(largest)


def count_sample(sample: Tensor, room: Tensor, words: Tensor, bins: Tensor, like: Tensor, width: int, has_base: bool,
                 has_result: bool, k: int, limit: float, tolerance: float) -> List[Tensor]:
    found: List[Tensor] = []
    count_run(sample.unbind(0), room, words, bins, words, like, 0, 1, width, has_base, has_result, k, limit, tolerance,
              found)
    return found


def look_at(rows: Tensor, room: Tensor, words: Tensor, bins: Tensor, products: Tensor, like: Tensor, places: Tensor,
            run: int, place: int, stride: int, ceiling: float, width: int, has_base: bool, has_result: bool, k: int,
            limit: float, tolerance: float, found: List[Tensor]):
    nothing: List[Tensor] = []
    if stride > {DIRECT_STRIDE}:
        here = chosen(places, run, stride, rows.size(1))
        room.narrow(1, place * ({RUN_ELEMENTS} // stride), here.numel()).copy_(rows.index_select(1, here))
    else:
        count_run(rows.unbind(0), room, words, bins, places, like, run, stride, width, has_base, has_result, k, limit,
                  tolerance, found)
    if ceiling > 0.0:
        count_beyond(rows[-1], products[place], ceiling)
    if has_base and has_result:
        rows[-1].sub_(rows[0])
    add_up(multiplied(rows), products[place], rows, nothing, False, width)


def look_at_tile(rows: List[Tensor], leaf: int, block: Tensor, room: Tensor, words: Tensor, bins: Tensor,
                 products: Tensor, like: Tensor, places: Tensor, first_run: int, stride: int, ceiling: float,
                 width: int, has_base: bool, has_result: bool, k: int, limit: float,
                 tolerance: float) -> List[Tensor]:
    found: List[Tensor] = []
    count, place, at, changes = rows[0].numel(), 0, 0, has_base and has_result
    if block.numel() < len(rows) * {CHUNK}:
        block = torch.empty(len(rows) * {CHUNK}, dtype=rows[0].dtype)
    most = block.numel() // len(rows) // {CHUNK} * {CHUNK}
    for begin in range(0, count, leaf):
        end = min(begin + leaf, count)
        for first in range(begin, end, {RUN_ELEMENTS}):
            cut = [row[first : min(first + {RUN_ELEMENTS}, end)] for row in rows]
            run = first_run + place
            if stride > {DIRECT_STRIDE}:
                at += gather(cut, places, run, stride, room, at)
            else:
                count_run(cut, room, words, bins, places, like, run, stride, width, has_base, has_result, k, limit,
                          tolerance, found)
            if ceiling > 0.0:
                count_beyond(cut[-1], products[place], ceiling)
            chunks: List[Tensor] = []
            for i in range(0, cut[0].numel(), most):
                n = min(most, cut[0].numel() - i)
                matrix = block[: len(rows) * n].view(len(rows), n)
                for j in range(len(rows)):
                    matrix[j].copy_(cut[j].narrow(0, i, n))
                if changes:
                    matrix[-1].sub_(matrix[0])
                chunks.append(multiplied(matrix))
            add_up(torch.cat(chunks), products[place], block, cut, changes, width)
            place += 1
    return found
"""
"""What `counted` gives, in this order, n changes of k sources: Σ τ, Σ |τ|, max |τ|, what is missing (n each); elements
where two are not zero, Σ of the product of their signs (n² each); Σ |Σ τ_i|; how often each is the largest (k), the
first where all are zero; elements where any is not zero; Σ τ³, Σ τ⁴ (n each); where there is a result elements outside,
Σ of squared rounding, elements rounded away."""

_unit: Any = None
_WARM_ELEMENTS = 2 * CHUNK


def compiled() -> Any:
    """The functions. Made when first asked for, in a moment (10 ms)."""
    global _unit
    if _unit is None:
        _unit = functions(SOURCE)
    return _unit


def warm_up() -> None:
    """Count a few elements, so that what torch and the functions set up is there before anything is measured."""
    places = torch.zeros(0, dtype=torch.int32)
    for dtype, words in ((torch.float32, torch.int32), (torch.float64, torch.int64)):
        rows = torch.linspace(-1, 1, 3 * _WARM_ELEMENTS, dtype=dtype).view(3, -1)
        room = torch.empty(3 * _WARM_ELEMENTS, dtype=dtype)
        bins = torch.zeros(2, 2 * 2_048 if dtype == torch.float64 else 2 * (TINY + 256), dtype=torch.int64)
        with unoptimised():
            compiled().look_at_tile(
                list(rows.unbind(0)), RUN_ELEMENTS, rows.view(-1).clone(), room, room.view(words), bins,
                torch.zeros(1, 5, 3, dtype=torch.float64), rows[0, :0], places, 0, 1, 1.0, _WARM_ELEMENTS, True, True,
                1, 0.0, 0.0,
            )  # fmt: skip
