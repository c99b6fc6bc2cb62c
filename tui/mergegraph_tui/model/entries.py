"""Keys and items put into and taken out of a mapping or list, in the style that it is written in."""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph_tui.model.places import BREAKS, Place, Text, column, line_end, line_start, next_line, skip_blank
from mergegraph_tui.model.writing import written


@dataclass(frozen=True, slots=True)
class Splice:
    """The text between two offsets, and what stands there afterwards."""

    start: int
    end: int
    text: str


def entry_added(now: Text, place: Place, index: int, key: str, value: str) -> list[Splice]:
    """`key: value` before the entry at `index` of a mapping. `value` may have lines of its own, already indented."""
    gap = "" if value[:1] in BREAKS and value else " "
    return _added(now, place, index, f"{written(key)}:{gap}{value}")


def item_added(now: Text, place: Place, index: int, value: str) -> list[Splice]:
    """`value` before the item at `index` of a list."""
    return _added(now, place, index, value if place.flow else f"- {value}")


def entry_removed(now: Text, place: Place, index: int) -> list[Splice]:
    """A mapping without its entry at `index`."""
    return _removed(now, place, index)


def item_removed(now: Text, place: Place, index: int) -> list[Splice]:
    """A list without its item at `index`."""
    return _removed(now, place, index)


def entry_start(now: Text, place: Place, index: int) -> int:
    """Where an entry begins: at its key, or at the dash of an item."""
    if place.kind == "mapping":
        return place.keys[index].start
    if place.flow:
        return place.values[index].start
    return skip_blank(now.text, place.values[index - 1].end) if index else place.inner


def entry_end(place: Place, index: int) -> int:
    """Where an entry's value ends; where its key does for one that has none."""
    end = place.values[index].end
    return max(end, place.keys[index].end) if place.kind == "mapping" else end


def _added(now: Text, place: Place, index: int, entry: str) -> list[Splice]:
    if not place.values:
        return [Splice(place.inner + 1, place.inner + 1, entry)]
    if not place.flow:
        indent = " " * column(now.text, entry_start(now, place, 0))
        if index == 0:
            start = entry_start(now, place, 0)
            return [Splice(start, start, f"{entry}{now.line_end}{indent}")]
        end = line_end(now.text, _block_end(now, place, index - 1))
        return [Splice(end, end, f"{now.line_end}{indent}{entry}")]
    if index == 0:
        start = entry_start(now, place, 0)
        return [Splice(start, start, f"{entry}, ")]
    end = entry_end(place, index - 1)
    return [Splice(end, end, f",{_flow_gap(now, place, index - 1)}{entry}")]


def _block_end(now: Text, place: Place, index: int) -> int:
    """The last character of an entry, with the colon or dash of one that has no value."""
    end = entry_end(place, index)
    if place.kind == "mapping" and place.values[index].start == place.values[index].end:
        return max(end, skip_blank(now.text, place.keys[index].end) + 1)
    return end


def _flow_gap(now: Text, place: Place, index: int) -> str:
    """What stands before an entry of a list or mapping in brackets: a space, or a line of its own."""
    start = entry_start(now, place, index)
    before = now.text[line_start(now.text, start) : start]
    return f"{now.line_end}{before}" if not before.strip() and before != now.text[:start] else " "


def _removed(now: Text, place: Place, index: int) -> list[Splice]:
    if len(place.values) == 1:
        empty = "{}" if place.kind == "mapping" else "[]"
        if place.flow:
            return [Splice(place.inner, place.end, empty)]
        before = now.text[: place.start].rstrip(" \t" + BREAKS)
        return [Splice(len(before), place.end, f" {empty}" if before else empty)]
    return _flow_removed(now, place, index) if place.flow else _block_removed(now, place, index)


def _flow_removed(now: Text, place: Place, index: int) -> list[Splice]:
    """Without the entry and the comma that it needed. Comments that stand between entries stay."""
    start, end = entry_start(now, place, index), entry_end(place, index)
    if index:
        before = entry_end(place, index - 1)
        comma = skip_blank(now.text, before)
        gap = now.text[comma + 1 : start]
        if "#" in gap or "#" in now.text[before:comma]:
            return [Splice(comma, comma + 1, ""), Splice(start, end, "")]
        return [Splice(before, end, "")]
    after = entry_start(now, place, index + 1)
    if "#" in now.text[end:after]:
        comma = skip_blank(now.text, end)
        return [Splice(start, end, ""), Splice(comma, comma + 1, "")]
    return [Splice(start, after, "")]


def _block_removed(now: Text, place: Place, index: int) -> list[Splice]:
    """Without the lines of the entry; what follows on the same line as something before it moves up."""
    start, end = entry_start(now, place, index), _block_end(now, place, index)
    first = line_start(now.text, start)
    if now.text[first:start].strip(" \t\ufeff"):
        return [Splice(start, entry_start(now, place, index + 1), "")]
    after = next_line(now.text, end)
    if line_end(now.text, end) == len(now.text) and first:
        return [Splice(len(now.text[:first].rstrip(BREAKS)), len(now.text), "")]
    return [Splice(first, after, "")]
