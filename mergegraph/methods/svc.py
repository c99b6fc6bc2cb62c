"""A merged task vector with the directions calmed that several tasks have counted more than once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mergegraph.expr import Expr, Space, apply
from mergegraph.fields import Either, Inputs, Number
from mergegraph.methods.base import Parameters
from mergegraph.methods.kernel import Kernel
from mergegraph.methods.over_deltas import OverDeltas
from mergegraph.methods.spectrum import (
    NEGLIGIBLE,
    Blocked,
    blocked,
    column_blocks,
    eigen,
    is_tall,
    largest_magnitude,
    reciprocal,
    room,
    wide,
    zeros,
)

if TYPE_CHECKING:
    from torch import Tensor


class Svc(OverDeltas):
    """Singular value calibration, after a merge: each singular value of the merged delta is divided by how much
    stronger the merge is in that output direction than its tasks are, on average over the tasks.

    gamma_r = K / sum_i max(alpha, <a_r, a_ri> / |a_ri|²), a_r = u_r^T input, a_ri = u_r^T d_i for the K deltas of `of`;
    y = sum_r gamma_r sigma_r u_r v_r^T, with input = sum_r sigma_r u_r v_r^T

    With `alpha: 1` directions are only ever weakened; the paper takes 1/K, which strengthens weak ones too, and 1 after
    tsv. A task that has nothing in a direction (a_ri below a millionth of d_i) counts as alpha there. Tensors of fewer
    than two dimensions are the input's.

    Li et al., "When shared knowledge hurts: spectral over-accumulation in model merging", ICML 2026, arXiv 2602.05536.
    """

    granularity = "matrix"
    matrices_only = True
    example = "calm: {op: svc, input: merged, of: [d_code, d_chat]}"

    op: Literal["svc"] = "svc"
    input: Either = Field(description="the merged delta; with `base`, a model")
    of: Inputs = Field(description="the deltas it was merged from, or models with `base`")
    alpha: Annotated[Number, Field(gt=0)] = Field(default=1.0, description="the least a task counts in the division")

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        return self.deltas(inputs)[0]

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return apply(self.op, self.deltas(inputs), (("alpha", self.alpha),), space)

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        return room(4, rows, columns)

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        scale = largest_magnitude(k.ops, operands)
        merged, *tasks = [blocked(k.ops, wide(delta), scale) for delta in operands]
        squares, directions = eigen(k.ops, merged.gram())
        responses = _tall_responses if is_tall(k.out) else _wide_responses
        counted = zeros(k.ops, 1, merged.rows)[0]
        for task in tasks:
            along, own = responses(k.ops, merged, task, squares, directions)
            heard = (own.sqrt() > NEGLIGIBLE * task.norm()).to(k.ops.float64)
            counted.add_((along * reciprocal(own, heard)).clamp_(min=k.p.alpha))
        gamma = len(tasks) / counted
        merged.store((directions * gamma) @ directions.T, wide(k.out), scale)


def _wide_responses(
    ops: Any, merged: Blocked, task: Blocked, squares: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """(<a_r, a_ri>, |a_ri|²) for each direction of the rows, which are the short side."""
    along, own = zeros(ops, 2, merged.rows)
    for columns in column_blocks(merged.columns):
        theirs = directions.T @ task.block(columns)
        own.add_(theirs.square().sum(1))
        along.add_((directions.T @ merged.block(columns)).mul_(theirs).sum(1))
    return along, own


def _tall_responses(
    ops: Any, merged: Blocked, task: Blocked, squares: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where the rows are the long side: u_r = d v_r / sigma_r for the directions v_r of the short side.

    Then a_r = sigma_r v_r, and a_ri = v_r^T (d^T d_i) / sigma_r.
    """
    theirs = directions.T @ merged.cross(task)
    present = (squares > NEGLIGIBLE * NEGLIGIBLE * squares.sum()).to(ops.float64)
    own = theirs.square().sum(1) * reciprocal(squares, present)
    return theirs.mul_(directions.T).sum(1) * present, own
