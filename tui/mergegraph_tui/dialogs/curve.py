"""The curve of a schedule: a strength for each layer that arrows or the mouse move, and what that would do.

What it comes to is found out from the Gram matrices in a thread, while the curve moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.curve import Curve, CurveField, curve_of, tried_curve
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.plot import Plot, PlotLine
from mergegraph_tui.model.preview import Preview, compare_tried, kept_by_layer
from mergegraph_tui.model.writing import written
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.marked_list import MarkedList
from mergegraph_tui.widgets.preview import PreviewPanel

_STEP, _FINE, _COARSE = 0.05, 0.01, 0.25


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was decided."""

    field: CurveField
    curve: Curve


class FieldList(MarkedList, can_focus=False):
    """The schedules there are; the keys are the curve's."""


class CurveDialog(Dialog[Drawn]):
    """`fields`: at least one, the likeliest first. Without a record the curve moves all the same."""

    TITLE = "A strength for each layer"
    HINT = "arrows  layer, strength  shift  finer  + -  reach  f  flat  s  straight  v  type"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", "Layer before", id="curve.left"),
        Binding("right,l", "move(1)", "Next layer", id="curve.right"),
        Binding("home", "move(-9999)", "First", show=False, id="curve.home"),
        Binding("end", "move(9999)", "Last", show=False, id="curve.end"),
        Binding("up,k", f"raise({_STEP})", "Higher", id="curve.up"),
        Binding("down,j", f"raise(-{_STEP})", "Lower", id="curve.down"),
        Binding("shift+up,K", f"raise({_FINE})", "A little higher", id="curve.fine-up"),
        Binding("shift+down,J", f"raise(-{_FINE})", "A little lower", id="curve.fine-down"),
        Binding("pageup", f"raise({_COARSE})", "Much higher", id="curve.page-up"),
        Binding("pagedown", f"raise(-{_COARSE})", "Much lower", id="curve.page-down"),
        Binding("plus,equals_sign", "reach(1)", "Wider", id="curve.wider"),
        Binding("minus", "reach(-1)", "Narrower", id="curve.narrower"),
        Binding("f", "flat", "All layers the same", id="curve.flat"),
        Binding("s", "straight", "Straight lines", id="curve.straight"),
        Binding("v", "type", "Type a value", id="curve.type"),
        Binding("u,ctrl+z", "back", "Take back", id="curve.undo"),
        Binding("tab", "next_field(1)", "Next schedule", id="curve.next"),
        Binding("shift+tab", "next_field(-1)", "Schedule before", show=False, id="curve.previous"),
        Binding("enter", "write", "Write", id="curve.write"),
    ]
    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal")]  # noqa: RUF012
    DEFAULT_CSS = """
    CurveDialog {
        & > #frame { width: 96%; max-width: 150; height: 96%; max-height: 44; }
        & OptionList { max-height: 5; }
        & LinePlot { background: $surface; }
        & #curve { height: 2fr; }
        & #kept-title { color: $text-muted; }
        & Label { width: 1fr; height: 1; }
        & #hint { margin: 0; }
        & #below { height: 1fr; min-height: 8; }
        & #kept-box { width: 1fr; }
        & PreviewPanel { width: 48; background: $surface; padding: 0; }
        & Input { display: none; margin: 0; }
        & Input.-open { display: block; }
        &.-narrow #kept-box { display: none; }
        &.-narrow PreviewPanel { width: 1fr; max-height: 7; }
        &.-narrow #below { height: 7; min-height: 7; }
    }
    """

    class Foretold(Message):
        """What each source keeps, layer by layer."""

        def __init__(self, lines: tuple[PlotLine, ...]) -> None:
            self.lines = lines
            super().__init__()

    def __init__(
        self, checked: Checked, fields: Sequence[CurveField], loaded: LoadedRecord | None, *, ascii_only: bool = False
    ) -> None:
        super().__init__()
        self._checked, self._fields, self._loaded, self._ascii = checked, tuple(fields), loaded, ascii_only
        self._number = 0
        self._curve: Curve | None = None
        self._before: list[Curve] = []

    @property
    def curve(self) -> Curve | None:
        return self._curve

    def compose_body(self) -> ComposeResult:
        yield FieldList(*(Option(f"{each.target.title}: {each.title}") for each in self._fields), markup=False)
        yield Label("", id="says", markup=False)
        yield LinePlot(ascii_only=self._ascii, id="curve")
        with Horizontal(id="below"):
            with Vertical(id="kept-box"):
                yield Label("kept of each source, layer by layer", id="kept-title")
                yield LinePlot(ascii_only=self._ascii, id="kept")
            yield PreviewPanel(ascii_only=self._ascii, id="effect")
        yield Input(placeholder="a number for this layer; enter sets it")

    def on_mount(self) -> None:
        self.query_one("#frame").border_subtitle = "tab  other   u  back   enter  write   esc  leave"
        self._open(0)

    def _open(self, number: int) -> None:
        self._number = number
        self.query_one(OptionList).highlighted = number
        found = curve_of(self._checked, self._fields[number])
        self._before = []
        self._curve = None if isinstance(found, str) else found
        if isinstance(found, str):
            self.query_one("#says", Label).update(f"no curve: {found}")
            self.query_one("#curve", LinePlot).show(Plot((), ()))
        else:
            self._show()

    def _change(self, curve: Curve) -> None:
        """One step that can be taken back."""
        if self._curve is not None and curve != self._curve:
            if curve.points != self._curve.points:
                self._before.append(self._curve)
            self._curve = curve
            self._show()

    def _show(self) -> None:
        curve = self._curve
        if curve is None:
            return
        labels = tuple(map(str, range(len(curve.points))))
        top, bottom = max(1.0, *curve.points), min(0.0, *curve.points)
        line = PlotLine("strength", curve.points)
        self.query_one("#curve", LinePlot).show(Plot((line,), labels, curve.at, span=(bottom, top)))
        reach = f", with {curve.reach} on each side" if curve.reach else ""
        value = written(curve.value)
        says = f"layer {curve.at}: {curve.points[curve.at]:.4g}{reach}   written as {value}"
        self.query_one("#says", Label).update(says)
        self._foretell(curve)

    def _foretell(self, curve: Curve) -> None:
        loaded, checked, field = self._loaded, self._checked, self._fields[self._number]
        if loaded is None:
            self.query_one(PreviewPanel).show_found("no statistics of this recipe yet")
            return

        def effect() -> Preview | str:
            tried = tried_curve(checked, field, curve)
            if tried is None:
                return "the schedule cannot be read"
            found = compare_tried(loaded, checked, tried)
            if not isinstance(found, str) and curve is self._curve:
                self.post_message(self.Foretold(kept_by_layer(loaded, checked, tried)))
            return found

        self.query_one(PreviewPanel).ask(effect)

    def on_curve_dialog_foretold(self, event: Foretold) -> None:
        if self._loaded is not None and self._curve is not None:
            self.query_one("#kept", LinePlot).show(Plot(event.lines, self._loaded.layers, self._curve.at, span=(0, 1)))

    @on(OptionList.OptionSelected)
    def open_field(self, event: OptionList.OptionSelected) -> None:
        self._open(event.option_index)

    @on(LinePlot.Pointed, "#curve")
    def point(self, event: LinePlot.Pointed) -> None:
        if self._curve is not None:
            moved = self._curve.moved(event.place - self._curve.at)
            self._change(moved.with_point(round(event.value / _STEP) * _STEP))

    def action_move(self, by: int) -> None:
        if self._curve is not None:
            self._change(self._curve.moved(by))

    def action_raise(self, by: float) -> None:
        if self._curve is not None:
            self._change(self._curve.raised(by))

    def action_reach(self, by: int) -> None:
        if self._curve is not None:
            self._change(self._curve.reaching(by))

    def action_flat(self) -> None:
        if self._curve is not None:
            self._change(self._curve.flat())

    def action_straight(self) -> None:
        if self._curve is not None:
            self._change(self._curve.straight())

    def action_back(self) -> None:
        if self._before:
            self._curve = self._before.pop()
            self._show()

    def action_next_field(self, by: int) -> None:
        self._open((self._number + by) % len(self._fields))

    def action_type(self) -> None:
        value = self.query_one(Input)
        value.add_class("-open")
        value.value = ""
        value.focus()

    @on(Input.Submitted)
    def set_value(self, event: Input.Submitted) -> None:
        try:
            value = float(event.value)
        except ValueError:
            self.query_one("#says", Label).update(f"{event.value!r} is no number")
        else:
            if self._curve is not None and abs(value) < float("inf"):
                self._change(self._curve.with_point(value))
        self._close_input()

    def _close_input(self) -> None:
        self.query_one(Input).remove_class("-open")
        self.set_focus(None)

    def action_write(self) -> None:
        if self._curve is not None:
            self.dismiss(Drawn(self._fields[self._number], self._curve))

    def action_leave(self) -> None:
        if self.query_one(Input).has_class("-open"):
            self._close_input()
        else:
            self.dismiss(None)
