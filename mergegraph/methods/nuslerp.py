"""Two inputs by weight along the great circle between them: whole tensors, rows or columns."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import WeightedInput
from mergegraph.methods.base import Parameters
from mergegraph.methods.inner import COLUMN, ROW, grams
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.on_sphere import OnSphere, outside
from mergegraph.methods.sphere import arc, gram

if TYPE_CHECKING:
    from torch import Tensor

_SUM_IS_ZERO_BELOW = Fraction(1, 10**6)
_PIECES = {"tensor": "nuslerp", "row": "nuslerp_rows", "column": "nuslerp_columns"}


class NuSlerp(OnSphere):
    """Spherical interpolation between two inputs with weights: one angle for each tensor, row or column.

    y = sin((1-t) w) / sin(w) a + sin(t w) / sin(w) b,  t = weight_b / (weight_a + weight_b),  a and b the two inputs

    w is the angle between a and b along `axis`. Where 1 - cos² w is 0 to rounding, or one of them is zero, the straight
    line (1-t) a + t b. Weights with a sum of about 0 give t = 0.5. Models give weights and deltas a delta; with `base`
    the deltas are formed first, and the result is a delta.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; with weights and axes: Goddard et al.,
    "Arcee's MergeKit", EMNLP 2024, arXiv 2403.13257.
    """

    example = "mid: {op: nuslerp, inputs: [{from: a, weight: 0.7}, {from: b, weight: 0.3}]}"

    op: Literal["nuslerp"] = "nuslerp"
    inputs: Annotated[
        tuple[WeightedInput, ...], Field(min_length=2, max_length=2, description="two models, or two deltas")
    ]
    axis: Literal["tensor", "row", "column"] = Field(
        default="tensor", description="what has an angle of its own; a tensor of one row has one"
    )

    def share(self, p: Parameters) -> Fraction:
        """How far to go from the first input to the second."""
        first, second = self.weights(p)
        return second / (first + second) if abs(first + second) >= _SUM_IS_ZERO_BELOW else Fraction(1, 2)

    def objection(self, p: Parameters) -> Problem | None:
        t = self.share(p)
        return None if 0 <= t <= 1 else outside(f"t = {float(t):g}")

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        pair = self.deltas(inputs)
        stats = gram(pair) if self.axis == "tensor" else ()
        return apply(_PIECES[self.axis], pair, (("t", float(self.share(p))),), space, stats)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        a, b = operands
        aa, ab, bb = k.stats
        of_a, of_b = arc(aa, bb, ab, k.p.t)
        k.ops.mul(a, of_a, out=k.out)
        k.out.add_(b, alpha=of_b)


class Rows(Piece):
    """An angle for each row."""

    name = "nuslerp_rows"
    scratch = 1
    granularity = "row"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        _each(k, operands, ROW, k.scratch())


class Columns(Piece):
    """An angle for each column; a matrix of one row, and so a vector, has one."""

    name = "nuslerp_columns"
    scratch = 1
    granularity = "matrix"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        _each(k, operands, COLUMN if operands[0].shape[0] > 1 else ROW, k.scratch())

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        """Partial sums in float64 and the two coefficients of each column."""
        return 8 * columns


def _each(k: Kernel, operands: Sequence[Tensor], dim: int, spare: Tensor) -> None:
    """The interpolation with an angle for each row or column."""
    a, b = operands
    shares = [arc(aa, bb, ab, k.p.t) for aa, ab, bb in grams(k, operands, dim, k.out, spare)]
    of_a, of_b = k.ops.tensor(shares, dtype=k.out.dtype, device=k.out.device).view(-1, 2).unbind(1)
    k.ops.mul(a, of_a.unsqueeze(dim), out=k.out)
    k.ops.mul(b, of_b.unsqueeze(dim), out=spare)
    k.out.add_(spare)
