"""The plan: what a run will do, what it is asked, what stands in its way; then it is started, or not now."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Input, Label

from mergegraph_tui.dialogs.dialog import Dialog
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.files import typed_path
from mergegraph_tui.model.plan_rows import decision_row, fact_rows, order_columns, problem_rows, step_rows
from mergegraph_tui.model.planned import BeingWritten
from mergegraph_tui.model.preparing import DEFAULTS, Asked, Prepared, Wanted, prepare
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.saving import needs_name, proposed_file, save_for_run, saving_text
from mergegraph_tui.widgets.painted_text import PaintedText
from mergegraph_tui.widgets.rail_view import RailView
from mergegraph_tui.widgets.tick import Tick

_TYPING_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Start:
    """What was decided; the file is saved. `overwrite`: from the beginning."""

    prepared: Prepared
    recipe: Path
    overwrite: bool


@dataclass(frozen=True, slots=True)
class ShowRun:
    """The run that writes the output is to be shown."""

    output: Path


class PlanDialog(Dialog[Start | ShowRun]):
    """Of `document` as it is. `asked` is what the last run was asked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "anew", "From the beginning", id="plan.anew"),
        Binding("up", "move(-1)", "Scroll up", show=False, id="plan.up"),
        Binding("down", "move(1)", "Scroll down", show=False, id="plan.down"),
        Binding("pageup", "move(-8)", "Scroll up", show=False, id="plan.page-up"),
        Binding("pagedown", "move(8)", "Scroll down", show=False, id="plan.page-down"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    DEFAULT_CSS = """
    PlanDialog {
        & > #frame { width: 96%; max-width: 150; max-height: 96%; }
        & PaintedStrips { background: $surface; }
        & #scroll { height: auto; max-height: 72vh; }
        & #work { height: auto; layout: horizontal; margin: 0 0 1 0; }
        & #order { width: 4fr; height: auto; max-height: 14; }
        & #steps { width: 5fr; height: auto; max-height: 14; }
        & #facts, & #told { height: auto; }
        & #told { max-height: 30vh; }
        & #file-row, & #asked, & #allowed { height: 1; }
        & #asked Label, & #allowed Label, & #file-row Label { color: $text-muted; width: auto; padding: 0 1 0 0; }
        & #told { margin: 1 0 0 0; }
        & Input { width: 10; margin: 0 2 0 0; background: $boost; }
        & #file { width: 1fr; }
        & Tick { margin: 0 2 0 0; }
        & #asked { margin: 1 0 0 0; }
        & #buttons { height: 1; align: center middle; margin: 1 0 0 0; }
        & #hint { display: none; }
        & Button { margin: 0 2; }
        & Button:focus { text-style: bold reverse; }
        &.-narrow > #frame { width: 100%; max-width: 100%; height: 100%; max-height: 100%; }
        &.-narrow #scroll { height: 1fr; max-height: 100%; }
        &.-narrow #work { layout: vertical; }
        &.-narrow #order { width: 100%; max-height: 7; }
        &.-narrow #steps { width: 100%; max-height: 4; }
        &.-narrow #work, &.-narrow #asked, &.-narrow #buttons, &.-narrow #told { margin: 0; }
        &.-narrow Input { width: 8; margin: 0 1 0 0; }
        &.-narrow Button { margin: 0 1; }
    }
    """

    class Ready(Message):
        """A plan was made, or not."""

        def __init__(self, prepared: Prepared) -> None:
            self.prepared = prepared
            super().__init__()

    def __init__(self, document: Document, asked: Asked = DEFAULTS, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._document, self._ascii_only = document, ascii_only
        self._asked = asked
        self._named = needs_name(document)
        self._wanted: Wanted | None = None
        self._prepared: Prepared | None = None
        self._typing: Timer | None = None
        self._told: list[list[Part]] = []

    @property
    def prepared(self) -> Prepared | None:
        """The plan of what is asked now; None while it is being made."""
        return self._prepared

    def title_text(self) -> str:
        return f"Plan  {self._document.name}"

    def compose_body(self) -> ComposeResult:
        painted, asked = self._ascii_only, self._asked
        with VerticalScroll(id="scroll", can_focus=False):
            with Vertical(id="work"):
                yield RailView(ascii_only=painted, id="order")
                yield PaintedText(ascii_only=painted, scrolls=True, id="steps")
            yield PaintedText(ascii_only=painted, id="facts")
        yield PaintedText(ascii_only=painted, id="told")
        with Horizontal(id="file-row"):
            yield Label("file")
            yield Input(str(proposed_file(self._document)) if self._named else "", id="file", compact=True)
        with Horizontal(id="asked"):
            yield Label("threads")
            yield Input(asked.threads, placeholder="all", id="threads", compact=True)
            yield Label("budget")
            yield Input(asked.budget, placeholder="auto", id="budget", compact=True)
            yield Label("device")
            yield Input(asked.device, placeholder="cpu", id="device", compact=True)
            yield Tick("statistics", asked.stats, id="stats")
            yield Tick("verify", asked.verify, id="verify")
        with Horizontal(id="allowed"):
            yield Label("allow")
            yield Tick("values that are not finite", asked.non_finite, id="non_finite")
            yield Tick("models that are not related", asked.unrelated, id="unrelated")
        with Horizontal(id="buttons"):
            yield Button("Start (enter)", id="start", compact=True, disabled=True)
            yield Button("From the beginning (f)", id="anew", compact=True, disabled=True)
            yield Button("Show that run", id="show", compact=True)
            yield Button("Not now (esc)", id="not-now", compact=True)

    def on_mount(self) -> None:
        self.query_one("#file-row").display = self._named
        self.query_one("#show").display = False
        self.query_one("#not-now").focus()
        self._plan()

    def action_move(self, by: int) -> None:
        self.query_one("#scroll").scroll_relative(y=by, animate=False)

    @property
    def asked_last(self) -> Asked:
        """What was asked when the last plan was begun."""
        return self._wanted.asked if self._wanted is not None else self._asked

    def asked(self) -> Asked:
        """What is asked now."""
        threads, budget, device = (
            self.query_one(f"#{x}", Input).value.strip() for x in ("threads", "budget", "device")
        )
        ticks = {
            name: self.query_one(f"#{name}", Tick).value for name in ("stats", "verify", "non_finite", "unrelated")
        }
        return Asked(threads, budget, device, **ticks)

    def _file(self) -> Path | None:
        """The file that was named, where one is asked for."""
        typed = self.query_one("#file", Input).value.strip() if self._named else ""
        return typed_path(typed, self._document.folder) if typed else None

    def _plan(self) -> None:
        """Make the plan of what is asked now, in a thread; an older one that comes later is passed over."""
        path = self._file() or self._document.path
        wanted = Wanted(self._document.text, path, self._document.folder, self.asked())
        if wanted == self._wanted:
            return
        self._wanted, self._prepared = wanted, None
        self._show()
        threading.Thread(
            target=lambda: self.post_message(self.Ready(prepare(wanted))), name="plan", daemon=True
        ).start()

    @on(Input.Changed)
    @on(Tick.Changed)
    def _plan_soon(self) -> None:
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(_TYPING_SECONDS, self._plan)

    def on_plan_dialog_ready(self, event: Ready) -> None:
        if event.prepared.wanted == self._wanted:
            self._prepared = event.prepared
            self._show()

    def _show(self) -> None:
        made = self._prepared
        start, anew, show = (self.query_one(f"#{name}", Button) for name in ("start", "anew", "show"))
        start.disabled = made is None or not made.may_go_on
        anew.disabled = made is None or not made.may_begin_anew
        show.display = self._written() is not None
        self._show_rows(made)
        if made is not None and not isinstance(self.focused, Input | Tick):
            (start if made.may_go_on else show if show.display else self.query_one("#not-now")).focus()

    def _show_rows(self, made: Prepared | None) -> None:
        saving = saving_text(self._document)
        rows: list[list[Part]] = [[("file    ", "detail"), (saving, "warning")]] if saving else []
        if made is None:
            self.query_one("#told", PaintedText).show([*rows, [("planning", "running")]])
            return
        self.query_one("#order", RailView).show(made.drawn, order_columns(made.planned) if made.planned else {})
        if made.planned is not None:
            self.query_one("#steps", PaintedText).show(step_rows(made.planned.steps, ascii_only=self._ascii_only))
            self.query_one("#facts", PaintedText).show(fact_rows(made.planned))
        told = [*rows, *problem_rows(made.problems, ascii_only=self._ascii_only), decision_row(made)]
        self.query_one("#told", PaintedText).show(told)

    def _written(self) -> Path | None:
        """An output that a run writes now."""
        planned = self._prepared.planned if self._prepared else None
        outputs = planned.outputs if planned else ()
        return next((out.path for out in outputs if isinstance(out.standing, BeingWritten)), None)

    @on(Input.Submitted)
    def _to_the_buttons(self) -> None:
        """Enter in a field: what was typed counts now, and the next Enter starts."""
        self._plan()
        self.query_one("#start" if self._prepared and self._prepared.may_go_on else "#not-now").focus()

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        if self._prepared is not None and self._prepared.may_go_on:
            self._start(self._prepared, overwrite=False)

    @on(Button.Pressed, "#anew")
    def action_anew(self) -> None:
        if self._prepared is not None and self._prepared.may_begin_anew:
            self._start(self._prepared, overwrite=True)

    @on(Button.Pressed, "#show")
    def action_show(self) -> None:
        if (output := self._written()) is not None:
            self.dismiss(ShowRun(output))

    @on(Button.Pressed, "#not-now")
    def _not_now(self) -> None:
        self.dismiss(None)

    def _start(self, prepared: Prepared, *, overwrite: bool) -> None:
        """The file must hold what was planned; a problem stays in the dialog."""
        if prepared.wanted.text != self._document.text:
            self._plan()  # the file changed on disk, and was read again
            return
        problem = save_for_run(self._document, self._file())
        if problem is not None or self._document.path is None:
            rows = problem_rows([problem] if problem else [], ascii_only=self._ascii_only)
            self.query_one("#told", PaintedText).show(rows)
            return
        self.dismiss(Start(prepared, self._document.path, overwrite))
