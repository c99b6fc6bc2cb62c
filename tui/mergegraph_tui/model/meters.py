"""Bars and lines of numbers as text: what a run shows of itself. Pure; the characters are Unicode blocks or ASCII."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ASCII_EIGHTHS = " ..::--=#"


def bar(share: float, width: int, *, ascii_only: bool = False) -> tuple[str, str]:
    """(what is done, what is left) of a bar of `width` cells; any share above 0 shows, and only all of it is full."""
    clamped = min(1.0, max(0.0, share))
    if ascii_only:
        full = _shown_cells(clamped, width)
        return "=" * full, "." * (width - full)
    halves = _shown_cells(clamped, 2 * width)
    full, half = divmod(halves, 2)
    return "━" * full + "╸" * half, "─" * (width - full - half)


def _shown_cells(share: float, cells: int) -> int:
    cells_done = round(share * cells)
    if 0 < share < 1 and cells > 1:
        return min(cells - 1, max(1, cells_done))
    return cells_done


def spark(
    values: Sequence[float], width: int, height: int = 1, *, top: float = 0, ascii_only: bool = False
) -> list[str]:
    """The last `width` values as columns of `height` rows, newest at the right. `top`: what a full column means; the
    largest value where it is 0."""
    shown = list(values)[-width:] if width > 0 else []
    most = top or max(shown, default=0)
    ramp = _ASCII_EIGHTHS if ascii_only else _EIGHTHS
    eighths = [round(min(1.0, value / most) * 8 * height) if most > 0 else 0 for value in shown]
    rows: list[str] = []
    for row in reversed(range(height)):
        cells = "".join(ramp[min(8, max(0, count - 8 * row))] for count in eighths)
        rows.append(cells.rjust(width))
    return rows
