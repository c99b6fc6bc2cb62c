"""The recipe's text, to be typed in. What is typed is told 150 ms after the last key; what it means is shown when the
check comes back: a mark beside each line that has a problem."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import TextArea

from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.colouring import TOKENS, tokens
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import Status
from mergegraph_tui.model.typed_lines import changed_lines, retyped, shown_lines
from mergegraph_tui.theme import ink

PAUSE = 0.15
"""Seconds without a key after which what was typed is told."""
_UNSEEN = re.compile(r"[^\t -~\xa1-\u024f\u0370-\u03ff\u1e00-\u1eff\u2010-\u2027\u2030-\uffff\U00010000-\U0010ffff]")


class YamlPane(TextArea):
    """`show` gives it the document's text. Undo and redo are the document's, not the text area's own."""

    BINDINGS: list[BindingType] = [  # noqa: RUF012
        Binding("ctrl+z,super+z", "app.undo", "Undo", id="text.undo"),
        Binding("ctrl+y,ctrl+r,super+y", "app.redo", "redo in the recipe", show=False, id="text.redo"),
        Binding("escape", "leave", "Leave the text", id="text.leave"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"yaml-pane--{kind}" for kind in (*TOKENS, "error", "warning", "unseen")}
    DEFAULT_CSS = """
    YamlPane {
        border: none; padding: 0; background: $background; scrollbar-size: 1 1; scrollbar-background: $background;
        scrollbar-corner-color: $background;
        &:focus { border: none; }
        & .yaml-pane--comment { color: $text-muted; text-style: italic; }
        & .yaml-pane--key { color: $primary; }
        & .yaml-pane--string { color: $success; }
        & .yaml-pane--number { color: $warning; }
        & .yaml-pane--word { color: $secondary; }
        & .yaml-pane--reference { color: $secondary; }
        & .yaml-pane--mark { color: $text-muted; }
        & .yaml-pane--unseen { color: $error; text-style: reverse; }
        & .yaml-pane--error { color: $error; text-style: bold; }
        & .yaml-pane--warning { color: $warning; text-style: bold; }
    }
    """

    class Typed(Message):
        """The text that was typed, whole."""

        def __init__(self, pane: YamlPane, text: str) -> None:
            self.pane, self.text = pane, text
            super().__init__()

        @property
        def control(self) -> YamlPane:
            return self.pane

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(
            soft_wrap=False, show_line_numbers=True, tab_behavior="indent", max_checkpoints=1, id=id, classes=classes
        )
        self.cursor_blink = False
        self.indent_width = 2
        self.border_title = "YAML"
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._shown = ""
        self._marks: Mapping[int, Status] = {}
        self._followed = self._wanted = 0
        self._pause: Timer | None = None

    def show(self, text: str, checked: Checked, line: int = 0) -> None:
        """Show the document's text, and what is known of it. What is being typed just now stays until it is told.

        `line`: where the selected node is, 0 where that is not known.
        """
        if text != self._shown and self._pause is None:
            self._put(text)
        marks = _marks(checked) if checked.text == self._shown else self._marks
        if marks != self._marks:
            self._marks = marks
            self.refresh()
        self.follow(line)

    def follow(self, line: int) -> None:
        """The cursor goes with the selected node, as long as nobody types."""
        if line and line != self._followed:
            self._followed = line
            if not self.has_focus:
                self.go_to_line(line)

    def _put(self, text: str) -> None:
        """Another text; cursor and window stay at the line that they are at."""
        old, new = shown_lines(self._shown), shown_lines(text)
        _, end = changed_lines(old, new)
        row, column = self.cursor_location
        grown = len(new) - len(old)
        row += grown if self._shown and row >= end - grown else 0
        scrolled = self.scroll_offset
        self._shown = text
        with self.prevent(TextArea.Changed):
            self.load_text(text)
        self.move_cursor((min(max(row, 0), len(new) - 1), column))
        self.scroll_to(scrolled.x, scrolled.y, animate=False)

    def go_to_line(self, line: int) -> None:
        """The cursor to the start of a line, counted from 1, in the middle of the pane where it was not to be seen."""
        self._wanted = 0 if self.size else line
        if not self.size:
            return
        row = min(max(line, 1), self.document.line_count) - 1
        first = self.scroll_offset.y
        is_seen = first <= row < first + self.size.height
        column = len(self.document.get_line(row)) - len(self.document.get_line(row).lstrip())
        self.move_cursor((row, column), center=not is_seen)
        self.scroll_to(x=0, animate=False)

    def on_resize(self) -> None:
        """A pane that was not shown could not scroll."""
        if self._wanted:
            self.go_to_line(self._wanted)

    def take_typed(self) -> str | None:
        """What was typed and not told yet; it counts as told then."""
        if self._pause is None:
            return None
        self._pause.stop()
        self._pause = None
        self._shown = retyped(self._shown, self.document.lines)
        return self._shown

    def action_leave(self) -> None:
        self.screen.focus_next()

    def on_text_area_changed(self) -> None:
        if self._pause is None:
            self._pause = self.set_timer(PAUSE, self._tell)
        else:
            self._pause.reset()

    def on_blur(self) -> None:
        self._tell()

    def _tell(self) -> None:
        text = self.take_typed()
        if text is not None:
            self.post_message(self.Typed(self, text))

    def get_line(self, line_index: int) -> Text:
        """The line in colours; a character that cannot be seen, or that a terminal would obey, as a sign of its own."""
        plain = self.document.get_line(line_index)
        line = Text(_UNSEEN.sub("?" if self._glyphs.is_ascii else "\ufffd", plain), end="", no_wrap=True)
        for start, end, kind in tokens(plain):
            line.stylize(self._style(kind), start, end)
        for found in _UNSEEN.finditer(plain):
            line.stylize(self._style("unseen"), found.start(), found.end())
        return line

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        severity = self._marks.get(y + self.scroll_offset.y + 1)
        if severity is None:
            return strip
        # The numbers are followed by two blanks; the mark stands in the first.
        at = self.gutter_width - 2
        before, old, after = strip.divide([at, at + 1, strip.cell_length])
        background = next((segment.style for segment in old if segment.style), Style())
        mark = Segment(self._glyphs.marks[severity], background + self._style(severity))
        return Strip.join([before, Strip([mark], 1), after])

    def _style(self, kind: str) -> Style:
        return ink(self, f"yaml-pane--{kind}")


def _marks(checked: Checked) -> dict[int, Status]:
    """The worst that is said of each line."""
    found: dict[int, Status] = {}
    for problem in checked.problems:
        if problem.at is not None and problem.at.line and found.get(problem.at.line) != "error":
            found[problem.at.line] = problem.severity
    return found
