"""perpendicular and match_norm: directions and lengths of one or two tensors."""

from __future__ import annotations

from torch import Tensor

from tests.methods.references import Case


def _perpendicular(delta: Tensor, along: Tensor) -> Tensor:
    unit = along / along.norm()
    return delta - (delta * unit).sum() * unit


def _rows_matched(x: Tensor, to: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True) * to.norm(dim=1, keepdim=True)


CASES = (
    Case("{op: perpendicular, input: d, along: a}", _perpendicular),
    Case("{op: perpendicular, base: w, input: x, along: y}", lambda w, x, y: _perpendicular(x - w, y - w)),
    Case("{op: match_norm, input: x, to: y}", lambda x, y: x / x.norm() * y.norm()),
    Case("{op: match_norm, input: x, to: y, axis: row}", _rows_matched),
)
