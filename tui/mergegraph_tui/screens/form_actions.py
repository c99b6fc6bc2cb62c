"""What is filled in on the Edit screen: the form of the selected node."""

from __future__ import annotations

from collections.abc import Mapping

from textual import on, work

from mergegraph.errors import Problem
from mergegraph.methods.base import Path
from mergegraph_tui.dialogs.pick import Choice, filtered
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.fields import FORETOLD, Form, FormField, form_of
from mergegraph_tui.model.filling import add_typed_rule, fill, pickable
from mergegraph_tui.model.form_lines import NAME
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.nodes import rename_node
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.schedules import ScheduleView, schedule_view
from mergegraph_tui.model.splice import Edited
from mergegraph_tui.screens.wire_actions import WireActions
from mergegraph_tui.widgets.inspector import Inspector
from mergegraph_tui.widgets.preview import PreviewPanel
from mergegraph_tui.widgets.rail_view import RailView


class FormActions(WireActions):
    """Shows the form, and makes an edit of what is typed or picked there."""

    def __init__(self) -> None:
        super().__init__()
        self._forms: dict[str, tuple[Form | None, Mapping[Path, ScheduleView]]] = {}
        self._forms_of: Checked | None = None

    @property
    def inspector(self) -> Inspector:
        return self.query_one(Inspector)

    @property
    def rail(self) -> RailView:
        return self.query_one(RailView)

    def show_form(self) -> None:
        form, views = self._form(self.workspace.selected or "")
        node = self.workspace.drawn.nodes.get(self.workspace.selected or "")
        icon: Part = (glyphs_of(ascii_only=self.workspace.ascii_only).icon(node), node.family) if node else (" ", "")
        self.inspector.show(form, icon, views)

    def _form(self, name: str) -> tuple[Form | None, Mapping[Path, ScheduleView]]:
        """The form of a node, with what its schedules come to; made once for a check."""
        checked = self.checked
        if self._forms_of is not checked:
            self._forms_of, self._forms = checked, {}
        if name not in self._forms:
            form = form_of(checked, name)
            schedules = [field.path for field in form.fields if field.kind == "schedule"] if form else []
            views = {path: view for path in schedules if (view := schedule_view(checked, name, path)) is not None}
            self._forms[name] = form, views
        return self._forms[name]

    @on(Inspector.Left)
    def leave_form(self) -> None:
        (self.rail if self.shows_rail else self.canvas).focus()

    @on(Inspector.Filled)
    def fill_in(self, event: Inspector.Filled) -> None:
        """A field of the form has another text."""
        edited = self._filled(event.node, event.field, event.typed, event.is_rule)
        if event.field.path == (NAME,):
            self.edit(edited, f"rename {event.node} to {event.typed.strip()}", event.typed.strip())
        elif edited != self.text:
            what = "a rule of" if event.is_rule else "clear" if not event.typed.strip() else "set"
            self.edit(edited, f"{what} {event.node}.{event.field.label}")

    @on(Inspector.Typing)
    def foretell(self, event: Inspector.Typing) -> None:
        """What the number that is being typed would do to the merge."""
        panel = self.query_one(PreviewPanel)
        is_number = event.field is not None and event.field.kind in FORETOLD
        panel.set_class(is_number, "-shown")
        if event.field is not None and is_number:
            panel.show_field(self.workspace, event.node, event.field, event.typed, is_rule=event.is_rule)

    @on(Inspector.Pick)
    def pick_field(self, event: Inspector.Pick) -> None:
        self._pick_for(event.node, event.field)

    @work
    async def _pick_for(self, node: str, field: FormField) -> None:
        """A field whose value is one of a list: a node, a choice, a model."""
        if field.kind == "text":
            model = await self.ask_model(f"The model of {node}")
            picked = model.reference if model else None
        else:
            picked = await self.pick(f"{node}: {field.label}", filtered(self._choices(node, field)))
        if picked is not None:
            self.fill_in(Inspector.Filled(node, field, picked))

    def _choices(self, node: str, field: FormField) -> list[Choice[str]]:
        nodes = self.outlined.nodes
        if field.kind == "input":
            reasons = pickable(self.checked, node, field)
            choices = [
                Choice(name, name, f"{nodes[name].op} {nodes[name].detail}" if name in nodes else "", refused=reason)
                for name, reason in reasons.items()
            ]
        else:
            words = field.choices or ("true", "false")
            choices = [Choice(each, each, "the default" if each == field.default else "") for each in words]
        if field.text and (not field.is_required or isinstance(field.path[0], int) or len(field.path) > 1):
            choices.append(Choice("", "(none)", "take it away"))
        return choices

    def refused(self, node: str, field: FormField, typed: str, is_rule: bool) -> Problem | None:
        edited = self._filled(node, field, typed, is_rule)
        return edited if isinstance(edited, Problem) else None

    def _filled(self, node: str, field: FormField, typed: str, is_rule: bool) -> Edited:
        if is_rule:
            return add_typed_rule(self.text, node, field, typed)
        if field.path == (NAME,):
            return rename_node(self.text, node, typed.strip())
        return fill(self.text, node, field, typed)
