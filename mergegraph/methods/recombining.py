"""Directions of several deltas put into one matrix: both sides orthogonalised together, then given singular values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mergegraph.methods.spectrum import Blocked, reciprocal, root

if TYPE_CHECKING:
    from torch import Tensor

_DEPENDENT = 3e-7
"""Of directions of length 1, what is left of one when the others are taken out of it: below this it is rounding, since
a Gram matrix in float64 tells singular values from 0 down to about 1e-8."""


def recombine(
    ops: Any,
    short: Tensor,
    along: Blocked,
    floors: Tensor,
    weigh: Callable[[Tensor], Tensor],
    out: Tensor,
    scale: float,
) -> None:
    """`out` = scale · S⊥ diag(weigh(σ)) L⊥, where S⊥ and L⊥ are the nearest orthonormal sets to the directions.

    `short` [short side, n] has the directions along the short side as columns; row i of `along` [n, long side] is
    σ_i times its direction along the long side. A direction whose σ is not above its `floors` [n] is left out; its
    σ is 0, and its column of `short` becomes 0. `weigh` gives the new singular values for σ [n].
    """
    gram = along.gram()
    values = gram.diagonal().clamp(min=0).sqrt_()
    kept = (values > floors).to(ops.float64)
    inverse = reciprocal(values, kept)
    gram.mul_(inverse).mul_(inverse[:, None])
    straight, _ = root(ops, gram, cut=_DEPENDENT)
    del gram
    straight.mul_((weigh(values * kept) * kept)[:, None]).mul_(inverse)
    short.mul_(kept)
    factor = root(ops, short.T @ short, cut=_DEPENDENT)[0] @ straight
    del straight
    along.store(short @ factor, out, scale)
