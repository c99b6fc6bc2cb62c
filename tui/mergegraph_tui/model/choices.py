"""What can be done next: the operations that may follow a node, best first; the nodes that a wire may go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mergegraph.cli.signature import inputs_text, result_text
from mergegraph.errors import Problem
from mergegraph.methods.base import Method
from mergegraph.methods.registry import methods
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.fields import summary_of
from mergegraph_tui.model.outline import EXPRESSION, Outline, class_of
from mergegraph_tui.model.ports import ports_of
from mergegraph_tui.model.wires import no_wire

_FIRST: Mapping[str, tuple[str, ...]] = {
    "weights": ("delta", "soup", "slerp", "sum", "save", "ties", "dare", "scale"),
    "delta": ("scale", "sum", "ties", "dare", "trim", "elect", "negate", "soup"),
    "": ("load", "delta", "scale", "sum", "soup", "save"),
}
"""What people reach for first, after a model, after a task vector, and in an empty recipe."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A line of the picker. `fits`: whether it takes the chosen node; `takes` and `gives` are spaces in words."""

    op: str
    summary: str
    takes: str
    gives: str
    fits: bool


def space_of(checked: Checked, node: str) -> Literal["weights", "delta", ""]:
    """The space of a node: from the check, else as its operation says; "" where neither tells."""
    if node in checked.spaces:
        return checked.spaces[node]
    written = checked.outline.nodes.get(node) if checked.outline else None
    if written is None or written.op in ("", EXPRESSION, "include", "save"):
        return ""
    cls = class_of(written.value)
    if cls is None or not ports_of(cls, {}):
        return "delta" if written.op == "lora" else "weights"
    return "" if cls.gives == "same" else cls.gives


def operations(checked: Checked, after: str = "", typed: str = "") -> tuple[Operation, ...]:
    """Every operation whose name or summary has `typed`: first those called so, then those that take the node `after`,
    the usual ones of them first. Without a node, those that need none come first. What was computed is mostly saved."""
    space = space_of(checked, after) if after else ""
    words = typed.lower().split()
    found = [
        Operation(op, summary_of(cls), inputs_text(cls), result_text(cls), _fits(cls, after, space))
        for op, cls in methods().items()
        if all(word in f"{op} {summary_of(cls)}".lower() for word in words)
    ]
    first = _FIRST[space if after else ""]
    written = checked.outline.nodes.get(after) if checked.outline else None
    if space == "weights" and written is not None and written.op != "load":
        first = ("save", *first)

    def rank(operation: Operation) -> tuple[bool, bool, bool, int, str]:
        is_meant = bool(words) and operation.op == words[0]
        is_named = bool(words) and operation.op.startswith(words[0])
        place = first.index(operation.op) if operation.op in first else len(first)
        return not is_meant, not is_named, not operation.fits, place, operation.op

    return tuple(sorted(found, key=rank))


def targets(checked: Checked, source: str) -> Mapping[str, Problem | None]:
    """For every other node whether a wire from `source` may go there: None, or why not."""
    found = checked.outline or Outline()
    if source not in found.nodes:
        return {}
    space = space_of(checked, source)
    return {name: _refusal(found, source, name, space) for name in found.nodes if name != source}


def sources(checked: Checked, target: str) -> Mapping[str, Problem | None]:
    """For every other node whether a wire may come from there to `target`: None, or why not."""
    found = checked.outline or Outline()
    if target not in found.nodes:
        return {}
    return {
        name: _refusal(found, name, target, space_of(checked, name)) for name in found.nodes if name != target
    }  # fmt: skip


def _refusal(found: Outline, source: str, target: str, space: str) -> Problem | None:
    if refused := no_wire(found, source, target):
        return refused
    node = found.nodes[target]
    cls = class_of(node.value)
    if node.op == EXPRESSION or cls is None or _fits(cls, source, space):
        return None
    between = f"op: delta, model: {source}, base: BASE" if space == "weights" else f"op: sum, inputs: [BASE, {source}]"
    fact = f'{node.op} takes no {space}, and "{source}" is {space}.'
    return Problem(fact, node=target, fix=f"put another node between: {{{between}}}")


def _fits(cls: type[Method], after: str, space: str) -> bool:
    accepted = [port.accepts for port in ports_of(cls, {})]
    if not after:
        return not accepted
    return any(not space or each in ("any", space) for each in accepted)
