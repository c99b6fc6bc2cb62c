"""Only the largest changes of a task vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mergegraph.expr import Expr, Space
from mergegraph.methods.base import Parameters
from mergegraph.methods.largest import trimmed
from mergegraph.methods.thinning import Rescale, Thinning


class Trim(Thinning):
    """The k largest elements by magnitude; all others become zero.

    k = max(1, floor(density n));  y_i = d_i where |d_i| is among the k largest, else 0

    `scope: model` ranks over all tensors of the node together. Of c elements that are equally large where only m
    more are wanted, each is kept with probability m/c, by a hash of its place.

    Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023, arXiv 2306.01708.
    """

    example = "strong: {op: trim, input: d_code, density: 0.3}"

    op: Literal["trim"] = "trim"
    scope: Literal["tensor", "model"] = Field(default="tensor", description="what the largest are found among")
    rescale: Rescale = Field(default="none", description="none, l1 (keep the sum of magnitudes), expected (1/density)")

    def gathered(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Sequence[Expr]:
        return self.deltas(inputs) if self.scope == "model" else ()

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        (delta,) = self.deltas(inputs)
        over = p.populations[0] if self.scope == "model" else None
        return trimmed(delta, float(p.density), self.rescale, p.noises[-1], over)
