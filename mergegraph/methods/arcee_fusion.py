"""Only the changes that matter most, by size and by what they do to the distribution of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Weights
from mergegraph.methods.base import Parameters
from mergegraph.methods.combination import Combination
from mergegraph.methods.inner import ROW, halves, widened
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.statistic import abs_quantile

if TYPE_CHECKING:
    from torch import Tensor

_FLOOR = 1e-8


class ArceeFusion(Combination):
    """Takes b where its change is important, an outlier among the changes of the tensor, and keeps a elsewhere.

    importance = |b - a| · KL, KL = sum p log(p / q) over the row, p = softmax(b) + 1e-8, q = softmax(a) + 1e-8

    b where importance >= median + 1.5 (Q3 - Q1). The quartiles are elements: of n in ascending order number
    floor(q (n-1)), from 0. KL is summed in float64 and is never below 0: between siblings its terms cancel to a
    thousandth, which float32 blurs. A row of a convolution is all that belongs to one output; a vector is one row.

    Arcee AI, "Meet MergeKit v0.1: Arcee Fusion, expanded model support, multi-GPU acceleration", 2025,
    https://www.arcee.ai/blog/meet-mergekit-v0-1-arcee-fusion-expanded-model-support-multi-gpu-acceleration
    """

    in_pieces = True
    gives = "weights"
    scratch = 1
    example = "fused: {op: arcee_fusion, a: base, b: tuned}"

    op: Literal["arcee_fusion"] = "arcee_fusion"
    a: Weights = Field(description="the model that is kept where b's change is unimportant")
    b: Weights = Field(description="the model whose important elements are taken")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        a, b = (operand for operand in inputs if operand is not None)
        importance = apply(Importance.name, (a, b), (), space)
        quartiles = [abs_quantile(importance, "ascending", q=q) for q in (0.25, 0.5, 0.75)]
        return apply(self.op, (a, b, importance), (), space, quartiles)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        a, b, importance = operands
        first, median, third = (quartile.value for quartile in k.stats)
        threshold = median + 1.5 * (third - first)
        kept = k.scratch()
        k.ops.ge(importance, threshold, out=kept)
        k.ops.mul(b, kept, out=k.out)
        k.ops.lt(importance, threshold, out=kept)
        kept.mul_(a)
        k.out.add_(kept)


class Importance(Piece):
    """|b - a| times the divergence of their rows."""

    name = "fusion_importance"
    scratch = 1
    granularity = "row"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        a, b = operands
        divergence = _divergence(k, b, a, k.out, k.scratch()).to(k.out.dtype)
        k.ops.sub(b, a, out=k.out)
        k.out.abs_().mul_(divergence)


def _divergence(k: Kernel, one: Tensor, other: Tensor, spare: Tensor, free: Tensor) -> Tensor:
    """Σ p log(p / q) of each row, p of `one` and q of `other`: float64, [rows, 1]. Overwrites `spare` and `free`."""
    scales = [_softmax_scale(k, x, spare) for x in (one, other)]
    total = k.ops.zeros_like(scales[0][0])
    for start, length in halves(one, ROW):
        p = _softmax(k, one.narrow(ROW, start, length), scales[0], spare)
        q = _softmax(k, other.narrow(ROW, start, length), scales[1], free)
        k.ops.div(p, q, out=q)
        total.add_(q.log_().mul_(p).sum(ROW, keepdim=True))
    return total.clamp_(min=0)


def _softmax_scale(k: Kernel, x: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
    """The largest element of each row, and Σ exp(x - largest)."""
    largest: Tensor = x.amax(ROW, keepdim=True).to(k.ops.float64)
    total: Tensor = k.ops.zeros_like(largest)
    for start, length in halves(x, ROW):
        part = widened(k, x.narrow(ROW, start, length), spare)
        total.add_(part.sub_(largest).exp_().sum(ROW, keepdim=True))
    return largest, total


def _softmax(k: Kernel, part: Tensor, scale: tuple[Tensor, Tensor], spare: Tensor) -> Tensor:
    """softmax + 1e-8 of part of each row, in `spare`."""
    largest, total = scale
    return widened(k, part, spare).sub_(largest).exp_().div_(total).add_(_FLOOR)
