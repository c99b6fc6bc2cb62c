"""Parameters of a recipe: `${t}`, declared under `parameters:` with a default, given by whoever includes the recipe.

A whole value `${t}` becomes the parameter's value, of whatever kind; inside longer text it is the value's text;
`$${` is a literal `${`. Keys are never changed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.methods.base import Path
from mergegraph.recipe.document import Document
from mergegraph.recipe.scalars import Value, as_text

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_WHOLE = re.compile(r"\$\{([^{}]*)\}")


@dataclass(frozen=True)
class Given:
    """Values from an `include:`, with the line of each, and the line of the include itself."""

    values: Mapping[str, Value]
    lines: Mapping[str, Location]
    at: Location


@dataclass
class Filled:
    """What filling found: problems, and the paths whose parameter has no value (nothing there can be read)."""

    problems: list[Problem] = field(default_factory=list[Problem])
    unfilled: set[Path] = field(default_factory=set[Path])


def fill(document: Document, given: Given | None) -> Filled:
    """Replace every `${name}` in `document` (a mapping) outside its `parameters:`."""
    top = document.value
    assert isinstance(top, dict)
    filling = _Filling(document)
    filling.declare(given)
    for key, value in top.items():
        if key != "parameters":
            top[key] = filling.value(value, (key,))
    filling.check_used()
    return filling.filled


class _Filling:
    """The parameters' values while a document is filled; one without a value is in `missing`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.filled = Filled()
        self.values: dict[str, Value] = {}
        self.missing: set[str] = set()
        self.used: set[str] = set()

    def problem(self, fact: str, at: Location, fix: str, node: str = "") -> None:
        self.filled.problems.append(Problem(fact, at, node, fix=fix))

    def declare(self, given: Given | None) -> None:
        """Take the defaults, then what the include gives."""
        top = self.document.value
        assert isinstance(top, dict)
        declared = top.get("parameters", {})
        if not isinstance(declared, dict):
            at = self.document.where(("parameters",))
            self.problem("`parameters:` is not a mapping of names to defaults.", at, "write parameters: {t: 0.5}")
            declared = {}
        self.values = dict(declared)
        for name in given.values if given else ():
            if given and name in declared:
                self.values[name] = given.values[name]
            elif given:
                fact = f'{self.document.file} has no parameter "{name}".'
                self.problem(fact, given.lines.get(name, given.at), did_you_mean(name, declared, "it has"))
        self.missing = {name for name, value in self.values.items() if value is None}
        for name in sorted(self.missing):
            at = given.at if given else self.document.where(("parameters", name))
            fix = (
                f"add it: with: {{{name}: VALUE}}" if given else f"--set parameters.{name}=VALUE, or give it a default"
            )
            self.problem(f'The parameter "{name}" has no value.', at, fix)

    def check_used(self) -> None:
        for name in self.values:
            if name not in self.used:
                at = self.document.where(("parameters", name))
                fix = f"write ${{{name}}} where it belongs, or remove it"
                fact = f'The parameter "{name}" is declared and never used.'
                self.filled.problems.append(Problem(fact, at, fix=fix, severity="warning"))

    def value(self, value: Value, path: Path) -> Value:
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return self.text(value, path) if isinstance(value, str) and "${" in value else value

    def text(self, text: str, path: Path) -> Value:
        whole = _WHOLE.fullmatch(text)
        if whole:
            name = self.known(whole[1], path)
            return copy.deepcopy(self.values[name]) if name else text
        return _REFERENCE.sub(lambda found: self.inner(found, path), text)

    def inner(self, found: re.Match[str], path: Path) -> str:
        if found[0] == "$${":
            return "${"
        if found[1] is None:
            self.unreadable(path, "`${` has no closing brace.", "close it, or write $${ to mean the characters")
            return found[0]
        name = self.known(found[1], path)
        if not name:
            return found[0]
        value = self.values[name]
        if isinstance(value, list | dict):
            fact = f'The parameter "{name}" is {"a list" if isinstance(value, list) else "a mapping"}, not text.'
            self.unreadable(path, fact, f"let ${{{name}}} stand alone as the whole value")
            return found[0]
        return as_text(value)

    def known(self, name: str, path: Path) -> str:
        """The parameter that is meant; "" when there is none or it has no value."""
        name = name.strip()
        self.used.add(name)
        if name not in self.values:
            fix = (
                did_you_mean(name, self.values, "parameters")
                if self.values
                else f"declare it: parameters: {{{name}: VALUE}}"
            )
            self.unreadable(path, f'There is no parameter "{name}".', fix)
        elif name in self.missing:
            self.filled.unfilled.add(path)
        else:
            return name
        return ""

    def unreadable(self, path: Path, fact: str, fix: str) -> None:
        self.filled.unfilled.add(path)
        node = str(path[1]) if len(path) > 1 and path[0] in ("nodes", "models") else ""
        self.problem(fact, self.document.where(path), fix, node=node)
