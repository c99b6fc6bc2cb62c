"""YAML text to plain values, with the line of every one of them.

Reads the parser's events rather than composing a tree: the nesting is bounded before anything recurses (a file of
200,000 brackets crashes the composer of PyYAML 6.0.3), and tags, anchors and merge keys are seen where they stand.
Every key is text. Knows nothing of recipes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.methods.base import Path
from mergegraph.recipe.scalars import Value, resolve

_MAX_VALUES = 100_000
_MAX_DEPTH = 100
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")


@dataclass
class Document:
    """One YAML document: its value, the line of every value by path, and what was wrong but could be read past."""

    value: Value
    file: str
    lines: dict[Path, Location] = field(default_factory=dict[Path, Location])
    problems: list[Problem] = field(default_factory=list[Problem])

    def where(self, path: Path) -> Location:
        """The line of the value at `path`, else of the nearest one around it, else the file."""
        return nearest(self.lines, path) or Location(self.file)


def nearest(lines: Any, path: Path) -> Location | None:
    """The location of `path` in a mapping of paths, else of the longest path around it that has one."""
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), None)


def parse_document(text: str, file: str) -> Document:
    """The one document in `text`. RecipeError for what cannot be read past: bad syntax, tags, several documents."""
    text = text.removeprefix("\ufeff")
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        at = Location(file, text.count("\n", 0, unprintable.start()) + 1)
        fact = f"The recipe has a control character, {ascii(unprintable[0])[1:-1]}."
        raise RecipeError(Problem(fact, at, fix="delete it"))
    reader = _Reader(Document(None, file))
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_syntax_problem(error, text, file)) from error
    return reader.document


def parse_value(text: str, file: str) -> Value:
    """The value of a scalar or flow collection, as after `--set x=`. RecipeError when it is not one."""
    document = parse_document(text, file)
    if document.problems:
        raise RecipeError(*document.problems)
    return document.value


class _Reader:
    """Walks the events of one document. `anchors` hold a finished value, how many values it has, and its depth."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, tuple[Value, int, int]] = {}
        self.value_count = 0

    def read(self, text: str) -> None:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        parse: Any = yaml.parse  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        events: Iterator[Any] = parse(text, Loader=loader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.value_count:
                    self.refuse(event, "The file holds several documents.", "keep one; `---` starts another")
                self.document.value = self.value(next(events), events, ())

    def refuse(self, event: Any, fact: str, fix: str) -> NoReturn:
        raise RecipeError(Problem(fact, self.at(event), fix=fix))

    def at(self, event: Any) -> Location:
        return Location(self.document.file, event.start_mark.line + 1)

    def value(self, event: Any, events: Iterator[Any], path: Path) -> Value:
        """The value that starts with `event`; takes the rest of it from `events`."""
        self.document.lines.setdefault(path, self.at(event))
        if isinstance(event, yaml.AliasEvent):
            return self.aliased(event, path)
        if event.tag is not None:
            self.refuse(
                event, f"A recipe has no YAML tags, and this is {event.tag}.", "write the value without its tag"
            )
        self.check_depth(event, len(path))
        before = self.value_count
        self.count(event, 1)
        value: Value
        if isinstance(event, yaml.SequenceStartEvent):
            value = self.items(events, path)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self.entries(events, path)
        else:
            value = resolve(event.value) if event.implicit[0] else event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.value_count - before, _depth(value)
        return value

    def items(self, events: Iterator[Any], path: Path) -> list[Value]:
        items: list[Value] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.value(event, events, (*path, len(items))))
        return items

    def entries(self, events: Iterator[Any], path: Path) -> dict[str, Value]:
        entries: dict[str, Value] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.key(event)
            here = (*path, key)
            if key in entries:
                self.duplicate(key, self.document.lines[here], self.at(event))
                # Read past the second value under a path that no key has, so that the first keeps its lines.
                self.value(next(events), events, (*here, ""))
            else:
                self.document.lines[here] = self.at(event)
                entries[key] = self.value(next(events), events, here)
        return entries

    def key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self.refuse(event, "A key must be a word, and this is not one.", "write `name: value`")
        if event.tag is not None:
            self.refuse(event, f"A recipe has no YAML tags, and this is {event.tag}.", "write the key without its tag")
        if event.value == "<<" and event.implicit[0]:
            self.refuse(event, "A recipe has no merge keys (`<<`).", "write the entries out")
        return str(event.value)

    def duplicate(self, key: str, first: Location, second: Location) -> None:
        fix = f"rename or remove one of them (lines {first.line} and {second.line})"
        problem = Problem(f'The key "{key}" is written twice.', second, why=f"it first stands at {first}", fix=fix)
        self.document.problems.append(problem)

    def aliased(self, event: Any, path: Path) -> Value:
        if event.anchor not in self.anchors:
            fact = f"*{event.anchor} stands for nothing: no finished value before it is marked &{event.anchor}."
            self.refuse(event, fact, f'mark a value with &{event.anchor}, or quote it: "*{event.anchor}"')
        value, size, depth = self.anchors[event.anchor]
        self.check_depth(event, len(path) + depth)
        self.count(event, size)
        return copy.deepcopy(value)

    def check_depth(self, event: Any, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self.refuse(event, f"Values are nested more than {_MAX_DEPTH} deep.", "flatten this part")

    def count(self, event: Any, more: int) -> None:
        self.value_count += more
        if self.value_count > _MAX_VALUES:
            fact = f"The recipe has more than {_MAX_VALUES:,} values once its aliases are written out."
            self.refuse(event, fact, "use fewer aliases")


def _depth(value: Value) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


_IN_WORDS = (
    ("found unexpected end of stream", "a quoted text is not closed", "close the quote"),
    ("did not find expected ',' or ']'", "a list opened with [ is not closed", "add ] or a comma"),
    (
        "did not find expected ',' or '}'",
        "a mapping opened with { is not closed",
        'add } or a comma; text with { } [ ] or a comma in it needs quotes here: path: "out/{boost.by}"',
    ),
    (
        "mapping values are not allowed",
        "a second colon stands where none can",
        'put text that holds ": " in quotes, or start a new line',
    ),
    (
        "could not find expected ':'",
        "a line is neither `name: value` nor part of the one above",
        "add the colon and a space, or indent the line",
    ),
    (
        "did not find expected key",
        "the indentation does not fit the lines above",
        "begin all names of one mapping in the same column",
    ),
    (
        "did not find expected '-' indicator",
        "the indentation does not fit the list above",
        "begin all dashes of one list in the same column",
    ),
    (
        "found unknown escape character",
        "a backslash in double quotes starts no known escape",
        "use single quotes, or write \\\\",
    ),
)

_UNCLOSED = ("found unexpected end of stream", "did not find expected ','", "could not find expected ':'")


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    said = error.problem or "it cannot be read"
    opened: Any = error.context_mark
    mark: Any = error.problem_mark or opened
    if opened and any(said.startswith(unclosed) for unclosed in _UNCLOSED):
        # The reader notices only later, at the end of the file say, where nothing is to be corrected.
        mark = opened
    line = _line(text, mark.line) if mark else ""
    words, fix = _in_words(said, line[mark.column : mark.column + 1] if mark else "")
    context = f" {error.context}" if error.context else ""
    shown = f"{line}\n{' ' * mark.column}^" if line.strip() and len(line) < 200 and "\t" not in line else ""
    why = "\n".join(part for part in (shown, f"the YAML reader says: {said}{context}") if part)
    return Problem(f"This is not valid YAML: {words}.", Location(file, mark.line + 1 if mark else 0), why=why, fix=fix)


def _line(text: str, index: int) -> str:
    lines = text.splitlines()
    return lines[index] if index < len(lines) else ""


def _in_words(said: str, character: str) -> tuple[str, str]:
    """What is wrong, and a fix, for what PyYAML (its C reader) said about `character`."""
    if "cannot start any token" in said:
        if character == "\t":
            return "a tab stands where spaces belong", "indent with spaces"
        return f"a value cannot start with {character}", "put the value in quotes"
    if "tab" in said:
        return "a tab stands where spaces belong", "indent with spaces"
    return next(((words, fix) for part, words, fix in _IN_WORDS if part in said), (said, ""))
