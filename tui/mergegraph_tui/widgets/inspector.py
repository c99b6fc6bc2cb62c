"""The form of the selected node, and the line in which one of its fields is typed.

Given a form; says what was filled in. Whether what was typed can stand is for `refused` to say, so that the problem
shows under the field while it is still open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from mergegraph.errors import Problem
from mergegraph.methods.base import Path
from mergegraph_tui.model.fields import Form, FormField
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.schedules import ScheduleView
from mergegraph_tui.widgets.form_view import FormView

Refused = Callable[[str, FormField, str, bool], Problem | None]
"""Why what was typed in a field of a node (or as a new rule of it) cannot stand there; None where it can."""

_LISTED = ("input", "choice", "boolean")


class FieldInput(Input):
    """One line, over the value that it is to replace."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("escape", "leave(0, False)", "Give up", show=False, id="field.give-up"),
        Binding("tab,down", "leave(1, True)", "Next field", show=False, id="field.next"),
        Binding("shift+tab,up", "leave(-1, True)", "Previous field", show=False, id="field.previous"),
    ]
    DEFAULT_CSS = """
    FieldInput { layer: above; position: absolute; display: none; background: $panel; padding: 0; }
    FieldInput.-typing { display: block; }
    """

    class Leave(Message):
        """The user is done: whether the text counts, and which way to go on."""

        def __init__(self, by: int, keep: bool) -> None:
            self.by, self.keep = by, keep
            super().__init__()

    def action_leave(self, by: int, keep: bool) -> None:
        self.post_message(self.Leave(by, keep))


class Inspector(Widget):
    """`show` it the form of a node. `begin` lets its first field be edited."""

    DEFAULT_CSS = """
    Inspector { layers: below above; height: 1fr; width: 1fr; }
    Inspector FormView { layer: below; }
    """

    class Filled(Message):
        """A field has another text; "" takes it away. `is_rule`: the text is a new rule of the field."""

        def __init__(self, node: str, field: FormField, typed: str, *, is_rule: bool = False) -> None:
            self.node, self.field, self.typed, self.is_rule = node, field, typed, is_rule
            super().__init__()

    class Typing(Message):
        """The text of a field that is open, with every key; None: no field is open any more."""

        def __init__(self, node: str, field: FormField | None, typed: str = "", *, is_rule: bool = False) -> None:
            self.node, self.field, self.typed, self.is_rule = node, field, typed, is_rule
            super().__init__()

    class Pick(Message):
        """A field is to be picked from a list."""

        def __init__(self, node: str, field: FormField) -> None:
            self.node, self.field = node, field
            super().__init__()

    class Left(Message):
        """The user goes back to the graph."""

    def __init__(self, refused: Refused, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._refused = refused
        self._ascii_only = ascii_only
        self._node = ""
        self._editing: FormField | None = None
        self._is_rule = False

    def compose(self) -> ComposeResult:
        yield FormView(ascii_only=self._ascii_only)
        yield FieldInput(compact=True)

    @property
    def form(self) -> FormView:
        return self.query_one(FormView)

    @property
    def input(self) -> FieldInput:
        return self.query_one(FieldInput)

    def show(self, form: Form | None, icon: Part = ("", ""), views: Mapping[Path, ScheduleView] | None = None) -> None:
        """Show the form of a node. What is being typed stays, unless the node is another one."""
        name = form.name if form else ""
        if name != self._node:
            self._close()
        self._node = name
        self.form.show(form, icon, views or {})
        if self._editing is not None:
            self._place_input()

    def begin(self, label: str = "") -> None:
        """Go to a field and edit it: the one with a label, else the one that a node is about."""
        form = self.form
        form.focus()
        named = [index for index, field in enumerate(form.fields) if label and field.label == label]
        form.move_to(named[0] if named else form.first_field())
        if form.field is not None and form.field.kind not in _LISTED:
            self._open(form.field)

    def edit(self) -> None:
        """Edit the field under the cursor: in a line, or from a list."""
        field = self.form.field
        if field is None:
            return
        if field.kind in _LISTED or (field.label == "model" and field.kind == "text"):
            self.post_message(self.Pick(self._node, field))
        else:
            self._open(field)

    @on(FormView.Asked)
    def _do(self, event: FormView.Asked) -> None:
        event.stop()
        field = self.form.field
        if event.what == "leave":
            self.post_message(self.Left())
        elif field is None:
            return
        elif event.what == "edit":
            self.edit()
        elif event.what == "rule" and field.kind in ("schedule", "rule"):
            self._open(field, is_rule=True)
        elif event.what == "clear" and field.label != "name":
            self.post_message(self.Filled(self._node, field, ""))
        elif event.what in ("next", "previous") and field.kind in ("choice", "boolean"):
            self.post_message(self.Filled(self._node, field, _beside(field, 1 if event.what == "next" else -1)))

    @on(Input.Changed)
    def _tell(self, event: Input.Changed) -> None:
        event.stop()
        if self._editing is not None:
            self.post_message(self.Typing(self._node, self._editing, event.value, is_rule=self._is_rule))

    @on(Input.Submitted)
    def _submit(self, event: Input.Submitted) -> None:
        event.stop()
        self._commit(0)

    @on(FieldInput.Leave)
    def _leave(self, event: FieldInput.Leave) -> None:
        event.stop()
        if event.keep:
            self._commit(event.by)
        else:
            self._close()
            self.form.say(None)
            self.form.focus()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Whoever clicks elsewhere means what was typed."""
        if self._editing is not None and event.widget is self.input and self.screen.focused is not self.input:
            self._commit(0, stay=False)

    def on_resize(self) -> None:
        if self._editing is not None:
            self.form.reveal()
            self.call_after_refresh(self._place_input)

    def _open(self, field: FormField, *, is_rule: bool = False) -> None:
        self._editing, self._is_rule = field, is_rule
        self.input.placeholder = "kind: mlp, value: 0.5" if is_rule else field.default
        typed = "" if is_rule else field.text
        self.input.value = typed
        self.post_message(self.Typing(self._node, field, typed, is_rule=is_rule))
        self.input.add_class("-typing")
        self.form.is_typed_in = True
        self.form.refill()
        self._place_input()
        self.input.focus()

    def _place_input(self) -> None:
        column, row = self.form.value_place()
        self.input.styles.offset = (column, row)
        self.input.styles.width = max(6, self.form.line_width - column)

    def _commit(self, by: int, *, stay: bool = True) -> None:
        """Fill in what was typed and go on; what cannot stand is said, and stays open."""
        field, typed = self._editing, self.input.value
        if field is None:
            return
        if typed.strip() != field.text.strip() or self._is_rule:
            problem = self._refused(self._node, field, typed, self._is_rule)
            if problem is not None and stay:
                self.form.say(problem)
                self._place_input()
                return
            if problem is None:
                self.post_message(self.Filled(self._node, field, typed, is_rule=self._is_rule))
        self._close()
        if not stay:
            return
        self.form.focus()
        self.form.move_to(self.form.cursor + by)
        following = self.form.field
        if by and following is not None and following.kind not in _LISTED:
            self._open(following)

    def _close(self) -> None:
        if self._editing is not None:
            self.post_message(self.Typing(self._node, None))
        self._editing = None
        self.input.remove_class("-typing")
        if self.form.is_typed_in:
            self.form.is_typed_in = False
            self.form.refill()


def _beside(field: FormField, by: int) -> str:
    """The choice after the one that holds now, or before it."""
    choices = field.choices or ("true", "false")
    now = field.text or field.default
    return choices[(choices.index(now) + by) % len(choices)] if now in choices else choices[0]
