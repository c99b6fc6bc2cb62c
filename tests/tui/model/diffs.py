"""What an edit changed, line by line, for tests that say exactly what may differ."""

from __future__ import annotations

import difflib

from mergegraph.errors import Problem


def diff(before: str, after: str | Problem) -> str:
    """The lines taken out (`-`) and put in (`+`), with their line breaks as they are, `\\r` made visible."""
    assert isinstance(after, str), str(after)
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    changed = [line[0] + line[2:] for line in lines if line[0] in "-+"]
    return "".join(line if line.endswith("\n") else f"{line}<no newline>\n" for line in changed).replace("\r", "<cr>")
