"""A field of a form, filled in: what was typed or picked becomes an edit of the recipe's text.

An empty text takes the field away, so that its default holds again.
"""

from __future__ import annotations

from collections.abc import Mapping

from mergegraph.errors import Problem, RecipeError
from mergegraph.recipe.document import parse_value
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.choices import space_of
from mergegraph_tui.model.fields import FormField
from mergegraph_tui.model.nodes import add_rule, remove_field, set_expression, set_field, set_reference
from mergegraph_tui.model.outline import Outline, outline
from mergegraph_tui.model.splice import Edited, Typed
from mergegraph_tui.model.wires import connect, no_wire


def fill(text: str, node: str, field: FormField, typed: str) -> Edited:
    """`text` with what was typed in a field of `node`."""
    typed = typed.strip()
    if not typed:
        return empty(text, node, field)
    if field.kind == "expression":
        return set_expression(text, node, typed)
    if not field.path:
        return set_reference(text, node, typed)
    if field.kind == "input":
        return _pointed(text, node, field, typed)
    is_text = field.kind in ("text", "choice")
    return set_field(text, node, field.path, typed if is_text else Typed(typed))


def empty(text: str, node: str, field: FormField) -> Edited:
    """`text` without a field; of a list of inputs, or of rules, without the item."""
    if not field.text:
        return text
    if field.kind == "expression" or not field.path:
        return Problem(f"{field.label} cannot be empty.", node=node, fix=f"delete the node {node} instead")
    path = field.path
    if field.kind == "rule" or path[-1] == "from":
        path = path[:-1]
    if isinstance(path[-1], int) and _is_alone(text, node, field):
        path = path[:-1]
    return remove_field(text, node, path)


def add_typed_rule(text: str, node: str, field: FormField, typed: str) -> Edited:
    """`text` with a rule before the others of a schedule; typed as `kind: mlp, value: 0.5`, with or without braces."""
    spelled = typed.strip()
    spelled = spelled if spelled.startswith("{") else f"{{{spelled}}}"
    fix = "write conditions and a value: kind: mlp, value: 0.5"
    try:
        rule = parse_value(spelled, "")
    except RecipeError as error:
        return Problem(error.problems[0].fact, node=node, fix=fix)
    if not isinstance(rule, dict) or "value" not in rule:
        return Problem("A rule says its value.", node=node, fix=fix)
    path = field.path[:-2] if field.kind == "rule" else field.path
    return add_rule(text, node, path, rule)


def pickable(checked: Checked, node: str, field: FormField) -> Mapping[str, str]:
    """The nodes that an input field may name, each with why it may not, or ""; those that fit come first."""
    found = checked.outline or Outline()
    reasons: dict[str, str] = {}
    for name in found.nodes:
        if name != node and node in found.nodes:
            reasons[name] = _refusal(checked, found, name, node, field)
    return dict(sorted(reasons.items(), key=lambda each: bool(each[1])))


def _refusal(checked: Checked, found: Outline, source: str, node: str, field: FormField) -> str:
    refused = no_wire(found, source, node)
    if refused is not None:
        return refused.fact.rstrip(".")
    space = space_of(checked, source)
    is_wrong = field.accepts not in (None, "any") and space not in ("", field.accepts)
    return f"it is {space}, and {field.accepts} is needed" if is_wrong else ""


def _pointed(text: str, node: str, field: FormField, source: str) -> Edited:
    """An input that names another node; one past the end of its list is a new wire."""
    if field.text:
        return set_field(text, node, field.path, source)
    return connect(text, source, node, str(field.path[0]))


def _is_alone(text: str, node: str, field: FormField) -> bool:
    """Whether the item is all that its list has: the list goes with it then."""
    found = outline(text)
    if isinstance(found, Problem) or node not in found.nodes:
        return False
    value = found.nodes[node].value
    for part in field.path:
        if isinstance(part, int):
            return isinstance(value, list) and len(value) == 1
        value = value.get(part) if isinstance(value, dict) else None
    return False
