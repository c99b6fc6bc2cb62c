"""The line of keys at the bottom. The key of help stands at its right end, whatever there is no room for."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer

LAST = "help"
"""The action whose key stands at the right."""


class KeyHints(Footer):
    """Textual's footer without the key of the palette, of which help tells."""

    DEFAULT_CSS = """
    KeyHints {
        background: $background;
        & .-last { dock: right; background: $background; }
    }
    """

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        for key in super().compose():
            if getattr(key, "action", "") == LAST:
                key.add_class("-last")
            yield key
