"""Where a rule or a curve can be written: every schedule of the recipe, and the strengths inside its expressions.

An expression has numbers, not schedules. To take a rule it is written out as the nodes that it stands for, in the same
step: the merge stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.errors import Problem, RecipeError
from mergegraph.expr import Space
from mergegraph.fields import Rule
from mergegraph.methods.base import Method, Path
from mergegraph.methods.linear import Scale, Soup
from mergegraph.recipe.document import parse_value
from mergegraph.recipe.expression import ExpressionError, expand
from mergegraph.recipe.model import dump_method
from mergegraph.recipe.scalars import Value
from mergegraph.schedule import ScheduleValue
from mergegraph_tui.model.adding import free_name
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.choices import space_of
from mergegraph_tui.model.entries import Splice, entry_added
from mergegraph_tui.model.fields import form_of
from mergegraph_tui.model.outline import EXPRESSION, Outline, entries, outline
from mergegraph_tui.model.places import Text
from mergegraph_tui.model.splice import Edited, edited, set_value, value_at, with_value
from mergegraph_tui.model.writing import written

_STRENGTHS = ("scale", "soup", "sum", EXPRESSION)
"""What is mostly meant by a strength: it says how much of a source there is."""


@dataclass(frozen=True, slots=True)
class Target:
    """A schedule. `expression`: the node is one, and `inner` the node that it is written out to, which has the field.

    `now`: what stands there, or holds where nothing does.
    """

    node: str
    path: Path
    title: str
    now: str
    inner: str = ""

    @property
    def is_in_expression(self) -> bool:
        return bool(self.inner)

    @property
    def engine_node(self) -> str:
        """The node as the engine calls it."""
        return self.inner or self.node


def targets(checked: Checked, selected: str | None = None) -> tuple[Target, ...]:
    """All of them: those of the selected node first, then those of plain sums."""
    found: list[Target] = []
    for name, node in (checked.outline or Outline()).nodes.items():
        if node.section != "nodes":
            continue
        if node.op == EXPRESSION:
            found += _in_expression(checked, name, node.expression)
            continue
        form = form_of(checked, name)
        fields = form.fields if form is not None else ()
        found += [
            Target(name, field.path, f"{name}: {node.op}, {field.label}", field.text or field.default)
            for field in fields
            if field.kind == "schedule"
        ]
    nodes = (checked.outline or Outline()).nodes
    return tuple(sorted(found, key=lambda target: (target.node != selected, nodes[target.node].op not in _STRENGTHS)))


def schedule_value(checked: Checked, target: Target) -> Value:
    """What the schedule holds: as it is written, else its default."""
    found = checked.outline.nodes.get(target.node) if checked.outline else None
    written = value_at(found.value, target.path) if found is not None and not target.is_in_expression else None
    if written is not None:
        return written
    try:
        return parse_value(target.now, "")
    except RecipeError:
        return None


def schedule_of(value: Value) -> ScheduleValue | None:
    """A value of a recipe as a schedule; None where it is none."""
    if _is_number(value):
        return float(value)  # pyright: ignore[reportArgumentType]
    if not isinstance(value, list) or not value:
        return None
    if all(map(_is_number, value)):
        return tuple(float(each) for each in value)  # pyright: ignore[reportArgumentType]
    try:
        return tuple(Rule.model_validate(each) for each in value)
    except ValueError:
        return None


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_expression(checked: Checked, node: str, expression: str) -> list[Target]:
    methods = _methods(checked, node, expression)
    if isinstance(methods, Problem):
        return []
    by_name = dict(methods)
    found: list[Target] = []
    for name, method in methods:
        if isinstance(method, Scale):
            of = _words(method.input, by_name)
            found.append(Target(node, ("by",), f"{node}: strength of {of}", str(method.by), name))
        elif isinstance(method, Soup):
            for index, each in enumerate(method.inputs):
                of = _words(each.from_, by_name)
                path: Path = ("inputs", index, "weight")
                found.append(Target(node, path, f"{node}: weight of {of}", str(each.weight), name))
    return found


def _words(name: str, methods: dict[str, Method]) -> str:
    """What an inner node is, as it is written: `(code - base)`."""
    method = methods.get(name)
    if method is None:
        return name
    inputs = [_words(edge.node, methods) for edge in method.edges()]
    return f"({' - '.join(inputs)})" if method.op == "delta" else f"{method.op} of {', '.join(inputs)}"


def written_out(text: str, checked: Checked, target: Target) -> tuple[Edited, str]:
    """The text with the target's expression as nodes, and which of them has the field; else as it is."""
    if not target.is_in_expression:
        return text, target.node
    found = outline(text)
    if isinstance(found, Problem):
        return found, ""
    methods = _methods(checked, target.node, found.nodes[target.node].expression)
    if isinstance(methods, Problem):
        return methods, ""
    names = {target.node: target.node}
    for name, method in methods[:-1]:
        names[name] = free_name(text, _name(target.node, method, dict(methods)))
        added = _with_node(text, names[name], _fields(method, names), target.node)
        if isinstance(added, Problem):
            return added, ""
        text = added
    root = set_value(text, ("nodes", target.node), _fields(methods[-1][1], names))
    return root, names[target.inner]


def _methods(checked: Checked, node: str, expression: str) -> list[tuple[str, Method]] | Problem:
    def space(name: str) -> Space:
        return space_of(checked, name) or "weights"

    try:
        return expand(node, expression, space)
    except ExpressionError as error:
        return error.problem.located(None, node)


def _name(node: str, method: Method, methods: dict[str, Method]) -> str:
    """`d_code` for a delta of code, `code_scaled`; else the expression's name."""
    first = next((edge.node for edge in method.edges()), node)
    while first in methods:
        first = next((edge.node for edge in methods[first].edges()), node)
    if method.op == "delta":
        return f"d_{first}"
    return f"{first}_scaled" if method.op == "scale" else f"{node}_{method.op}"


def _fields(method: Method, names: dict[str, str]) -> Value:
    """A method as a recipe has it, with the names that its inputs have got."""
    return parse_value(dump_method(method.rewired(lambda name: names.get(name, name))), "")


def _with_node(text: str, name: str, value: Value, before: str) -> Edited:
    """`text` with a new node on the line above another."""

    def change(now: Text) -> list[Splice]:
        around = now.at(("nodes",))
        if around is None or before not in around.names:
            return []
        return entry_added(now, around, around.names.index(before), name, written(value))

    def wanted(tree: Value) -> Value:
        there = entries(tree, "nodes")
        nodes = [pair for key, node in there.items() for pair in ([(name, value)] * (key == before) + [(key, node)])]
        return with_value(tree, ("nodes",), dict(nodes))

    return edited(text, change, wanted)
