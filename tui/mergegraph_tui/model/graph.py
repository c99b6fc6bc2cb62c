"""What is drawn of a merge: its nodes as a person wrote them, each with its inputs, its value and its state.

A `DrawnGraph` is a plain value. `reading.graph_of` makes one from a Recipe, whether its graph can be built or not
(then spaces are as far as they can be told), or from a built Graph (then only what some save needs). An expression is
one node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mergegraph.expr import Space

Family: TypeAlias = Literal["source", "delta", "one-input", "merge", "sink"]
Status: TypeAlias = Literal["", "waiting", "running", "done", "error", "warning"]


@dataclass(frozen=True, slots=True)
class DrawnInput:
    """A wire that enters a node. `port` is the field it is written in; `note` what is said of it: `weight: 0.6`."""

    source: str
    port: str = "inputs"
    note: str = ""

    @property
    def is_base(self) -> bool:
        return self.port == "base"


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """One box. `summary`: what it does, in lines of no fixed width. `progress`: 0 to 1 while a run goes on.

    `accepts`: the spaces that its inputs may have; none for what reads files. `formula`: whether `summary` is one.
    """

    name: str
    op: str
    family: Family
    summary: tuple[str, ...] = ()
    inputs: tuple[DrawnInput, ...] = ()
    space: Space = "weights"
    accepts: frozenset[Space] = frozenset()
    formula: bool = False
    skipped: bool = False
    status: Status = ""
    progress: float | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(wire.source for wire in self.inputs)


@dataclass(frozen=True, slots=True)
class State:
    """What a run or a check says of a node."""

    status: Status = ""
    progress: float | None = None


@dataclass(frozen=True)
class DrawnGraph:
    """Nodes by name, each after what it reads but where there is a cycle."""

    nodes: Mapping[str, DrawnNode] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, nodes: Iterable[DrawnNode]) -> DrawnGraph:
        return cls(MappingProxyType({node.name: node for node in nodes}))

    def inputs(self) -> dict[str, Sequence[str]]:
        """What each node reads."""
        return {name: node.sources for name, node in self.nodes.items()}

    def with_states(self, states: Mapping[str, State]) -> DrawnGraph:
        """The same graph with these states; a node that is not named has none."""
        return DrawnGraph.of(_in_state(node, states.get(node.name, State())) for node in self.nodes.values())


def _in_state(node: DrawnNode, state: State) -> DrawnNode:
    if (node.status, node.progress) == (state.status, state.progress):
        return node
    return replace(node, status=state.status, progress=state.progress)
