"""Rows of text as a Markdown table with aligned columns, to read in a terminal and paste into a page."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; every row as long as `head`."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = (" | ".join(map(str.ljust, row, widths)) for row in (head, rule, *rows))
    return "\n".join(f"| {line} |" for line in lines)
