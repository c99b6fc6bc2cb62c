"""Help for where you are: its keys first, then those that count everywhere, then the other places; typing filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from rich.table import Table
from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from mergegraph_tui.dialogs.dialog import Dialog

_COLUMN = 36
_MOST_COLUMNS = 3
_LONGEST = 25
_KEYS = 13
"""Cells for keys: more of them go on in the next line."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A heading, and rows of keys with what they do."""

    title: str
    rows: tuple[tuple[str, str], ...]

    def filtered(self, typed: str) -> Topic:
        words = typed.lower().split()
        is_all = all(word in self.title.lower() for word in words)
        rows = (row for row in self.rows if is_all or all(word in f"{row[0]} {row[1]}".lower() for word in words))
        return Topic(self.title, tuple(rows))


MOUSE = Topic(
    "Mouse",
    (
        ("click", "select"),
        ("2 x click", "edit; on a wire: insert; on empty canvas: add"),
        ("drag", "from a node to a node: wire; to nothing: add"),
        ("right", "what can be done with the node, or the wire"),
        ("wheel", "scroll; with ctrl: larger, smaller"),
    ),
)


class Help(Dialog[None]):
    """`topics`: in the order of their weight."""

    TITLE = "Help"
    HINT = "type to filter   up, down scroll   esc close"
    DEFAULT_CSS = """
    Help {
        & > #frame { width: 122; height: 90%; }
        & VerticalScroll { height: 1fr; scrollbar-size: 1 1; background: $surface; }
        & #keys { height: auto; width: 1fr; }
    }
    """

    def __init__(self, topics: Sequence[Topic]) -> None:
        super().__init__()
        self._topics = topics

    def compose_body(self) -> ComposeResult:
        field = Input(placeholder="what do you want to do?")
        field.cursor_blink = False
        yield field
        with VerticalScroll(can_focus=False):
            yield Static(id="keys")

    def on_mount(self) -> None:
        self.call_after_refresh(self._show)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @on(Input.Changed)
    def narrow(self) -> None:
        self._show()

    def on_key(self, event: events.Key) -> None:
        scroll = self.query_one(VerticalScroll)
        moves = {
            "down": scroll.scroll_down,
            "up": scroll.scroll_up,
            "pagedown": scroll.scroll_page_down,
            "pageup": scroll.scroll_page_up,
        }
        if event.key in moves:
            event.stop()
            moves[event.key](animate=False)

    def _show(self) -> None:
        typed = self.query_one(Input).value
        topics = [topic for topic in (each.filtered(typed) for each in self._topics) if topic.rows]
        width = self.query_one(VerticalScroll).size.width
        keys = self.query_one("#keys", Static)
        colour = cast("App[object]", self.app).theme_variables["accent"]
        keys.update(_laid_out(topics, width, f"bold {colour}") if topics else Text("no key does that"))


def _laid_out(topics: Sequence[Topic], width: int, style: str) -> Table:
    count = max(1, min(_MOST_COLUMNS, width // _COLUMN, len(topics)))
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    for _ in range(count):
        table.add_column(ratio=1)
    table.add_row(*(_column(each, style) for each in _spread(topics, count)))
    return table


def _spread(topics: Sequence[Topic], count: int) -> list[list[Topic]]:
    """Topics in columns of about the same height, in their order."""
    most = sum(map(_height, topics)) / count
    columns: list[list[Topic]] = [[]]
    height = 0.0
    for topic in topics:
        rows = _height(topic)
        if columns[-1] and len(columns) < count and height + rows / 2 > most:
            columns.append([])
            height = 0.0
        columns[-1].append(topic)
        height += rows
    return columns + [[]] * (count - len(columns))


def _height(topic: Topic) -> int:
    """Lines in a column: what is long takes two."""
    return 2 + sum(1 + len(says) // _LONGEST for _, says in topic.rows)


def _column(topics: Sequence[Topic], style: str) -> Table:
    column = Table.grid()
    column.add_column()
    for topic in topics:
        keys = Table.grid(padding=(0, 1, 0, 0))
        keys.add_column(width=_KEYS)
        keys.add_column()
        for named, says in topic.rows:
            keys.add_row(Text(named, "bold"), Text(says))
        column.add_row(Text(topic.title, style))
        column.add_row(keys)
        column.add_row("")
    return column
