"""Where every value of a recipe stands in its text: the offsets of its first and last character.

Reads the parser's events a second time, after the recipe's own reader has bounded their depth. Ends are tight: spaces,
comments and line breaks after a value are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from mergegraph.errors import RecipeError
from mergegraph.methods.base import Path
from mergegraph.recipe.document import Document, parse_document
from mergegraph.recipe.scalars import Value

BREAKS = "\r\n\x85\u2028\u2029"

Kind = Literal["scalar", "list", "mapping", "alias"]


@dataclass(frozen=True, slots=True)
class Place:
    """One value in the text. `start` is that of its anchor where it has one, `inner` that of the value itself.

    `style` is the quote of a scalar ("" for a plain one, `|` and `>` for a block). `keys` are those of a mapping.
    """

    kind: Kind
    start: int
    inner: int
    end: int
    flow: bool = True
    style: str = ""
    anchor: str = ""
    keys: tuple[Place, ...] = ()
    names: tuple[str, ...] = ()
    values: tuple[Place, ...] = ()

    def index(self, part: str | int) -> int | None:
        """Which of `values` a key or a position means."""
        if self.kind == "mapping" and isinstance(part, str):
            return self.names.index(part) if part in self.names else None
        return part if self.kind == "list" and isinstance(part, int) and part < len(self.values) else None


@dataclass(frozen=True)
class Text:
    """A recipe's text with its values and their places."""

    text: str
    document: Document
    root: Place | None

    @property
    def value(self) -> Value:
        return self.document.value

    @property
    def line_end(self) -> str:
        """The line break that the text uses first; a newline where it has none."""
        first = next((index for index, letter in enumerate(self.text) if letter in "\r\n"), None)
        return "\n" if first is None else ("\r\n" if self.text.startswith("\r\n", first) else self.text[first])

    def at(self, path: Path) -> Place | None:
        """The place of the value at `path`; None where there is none, or where an alias stands for it."""
        place = self.root
        for part in path:
            index = place.index(part) if place else None
            if place is None or index is None:
                return None
            place = place.values[index]
        return place

    def key(self, path: Path) -> Place | None:
        """The place of the key that leads to `path`."""
        around = self.at(path[:-1])
        index = around.index(path[-1]) if around and around.kind == "mapping" else None
        return around.keys[index] if around and index is not None else None

    def has(self, path: Path) -> bool:
        """Whether there is a value at `path`, written there or through an alias."""
        return value_at(self.value, path) is not _ABSENT


_ABSENT: Any = object()


def value_at(value: Value, path: Path) -> Any:
    """The value at `path`; a mark that equals nothing where there is none."""
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
            value = value[part]
        else:
            return _ABSENT
    return value


def read(text: str, file: str = "recipe") -> Text:
    """The values of `text` and where they stand. RecipeError as from `parse_document`."""
    document = parse_document(text, file)
    offset = len(text) - len(text.removeprefix("\ufeff"))
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    parse: Any = yaml.parse  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    events: Iterator[Any] = parse(text[offset:], Loader=loader)
    try:
        started = any(isinstance(event, yaml.DocumentStartEvent) for event in _until_document(events))
        root = _Walk(text, offset).place(next(events), events) if started else None
    except yaml.MarkedYAMLError as error:
        raise RecipeError(*document.problems) from error
    return Text(text, document, root)


def _until_document(events: Iterator[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        if isinstance(event, yaml.DocumentStartEvent):
            return


@dataclass
class _Children:
    """What stands inside a list or mapping, and the offset after its closing bracket."""

    keys: list[Place] = field(default_factory=list[Place])
    names: list[str] = field(default_factory=list[str])
    values: list[Place] = field(default_factory=list[Place])
    closed: int = 0


class _Walk:
    """From events to places."""

    def __init__(self, text: str, offset: int) -> None:
        self.text, self.offset = text, offset

    def place(self, event: Any, events: Iterator[Any]) -> Place:
        start, end = event.start_mark.index + self.offset, event.end_mark.index + self.offset
        if isinstance(event, yaml.AliasEvent):
            return Place("alias", start, start, end, anchor=str(event.anchor))
        anchor = str(event.anchor or "")
        inner = skip_blank(self.text, start + 1 + len(anchor)) if anchor else start
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, start, inner, end, anchor)
        children = self.children(event, events)
        kind: Kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
        flow = bool(event.flow_style)
        tight = max((place.end for place in (*children.keys, *children.values)), default=inner)
        end = children.closed if flow else tight
        return Place(
            kind,
            start,
            inner,
            end,
            flow,
            "",
            anchor,
            tuple(children.keys),
            tuple(children.names),
            tuple(children.values),
        )

    def scalar(self, event: Any, start: int, inner: int, end: int, anchor: str) -> Place:
        style = str(event.style or "")
        if style in ("|", ">"):
            end = len(self.text[:end].rstrip(BREAKS + " \t"))
        if not style and not event.value:
            end = start + 1 + len(anchor) if anchor else start
            inner = end
        return Place("scalar", start, inner, end, True, style, anchor)

    def children(self, event: Any, events: Iterator[Any]) -> _Children:
        found = _Children()
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        for child in events:
            if type(child) in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                found.closed = child.end_mark.index + self.offset
                break
            if is_mapping:
                found.keys.append(self.place(child, events))
                found.names.append(str(child.value))
            found.values.append(self.place(next(events) if is_mapping else child, events))
        return found


def skip_blank(text: str, at: int) -> int:
    """The offset of what comes at or after `at`, past spaces, line breaks and comments."""
    while at < len(text):
        if text[at] == "#" and (at == 0 or text[at - 1] in " \t" + BREAKS):
            at = line_end(text, at)
        elif text[at] in " \t" + BREAKS:
            at += 1
        else:
            break
    return at


def line_start(text: str, at: int) -> int:
    """The offset of the first character of the line that `at` is in."""
    while at > 0 and text[at - 1] not in BREAKS:
        at -= 1
    return at


def line_end(text: str, at: int) -> int:
    """The offset of the line break that ends the line that `at` is in, or the end of the text."""
    while at < len(text) and text[at] not in BREAKS:
        at += 1
    return at


def next_line(text: str, at: int) -> int:
    """The offset where the line after the one of `at` begins, or the end of the text."""
    end = line_end(text, at)
    return end + (2 if text.startswith("\r\n", end) else 1 if end < len(text) else 0)


def column(text: str, at: int) -> int:
    """How many characters stand before `at` in its line."""
    return at - line_start(text, at)
