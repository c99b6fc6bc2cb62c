"""Open a recipe: those that were open before, those of the folder, or any by its path; with what is in each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mergegraph.units import format_count
from mergegraph_tui.dialogs.dialog import Dialog, step
from mergegraph_tui.model.files import from_home
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.recipes import Listed, Looked, ago, entries_at, look, recipes
from mergegraph_tui.widgets.marked_list import MarkedList

NEW = Path()
"""What the dialog is dismissed with when a new recipe is wanted instead."""
_PICTURE = (46, 15)


class Open(Dialog[Path]):
    """Dismissed with the path of a recipe, or with NEW."""

    HINT = "type to filter, or a path   up, down choose   enter open   ctrl+n new   tab browse folders   esc close"
    DEFAULT_CSS = """
    Open {
        & > #frame { width: 116; height: 24; }
        & #both { height: 1fr; }
        & OptionList { width: 1fr; max-height: 100%; }
        & #picture { width: 48; height: 1fr; padding: 0 0 0 1; overflow: hidden; color: $text-muted; }
        &.-small #picture { display: none; }
    }
    """

    class Found(Message):
        """A recipe was looked into."""

        def __init__(self, path: Path, looked: Looked) -> None:
            self.path, self.looked = path, looked
            super().__init__()

    def __init__(self, folder: Path, *, ascii_only: bool = False, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._folder, self._ascii_only, self._clock = folder, ascii_only, clock
        self._marks = glyphs_of(ascii_only=ascii_only).marks
        self._all: list[Listed] = []
        self._shown: list[Listed] = []
        self._looked: dict[Path, Looked] = {}
        self._is_left = threading.Event()

    def title_text(self) -> str:
        return f"Open a recipe   {from_home(self._folder)}"

    def compose_body(self) -> ComposeResult:
        field = Input(placeholder="name")
        field.cursor_blink = False
        yield field
        with Horizontal(id="both"):
            options = MarkedList(markup=False)
            options.can_focus = False
            yield options
            yield Static(id="picture", markup=False)

    def on_mount(self) -> None:
        self._all = recipes(self._folder)
        self._fill("")
        threading.Thread(target=self._look_into_all, name="open", daemon=True).start()

    def on_unmount(self) -> None:
        self._is_left.set()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < 100, "-small")
        self.call_after_refresh(self._show)

    def _look_into_all(self) -> None:
        headers = Headers()
        for listed in self._all:
            if self._is_left.is_set():
                return
            looked = look(listed.path, headers, _PICTURE, ascii_only=self._ascii_only)
            self.post_message(self.Found(listed.path, looked))

    def on_open_found(self, event: Found) -> None:
        self._looked[event.path] = event.looked
        for index, listed in enumerate(self._shown):
            if listed.path == event.path:
                options = self.query_one(OptionList)
                options.replace_option_prompt_at_index(index, self._row(listed))
                if options.highlighted == index:
                    self._show_picture(listed)

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        self._fill(event.value.strip())

    def _fill(self, typed: str) -> None:
        if _is_path(typed):
            self._shown = entries_at(typed, self._folder)
        else:
            self._shown = [listed for listed in self._all if typed.lower() in listed.shown.lower()]
        self._show()

    def _show(self) -> None:
        options = self.query_one(OptionList)
        now = options.highlighted or 0
        if self._shown:
            options.set_options(Option(self._row(listed)) for listed in self._shown)
            options.highlighted = min(now, len(self._shown) - 1)
        else:
            options.set_options([Option("  no such recipe", disabled=True)])
            self.query_one("#picture", Static).update("")

    @on(OptionList.OptionHighlighted)
    def show_picture(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index < len(self._shown):
            self._show_picture(self._shown[event.option_index])

    def _show_picture(self, listed: Listed) -> None:
        looked = self._looked.get(listed.path, Looked())
        self.query_one("#picture", Static).update("\n".join(looked.picture) or looked.problem)

    def on_key(self, event: events.Key) -> None:
        if step(self.query_one(OptionList), event.key):
            event.stop()
        elif event.key == "ctrl+n":
            event.stop()
            self.dismiss(NEW)
        elif event.key == "tab":
            event.stop()
            event.prevent_default()
            self._browse()

    def _browse(self) -> None:
        """From a name to the path of the folder; in a path, to what is chosen."""
        field = self.query_one(Input)
        chosen = self._chosen()
        if not _is_path(field.value):
            field.value = f"{self._folder}/"
        elif chosen is not None:
            field.value = f"{chosen.path}/" if chosen.shown.endswith("/") else str(chosen.path)
        field.cursor_position = len(field.value)

    def _chosen(self) -> Listed | None:
        index = self.query_one(OptionList).highlighted
        return self._shown[index] if index is not None and index < len(self._shown) else None

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def done(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        if chosen.shown.endswith("/"):
            self._browse()
        else:
            self.dismiss(chosen.path)

    def _row(self, listed: Listed) -> Text:
        """Name, what is in it, and when it was changed."""
        when = "" if listed.shown.endswith("/") else ago(self._clock() - listed.modified)
        looked = self._looked.get(listed.path)
        state = self._state(looked) if looked is not None else ("", "", "")
        columns = [(state[0], 11), (f"{state[1]} {state[2]}".strip(), 13), (when, 13)]
        room = max(12, self.query_one(OptionList).size.width - 4 - sum(width for _, width in columns))
        name = glyphs_of(ascii_only=self._ascii_only).fitted(listed.shown, room, keep_end=True)
        line = Text(f"{''.join(name):<{room}} ", no_wrap=True, overflow="ellipsis")
        style = cast("App[object]", self.app).theme_variables.get(_worst(looked), "dim")
        for (said, width), colour in zip(columns, ("dim", style, "dim"), strict=True):
            line.append(f" {said:<{width - 1}}", colour)
        return line

    def _state(self, looked: Looked) -> tuple[str, str, str]:
        if looked.problem and not looked.is_search:
            return "", self._marks["error"], "unreadable"
        nodes = "search" if looked.is_search else format_count(looked.nodes, "node")
        if looked.errors:
            return nodes, self._marks["error"], format_count(looked.errors, "error")
        if looked.warnings and not looked.run:
            return nodes, self._marks["warning"], format_count(looked.warnings, "warning")
        return nodes, self._marks["done"], looked.run


def _worst(looked: Looked | None) -> str:
    if looked is None:
        return ""
    return "error" if looked.errors or looked.problem else "warning" if looked.warnings else ""


def _is_path(typed: str) -> bool:
    return typed.startswith(("/", "~", "./", "../"))
