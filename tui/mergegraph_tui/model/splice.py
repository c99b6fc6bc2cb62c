"""Edits of a recipe's text that leave every other byte as it is: comments, spacing, quotes, style.

Each is a function from text to text, or to a Problem that says why not. What an edit made is read again and compared
with what it was meant to make; where the two differ (an anchor that is used elsewhere, say) nothing is changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mergegraph.errors import Problem, RecipeError
from mergegraph.methods.base import Path
from mergegraph.recipe.document import parse_value
from mergegraph.recipe.scalars import Value
from mergegraph_tui.model.entries import Splice, entry_added, entry_removed, item_added, item_removed
from mergegraph_tui.model.places import Place, Text, read, value_at
from mergegraph_tui.model.writing import written

Edited: TypeAlias = "str | Problem"
"""The text after an edit, or why there is none."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A value as somebody typed it: written as it is where it can stand so."""

    text: str


def set_value(text: str, path: Path, value: Value | Typed) -> Edited:
    """`text` with the value at `path` set; the last part of `path` may be a new key, or one past the end of a list.

    Lists and mappings are changed where they differ, entry by entry: what stays keeps its comments and its style.
    """
    meant = _meant(value)
    if isinstance(meant, Problem):
        return meant

    def change(now: Text) -> list[Splice] | Problem:
        place = now.at(path)
        if place is not None:
            return replaced(now, place, value_at(now.value, path), meant.value, meant.spelled)
        around = now.at(path[:-1])
        if around is None or not path or around.kind not in ("mapping", "list"):
            return _nowhere(now, path)
        spelled = meant.spelled or written(meant.value)
        if around.kind == "mapping":
            return entry_added(now, around, len(around.values), str(path[-1]), spelled)
        return item_added(now, around, len(around.values), spelled)

    return edited(text, change, lambda tree: with_value(tree, path, meant.value))


def remove_value(text: str, path: Path) -> Edited:
    """`text` without the key or item at `path`, and the comment behind it."""

    def change(now: Text) -> list[Splice] | Problem:
        around = now.at(path[:-1]) if path else None
        index = around.index(path[-1]) if around else None
        if around is None or index is None:
            return _nowhere(now, path)
        return entry_removed(now, around, index) if around.kind == "mapping" else item_removed(now, around, index)

    return edited(text, change, lambda tree: without_value(tree, path))


def insert_item(text: str, path: Path, index: int, value: Value) -> Edited:
    """`text` with a new item in the list at `path`, before the one at `index`."""

    def change(now: Text) -> list[Splice] | Problem:
        place = now.at(path)
        if place is None or place.kind != "list":
            return _nowhere(now, path)
        return item_added(now, place, index, written(value))

    def wanted(tree: Value) -> Value:
        items: list[Value] = list(value_at(tree, path))
        return with_value(tree, path, [*items[:index], value, *items[index:]])

    return edited(text, change, wanted)


def edited(text: str, change: Callable[[Text], list[Splice] | Problem], wanted: Callable[[Value], Value]) -> Edited:
    """The text after `change`, when it then says what `wanted` makes of the values; else a Problem."""
    try:
        now = read(text)
    except RecipeError as error:
        return error.problems[0]
    splices = change(now)
    if isinstance(splices, Problem):
        return splices
    after = spliced(text, splices)
    try:
        if _same(read(after).value, wanted(copy.deepcopy(now.value))):
            return after
    except RecipeError:
        pass
    why = "the value is shared through an anchor, or stands in a form that cannot be changed alone"
    return Problem("This cannot be changed here without changing something else.", why=why, fix="edit the text itself")


def spliced(text: str, splices: Sequence[Splice]) -> str:
    """The text with every splice done; none may overlap another."""
    for splice in sorted(splices, key=lambda each: (each.start, each.end), reverse=True):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


def with_value(tree: Value, path: Path, value: Value) -> Value:
    """The values with the one at `path` set."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(tree, dict):
        return {**tree, str(head): with_value(tree.get(str(head)), rest, value)}
    items = list(tree) if isinstance(tree, list) else []
    index = int(head)
    inner = with_value(items[index] if index < len(items) else None, rest, value)
    return [*items[:index], inner, *items[index + 1 :]]


def without_value(tree: Value, path: Path) -> Value:
    """The values without the one at `path`."""
    around = value_at(tree, path[:-1])
    if isinstance(around, dict):
        kept: Value = {key: item for key, item in around.items() if key != path[-1]}  # pyright: ignore[reportUnknownVariableType]
    else:
        kept = [item for index, item in enumerate(around) if index != path[-1]]
    return with_value(tree, path[:-1], kept)


@dataclass(frozen=True, slots=True)
class _Meant:
    """A value, and how it is spelled where that was said."""

    value: Value
    spelled: str = ""


def typed_value(value: Value | Typed) -> Value | Problem:
    """The value itself, read where it was typed; Problem where that is none."""
    if not isinstance(value, Typed):
        return value
    try:
        return parse_value(value.text, "")
    except RecipeError as error:
        problem = error.problems[0]
        return Problem(problem.fact, why=problem.why, fix=problem.fix)


def _meant(value: Value | Typed) -> _Meant | Problem:
    read_value = typed_value(value)
    if isinstance(read_value, Problem):
        return read_value
    return _Meant(read_value, value.text.strip() if isinstance(value, Typed) else "")


def replaced(now: Text, place: Place, old: Value, new: Value, spelled: str = "") -> list[Splice]:
    """The splices that make `new` of what stands at `place`."""
    if _same(old, new) and not spelled:
        return []
    if place.kind == "mapping" and isinstance(old, dict) and isinstance(new, dict) and old and new:
        return _merged_mapping(now, place, old, new)
    if place.kind == "list" and isinstance(old, list) and isinstance(new, list) and old and new:
        return _merged_list(now, place, old, new)
    quote = place.style if place.style in ("'", '"') and isinstance(new, str) else ""
    return [_whole(now, place, spelled if spelled and not quote else written(new, quote))]


def _whole(now: Text, place: Place, spelled: str) -> Splice:
    """The place written anew. A block that began on a line of its own moves up behind its key."""
    start = place.start
    if not place.flow:
        before = now.text[:start].rstrip()
        if before.endswith((":", "-")):
            return Splice(len(before), place.end, f" {spelled}")
    if place.start == place.end and start and now.text[start - 1] not in " \t\r\n":
        spelled = f" {spelled}"
    return Splice(start, place.end, spelled)


def _merged_mapping(now: Text, place: Place, old: dict[str, Value], new: dict[str, Value]) -> list[Splice]:
    """Entries that stay are changed where they stand, others go, new ones follow. A new one between those that stay,
    or another order, is written as a whole."""
    kept, added = [key for key in old if key in new], [key for key in new if key not in old]
    if not kept or [*kept, *added] != list(new):
        return [_whole(now, place, written(new))]
    splices: list[Splice] = []
    for key in kept:
        index = place.index(key)
        if index is not None:
            splices += replaced(now, place.values[index], old[key], new[key])
    gone = [index for key in old if key not in new and (index := place.index(key)) is not None]
    if gone and len(gone) + len(kept) <= len(place.values):
        for index in gone:
            splices += entry_removed(now, place, index)
    for key in reversed(added):  # in one place, each before those that are there already
        splices += entry_added(now, place, len(place.values), key, written(new[key]))
    return splices


def _merged_list(now: Text, place: Place, old: list[Value], new: list[Value]) -> list[Splice]:
    """Equal items at both ends stay; those between are changed one by one, the rest added or removed."""
    short = min(len(old), len(new))
    front = next((index for index in range(short) if not _same(old[index], new[index])), short)
    back = next((index for index in range(short - front) if not _same(old[-1 - index], new[-1 - index])), short - front)
    old_middle, new_middle = range(front, len(old) - back), new[front : len(new) - back]
    splices: list[Splice] = []
    for index, item in zip(old_middle, new_middle, strict=False):
        splices += replaced(now, place.values[index], old[index], item)
    for index in reversed(old_middle[len(new_middle) :]):
        splices += item_removed(now, place, index)
    for item in new_middle[len(old_middle) :]:
        splices += item_added(now, place, old_middle.stop, written(item))
    if len(old_middle) - len(new_middle) > 1 or len(new_middle) - len(old_middle) > 1:
        return [_whole(now, place, written(new))]
    return splices


def _same(one: Any, other: Any) -> bool:
    """Equal, with keys in one order; 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))  # pyright: ignore[reportUnknownArgumentType]
    return bool(one == other)


def _nowhere(now: Text, path: Path) -> Problem:
    """Why nothing can be written at `path`."""
    shown = ".".join(map(str, path))
    if now.has(path[:-1]) and path:
        fact = f"{shown} is not written where it is used."
        why = "an alias (*) stands for it, or it is text and not a list or mapping"
        return Problem(fact, now.document.where(path), why=why, fix="edit the text itself")
    return Problem(f"There is no {shown} in the recipe.", fix="it may have changed: look again")
