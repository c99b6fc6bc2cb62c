"""What was found out about a text. The record alone, without what finds it: the first frame has one, of nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergegraph.errors import Problem
    from mergegraph.expr import Space
    from mergegraph.graph import Graph
    from mergegraph.recipe.model import Recipe
    from mergegraph.resolve import Resolved
    from mergegraph_tui.model.outline import Outline


@dataclass(frozen=True)
class Counts:
    """What was checked, in the words of `mergegraph check`. `tensors`: those of all outputs."""

    nodes: int = 0
    models: int = 0
    tensors: int = 0


@dataclass(frozen=True)
class Checked:
    """A text and what was found out about it, each stage as far as it came.

    `outline` is None for a text that is no YAML, `recipe` for one that is no valid recipe, `graph` where the wiring is
    wrong, `resolved` where the headers do not fit (or a model is not there). `is_fine`: a run would not be refused.
    `readable`: of a recipe that is not valid the nodes that are, to draw them.
    """

    text: str
    problems: tuple[Problem, ...] = ()
    outline: Outline | None = None
    recipe: Recipe | None = None
    graph: Graph | None = None
    resolved: Resolved | None = None
    counts: Counts = Counts()
    seconds: float = 0.0
    failure: str = ""
    by_node: Mapping[str, tuple[Problem, ...]] = field(default_factory=lambda: {})
    """The problems of each node as it is written: an expression has those of its inner nodes."""
    readable: Recipe | None = None
    spaces: Mapping[str, Space] = field(default_factory=lambda: {})
    """The space of each node that can be read: a guess while there is no graph."""

    @property
    def is_fine(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def at(self, node: str, line: int = 0) -> tuple[Problem, ...]:
        """The problems of a node, or of one line of it."""
        found = self.by_node.get(node, ())
        return tuple(problem for problem in found if not line or (problem.at is not None and problem.at.line == line))
