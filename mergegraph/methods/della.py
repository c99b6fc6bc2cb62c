"""Random dropping that spares large changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply, linear
from mergegraph.fields import Coefficient
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.thinning import Rescale, Thinning, density_problem, restored

if TYPE_CHECKING:
    from torch import Tensor


class DropByRank(Piece):
    """MAGPRUNE on rows: kept with a probability that grows with the rank of the magnitude in the row."""

    name = "drop_by_rank"
    scratch = 2
    granularity = "row"

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        """The ranks of a row: its magnitudes sorted, places, counts and means, mostly in 8 bytes."""
        return 14 * columns

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        chance, drawn = k.scratch(), k.scratch()
        _chances(k, delta, chance)
        k.uniform(drawn)
        k.ops.lt(drawn, chance, out=drawn)
        k.ops.mul(delta, drawn, out=k.out)
        if k.p.divided:
            k.out.div_(chance)


class DropByTensorRank(DropByRank):
    """The same with the whole tensor as one row."""

    name = "drop_by_tensor_rank"
    granularity = "matrix"

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        (delta,) = operands
        chance, drawn = k.scratch(), k.scratch()
        _chances(k, delta.view(1, -1), chance.view(1, -1))
        k.uniform(drawn)
        k.ops.lt(drawn, chance, out=drawn)
        k.ops.mul(delta, drawn, out=k.out)
        if k.p.divided:
            k.out.div_(chance)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return 14 * rows * columns


def _chances(k: Kernel, delta: Tensor, chance: Tensor) -> None:
    """The probability of each element; equal magnitudes share their mean rank. One row at a time, since the ranks
    take memory of their own."""
    columns = delta.shape[1]
    low, step = k.p.density - k.p.epsilon, 2 * k.p.epsilon / max(columns - 1, 1)
    for row, out in zip(delta, chance, strict=True):
        if columns == 1:
            out.fill_(k.p.density)
        else:
            out.copy_(_mean_ranks(k, row.abs()))
            out.mul_(step).add_(low)


def _mean_ranks(k: Kernel, sizes: Tensor) -> Tensor:
    """Ranks from 0, the smallest, as float64; equal ones share the mean of theirs."""
    _, place, count = k.ops.unique(sizes, return_inverse=True, return_counts=True)
    after = count.cumsum(0)
    means = (after - count + after - 1).double().mul_(0.5)
    return means[place]


class Della(Thinning):
    """DELLA's pruning: elements are kept with a probability from density - epsilon to density + epsilon, by rank.

    y_i = m_i d_i / p_i,  m_i ~ Bernoulli(p_i),  p_i = density - epsilon + 2 epsilon rank_i / (n - 1)

    Ranks are by magnitude, from 0, in each row of n elements (`axis: tensor`: in the whole tensor); equal magnitudes
    share their mean rank, a tensor of one dimension is one row, and a row of one element has p = density. In a 3-D
    stack the rows are those of its matrices, and with `axis: tensor` each matrix is ranked by itself. A density of 1
    keeps everything, one of 0 nothing.

    Deep et al., "DELLA-Merging: reducing interference in model merging through magnitude-based sampling", 2024,
    arXiv 2406.11617.
    """

    example = "thin: {op: della, input: d_code, density: 0.4, epsilon: 0.1}"

    op: Literal["della"] = "della"
    epsilon: Coefficient = Field(default=0.15, description="how far the probability goes above and below the density")
    axis: Literal["row", "tensor"] = Field(default="row", description="what is ranked together")
    rescale: Rescale = Field(
        default="expected", description="expected (divide each by its probability), l1 (keep the sum), none"
    )

    wiring_fields = Thinning.wiring_fields | {"axis", "rescale"}

    def objection(self, p: Parameters) -> Problem | None:
        low, high = float(p.density - p.epsilon), float(p.density + p.epsilon)
        if not 0 < p.density < 1 or (low > 0 and high < 1 and p.epsilon >= 0):
            return density_problem(float(p.density))
        return Problem(
            f"Probabilities from {low:g} to {high:g} do not lie between 0 and 1.",
            why=f"density {float(p.density):g}, epsilon {float(p.epsilon):g}",
            fix="use a smaller epsilon, or a density further from 0 and 1",
        )

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        (delta,) = self.deltas(inputs)
        if p.density >= 1:
            return delta
        if p.density <= 0:
            return linear([], "delta")
        kernel = DropByRank if self.axis == "row" else DropByTensorRank
        numbers = (("density", float(p.density)), ("epsilon", float(p.epsilon)))
        parameters = (*numbers, ("divided", self.rescale == "expected"))
        kept = apply(kernel.name, (delta,), parameters, "delta", (), p.noises[-1])
        return restored(kept, delta) if self.rescale == "l1" else kept
