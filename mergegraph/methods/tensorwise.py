"""Methods that treat every tensor by itself, so that some can be left out of it."""

from __future__ import annotations

from pydantic import Field

from mergegraph.fields import Selector
from mergegraph.methods.base import Method


class Tensorwise(Method):
    """A method with `except:`. What is left out passes through."""

    except_: Selector | None = Field(
        default=None,
        alias="except",
        description="tensors to leave out, {match, kind, part, layers}: they are the first model's, or the mean of "
        "the deltas",
    )

    def exempts(self) -> Selector | None:
        return self.except_
