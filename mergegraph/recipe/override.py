"""Changing a recipe from the command line: `--set boost.by.0.value=0.4` on the document, before it is validated.

A path names a node (`boost.by`), one of an include (`x.boost.by`), `seed`, `name`, or a place in a section as it is
written (`models.code`, `parameters.t`, `include.x.with.t`). What is set is the place's new line in messages.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mergegraph.errors import Location, Problem, RecipeError, did_you_mean
from mergegraph.methods.base import Path
from mergegraph.recipe.document import Document, parse_value
from mergegraph.recipe.scalars import Value
from mergegraph.recipe.validate import dotted, field_names, method_class, takes_bare_names

_PLAIN = ("seed", "name", "description")
_SECTIONS = ("nodes", "models", "parameters", "include")


@dataclass(frozen=True)
class Setting:
    """A value for the place at `path`. `shown` is what the person typed, for messages."""

    path: tuple[str, ...]
    value: Value
    shown: str
    within: str = ""
    """The includes that lead to the document, as they begin a path: `x.`"""


@dataclass
class Applied:
    """What could not be set, and what is for the recipes that are included, by the include's name."""

    problems: list[Problem] = field(default_factory=list[Problem])
    for_includes: dict[str, list[Setting]] = field(default_factory=dict[str, list[Setting]])


class _NoSuchPlace(ValueError):
    def __init__(self, fact: str, fix: str) -> None:
        super().__init__(fact)
        self.fact, self.fix = fact, fix


def read_setting(text: str) -> Setting:
    """`boost.by=0.4` as a setting; the value is a YAML scalar, list or mapping. RecipeError when it is not."""
    shown = f"--set {text}"
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        fact = f'"{text}" does not say what to set.'
        raise RecipeError(Problem(fact, Location(shown), fix="write --set NODE.FIELD=VALUE, as in --set boost.by=0.4"))
    return Setting(tuple(path.strip().split(".")), parse_value(value, shown), shown)


def apply(document: Document, settings: Iterable[Setting]) -> Applied:
    """Change `document` (a mapping) in place, setting after setting."""
    applied = Applied()
    for setting in settings:
        try:
            include = _apply(document, setting)
        except _NoSuchPlace as error:
            applied.problems.append(Problem(error.fact, Location(setting.shown), fix=error.fix))
            continue
        if include:
            inner = Setting(setting.path[1:], setting.value, setting.shown, f"{setting.within}{include}.")
            applied.for_includes.setdefault(include, []).append(inner)
    return applied


def _apply(document: Document, setting: Setting) -> str:
    """Set it; or the name of the include that it is for."""
    top = document.value
    assert isinstance(top, dict)
    words, first = setting.path, setting.path[0]
    if len(words) == 1 and first in _PLAIN:
        _put(document, words, (), setting)
    elif len(words) > 1 and first in _SECTIONS and isinstance(top.get(first), dict):
        _put(document, *_in_section(top, first, words[1:]), setting)
    elif (split := _split(_section(top, "nodes"), words)) is not None:
        _put(document, ("nodes", split[0]), split[1], setting)
    elif (split := _split(_section(top, "models"), words)) is not None:
        if split[1] not in ((), ("model",)):
            fact = f'"{setting.within}{split[0]}" is only a reference, so there is no {".".join(split[1])} in it.'
            place = f"{setting.within}models.{split[0]}"
            raise _NoSuchPlace(fact, f"--set {place}=REF, or write it under nodes: as {{op: load, model: REF}}")
        _put(document, ("models", split[0]), (), setting)
    elif len(words) > 1 and first in _section(top, "include"):
        return first
    else:
        if len(words) == 1 and first in _section(top, "parameters"):
            raise _NoSuchPlace(f'There is no node "{first}" to set.', f"Did you mean parameters.{first}?")
        known = [*_section(top, "nodes"), *_section(top, "models"), *_section(top, "include"), *_PLAIN]
        raise _NoSuchPlace(f'There is no node "{first}" to set.', did_you_mean(first, known, "there are"))
    return ""


def _section(top: Mapping[str, Value], name: str) -> dict[str, Value]:
    section = top.get(name)
    return section if isinstance(section, dict) else {}


def _split(names: Mapping[str, Value], words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """The longest name that the words begin with (names may have dots), and the words after it."""
    ends = range(len(words), 0, -1)
    return next(((name, tuple(words[end:])) for end in ends if (name := ".".join(words[:end])) in names), None)


def _in_section(top: Mapping[str, Value], name: str, words: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    section = _section(top, name)
    split = _split(section, words)
    if split is None:
        fact = f'There is no "{words[0]}" under {name}:.'
        raise _NoSuchPlace(fact, did_you_mean(words[0], section, f"{name} has"))
    return (name, split[0]), split[1]


def _put(document: Document, start: Path, words: Sequence[str], setting: Setting) -> None:
    """Set the place that `words` lead to from `start`, and make the setting its line."""
    path: list[str | int] = list(start)
    for word in words:
        path.append(_step(document, tuple(path), word, setting.within))
    holder = _at(document.value, path[:-1])
    last = path[-1]
    if isinstance(holder, dict):
        holder[str(last)] = copy.deepcopy(setting.value)
    elif isinstance(holder, list) and isinstance(last, int):
        holder[last] = copy.deepcopy(setting.value)
    place = tuple(path)
    for old in [old for old in document.lines if old[: len(place)] == place]:
        del document.lines[old]
    document.lines[place] = Location(setting.shown)


def _at(value: Value, path: Sequence[str | int]) -> Value:
    for part in path:
        if isinstance(value, dict):
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def _step(document: Document, path: Path, word: str, within: str) -> str | int:
    """The key or index that `word` means in the value at `path`: of an absent field its name, but nothing deeper."""
    top, here = document.value, within + _place(path)
    assert isinstance(top, dict)
    try:
        value = _at(top, path)
    except KeyError:
        raise _NoSuchPlace(f'"{here}" is not there, so nothing in it can be set.', f"--set {here}=VALUE") from None
    node = _section(top, str(path[0])).get(str(path[1])) if path[0] == "nodes" else None
    cls = method_class(node) if isinstance(node, dict) else None
    inside = path[2:]
    if isinstance(value, str) and cls is not None and inside and takes_bare_names(cls, inside):
        holder, last = _at(top, path[:-1]), path[-1]
        if isinstance(holder, list) and isinstance(last, int):
            value = holder[last] = {"from": value}
    if isinstance(value, list):
        return _index(here, word, len(value))
    if not isinstance(value, dict):
        kind = "an expression" if len(path) == 2 and isinstance(value, str) else "one value"
        raise _NoSuchPlace(f'"{here}" is {kind}, so there is no {word} in it.', f"set all of it: --set {here}=VALUE")
    names = field_names(cls, inside) if cls is not None else ()
    if names and word not in names:
        raise _NoSuchPlace(f'"{here}" has no "{word}".', did_you_mean(word, names, "it takes"))
    if path[0] == "include" and len(path) == 2 and word not in ("recipe", "with"):
        raise _NoSuchPlace(f'An include has no "{word}".', did_you_mean(word, ("recipe", "with"), "it takes"))
    return word


def _place(path: Path) -> str:
    """A place as `--set` takes it: a node's own name is enough."""
    return dotted(path[1:] if path[0] == "nodes" else path)


def _index(here: str, word: str, count: int) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) >= count:
        entries = "1 entry" if count == 1 else f"{count} entries"
        fix = f"--set {here}.{max(count - 1, 0)}=VALUE is the last one"
        raise _NoSuchPlace(f'"{here}" is a list of {entries}, counted from 0; there is no {word}.', fix)
    return int(word)
