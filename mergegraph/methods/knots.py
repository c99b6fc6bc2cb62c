"""Task vectors merged in one basis of outputs that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Coefficient, Inputs
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel, Piece
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.spectrum import (
    Blocked,
    blocked,
    blocked_sum,
    column_blocks,
    eigen,
    largest_magnitude,
    room,
    zeros,
)
from mergegraph.methods.thinning import density_problem

if TYPE_CHECKING:
    from torch import Tensor

_CUT = 1e-4
_BLOCK_ROWS = 256


class Knots(OverDeltas):
    """The deltas side by side have one singular value decomposition; what is each delta's own in it, V_i, is merged.

    y = U Sigma merge(V_1, …, V_T)^T, with [d_1 … d_T] = U Sigma [V_1 … V_T]^T over the inputs, without directions
    below 1e-4 of the strongest

    `combine: mean` is the plain mean, but for those directions. `combine: ties` keeps of each V_i the elements that
    are its `density` largest by magnitude (all that are as large as the smallest kept), elects the sign of their sum,
    and averages those that have it; a sum of zero elects none, since the signs of singular vectors mean nothing.
    Tensors of fewer than two dimensions are averaged.

    Stoica et al., "Model merging with SVD to tie the KnOTS", ICLR 2025, arXiv 2410.19735.
    """

    matrices_only = True
    example = "merged: {op: knots, inputs: [d_code, d_chat], combine: ties, density: 0.3}"

    op: Literal["knots"] = "knots"
    inputs: Inputs = Field(description="deltas, or models with `base`")
    combine: Literal["mean", "ties"] = Field(default="mean", description="how the parts are merged: mean, ties")
    density: Coefficient = Field(default=1.0, description="the share that ties keeps of every part")

    def objection(self, p: Parameters) -> Problem | None:
        if self.combine == "mean" and p.density != 1:
            return Problem(
                f"A density of {float(p.density):g} changes nothing here.",
                why="only `combine: ties` leaves elements out",
                fix="add `combine: ties`, or remove `density`",
            )
        return density_problem(float(p.density))

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        if self.combine == "mean":
            return apply(TiedMean.name, self.deltas(inputs), (), space)
        return apply(TiedElection.name, self.deltas(inputs), (("density", float(p.density)),), space)


class TiedMean(Piece):
    """The mean of the deltas in the directions that are kept."""

    name = "knots_mean"
    granularity = "matrix"

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        side = min(rows, operands * columns)
        return room(4, side, max(side, columns))

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        basis = _Basis(k.ops, operands, scale)
        if basis.of_rows:
            total = blocked_sum(k.ops, operands, scale)
            total.store(basis.vectors @ basis.vectors.T, k.out, scale / len(operands))
        else:
            parts = basis.vectors.view(len(operands), k.out.shape[1], -1)
            basis.rebuild(parts.mean(0).T, k.out)


class TiedElection(Piece):
    """TIES on the parts V_i of a common decomposition."""

    name = "knots_ties"
    granularity = "matrix"

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        side = min(rows, operands * columns)
        part = side * columns
        held = (operands + 4) * part + 2 * (operands + 2) * min(_BLOCK_ROWS, side) * columns
        return max(room(4, side, max(side, columns)), room(2, side, max(side, columns)) + held)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        basis = _Basis(k.ops, operands, largest_magnitude(k.ops, operands))
        shape = (len(operands), len(basis.values), k.out.shape[1])
        parts: Tensor = k.ops.empty(shape, dtype=k.out.dtype)
        for into, part in zip(parts, basis.parts(), strict=True):
            for columns in column_blocks(part.columns):
                into[:, columns].copy_(part.block(columns))
            _trim(into, k.p.density)
        for start in range(0, shape[1], _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            parts[0, rows] = _elected(parts[:, rows])
        basis.rebuild(parts[0], k.out)


def _trim(part: Tensor, density: float) -> None:
    """The `density` largest elements are kept, and those that are as large as the smallest of them."""
    if density >= 1 or not part.numel():
        return
    if density <= 0:
        part.zero_()
        return
    count = max(1, int(density * part.numel()))
    smallest = float(part.abs().view(-1).kthvalue(part.numel() - count + 1).values)
    for start in range(0, len(part), _BLOCK_ROWS):
        rows = part[start : start + _BLOCK_ROWS]
        rows.mul_(rows.abs() >= smallest)


def _elected(parts: Tensor) -> Tensor:
    """The mean of those of `parts` [T, rows, columns] that have the sign of their sum."""
    agrees = (parts * parts.sum(0).sign_()) > 0
    return (parts * agrees).sum(0).div_(agrees.sum(0).clamp_(min=1))


class _Basis:
    """The decomposition of deltas side by side. Where these are wider than high together, `vectors` are U [rows, r];
    else the V_i below each other [T · columns, r]. `values` [r] are the singular values, over `scale`."""

    def __init__(self, ops: Any, deltas: Sequence[Tensor], scale: float) -> None:
        self.ops, self.scale, self.columns = ops, scale, deltas[0].shape[1]
        self.matrices = [blocked(ops, delta, scale) for delta in deltas]
        self.upright = [blocked(ops, delta.T, scale) for delta in deltas]
        self.of_rows = deltas[0].shape[0] <= len(deltas) * self.columns
        squares, vectors = eigen(ops, self._gram_of_rows() if self.of_rows else self._gram_of_columns())
        dropped = int((squares <= _CUT * _CUT * squares[-1:]).sum())
        self.vectors, self.values = vectors[:, dropped:], squares[dropped:].sqrt()

    def _gram_of_rows(self) -> Tensor:
        total = zeros(self.ops, self.matrices[0].rows, self.matrices[0].rows)
        for matrix in self.matrices:
            matrix.gram(added_to=total)
        return total

    def _gram_of_columns(self) -> Tensor:
        total = zeros(self.ops, len(self.upright) * self.columns, len(self.upright) * self.columns)
        for row, left in enumerate(self.upright):
            for column, right in enumerate(self.upright):
                total[self._place(row), self._place(column)] = left.cross(right)
        return total

    def _place(self, index: int) -> slice:
        return slice(index * self.columns, (index + 1) * self.columns)

    def parts(self) -> Iterator[Blocked]:
        """V_i^T of each delta, [r, columns]."""
        rank = len(self.values)
        shared = (self.vectors / self.values).T
        for index, matrix in enumerate(self.matrices):
            own = self.vectors[self._place(index)].T
            block = partial(_product, shared, matrix) if self.of_rows else partial(_columns, own)
            yield Blocked(self.ops, rank, self.columns, block)

    def rebuild(self, merged: Tensor, out: Tensor) -> None:
        """`out` = U Σ merged, for `merged` [r, columns]. U Σ is the sum of d_i V_i where only the V_i are known."""
        if self.of_rows:
            weighted = self.vectors * self.values
            for part in column_blocks(self.columns):
                out[:, part].copy_((weighted @ merged[:, part].double()).mul_(self.scale))
            return
        factors = [merged.double().T @ self.vectors[self._place(i)].T for i in range(len(self.upright))]
        for part in column_blocks(out.shape[0]):
            total = factors[0] @ self.upright[0].block(part)
            for factor, matrix in zip(factors[1:], self.upright[1:], strict=True):
                total.addmm_(factor, matrix.block(part))
            out.T[:, part].copy_(total.mul_(self.scale))


def _product(factor: Tensor, matrix: Blocked, part: slice) -> Tensor:
    return factor @ matrix.block(part)


def _columns(matrix: Tensor, part: slice) -> Tensor:
    return matrix[:, part]
