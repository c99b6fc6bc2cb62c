"""What a number that is being edited would do to the merge, before anything is merged: from the record's Gram matrices.

Of the whole model, or of some of its tensors. Norms, cosines, retention and attribution are exact; the cast loss is
what is to be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergegraph.errors import Problem, RecipeError
from mergegraph.methods.base import Path
from mergegraph.recipe.document import parse_value
from mergegraph.stats.metrics import shown
from mergegraph.stats.predict import Predicted, expected_cast_loss, predict_whole
from mergegraph.stats.record import Record, TensorRecord
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.fields import FormField
from mergegraph_tui.model.filling import add_typed_rule, fill
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.mixing import Mixing, NotLinear, Tried
from mergegraph_tui.model.outline import EXPRESSION, outline
from mergegraph_tui.model.plot import PlotLine
from mergegraph_tui.model.rule_targets import schedule_of
from mergegraph_tui.model.splice import value_at


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Of one set of numbers."""

    predicted: Predicted
    cast_loss: float | None


@dataclass(frozen=True, slots=True)
class Preview:
    """`now`: with the numbers that the recipe has; `then`: with those that are tried; `of`: so many tensors."""

    of: int
    sources: tuple[str, ...]
    now: Foreseen
    then: Foreseen

    def rows(self, *, is_short: bool = False) -> tuple[tuple[str, str, str], ...]:
        """(what, now, then), for a table. Retention first: it is what a strength is chosen for; `is_short`: that, and
        what it costs."""
        now, then = self.now.predicted, self.then.predicted
        rows: list[tuple[str, str, str]] = []
        for index, source in enumerate(self.sources):
            rows.append((f"kept of {source}", _text(now.retention[index]), _text(then.retention[index])))
        if is_short:
            rows.append(("relative change", _text(now.relative), _text(then.relative)))
            rows.append(("cast loss", _share(self.now.cast_loss), _share(self.then.cast_loss)))
            return tuple(rows)
        for index, source in enumerate(self.sources):
            rows.append((f"cosine with {source}", _text(now.cosines[index]), _text(then.cosines[index])))
        for index, source in enumerate(self.sources):
            rows.append((f"attribution to {source}", _text(now.attribution[index]), _text(then.attribution[index])))
        rows.append(("relative change", _text(now.relative), _text(then.relative)))
        rows.append(("length of the change", _text(now.norm), _text(then.norm)))
        rows.append(("cast loss, expected", _share(self.now.cast_loss), _share(self.then.cast_loss)))
        return tuple(rows)


def mixing_of(checked: Checked, record: Record) -> Mixing | str:
    """How the recipe mixes its sources; or why that is not known."""
    if checked.resolved is None:
        return "the recipe has a problem"
    try:
        return Mixing(checked.resolved, record)
    except NotLinear as reason:
        return str(reason)


def foresee(mixing: Mixing, tensors: Sequence[TensorRecord], tried: Tried | None = None) -> Foreseen | str:
    """What would be made of `tensors` together; or why nothing is foretold."""
    try:
        coefficients = mixing.coefficients(tried)
        predicted = predict_whole(tensors, coefficients)
        if predicted is None:
            return "no tensor was looked at"
        return Foreseen(predicted, expected_cast_loss(tensors, coefficients))
    except NotLinear as reason:
        return str(reason)


def preview(
    loaded: LoadedRecord, checked: Checked, node: str, field: FormField, typed: str, *, is_rule: bool = False
) -> Preview | str:
    """What a field of a node would do with `typed` in it (a number, a gradient, rules, or an expression), or with a new
    rule of it.

    For an inspector: called with every key, it answers in milliseconds for a model of some hundred tensors.
    """
    tried = tried_in(checked, node, field, typed, is_rule=is_rule)
    return tried if isinstance(tried, str) else compare_tried(loaded, checked, tried)


def compare_tried(
    loaded: LoadedRecord, checked: Checked, tried: Tried, tensors: Sequence[TensorRecord] = ()
) -> Preview | str:
    """What is tried beside what the recipe says, of some tensors or of all; or why nothing is foretold."""
    tensors = tensors or loaded.record.tensors
    mixing = mixing_of(checked, loaded.record)
    if isinstance(mixing, str):
        return mixing
    now, then = foresee(mixing, tensors), foresee(mixing, tensors, tried)
    if isinstance(now, str):
        return now
    return then if isinstance(then, str) else Preview(len(tensors), loaded.record.sources, now, then)


def kept_by_layer(loaded: LoadedRecord, checked: Checked, tried: Tried) -> tuple[PlotLine, ...]:
    """The retention of each source in each layer, with what is tried; empty where nothing is foretold."""
    mixing = mixing_of(checked, loaded.record)
    if isinstance(mixing, str):
        return ()
    try:
        coefficients = mixing.coefficients(tried)
        found = [predict_whole(tensors, coefficients) for tensors in _layers(loaded)]
    except NotLinear:
        return ()
    return tuple(
        PlotLine(source, tuple(None if each is None else each.retention[index] for each in found))
        for index, source in enumerate(loaded.record.sources)
    )


def _layers(loaded: LoadedRecord) -> list[list[TensorRecord]]:
    by_row: dict[str, list[TensorRecord]] = {layer: [] for layer in loaded.layers}
    for tensor in loaded.record.tensors:
        by_row.get(loaded.place_of[tensor.name][0], []).append(tensor)
    return list(by_row.values())


def tried_in(checked: Checked, node: str, field: FormField, typed: str, *, is_rule: bool) -> Tried | str:
    """What was typed in a form, as what is tried. The number of one rule, or a new rule, stands among the others."""
    if not is_rule and field.kind != "rule":
        return tried_of(checked, node, field.path, typed.strip() or field.default)
    edited = (add_typed_rule if is_rule else fill)(checked.text, node, field, typed)
    found = edited if isinstance(edited, Problem) else outline(edited)
    if isinstance(found, Problem):
        return "not a rule yet" if is_rule else "not a number yet"
    path = field.path[:-2] if field.kind == "rule" else field.path
    schedule = schedule_of(value_at(found.nodes[node].value, path)) if node in found.nodes else None
    return "not a rule yet" if schedule is None else Tried(node, path, schedule)


def tried_of(checked: Checked, node: str, path: Path, typed: str) -> Tried | str:
    """What was typed, as what is tried."""
    found = checked.outline.nodes.get(node) if checked.outline else None
    if found is not None and found.op == EXPRESSION:
        return Tried(node, expression=typed)
    try:
        schedule = schedule_of(parse_value(typed, ""))
    except RecipeError:
        schedule = None
    return "not a number yet" if schedule is None else Tried(node, path, schedule)


def _text(value: float | None) -> str:
    return "–" if value is None else shown(value)


def _share(value: float | None) -> str:
    return "–" if value is None else shown(value, "share")
