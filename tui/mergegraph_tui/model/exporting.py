"""A record as files for others: JSON and CSV with all sums, an HTML report, and the heat map that is shown as SVG."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from mergegraph.errors import Problem
from mergegraph.stats.csv_file import to_csv
from mergegraph.stats.files import to_json
from mergegraph.stats.html import report
from mergegraph.stats.html.style import DIVERGING, SEQUENTIAL, ink
from mergegraph.stats.strengths import strengths_of
from mergegraph.tensors.disk import replace_file
from mergegraph_tui.model.files import is_there
from mergegraph_tui.model.heat import Choice, HeatPicture, picture
from mergegraph_tui.model.loaded import LoadedRecord

KINDS = ("html", "csv", "json", "svg")
_CELL, _ROW, _LEFT, _TOP = 78, 24, 120, 64


def export(
    loaded: LoadedRecord, choice: Choice, path: Path, *, other: LoadedRecord | None = None, replace: bool = False
) -> Problem | None:
    """Write the file that the name of `path` asks for by its ending; why it was not written."""
    kind = path.suffix.removeprefix(".")
    content: dict[str, Callable[[], bytes]] = {
        "json": lambda: to_json(loaded.record),
        "csv": lambda: to_csv(loaded.record).encode(),
        "html": lambda: report(loaded.record, strengths_of(loaded.record)).encode(),
        "svg": lambda: heat_svg(picture(loaded, choice, other), choice.title).encode(),
    }
    if kind not in content:
        return Problem(f"{path.name} has no ending that says what to write.", fix=f"end it in .{', .'.join(KINDS)}")
    if is_there(path) and not replace:
        return Problem(f"There is a file {path} already.", fix="write it again to replace it, or give another name")
    try:
        replace_file(path, content[kind](), sync=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return Problem(f"{path} cannot be written: {reason}.", fix="name a file in a folder of yours")
    return None


def heat_svg(shown: HeatPicture, title: str) -> str:
    """The heat map with its numbers, as a picture that stands alone."""
    ramp = DIVERGING if shown.has_two_sides else SEQUENTIAL
    width, height = _LEFT + _CELL * len(shown.columns) + 12, _TOP + _ROW * len(shown.rows) + 34
    parts = [f'<text x="12" y="24" class="t">{escape(title)}</text>']
    for x, column in enumerate(shown.columns):
        parts.append(f'<text x="{_LEFT + x * _CELL + _CELL // 2}" y="{_TOP - 10}" class="m">{escape(column)}</text>')
    for y, row in enumerate(shown.rows):
        top = _TOP + y * _ROW
        parts.append(f'<text x="{_LEFT - 10}" y="{top + 16}" class="e">{escape(row)}</text>')
        for x, column in enumerate(shown.columns):
            cell = shown.cells.get((row, column))
            if cell is not None and cell.step >= 0:
                left, colour = _LEFT + x * _CELL, ramp[cell.step]
                parts.append(f'<rect x="{left}" y="{top}" width="{_CELL}" height="{_ROW}" fill="{colour}"/>')
                parts.append(f'<text x="{left + _CELL // 2}" y="{top + 16}" class="m" fill="{ink(colour)}">'
                             f"{escape(cell.text)}</text>")  # fmt: skip
    parts.append(f'<text x="{_LEFT}" y="{height - 12}">{escape(shown.low)} to {escape(shown.high)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        "<style>text{font:12px monospace}.t{font-size:15px}.m{text-anchor:middle}.e{text-anchor:end}</style>"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )
