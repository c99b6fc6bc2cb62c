"""One task vector that disturbs none of several: found by descent, or as a least-squares minimum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from mergegraph.expr import Expr, Space, Value, apply
from mergegraph.fields import Inputs, Number
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.spectrum import as_double, blocked, is_tall, largest_magnitude, root, zeros

if TYPE_CHECKING:
    from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_BLOCK_ROWS = 512


class Wudi(OverDeltas):
    """Whoever started the interference should end it: a delta whose difference from each task's delta is felt least
    by the inputs of that task, for which its own delta stands in. The result is a sum: it needs no scaling.

    y = the delta after `steps` steps of Adam at rate `lr` from sum_i d_i, on sum_i |(y - d_i) d_i^T|² / |d_i|²
    over the inputs

    Adam as published (betas 0.9 and 0.999, epsilon 1e-8), so the result depends on how large the deltas are beside
    `lr`. It takes `steps` products of a delta with a square of its columns: minutes for a large matrix.
    `solver: exact` is the minimum itself, the smallest of equals, and another result: y = sum_i d_i G_i (sum_i G_i)^+
    with G_i = d_i^T d_i / |d_i|². Tensors of fewer than two dimensions are averaged.

    Cheng et al., "Whoever started the interference should end it: guiding data-free model merging via task vectors",
    ICML 2025, arXiv 2503.08099.
    """

    granularity = "matrix"
    matrices_only = True
    scratch = 4
    example = "merged: {op: wudi, inputs: [d_code, d_chat]}"

    op: Literal["wudi"] = "wudi"
    inputs: Inputs = Field(description="deltas, or models with `base`")
    solver: Literal["adam", "exact"] = Field(default="adam", description="adam (as published), or the exact minimum")
    steps: Annotated[int, Strict(), Field(ge=0)] = Field(default=300, description="how many steps adam takes")
    lr: Annotated[Number, Field(gt=0)] = Field(default=1e-5, description="the rate of adam: how far a step goes")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        if self.solver == "exact":
            return apply(LeastDisturbance.name, self.deltas(inputs), (), space)
        parameters: tuple[tuple[str, Value], ...] = (("steps", self.steps), ("lr", self.lr))
        return apply(self.op, self.deltas(inputs), parameters, space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        products = columns * columns if rows > columns else _BLOCK_ROWS * rows
        return columns * columns + products + 2 * _BLOCK_ROWS * columns

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        """In units of the largest magnitude, or of `lr` where that is larger, so that no square overflows.

        The descent is kept as what it has moved from the start, so that small steps are not rounded away.
        """
        unit = max(largest_magnitude(k.ops, operands), k.p.lr)
        slope, at_start = k.scratch(), k.scratch()
        curvature = _quadratic(k, operands, unit, at_start, slope)
        k.out.zero_()
        first, second = k.scratch().zero_(), k.scratch().zero_()
        share1 = share2 = 1.0
        for _ in range(k.p.steps):
            share1, share2 = share1 * _BETA1, share2 * _BETA2
            k.ops.matmul(k.out, curvature, out=slope)
            slope.add_(at_start).mul_(2)
            first.mul_(_BETA1).add_(slope, alpha=1 - _BETA1)
            second.mul_(_BETA2).addcmul_(slope, slope, value=1 - _BETA2)
            k.ops.sqrt(second, out=slope)
            slope.mul_(1 / math.sqrt(1 - share2)).add_(_EPSILON / unit)
            k.out.addcdiv_(first, slope, value=-(k.p.lr / unit) / (1 - share1))
        k.out.mul_(unit)
        for delta in operands:
            k.out.add_(delta)


def _quadratic(k: Kernel, operands: Sequence[Tensor], unit: float, at_start: Tensor, spare: Tensor) -> Tensor:
    """Half the slope of the loss at s + x is x H + `at_start`, for s the sum of the deltas. Returns H = sum_i G_i.

    `at_start` = sum_i (s - d_i) G_i; x and it are over `unit`. `k.out` and `spare` are used up.
    """
    columns = k.out.shape[1]
    curvature: Tensor = k.ops.zeros((columns, columns), dtype=k.out.dtype)
    at_start.zero_()
    for index, delta in enumerate(operands):
        k.ops.div(delta, largest_magnitude(k.ops, (delta,)), out=spare)
        share = 1 / (_square(spare) or 1.0)
        k.out.zero_()
        for other in (*operands[:index], *operands[index + 1 :]):
            k.out.add_(other)
        k.out.div_(unit)
        if is_tall(spare):
            gram = spare.T @ spare
            curvature.add_(gram, alpha=share)
            at_start.addmm_(k.out, gram, alpha=share)
            continue
        curvature.addmm_(spare.T, spare, alpha=share)
        for part in _row_blocks(k.out):
            at_start[part].addmm_(k.out[part] @ spare.T, spare, alpha=share)
    return curvature


def _square(matrix: Tensor) -> float:
    """The sum of squares, in float64."""
    return sum(float(matrix[part].double().square_().sum()) for part in _row_blocks(matrix))


def _row_blocks(matrix: Tensor) -> Iterator[slice]:
    return (slice(start, start + _BLOCK_ROWS) for start in range(0, matrix.shape[0], _BLOCK_ROWS))


class LeastDisturbance(Piece):
    """The least-squares minimum of what `wudi` descends on."""

    name = "wudi_exact"
    granularity = "matrix"

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return 2 * (rows * columns + 4 * columns * columns + 2 * _BLOCK_ROWS * columns)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        rows, columns = k.out.shape
        wanted, curvature = zeros(k.ops, rows, columns), zeros(k.ops, columns, columns)
        for delta in operands:
            gram = blocked(k.ops, delta.T, scale).gram()
            gram.div_(float(gram.trace()) or 1.0)
            curvature.add_(gram)
            for part in _row_blocks(k.out):
                wanted[part].addmm_(as_double(k.ops, delta[part], scale), gram)
            del gram
        inverse, _ = root(k.ops, curvature, power=-2)
        for part in _row_blocks(k.out):
            k.out[part].copy_((wanted[part] @ inverse).mul_(scale))
