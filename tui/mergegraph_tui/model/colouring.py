"""Which parts of a line of YAML are what, for its colours. Looks at one line alone, which is enough for recipes."""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKENS = ("comment", "key", "string", "number", "word", "mark", "reference")
_TOKEN = re.compile(
    r"""(?P<comment>(?:(?<=\s)|^)\#.*)
    | (?P<key>(?:"[^"]*"|'[^']*'|[\w.\-]+)(?=\s*:(?:\s|$)))
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')
    | (?P<reference>[&*][\w\-]+|\$\{[^}]*\})
    | (?P<number>(?<![\w./\-])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w./]))
    | (?P<word>(?<![\w./\-])(?:true|false|null|\.inf|\.nan)(?![\w./]))
    | (?P<mark>[\[\]{},]|(?<=\s)[|>][-+]?$|^\s*-(?=\s)|---$)
    | (?:[\w./~][\w./~\-]*)
    """,
    re.VERBOSE,
)


def tokens(line: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind (one of TOKENS) of each part of `line` that has a colour."""
    for found in _TOKEN.finditer(line):
        if found.lastgroup:
            yield found.start(), found.end(), found.lastgroup
