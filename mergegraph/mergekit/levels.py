"""What is written under one `parameters:`: a number, a gradient, or a list of both with filters, for each name.

Says nothing of what a method makes of a name; the levels of a configuration are joined in `parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.mergekit.signatures import KNOWN_PARAMETERS, MASK_STORAGE
from mergegraph.methods.base import Path
from mergegraph.recipe.document import Document
from mergegraph.recipe.scalars import FLOAT, Value
from mergegraph.recipe.validate import shown

Plain: TypeAlias = "float | bool"

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_FORMS = "write a number, a list of numbers, or a list of {filter: WORD, value: …}"


@dataclass(frozen=True, slots=True)
class Conditional:
    """`values` (one, or a gradient) for the tensors whose name has `filter` in it; "" is in every name."""

    filter: str
    values: tuple[Plain, ...]
    at: Location


@dataclass(frozen=True, slots=True)
class Setting:
    """What one name is given at one level: the first of `conditionals` that fits a tensor counts."""

    conditionals: tuple[Conditional, ...]
    at: Location


Level: TypeAlias = Mapping[str, Setting]

EMPTY: Level = MappingProxyType({})


def read_level(document: Document, path: Path, value: Value, problems: list[Problem]) -> Level:
    """The settings of the mapping `value` at `path`; whatever is wrong with it is added to `problems`."""
    if value is None:
        return EMPTY
    if not isinstance(value, dict):
        fact = f"`parameters:` takes a mapping of names, not {shown(value)}."
        problems.append(Problem(fact, document.where(path), fix="write parameters: {weight: 0.5}"))
        return EMPTY
    settings: dict[str, Setting] = {}
    for name, given in value.items():
        here = (*path, name)
        if name not in KNOWN_PARAMETERS and name != MASK_STORAGE:
            fact = f'No merge method of mergekit has a parameter "{name}".'
            fix = did_you_mean(name, KNOWN_PARAMETERS, "parameters")
            problems.append(Problem(fact, document.where(here), why="mergekit would ignore it without a word", fix=fix))
            continue
        conditionals = _conditionals(document, here, given, problems)
        if conditionals and name != MASK_STORAGE:
            settings[name] = Setting(conditionals, document.where(here))
    return MappingProxyType(settings)


def _conditionals(document: Document, path: Path, value: Value, problems: list[Problem]) -> tuple[Conditional, ...]:
    if isinstance(value, dict):
        one = _conditional(document, path, value, problems)
        return (one,) if one else ()
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        read = [_conditional(document, (*path, index), item, problems) for index, item in enumerate(value)]
        return tuple(each for each in read if each)
    values = _values(document, path, value, problems)
    return (Conditional("", values, document.where(path)),) if values else ()


def _conditional(document: Document, path: Path, value: Value, problems: list[Problem]) -> Conditional | None:
    at = document.where(path)
    if not isinstance(value, dict):
        problems.append(Problem(f"A list with filters holds {shown(value)}.", at, fix="write - value: …"))
        return None
    for key in value:
        if key not in ("filter", "value"):
            fact, fix = f'A condition has no "{key}".', did_you_mean(key, ("filter", "value"))
            problems.append(Problem(fact, document.where((*path, key)), fix=fix))
    word = value.get("filter")
    if isinstance(word, bool | float | list | dict):
        problems.append(Problem(f"A filter is part of a tensor's name, not {shown(word)}.", at, fix="put it in quotes"))
        return None
    if "value" not in value:
        problems.append(Problem("A condition has no value.", at, fix="write {filter: WORD, value: …}"))
        return None
    values = _values(document, (*path, "value"), value["value"], problems)
    text = "" if word is None or word == "*" else str(word)
    return Conditional(text, values, at) if values else None


def _values(document: Document, path: Path, value: Value, problems: list[Problem]) -> tuple[Plain, ...]:
    """The numbers or truth values; none, and a problem, where it is anything else."""
    items = value if isinstance(value, list) else [value]
    plain = [_plain(item) for item in items]
    if not items:
        problems.append(Problem(f'"{path[-1]}" has no value.', document.where(path), fix=_FORMS))
    for index, each in enumerate(plain):
        if each is None:
            at = document.where((*path, index) if isinstance(value, list) else path)
            problems.append(Problem(f'"{_name(path)}" takes a number, not {shown(items[index])}.', at, fix=_FORMS))
    known = tuple(each for each in plain if each is not None)
    return known if len(known) == len(items) else ()


def _plain(value: Value) -> Plain | None:
    """The number or truth value that is meant, also where it is quoted or a word of YAML 1.1."""
    if isinstance(value, str):
        word = value.strip()
        value = float(word) if FLOAT.fullmatch(word) else _WORDS.get(word.lower())
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < float("inf"):
        return float(value)
    return None


def _name(path: Path) -> object:
    """The parameter a value belongs to."""
    return next(part for part in reversed(path) if isinstance(part, str) and part != "value")
