"""Pieces of HTML. Every text goes through `text`: names come from checkpoints, and may hold anything."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from mergegraph.errors import on_one_line
from mergegraph.stats.metrics import Value, shown


def text(raw: object) -> str:
    """Escaped, on one line, without characters that would turn or hide the writing."""
    return html.escape(on_one_line(str(raw)), quote=True)


def prose(raw: object) -> str:
    """`text` with what stands in backquotes as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text(raw))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 1, kind: str = "plain") -> str:
    """`head` and `rows` are HTML already; columns from `numbers_from` on are aligned to the right."""
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>'
        + "".join(f'<th scope="col"{_right(i, numbers_from)}>{cell}</th>' for i, cell in enumerate(head))
        + "</tr></thead><tbody>"
        + "".join(
            "<tr>"
            + "".join(
                f'<th scope="row">{cell}</th>' if not i else f"<td{_right(i, numbers_from)}>{cell}</td>"
                for i, cell in enumerate(row)
            )
            + "</tr>"
            for row in rows
        )
        + "</tbody></table></div>"
    )


def number(value: float) -> str:
    """Four digits, for the page's own use."""
    return f"{value:.4g}"


def short(value: Value, unit: str) -> str:
    """As people read it, escaped."""
    return text(shown(value, "share" if unit == "share" else "count" if unit == "count" else "number"))


def _right(column: int, numbers_from: int) -> str:
    return ' class="n"' if column >= numbers_from else ""
