"""Computes nothing: for outputs whose tensors are all on disk, where one that is not must not be made unasked."""

from __future__ import annotations

from collections.abc import Callable

from mergegraph.errors import Problem, RunError
from mergegraph.execute.control import Control
from mergegraph.execute.work import Work


def nothing(work: Work, control: Control, tick: Callable[[], None]) -> None:
    """RunError when there is a tensor to compute."""
    for members, _ in work.unfinished():
        output, tensor = work.plan.outputs[members[0][0]], work.tensor(members[0])
        raise RunError(
            Problem(
                "A tensor is not on disk, though its shard was complete.",
                at=output.at,
                node=output.node,
                tensor=tensor.name,
                why="its record was not believed: another process changed the folder meanwhile",
                fix="mergegraph run RECIPE, which computes what is missing",
            )
        )
