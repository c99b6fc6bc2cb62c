"""Deltas that agree on a sign are combined; those that disagree are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mergegraph.expr import Expr, Space
from mergegraph.methods.base import Parameters
from mergegraph.methods.electing import Electing


class Elect(Electing):
    """The election of TIES: for each element a sign is elected, and only the deltas of that sign count.

    s = sign(sum_i weight_i d_i);  y = sum_i weight_i d_i / sum_i weight_i over the inputs with sign(weight_i d_i) = s

    `sign: count` elects by the number of deltas of each sign instead of their mass; a sum of zero counts as plus.
    `combine: sum` leaves out the division. `vote: unweighted` leaves the weights out of the election.

    Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023, arXiv 2306.01708.
    """

    example = "agreed: {op: elect, inputs: [d_code, {from: d_chat, weight: 0.5}]}"

    op: Literal["elect"] = "elect"

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return self.elected(self.deltas(inputs), p)
