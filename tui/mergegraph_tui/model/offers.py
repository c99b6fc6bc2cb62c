"""What the picker of new nodes offers: operations, a formula that was typed, models of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mergegraph.recipe.grammar import ExpressionError, names_in
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.choices import operations
from mergegraph_tui.model.outline import Outline
from mergegraph_tui.model.ports import Port
from mergegraph_tui.model.shelf import Shelved, matching


@dataclass(frozen=True, slots=True)
class Offer:
    """One line. `text`: the operation, the formula or the model's reference; `gives`: the space of the result;
    `takes`: those of its inputs in words, "-" for an operation that reads files."""

    kind: Literal["op", "formula", "model"]
    text: str
    label: str
    note: str = ""
    gives: str = ""
    fits: bool = True
    takes: str = ""


def offers(checked: Checked, after: str = "", typed: str = "", models: Sequence[Shelved] = ()) -> list[Offer]:
    """What fits `typed`, for a node that reads `after`: a formula first, then operations, then models of that name."""
    found = [_formula(checked, typed)] if is_formula(checked, typed) else []
    found += [
        Offer("op", each.op, each.op, each.summary, each.gives, each.fits, each.takes)
        for each in operations(checked, after, typed)
    ]
    if typed.strip():
        found += [
            Offer("model", each.reference, each.name, each.reference, "weights") for each in matching(models, typed)
        ]
    return found


def is_formula(checked: Checked, typed: str) -> bool:
    """Whether what was typed is arithmetic over nodes of the recipe, and not just the name of one."""
    known = (checked.outline or Outline()).nodes
    try:
        names = names_in(typed.removeprefix("="))
    except ExpressionError:
        return False
    return bool(names) and all(name in known for name in names) and typed.strip() not in names


def stem_of(op: str, source: str) -> str:
    """What a new node is called, before it is numbered."""
    return {"delta": f"d_{source}" if source else "delta", "save": "out"}.get(op, op)


def fitting_ports(ports: Sequence[Port], space: str) -> list[Port]:
    """The ports that a new wire may enter: those that are free, or lists; else those whose wire it would replace."""
    fitting = [port for port in ports if not space or port.accepts in ("any", space)]
    return [port for port in fitting if port.is_list or not port.taken] or fitting


def _formula(checked: Checked, typed: str) -> Offer:
    text = typed.strip().removeprefix("=").strip()
    return Offer("formula", text, text, "a formula of these nodes")
