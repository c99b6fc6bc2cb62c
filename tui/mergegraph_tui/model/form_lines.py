"""A form as lines of text: sections, a field a line with its value, and below it what is to be said of it.

Pure; the inspector paints them. The field under the cursor is explained, its problem stands below each field, a
schedule shows what its rules match and its number in each layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from mergegraph.errors import Problem
from mergegraph.methods.base import Path
from mergegraph.units import format_bytes
from mergegraph_tui.model.fields import OTHERS, Form, FormField
from mergegraph_tui.model.glyphs import Glyphs
from mergegraph_tui.model.layer_lines import layer_lines, rule_note
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.schedules import ScheduleView

NAME = "name"
"""The label of the field that every node has, and that no operation declares."""

_COMMON = ("skip", "except", "missing", "extra")
_LABEL = (8, 14)
"""Cells for a label, at least and at most."""
_SHORTEST = 6


@dataclass(frozen=True, slots=True)
class FormLine:
    """One line. `field`: which of the form's fields it belongs to; `value_at`: where the value stands, on its line."""

    parts: tuple[Part, ...]
    field: int | None = None
    value_at: int | None = None


@dataclass(frozen=True, slots=True)
class FormLook:
    """What the form looks like: its width, the field under the cursor, whether a line to type in lies over its value,
    and what was said to what was typed last."""

    width: int
    glyphs: Glyphs
    cursor: int | None = None
    said: Problem | None = None
    label: int = _LABEL[0]
    is_typed_in: bool = False


def fields_of(form: Form) -> tuple[FormField, ...]:
    """The fields in the order in which they are shown: name, parameters, inputs, what all operations have."""
    name = FormField((NAME,), NAME, "text", form.name, is_required=True, help="renaming changes it everywhere")
    return (name, *(field for _, fields in _sections(form) for field in fields))


def form_lines(form: Form, icon: Part, views: Mapping[Path, ScheduleView], look: FormLook) -> list[FormLine]:
    """Every line of a form."""
    longest = max((len(_label(field)) for field in fields_of(form)), default=0)
    look = replace(look, label=max(_LABEL[0], min(_LABEL[1], longest)))
    lines = [FormLine((icon, (f" {form.name}", "name"), (f"   {form.op or 'no operation'}", "detail")))]
    lines += [FormLine(((line, "detail"),)) for line in wrap(form.summary, look.width)]
    shown = iter(enumerate(fields_of(form)))
    lines += [FormLine(()), *_field_lines(*next(shown), ScheduleLines(views, form), look)]
    for title, fields in _sections(form):
        lines += [FormLine(()), _heading(title, look)]
        for _ in fields:
            lines += _field_lines(*next(shown), ScheduleLines(views, form), look)
    unplaced = [problem for problem in form.problems if all(field.problem != problem for field in form.fields)]
    if unplaced:
        lines += [FormLine(()), *(line for problem in unplaced for line in _problem_lines(problem, None, look, 0))]
    return [*lines, FormLine(()), _heading("Value", look), *_value_lines(form, look)]


@dataclass(frozen=True, slots=True)
class ScheduleLines:
    """Where the lines of a schedule come from."""

    views: Mapping[Path, ScheduleView]
    form: Form

    def of(self, field: FormField, look: FormLook, *, is_open: bool) -> list[str]:
        """The number in each layer, below the field or below its last rule."""
        path = field.path[:-2] if field.kind == "rule" else field.path
        view = self.views.get(path)
        if view is None or (field.kind == "schedule" and self._rules(path)) or not self._is_last(field, path):
            return []
        return layer_lines(view, look.width - 4, look.glyphs, is_open=is_open)

    def note(self, field: FormField) -> str:
        """How many tensors a rule is for."""
        view = self.views.get(field.path[:-2]) if field.kind == "rule" else None
        index = field.path[-2] if field.kind == "rule" else 0
        if view is None or int(index) >= len(view.rules):
            return ""
        return rule_note(view.rules[int(index)], counts_all=field.label == OTHERS)

    def _rules(self, path: Path) -> list[FormField]:
        return [field for field in self.form.fields if field.kind == "rule" and field.path[:-2] == path]

    def _is_last(self, field: FormField, path: Path) -> bool:
        rules = self._rules(path)
        return not rules or rules[-1] is field


def _sections(form: Form) -> Iterator[tuple[str, list[FormField]]]:
    """Titles with their fields; a section without a field is left out."""
    kinds: dict[str, list[FormField]] = {"Parameters": [], "Inputs": [], "More": []}
    for field in form.fields:
        is_piece = len(field.path) > 1 and field.kind != "rule"
        is_input = field.kind == "input" or is_piece or (field.kind == "rule" and len(field.path) > 3)
        kinds["Inputs" if is_input else "More" if field.label in _COMMON else "Parameters"].append(field)
    return ((title, fields) for title, fields in kinds.items() if fields)


def _heading(title: str, look: FormLook) -> FormLine:
    rule = "-" if look.glyphs.is_ascii else "─"
    return FormLine(((title + " ", "name"), (rule * max(0, look.width - len(title) - 1), "detail")))


def _field_lines(index: int, field: FormField, schedules: ScheduleLines, look: FormLook) -> Iterator[FormLine]:
    is_open = index == look.cursor
    mark = (look.glyphs.pins["right"] if is_open else " ") + " "
    if field.kind in ("rule", "expression"):
        yield from _long_field(index, field, mark, schedules.note(field), look)
    else:
        label = _label(field)
        room = max(_SHORTEST, look.width - look.label - 3)
        cut = "".join(look.glyphs.fitted(label, look.label)).ljust(look.label)
        value, style = _value(field)
        shown = look.glyphs.fitted(value, room, keep_end="/" in value)
        yield FormLine(
            ((mark, "cursor"), (cut, "cursor" if is_open else "detail"), (" ", ""),
             ("".join(shown), style)), index, look.label + 3,
        )  # fmt: skip
    for line in schedules.of(field, look, is_open=is_open):
        yield FormLine(((f"    {line}", "detail"),), index)
    problem = look.said if is_open and look.said else field.problem
    if problem is not None:
        yield from _problem_lines(problem, index, look, 4)
    if is_open:
        for line in wrap(_explained(field), look.width - 4):
            yield FormLine(((f"    {line}", "detail"),), index)


def _long_field(index: int, field: FormField, mark: str, note: str, look: FormLook) -> Iterator[FormLine]:
    """A field whose value has a line of its own: a formula, or a rule with its conditions above. The note stays whole;
    conditions that it leaves no room for follow where the cursor is."""
    is_open = index == look.cursor
    style, room = "cursor" if is_open else "detail", look.width - 2 - (len(note) + 2 if note else 0)
    shown = "".join(look.glyphs.fitted(field.label, room))
    yield FormLine(((mark, "cursor"), (f"{shown}  {note}" if note else shown, style)), index)
    if is_open and len(field.label) > room:
        for line in wrap(field.label, look.width - 4):
            yield FormLine(((f"    {line}", "detail"),), index)
    lines = wrap(" ".join(field.text.split()), look.width - 4) or [""]
    for number, line in enumerate(lines[:1] if is_open and look.is_typed_in else lines):
        shown = "".join(look.glyphs.fitted(line, look.width - 4))
        yield FormLine((("    ", ""), (shown, "name")), index, None if number else 4)


def _label(field: FormField) -> str:
    """`1` for `inputs 1`, whose heading says that it is an input; `  weight` for what belongs to it."""
    parts = field.path
    if field.kind == "input" and len(parts) > 1 and isinstance(parts[1], int):
        return f"{parts[0]} {int(parts[1]) + 1}"
    return f"  {parts[-1]}" if len(parts) > 2 else field.label


def _value(field: FormField) -> tuple[str, str]:
    """What stands in a field, and its style; what is not written is in brackets."""
    if field.text:
        return ("by rule", "detail") if is_by_rule(field) else (" ".join(field.text.split()), "name")
    if field.is_required:
        return "needed", "error"
    if field.kind == "input":
        return ("(add)" if isinstance(field.path[-1], int) else "(none)"), "detail"
    return f"({field.default})" if field.default else "(none)", "detail"


def is_by_rule(field: FormField) -> bool:
    """Whether a schedule has rules, which are fields of their own."""
    return field.kind == "schedule" and field.text.startswith("[{")


def _explained(field: FormField) -> str:
    """What the field is, what it may be."""
    parts = [field.help, field.bounds]
    parts += [f"one of {', '.join(field.choices)}"] if field.choices else []
    parts += [f"a node in {field.accepts}"] if field.accepts in ("weights", "delta") else []
    return "; ".join(part for part in parts if part)


def _problem_lines(problem: Problem, index: int | None, look: FormLook, indent: int) -> Iterator[FormLine]:
    style = problem.severity
    mark = look.glyphs.marks[style]
    said = [f"{mark} {problem.fact}", *([f"  fix: {problem.fix}"] if problem.fix else [])]
    for paragraph in said:
        for line in wrap(paragraph, look.width - indent - 2, subsequent_indent="  "):
            yield FormLine(((" " * indent + line, style),), index)


def _value_lines(form: Form, look: FormLook) -> Iterator[FormLine]:
    gives = form.space or {"same": "as its input"}.get(form.gives, form.gives)
    dtypes = " ".join(form.dtypes[:2])
    rows: Sequence[tuple[str, str]] = (
        ("space", gives or "not known yet"),
        ("tensors", str(form.tensor_count) if form.tensor_count else "not known yet"),
        ("size", f"{format_bytes(form.tensor_bytes)} {dtypes}" if form.tensor_bytes else ""),
        ("read by", ", ".join(form.read_by) or "nobody"),
    )
    for label, value in rows:
        room = look.width - look.label - 3
        for number, line in enumerate(wrap(value, max(_SHORTEST, room))):
            yield FormLine(((f"  {'' if number else label:<{look.label}} ", "detail"), (line, "")))
