"""The two themes, night and paper; and what is drawn with ASCII characters alone, where that is asked for."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rich.style import Style
from textual.scrollbar import ScrollBarRender
from textual.theme import Theme
from textual.widget import Widget

ThemeName: TypeAlias = Literal["dark", "light"]

NIGHT = Theme(
    name="mergegraph-dark",
    dark=True,
    primary="#6ea8fe",
    secondary="#c792ea",
    accent="#ffcb6b",
    warning="#f2a65a",
    error="#ff6b7f",
    success="#7fd88f",
    background="#0f1319",
    surface="#151b24",
    panel="#1c2431",
    foreground="#d8dee9",
    boost="#222c3b",
    variables={
        "border": "#2c3a4f",
        "border-blurred": "#243042",
        "footer-background": "#0f1319",
        "footer-key-foreground": "#ffcb6b",
        "block-cursor-background": "#2b3a52",
        "block-cursor-foreground": "#ffffff",
        "input-selection-background": "#6ea8fe 35%",
        "scrollbar": "#2c3a4f",
        "scrollbar-background": "#0f1319",
    },
)
PAPER = Theme(
    name="mergegraph-light",
    dark=False,
    primary="#2f62c9",
    secondary="#8b3fb5",
    accent="#b35c00",
    warning="#b06a00",
    error="#c4283d",
    success="#2c8a43",
    background="#fbfaf6",
    surface="#f3f1ea",
    panel="#e9e6db",
    foreground="#23272e",
    boost="#e4e0d2",
    variables={
        "border": "#cfc9b8",
        "border-blurred": "#ddd8ca",
        "block-cursor-background": "#d5dff2",
        "block-cursor-foreground": "#10131a",
        "input-selection-background": "#2f62c9 25%",
        "footer-background": "#fbfaf6",
        "footer-key-foreground": "#b35c00",
    },
)
THEMES: dict[ThemeName, Theme] = {"dark": NIGHT, "light": PAPER}


def ink(widget: Widget, name: str) -> Style:
    """The colour and weight of a component class, over whatever ground the text stands on.

    A partial style would not do: a colour that is part of the foreground, as `$text-muted`, comes out white in it.
    """
    full = widget.get_component_rich_style(name)
    return Style(color=full.color, bold=full.bold, italic=full.italic, reverse=full.reverse)


STYLES = """
Toast { background: $panel; }
CommandPalette SearchIcon { display: none; }
App.-ascii {
    & .pane { border: ascii $border; }
    & .pane:focus-within, & ModalScreen > Vertical { border: ascii $accent; }
    & Toast, & Toast.-information, & Toast.-warning, & Toast.-error { border: none; border-left: ascii $accent; }
    & CommandPalette #--input, & CommandPalette CommandList, & CommandPalette #--input.--list-visible {
        border: ascii $accent;
    }
    & FooterKey { border: none; }
}
"""
"""What holds on every screen."""


def draw_scroll_bars(*, ascii_only: bool) -> None:
    """With blank ends, or with eighths of a block, as Textual has them; for all apps of this process."""
    ScrollBarRender.VERTICAL_BARS = [" "] * 8 if ascii_only else _VERTICAL_BARS
    ScrollBarRender.HORIZONTAL_BARS = [" "] * 8 if ascii_only else _HORIZONTAL_BARS


_VERTICAL_BARS, _HORIZONTAL_BARS = ScrollBarRender.VERTICAL_BARS, ScrollBarRender.HORIZONTAL_BARS
