"""What was typed into a text that is shown as lines, put into the text that they came from.

A text area knows lines and one line break; a recipe may have several kinds. Lines that nobody touched keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

_BREAKS = ("\r\n", "\n", "\r")


def shown_lines(text: str) -> list[str]:
    """`text` as the lines of a text area: broken where `str.splitlines` breaks, with an empty last line after a line
    break."""
    return [line for line, _ in _parts(text)]


def retyped(before: str, lines: Sequence[str]) -> str:
    """`before` with `lines` in the place of its own; the characters between lines that stay are kept."""
    parts = _parts(before)
    start, end = changed_lines([line for line, _ in parts], lines)
    kept = len(parts) - (len(lines) - end)
    line_break = next((each for _, each in parts if each in _BREAKS), "\n")
    whole = [*parts[:start], *((line, line_break) for line in lines[start:end]), *parts[kept:]]
    written: list[str] = []
    for line, each in whole[:-1]:
        # An empty line between \r and \n would join the two.
        ended = each or line_break
        is_joined = not line and ended.startswith("\n") and bool(written) and written[-1].endswith("\r")
        written.append(line + ("\r" if is_joined else ended))
    is_same_last = end < len(lines) or start == len(parts) == len(lines)
    last = whole[-1][0] + (whole[-1][1] if is_same_last else "")
    if not last and written and not written[-1].endswith(_BREAKS):
        # Other breaks at the end of a text begin no line.
        written[-1] = whole[-2][0] + line_break
    return "".join(written) + last


def changed_lines(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """The range of `new` outside which it has the first and the last lines of `old`."""
    most = min(len(old), len(new))
    start = next((index for index in range(most) if old[index] != new[index]), most)
    most -= start
    tail = next((index for index in range(most) if old[-1 - index] != new[-1 - index]), most)
    return start, len(new) - tail


def _parts(text: str) -> list[tuple[str, str]]:
    """Each line with the characters that end it."""
    found: list[tuple[str, str]] = []
    for whole, line in zip(text.splitlines(keepends=True), text.splitlines(), strict=True):
        found.append((line, whole[len(line) :]))
    return [*found, ("", "")] if not text or text.endswith(_BREAKS) else found
