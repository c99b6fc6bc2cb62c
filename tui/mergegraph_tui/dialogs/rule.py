"""A rule for the cells that are chosen: which schedule takes it, and with which value. What it would do is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from mergegraph.stats.record import TensorRecord
from mergegraph.units import format_count
from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.cell_rules import Conditions, in_words, tried_rules
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.preview import Preview, compare_tried
from mergegraph_tui.model.rule_targets import Target
from mergegraph_tui.widgets.marked_list import MarkedList
from mergegraph_tui.widgets.preview import PreviewPanel

_MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was decided."""

    target: Target
    value: float


@dataclass(frozen=True, slots=True)
class About:
    """What the rule is for. `tensors`: those of the record that were chosen."""

    loaded: LoadedRecord
    checked: Checked
    conditions: tuple[Conditions, ...]
    tensors: tuple[TensorRecord, ...]


class RuleDialog(Dialog[Wanted]):
    """`targets`: at least one, the likeliest first."""

    HINT = "up, down  where   enter  write   esc  close"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="rule.up"),
        Binding("down", "move(1)", "Down", show=False, id="rule.down"),
    ]
    DEFAULT_CSS = """
    RuleDialog {
        & > #frame { width: 84; }
        & .dim { color: $text-muted; }
        & #value-row { height: 1; margin: 1 0; }
        & #value-row Label { width: 8; }
        & #value-row Input { width: 1fr; margin: 0; }
        & OptionList { max-height: 8; }
        & PreviewPanel { max-height: 28vh; background: $surface; }
    }
    """

    def __init__(self, about: About, targets: Sequence[Target], *, ascii_only: bool = False) -> None:
        super().__init__()
        self._about, self._targets, self._ascii = about, tuple(targets), ascii_only

    def title_text(self) -> str:
        return f"A rule for {format_count(len(self._about.tensors), 'tensor')}"

    def compose_body(self) -> ComposeResult:
        first = self._targets[0].now
        for each in self._about.conditions[:_MOST_SHOWN]:
            yield Label(f"  {in_words(each)}", markup=False)
        if len(self._about.conditions) > _MOST_SHOWN:
            yield Label(f"  and {len(self._about.conditions) - _MOST_SHOWN} more", classes="dim")
        yield Label("is written into", classes="dim")
        yield MarkedList(*(Option(self._words(each)) for each in self._targets), markup=False)
        with Horizontal(id="value-row"):
            yield Label("value")
            yield Input(first if _number(first) is not None else "", id="value")
        yield Label("", id="wrong", classes="problem", markup=False)
        yield PreviewPanel(ascii_only=self._ascii, id="effect")

    @staticmethod
    def _words(target: Target) -> str:
        now = target.now if len(target.now) <= 30 else f"{target.now[:29]}…"
        return f"{target.title}, now {now}"

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0
        value = self.query_one(Input)
        value.focus()
        value.select_all()

    @property
    def target(self) -> Target:
        return self._targets[self.query_one(OptionList).highlighted or 0]

    @on(Input.Changed)
    @on(OptionList.OptionHighlighted)
    def foretell(self) -> None:
        typed = self.query_one(Input).value
        value = _number(typed)
        self.query_one("#wrong", Label).update("" if value is not None or not typed.strip() else "this is no number")
        if value is not None:
            self.query_one(PreviewPanel).ask(partial(_effect, self._about, self.target, value))

    def action_move(self, by: int) -> None:
        found = self.query_one(OptionList)
        found.highlighted = ((found.highlighted or 0) + by) % len(self._targets)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def write(self) -> None:
        value = _number(self.query_one(Input).value)
        if value is None:
            self.query_one("#wrong", Label).update("write a number, such as 0.5")
        else:
            self.dismiss(Wanted(self.target, value))


def _effect(about: About, target: Target, value: float) -> Preview | str:
    tried = tried_rules(about.checked, target, about.conditions, value)
    if tried is None:
        return "the schedule cannot be read"
    return compare_tried(about.loaded, about.checked, tried, about.tensors)


def _number(typed: str) -> float | None:
    try:
        value = float(typed)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
