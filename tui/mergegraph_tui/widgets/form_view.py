"""The lines of a node's form, with a cursor on one field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from mergegraph.errors import Problem
from mergegraph.methods.base import Path
from mergegraph_tui.model.fields import Form, FormField
from mergegraph_tui.model.form_lines import FormLine, FormLook, fields_of, form_lines, is_by_rule
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.schedules import ScheduleView
from mergegraph_tui.widgets.painted_lines import PaintedLines


class FormView(PaintedLines, can_focus=True):
    """`show` it a form. The cursor stays on its field when the form changes. `is_typed_in`: the line over the field
    under the cursor has the focus."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("up,k,shift+tab", "step(-1)", "Field above", show=False, id="form.up"),
        Binding("down,j,tab", "step(1)", "Field below", show=False, id="form.down"),
        Binding("enter", "ask('edit')", "Edit", show=False, id="form.edit"),
        Binding("left,h", "ask('previous')", "Previous choice", show=False, id="form.previous"),
        Binding("right,l", "ask('next')", "Next choice", show=False, id="form.next"),
        Binding("d,delete,backspace", "ask('clear')", "Clear", show=False, id="form.clear"),
        Binding("plus", "ask('rule')", "Add a rule", show=False, id="form.rule"),
        Binding("escape", "ask('leave')", "Back to the graph", show=False, id="form.leave"),
    ]

    class Asked(Message):
        """What the user wants of the field under the cursor: "edit", "next", "previous", "clear", "rule", "leave"."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(ascii_only=ascii_only, id=id)
        self._form: Form | None = None
        self._icon: Part = ("", "")
        self._views: Mapping[Path, ScheduleView] = {}
        self._said: Problem | None = None
        self._lines: Sequence[FormLine] = ()
        self.fields: tuple[FormField, ...] = ()
        self.cursor = 0
        self.is_typed_in = False
        self._pressed: str | None = None
        self._clicked: str | None = None

    @property
    def field(self) -> FormField | None:
        """The field under the cursor."""
        return self.fields[self.cursor] if self.cursor < len(self.fields) else None

    def show(self, form: Form | None, icon: Part, views: Mapping[Path, ScheduleView]) -> None:
        """Show a form; None is an empty one."""
        there, is_same = self.field, self._form is not None and form is not None and self._form.name == form.name
        self._form, self._icon, self._views = form, icon, views
        self.fields = fields_of(form) if form else ()
        self.cursor = self._place_of(there) if is_same else self.first_field()
        self.refill()

    def first_field(self) -> int:
        """What is edited first: a formula, a parameter; else the first input."""
        own = [index for index, field in enumerate(self.fields) if index and field.kind != "input"]
        lone = [index for index in own if is_lone(self.fields[index]) and self.fields[index].label != "skip"]
        needed = [index for index in lone if self.fields[index].is_required and self.fields[index].kind != "rule"]
        return next(iter([*needed, *lone, *range(1, len(self.fields))]), 0)

    def say(self, problem: Problem | None) -> None:
        """Show below the field what is wrong with what was typed there."""
        self._said = problem
        self.refill()

    def refill(self) -> None:
        """Make the lines anew, for the width that there is."""
        width = self.line_width
        if width <= 0:
            return
        # The cursor is only told by its mark where it can be moved.
        cursor = self.cursor if self.has_focus or self.is_typed_in or self._said else None
        look = FormLook(width, self.glyphs, cursor, self._said, is_typed_in=self.is_typed_in)
        self._lines = form_lines(self._form, self._icon, self._views, look) if self._form else ()
        self.paint([(line.parts, _owner(line.field)) for line in self._lines], width)

    def move_to(self, index: int) -> None:
        """The cursor to another field."""
        self.cursor = max(0, min(len(self.fields) - 1, index))
        self._said = None
        self.refill()
        self.reveal()

    def reveal(self) -> None:
        """Scroll to the field under the cursor."""
        rows = [row for row, line in enumerate(self._lines) if line.field == self.cursor]
        if rows:
            region = Region(0, rows[0], 1, min(len(rows), self.size.height))
            self.scroll_to_region(region, animate=False, immediate=True)

    def value_place(self) -> tuple[int, int]:
        """Where the value of the field under the cursor stands in the widget: column and row."""
        for row, line in enumerate(self._lines):
            if line.field == self.cursor and line.value_at is not None:
                return line.value_at, row - self.scroll_offset.y
        return 0, 0

    def action_step(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_ask(self, what: str) -> None:
        self.post_message(self.Asked(what))

    def on_resize(self) -> None:
        self.refill()

    def on_focus(self) -> None:
        self.call_later(self.refill)  # `has_focus` is set after this

    def on_blur(self) -> None:
        self.call_later(self.refill)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.light(self.owner_at(event.y))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """What is there now: the focus, and the cursor on another field, move the lines."""
        self._pressed = self.owner_at(event.y)

    def on_click(self, event: events.Click) -> None:
        """One click chooses a field, a second edits it, also where another line is under the pointer by then."""
        if event.chain == 1:
            self._clicked = self._pressed
        if self._clicked is not None:
            was_there = self.cursor == int(self._clicked)
            self.move_to(int(self._clicked))
            if was_there:
                self.action_ask("edit")

    def _place_of(self, field: FormField | None) -> int:
        """The same field in the form as it is now: by its path, else by its place."""
        if field is None:
            return 0
        same = [
            index
            for index, each in enumerate(self.fields)
            if (each.path, each.kind) == (field.path, field.kind) or each.label == field.label
        ]
        return same[0] if same else max(0, min(self.cursor, len(self.fields) - 1))


def is_lone(field: FormField) -> bool:
    """Whether a field belongs to the node itself, not to one of its inputs; of a schedule by rule, its rules."""
    if is_by_rule(field):
        return False
    return len(field.path) < 2 or (field.kind == "rule" and len(field.path) == 3)


def _owner(field: int | None) -> str | None:
    return None if field is None else str(field)
