"""What a new recipe begins as."""

from __future__ import annotations

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mergegraph_tui.dialogs.dialog import Dialog, step
from mergegraph_tui.model.recipes import picture
from mergegraph_tui.model.templates import Template, templates
from mergegraph_tui.widgets.marked_list import MarkedList


class New(Dialog[str]):
    """Dismissed with the text of the template that was chosen."""

    TITLE = "New recipe"
    HINT = "type to filter   up, down choose   enter begin with it   esc close"
    DEFAULT_CSS = """
    New {
        & > #frame { width: 104; height: 24; }
        & #both { height: 1fr; }
        & OptionList { width: 22; max-height: 100%; }
        & #picture { width: 1fr; height: 1fr; padding: 0 0 0 2; overflow: hidden; }
    }
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        super().__init__()
        self._ascii_only = ascii_only
        self._templates = templates()

    def compose_body(self) -> ComposeResult:
        field = Input(placeholder="soup, ties, …" if not self._ascii_only else "soup, ties, ...")
        field.cursor_blink = False
        yield field
        with Horizontal(id="both"):
            options = MarkedList(markup=False)
            options.can_focus = False
            yield options
            yield Static(id="picture", markup=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self._fill, "")

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        self._fill(event.value.strip().lower())

    def _fill(self, typed: str) -> None:
        options = self.query_one(OptionList)
        fitting = [each for each in self._templates if typed in each.name or typed in each.says.lower()]
        options.set_options(Option(each.name, id=each.name) for each in fitting)
        options.highlighted = 0 if fitting else None

    @on(OptionList.OptionHighlighted)
    def show_picture(self, event: OptionList.OptionHighlighted) -> None:
        template, shown = self._named(event.option.id), self.query_one("#picture", Static)
        width = shown.size.width - 2
        lines = picture(template.text, width, 13, ascii_only=self._ascii_only) if width > 0 else ()
        shown.update(Text.assemble(template.says, "\n\n", ("\n".join(lines), "dim")))

    def on_key(self, event: events.Key) -> None:
        if step(self.query_one(OptionList), event.key):
            event.stop()

    @on(Input.Submitted)
    def begin(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None:
            self.dismiss(self._named(option.id).text)

    @on(OptionList.OptionSelected)
    def begin_with(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._named(event.option.id).text)

    def _named(self, name: str | None) -> Template:
        return next(each for each in self._templates if each.name == name)
