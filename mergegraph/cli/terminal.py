"""Writing for people and programs: results on stdout, everything else on stderr, colour on a terminal only.

A reader that went away (`mergegraph plan x.yaml | head`) or a full disk silences the stream; neither ends the work
behind it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TextIO

from mergegraph.errors import on_one_line, printable

lost: list[str] = []
"""Why streams could not be written to, a full disk say: the command then ends with an exit code."""

_LABEL = re.compile(r"  (where|why|fix)\b")


def say(*lines: str) -> None:
    """Lines of the result; each stays one, whatever is in it."""
    _write(sys.stdout, "\n".join(map(on_one_line, lines)))


def say_text(text: str) -> None:
    """A text of several lines as part of the result."""
    _write(sys.stdout, printable(text))


def say_json(value: Mapping[str, object]) -> None:
    """One JSON object on a line of its own, in ASCII: JSON itself would let marks that turn the writing through."""
    _write(sys.stdout, json.dumps(value))


def note(text: str) -> None:
    """Something beside the result: a problem or a warning in the form of `str(Problem)`."""
    text = printable(text)
    _write(sys.stderr, "\n".join(map(_emphasised, text.split("\n"))) if has_colour(sys.stderr) else text)


def heading(text: str) -> str:
    """`text` in bold where stdout is a terminal."""
    shown = on_one_line(text)
    return f"\x1b[1m{shown}\x1b[0m" if has_colour(sys.stdout) else shown


def say_styled(text: str) -> None:
    """A line that may hold the escape sequences of `heading`; its other parts are printable already."""
    _write(sys.stdout, text)


def has_colour(stream: TextIO) -> bool:
    """Whether escape sequences belong in `stream`."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def can_draw(stream: TextIO) -> bool:
    """Whether `stream` has an encoding that knows the characters of boxes and wires."""
    try:
        "╭▤×".encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def waiting(text: str) -> Generator[None]:
    """A line on a terminal that says what takes its time, and is gone when that is over."""
    shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if shown:
        sys.stderr.write(f"{on_one_line(text)} …")
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _emphasised(line: str) -> str:
    """The fact of a problem in bold, its labels dim."""
    if _LABEL.match(line):
        return f"\x1b[2m{line[:9]}\x1b[0m{line[9:]}"
    return line if not line or line.startswith(" ") else f"\x1b[1m{line}\x1b[0m"


def open_closed_streams() -> None:
    """Streams that were closed before the program began lead nowhere. Else the first files that are opened would get
    their numbers, and be written to by whoever means the streams."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        lost.append(error.strerror or "")
        if stream is not sys.stderr:
            note(f"What was to be shown could not be written: {error.strerror}.")


def _silence(stream: TextIO) -> None:
    """Let whatever is still written to `stream` disappear."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
