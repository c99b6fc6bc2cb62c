"""The colours of statistics: ramps of heat maps, lines, and the words beside them, for dark and light themes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from mergegraph.stats.html.style import (
    DIVERGING,
    DIVERGING_DARK,
    LINES,
    LINES_DARK,
    SEQUENTIAL,
    SEQUENTIAL_DARK,
)

_KEYS = ("strong", "dim", "warning", "axis", "grid", "mark", "head")


def ramp(*, has_two_sides: bool, is_dark: bool) -> tuple[str, ...]:
    """Eleven colours, of which the first (or the middle one) is nearest to the page."""
    if has_two_sides:
        return DIVERGING_DARK if is_dark else DIVERGING
    return SEQUENTIAL_DARK if is_dark else SEQUENTIAL


_ASCII = str.maketrans("ρ·–×±²³‖τΣ…", "p--x~23|tS.")


def plain(text: str, *, ascii_only: bool) -> str:
    """The text with characters that every terminal has."""
    return text.translate(_ASCII) if ascii_only else text


class StatPaint(Widget):
    """A widget that draws parts of text by the key of their style: a component class `stat--KEY`, or `line-N`."""

    COMPONENT_CLASSES = {f"stat--{key}" for key in _KEYS}  # noqa: RUF012
    DEFAULT_CSS = """
    StatPaint {
        & .stat--strong { color: $text; text-style: bold; }
        & .stat--dim { color: $text-muted; }
        & .stat--axis { color: $text-muted; }
        & .stat--grid { color: $border; }
        & .stat--mark { color: $text-muted; }
        & .stat--head { color: $text-muted; }
        & .stat--warning { color: $warning; text-style: bold; }
    }
    """

    @property
    def is_dark(self) -> bool:
        return bool(self.app.current_theme.dark)  # pyright: ignore[reportUnknownMemberType]

    def style_of(self, key: str) -> Style:
        """On the widget's own background."""
        if key.startswith("line-"):
            lines = LINES_DARK if self.is_dark else LINES
            return self.rich_style + Style(color=lines[int(key[5:]) % len(lines)])
        return self.get_component_rich_style(f"stat--{key}") if key else self.rich_style

    def strip_of(self, parts: Iterable[tuple[str, str]]) -> Strip:
        return Strip([Segment(text, self.style_of(key)) for text, key in parts if text])
